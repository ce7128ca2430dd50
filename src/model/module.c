/* Which linear modules a layer has, and of what shapes (module.h). */
#include "model/module.h"

#include "model/param.h"

#include <stdio.h>
#include <string.h>

#define Q_KEYS "num_attention_heads·head_dim"
#define KV_KEYS "num_key_value_heads·head_dim"
#define QKV_KEYS "(num_attention_heads + 2·num_key_value_heads)·head_dim"
#define FFN_KEYS "intermediate_size"
#define WIDTH_KEYS "hidden_size"

const struct ap_module ap_modules[AP_LORA_N] = {
    [AP_LORA_Q] = {"q_proj", "self_attn", Q_KEYS ", " WIDTH_KEYS, Q_KEYS, AP_MAP_Q, 1},
    [AP_LORA_K] = {"k_proj", "self_attn", KV_KEYS ", " WIDTH_KEYS, KV_KEYS, AP_MAP_K, 1},
    [AP_LORA_V] = {"v_proj", "self_attn", KV_KEYS ", " WIDTH_KEYS, KV_KEYS, AP_MAP_V, 1},
    [AP_LORA_QKV] = {"qkv_proj", "self_attn", QKV_KEYS ", " WIDTH_KEYS, QKV_KEYS, AP_MAP_Q, 3},
    [AP_LORA_O] = {"o_proj", "self_attn", WIDTH_KEYS ", " Q_KEYS, WIDTH_KEYS, AP_MAP_O, 1},
    [AP_LORA_GATE] = {"gate_proj", "mlp", FFN_KEYS ", " WIDTH_KEYS, FFN_KEYS, AP_MAP_GATE, 1},
    [AP_LORA_UP] = {"up_proj", "mlp", FFN_KEYS ", " WIDTH_KEYS, FFN_KEYS, AP_MAP_UP, 1},
    [AP_LORA_GATE_UP] = {"gate_up_proj", "mlp", "2·" FFN_KEYS ", " WIDTH_KEYS, "2·" FFN_KEYS,
                         AP_MAP_GATE, 2},
    [AP_LORA_DOWN] = {"down_proj", "mlp", WIDTH_KEYS ", " FFN_KEYS, WIDTH_KEYS, AP_MAP_DOWN, 1},
};

/* Whether other families keep the module's maps in one of its own each. */
static bool may_be_fused(int map)
{
    return map != AP_MAP_O && map != AP_MAP_DOWN;
}

bool ap_module_is_there(const struct ap_config *c, int module)
{
    const struct ap_module *m = &ap_modules[module];
    return !may_be_fused(m->first) || c->fused == (m->n > 1);
}

bool ap_module_has_bias(const struct ap_config *c, int module)
{
    int map = ap_modules[module].first;
    if (map < AP_MAP_O)
        return c->qkv_bias;
    return map == AP_MAP_O ? c->o_bias : c->mlp_bias;
}

int ap_module_of(const struct ap_config *c, int map)
{
    int module = 0;
    while (!ap_module_is_there(c, module) || map < ap_modules[module].first ||
           map >= ap_modules[module].first + ap_modules[module].n)
        module++;
    return module;
}

int ap_module_find(const struct ap_config *c, const char *name, size_t n)
{
    for (int t = 0; t < AP_LORA_N; t++)
        if (ap_module_is_there(c, t) && strlen(ap_modules[t].name) == n &&
            !memcmp(name, ap_modules[t].name, n))
            return t;
    return -1;
}

const char *ap_module_list(const struct ap_config *c, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int t = 0; t < AP_LORA_N && used < size; t++)
        if (ap_module_is_there(c, t))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "",
                                     ap_modules[t].name);
    return out;
}

void ap_map_shape(const struct ap_config *c, int map, int *n_out, int *n_in)
{
    int query = c->n_head * c->head_dim, key = c->n_kv_head * c->head_dim;
    const int shape[AP_MAP_N][2] = {
        [AP_MAP_Q] = {query, c->width},       [AP_MAP_K] = {key, c->width},
        [AP_MAP_V] = {key, c->width},         [AP_MAP_O] = {c->width, query},
        [AP_MAP_GATE] = {c->n_ffn, c->width}, [AP_MAP_UP] = {c->n_ffn, c->width},
        [AP_MAP_DOWN] = {c->width, c->n_ffn},
    };
    *n_out = shape[map][0];
    *n_in = shape[map][1];
}

void ap_module_shape(const struct ap_config *c, int module, int *n_out, int *n_in)
{
    const struct ap_module *m = &ap_modules[module];
    int sum = 0;
    for (int k = m->first; k < m->first + m->n; k++) {
        ap_map_shape(c, k, n_out, n_in);
        sum += *n_out;
    }
    *n_out = sum;
}

void ap_module_add_parts(struct ap_param *p, const struct ap_config *c, int module)
{
    const struct ap_module *m = &ap_modules[module];
    for (int k = m->first; k < m->first + m->n; k++) {
        int n_out, n_in;
        ap_map_shape(c, k, &n_out, &n_in);
        ap_param_add_part(p, n_out);
    }
}
