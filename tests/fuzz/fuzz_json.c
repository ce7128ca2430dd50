/* libFuzzer entry for base/json.h: any bytes give a value or one line of error; a value written out
 * reads back as itself. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const json_t *value)
{
    struct ap_error err = {0};
    json_t *again = NULL;
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text)
        return;
    if (ap_json_parse(text, strlen(text), "again", &again, &err) != AP_OK ||
        !json_equal(value, again))
        abort();
    json_decref(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_error err = {0};
    json_t *value = NULL;
    if (ap_json_parse((const char *)data, size, "in", &value, &err) == AP_OK)
        check_round_trip(value);
    else if (value || !err.text[0] || strchr(err.text, '\n'))
        abort();
    json_decref(value);
    return 0;
}
