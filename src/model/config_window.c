/* Sliding windows: which layers attend to the last `sliding_window` positions only, by the keys
 * that the family's models in transformers go by. Entry point: ap_config_read_windows. */
#include "model/config_inner.h"

#include <string.h>

static void slide(struct ap_config *c, int layer)
{
    c->sliding[layer / 64] |= (uint64_t)1 << (layer % 64);
}

/* Null: none, *out 0. */
static ap_status read_window(const json_t *o, const char *path, int *out, struct ap_error *err)
{
    *out = 0;
    return ap_config_int(o, "sliding_window", path, false, 1, INT32_MAX, out, err);
}

/* "sliding_attention" of every layer where it is so, "full_attention" elsewhere; the list that says
 * so may be missing. */
static ap_status check_layer_types(const json_t *types, const struct ap_config *c, const char *path,
                                   struct ap_error *err)
{
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool slides = i < (size_t)c->n_layer && ap_config_window(c, (int)i);
        const char *expected = slides ? "sliding_attention" : "full_attention";
        if (!type || strcmp(type, expected))
            return ap_config_unsupported(path, "layer_types", json_array_get(types, i),
                                         slides
                                             ? "\"sliding_attention\" (sliding_window is there)"
                                             : "\"full_attention\" (no sliding_window is in use)",
                                         err);
    }
    return AP_OK;
}

/* Qwen2: each layer by its type; both need use_sliding_window. */
static ap_status read_layer_types(struct ap_config *c, const json_t *types, const char *path,
                                  struct ap_error *err)
{
    if (!json_is_array(types) || json_array_size(types) != (size_t)c->n_layer)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"layer_types\" holds %zu layers, expected a list of num_hidden_layers "
                       "%d",
                       path, json_array_size(types), c->n_layer);
    for (int l = 0; l < c->n_layer; l++) {
        const json_t *type = json_array_get(types, (size_t)l);
        const char *text = json_string_value(type);
        if (text && !strcmp(text, "sliding_attention"))
            slide(c, l);
        else if (!text || strcmp(text, "full_attention"))
            return ap_config_unsupported(path, "layer_types", type,
                                         "\"full_attention\" or \"sliding_attention\"", err);
    }
    return AP_OK;
}

/* sliding_window counts where use_sliding_window says so: in the layers of that type or, without
 * layer_types, from max_window_layers on. */
static ap_status read_qwen2(struct ap_config *c, const json_t *o, const char *path,
                            struct ap_error *err)
{
    const json_t *types = json_object_get(o, "layer_types");
    int first = 28;
    bool use = false;
    ap_status status;
    AP_TRY(ap_json_bool(o, "use_sliding_window", path, false, &use, err));
    c->window = 4096;
    if (json_object_get(o, "sliding_window") && use)
        AP_TRY(read_window(o, path, &c->window, err));
    if (!use)
        c->window = 0;
    if (!c->window)
        return check_layer_types(types, c, path, err);
    if (types && !json_is_null(types))
        return read_layer_types(c, types, path, err);
    AP_TRY(ap_config_int(o, "max_window_layers", path, false, 0, INT32_MAX, &first, err));
    for (int l = first; l < c->n_layer; l++)
        slide(c, l);
out:
    return status;
}

/* All layers, where sliding_window is there. */
static ap_status read_phi3(struct ap_config *c, const json_t *o, const char *path,
                           struct ap_error *err)
{
    ap_status status = read_window(o, path, &c->window, err);
    for (int l = 0; status == AP_OK && c->window && l < c->n_layer; l++)
        slide(c, l);
    return status == AP_OK ? check_layer_types(json_object_get(o, "layer_types"), c, path, err)
                           : status;
}

ap_status ap_config_read_windows(struct ap_config *c, const json_t *o, const char *path,
                                 struct ap_error *err)
{
    static const struct ap_inert_key none = {"sliding_window", AP_INERT_NULL};
    if (c->family == AP_QWEN2)
        return read_qwen2(c, o, path, err);
    if (c->family == AP_PHI3)
        return read_phi3(c, o, path, err);
    ap_status status = ap_config_refuse(o, path, &none, 1, err);
    return status == AP_OK ? check_layer_types(json_object_get(o, "layer_types"), c, path, err)
                           : status;
}
