/* One safetensors file: its tensors and metadata, from the header alone. Entry point:
 * ap_inspect_safetensors. */
#include "pipeline/inspect_tensors.h"

#include <string.h>

#define METADATA_MAX 64 /* entries */
#define TEXT_MAX 4096   /* bytes of one in JSON */

static void tell_metadata(struct ap_tell *t, const json_t *metadata)
{
    json_t *shown = json_object();
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        const char *text = json_string_value(value);
        if (n++ >= METADATA_MAX)
            continue;
        ap_tell_raw(t, n == 1 ? "\n  metadata\n    " : "    ");
        ap_tell_cell(t, key, strlen(key), 40);
        ap_tell_raw(t, " = ");
        ap_tell_cell(t, text ? text : "(no text)", text ? json_string_length(value) : 9, 52);
        ap_tell_raw(t, "\n");
        json_object_set_new(shown, key,
                            text ? ap_inspect_string(text, json_string_length(value), TEXT_MAX)
                                 : json_null());
    }
    if (n > METADATA_MAX)
        ap_tell_raw(t, "    and %d more\n", n - METADATA_MAX);
    ap_tell_set(t, "metadata", shown);
}

ap_status ap_inspect_safetensors(const struct ap_inspected *p,
                                 const struct ap_inspect_options *options, struct ap_buffer *out,
                                 struct ap_error *err)
{
    struct ap_safetensors f;
    struct ap_tensors tensors = {0};
    struct ap_tell t;
    char size[32];
    ap_status status = ap_safetensors_open(&f, p->path, err);
    if (status != AP_OK)
        return status;
    AP_TRY(ap_tensors_add_file(&tensors, &f, err));
    ap_tell_begin(&t, p->path, "safetensors", "safetensors file", err);
    ap_tell_totals(&t, &tensors);
    ap_tell_line(&t, "on disk", "%s", ap_inspect_size(p->size, size));
    ap_tell_count(&t, "bytes", p->size);
    tell_metadata(&t, f.metadata);
    ap_tell_tensors(&t, &tensors);
    status = ap_tell_end(&t, options->json, out);
out:
    ap_tensors_free(&tensors);
    ap_safetensors_close(&f);
    return status;
}
