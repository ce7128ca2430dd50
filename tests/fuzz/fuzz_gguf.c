/* Any bytes as a GGUF file: refused in one line, or every value and tensor within the bytes.
 *
 * fuzz: model */
#include "model/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const void *at, size_t n, const uint8_t *data, size_t size)
{
    const uint8_t *p = at;
    if (n && (p < data || p > data + size || n > (size_t)(data + size - p)))
        abort();
}

static void check_value(const struct ap_gguf *g, const struct ap_gguf_value *v, const uint8_t *data,
                        size_t size)
{
    struct ap_gguf_text text;
    size_t at = 0;
    uint64_t n = 0;
    int64_t whole;
    double real;
    char key[256];
    within(v->key.data, v->key.n, data, size);
    within(v->data, v->size, data, size);
    while (ap_gguf_next_text(v, &at, &text)) {
        within(text.data, text.n, data, size);
        n++;
    }
    if (v->element == AP_GGUF_STRING && (n != v->n || at != v->size))
        abort();
    if (v->n && ap_gguf_integer(v, v->n - 1, &whole) && !ap_gguf_real(v, v->n - 1, &real))
        abort();
    if (v->key.n < sizeof(key)) {
        memcpy(key, v->key.data, v->key.n);
        key[v->key.n] = '\0';
        if (ap_gguf_find(g, key) != v)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_gguf g;
    struct ap_error err;
    if (ap_gguf_parse(&g, data, size, "fuzz", &err) != AP_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (size_t i = 0; i < g.n_values; i++)
        check_value(&g, &g.values[i], data, size);
    for (size_t i = 0; i < g.n_tensors; i++) {
        const struct ap_gguf_tensor *t = &g.tensors[i];
        within(t->name.data, t->name.n, data, size);
        if (t->offset > size)
            abort();
        within(data + t->offset, t->size, data, size);
    }
    ap_gguf_close(&g);
    return 0;
}
