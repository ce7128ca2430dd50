/* Rotary positions of config.json: rope_parameters as transformers 5 writes it, rope_theta,
 * rope_scaling and partial_rotary_factor as 4 did. Entry point: ap_config_read_rope. */
#include "model/config_inner.h"

#include <stdio.h>
#include <string.h>

static const json_t *or_null(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    return json_is_null(value) ? NULL : value;
}

/* -- kinds, on the object that describes them -- */

static ap_status read_llama3(struct ap_config *c, const json_t *rope, const char *path,
                             struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_config_positive(rope, "factor", path, true, &c->rope_factor, err));
    AP_TRY(ap_config_positive(rope, "low_freq_factor", path, true, &c->rope_low, err));
    AP_TRY(ap_config_positive(rope, "high_freq_factor", path, true, &c->rope_high, err));
    if (c->rope_high <= c->rope_low)
        status = ap_fail(err, AP_FORMAT,
                         "%s: high_freq_factor is %g, expected more than low_freq_factor %g", path,
                         c->rope_high, c->rope_low);
out:
    return status;
}

static ap_status read_factors(const json_t *rope, const char *key, const char *path, int n,
                              float *out, struct ap_error *err)
{
    const json_t *list = json_object_get(rope, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)n)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"%s\" holds %zu numbers, expected a list of %d (half of "
                       "head_dim·partial_rotary_factor)",
                       path, key, json_array_size(list), n);
    for (int i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        out[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !(out[i] > 0) || out[i] > 1e30f)
            return ap_fail(err, AP_FORMAT, "%s: \"%s\" holds no positive number at place %d of %d",
                           path, key, i + 1, n);
    }
    return AP_OK;
}

static ap_status read_longrope(struct ap_config *c, const json_t *rope, const char *path,
                               struct ap_error *err)
{
    int n = ap_config_n_freq(c), rotating = ap_config_rotating(c);
    ap_status status;
    if (n > AP_FREQ_MAX || rotating % 2)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: longrope over %d elements of a head (head_dim·partial_rotary_factor), "
                       "expected an even number up to %d",
                       path, rotating, 2 * AP_FREQ_MAX);
    AP_TRY(read_factors(rope, "short_factor", path, n, c->rope_short, err));
    AP_TRY(read_factors(rope, "long_factor", path, n, c->rope_long, err));
    AP_TRY(ap_config_positive(rope, "factor", path, false, &c->rope_factor, err));
    AP_TRY(ap_config_positive(rope, "attention_factor", path, false, &c->rope_attention, err));
    if (c->rope_original < 2 || c->rope_original > c->max_position)
        status = ap_fail(err, AP_FORMAT,
                         "%s: original_max_position_embeddings is %d, expected 2 to "
                         "max_position_embeddings %d",
                         path, c->rope_original, c->max_position);
out:
    return status;
}

/* A kind's names: "su" and "yarn" are what Phi-3's first files call longrope. */
static const struct {
    const char *name;
    ap_rope_kind kind;
    bool phi3, others;
} kinds[] = {
    {"default", AP_ROPE_DEFAULT, true, true},   {"linear", AP_ROPE_LINEAR, false, true},
    {"dynamic", AP_ROPE_DYNAMIC, false, true},  {"llama3", AP_ROPE_LLAMA3, false, true},
    {"longrope", AP_ROPE_LONGROPE, true, true}, {"su", AP_ROPE_LONGROPE, true, false},
    {"yarn", AP_ROPE_LONGROPE, true, false},
};

static ap_status read_kind(struct ap_config *c, const json_t *rope, const char *path,
                           struct ap_error *err)
{
    const char *key = or_null(rope, "rope_type") ? "rope_type" : "type";
    const json_t *value = or_null(rope, key);
    const char *text = value ? json_string_value(value) : "default";
    for (size_t i = 0; text && i < AP_LEN(kinds); i++)
        if (!strcmp(text, kinds[i].name) &&
            (c->family == AP_PHI3 ? kinds[i].phi3 : kinds[i].others)) {
            c->rope = kinds[i].kind;
            return AP_OK;
        }
    return ap_config_unsupported(path, key, value,
                                 c->family == AP_PHI3
                                     ? "\"default\" or \"longrope\""
                                     : "\"default\", \"linear\", \"dynamic\", \"llama3\" or "
                                       "\"longrope\"",
                                 err);
}

