/* libFuzzer entry for a judge's reply: any bytes are one of four verdicts, and a verdict on a line
 * of its own behind them decides.
 *
 * fuzz: align/judge */
#include "align/judge.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char last[] = "\nVerdict: B";
    char *text = malloc(size + sizeof(last));
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    size_t n = strlen(text);
    ap_verdict verdict = ap_verdict_parse(text);
    if ((int)verdict < AP_VERDICT_NONE || verdict > AP_VERDICT_TIE)
        abort();
    memcpy(text + n, last, sizeof(last));
    if (ap_verdict_parse(text) != AP_VERDICT_B)
        abort();
    free(text);
    return 0;
}
