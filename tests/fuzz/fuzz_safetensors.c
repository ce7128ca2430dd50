/* Any bytes as a safetensors file: refused in one line, or every view within the bytes.
 *
 * fuzz: model */
#include "base/memory.h"
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(const struct ap_safetensors *f, const struct ap_tensor_view *v,
                       const uint8_t *data, size_t size)
{
    const uint8_t *at = v->data;
    struct ap_error err;
    if (ap_safetensors_find(f, v->name) != v || at < data || at > data + size)
        abort();
    if (v->n > 1 << 16)
        return;
    float *out = ap_calloc(v->n, sizeof(float));
    if (out)
        (void)ap_tensor_to_f32(v, out, &err);
    ap_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_safetensors f;
    struct ap_error err;
    if (ap_safetensors_parse(&f, data, size, "fuzz", &err) != AP_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (int i = 0; i < f.n; i++)
        check_view(&f, &f.views[i], data, size);
    ap_safetensors_close(&f);
    return 0;
}
