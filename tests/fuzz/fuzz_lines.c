/* libFuzzer entry for lines and for elements of a JSON array, plain and gzipped. The first byte
 * picks which, and how long a line may be; the rest is the file. Any bytes give texts or one line
 * of error; an array that is JSON gives as many elements as it has, each of them JSON. */
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    size_t n;
    bool all_json, whole;
};

static struct result read_all(struct ap_lines *lines, bool elements)
{
    struct result r = {.all_json = true};
    uint64_t number = 0, last = 0;
    for (;;) {
        struct ap_error err = {0};
        const char *text;
        size_t n;
        bool more;
        ap_status status =
            (elements ? ap_elements_next : ap_lines_next)(lines, &text, &n, &number, &more, &err);
        if (status != AP_OK && (!err.text[0] || strchr(err.text, '\n')))
            abort();
        if (status != AP_OK && status != AP_LIMIT)
            return r;
        if (status == AP_OK && !more) {
            r.whole = true;
            return r;
        }
        if (number < last || (status == AP_OK && text[n] != '\0'))
            abort();
        last = number;
        r.n++;
        json_t *o =
            status == AP_OK ? json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        r.all_json = r.all_json && o;
        json_decref(o);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    struct ap_lines *lines;
    struct ap_error err = {0};
    if (size == 0)
        return 0;
    if (fd < 0)
        fd = memfd_create("lines", 0);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)size - 1)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    bool elements = data[0] & 1;
    size_t max_line = data[0] & 2 ? 16 : 1 << 20;
    if (ap_lines_open(&lines, path, max_line, &err) != AP_OK)
        return 0;
    struct result r = read_all(lines, elements);
    ap_lines_close(lines);
    json_t *o = json_loadb((const char *)data + 1, size - 1, JSON_ALLOW_NUL, NULL);
    if (elements && json_is_array(o) && max_line > size &&
        (!r.whole || !r.all_json || r.n != json_array_size(o)))
        abort();
    json_decref(o);
    return 0;
}