/* -- the object, in either spelling -- */

/* Settings for each kind of layer, which none of the families has. */
static ap_status check_flat(const json_t *rope, const char *path, struct ap_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(rope))
        return ap_config_unsupported(path, "rope", rope, "an object", err);
    json_object_foreach((json_t *)rope, key, value)
    {
        if (json_is_object(value))
            return ap_config_unsupported(path, key, value, "a number, a list or a text", err);
    }
    return AP_OK;
}

/* The file's own key counts before the object's. Phi3Config has a default of 4096 and never reads
 * the object's. */
static ap_status read_original(struct ap_config *c, const json_t *o, const json_t *rope,
                               const char *path, const char *where, struct ap_error *err)
{
    static const char key[] = "original_max_position_embeddings";
    bool phi3 = c->family == AP_PHI3;
    int inner = phi3 ? 4096 : c->max_position;
    ap_status status = ap_config_int(rope, key, where, false, 1, AP_SIZE_MAX, &inner, err);
    if (status != AP_OK)
        return status;
    c->rope_original = phi3 ? 4096 : inner;
    status = ap_config_int(o, key, path, false, 1, AP_SIZE_MAX, &c->rope_original, err);
    if (status == AP_OK && phi3 && or_null(rope, key) && inner != c->rope_original)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s is %d, expected %d: a Phi3's is a key of config.json itself "
                       "(default 4096)",
                       where, key, inner, c->rope_original);
    return status;
}

static ap_status read_object(struct ap_config *c, const json_t *o, const json_t *rope,
                             const char *path, const char *where, struct ap_error *err)
{
    ap_status status;
    AP_TRY(check_flat(rope, where, err));
    AP_TRY(ap_config_positive(rope, "rope_theta", where, false, &c->rope_theta, err));
    AP_TRY(read_kind(c, rope, where, err));
    if (c->rope == AP_ROPE_LINEAR || c->rope == AP_ROPE_DYNAMIC)
        return ap_config_positive(rope, "factor", where, true, &c->rope_factor, err);
    if (c->rope == AP_ROPE_DEFAULT)
        return AP_OK;
    AP_TRY(read_original(c, o, rope, path, where, err));
    return c->rope == AP_ROPE_LLAMA3 ? read_llama3(c, rope, where, err)
                                     : read_longrope(c, rope, where, err);
out:
    return status;
}

/* The object's counts before the file's own. Only Phi3's models go by it. */
static ap_status read_partial(struct ap_config *c, const json_t *o, const json_t *rope,
                              const char *path, struct ap_error *err)
{
    static const struct ap_inert_key whole = {"partial_rotary_factor", AP_INERT_ONE};
    const json_t *from = or_null(rope, whole.key) ? rope : o;
    if (c->family != AP_PHI3)
        return ap_config_refuse(from, path, &whole, 1, err);
    ap_status status = ap_config_positive(from, whole.key, path, false, &c->rope_partial, err);
    if (status == AP_OK && or_null(from, whole.key) &&
        (c->rope_partial > 1 || c->head_dim * c->rope_partial < 1))
        return ap_fail(err, AP_FORMAT,
                       "%s: \"partial_rotary_factor\" is %g, expected at most 1, and at least one "
                       "element of head_dim %d",
                       path, c->rope_partial, c->head_dim);
    return status;
}

ap_status ap_config_read_rope(struct ap_config *c, const json_t *o, const char *path,
                              struct ap_error *err)
{
    const json_t *now = or_null(o, "rope_parameters"), *old = or_null(o, "rope_scaling");
    const json_t *rope = now ? now : old;
    char where[AP_ERROR_TEXT_MAX / 2];
    ap_status status;
    if (now && old && !json_equal(now, old))
        return ap_fail(err, AP_FORMAT,
                       "%s: rope_parameters and rope_scaling differ, expected one of the two; "
                       "remove the wrong one",
                       path);
    snprintf(where, sizeof(where), "%s: %s", path, now ? "rope_parameters" : "rope_scaling");
    AP_TRY(ap_config_positive(o, "rope_theta", path, false, &c->rope_theta, err));
    AP_TRY(read_partial(c, o, rope, json_is_object(rope) ? where : path, err));
    if (rope)
        return read_object(c, o, rope, path, where, err);
out:
    return status;
}
