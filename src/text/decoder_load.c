/* The "decoder" of a tokenizer.json made into stages. Entry points: ap_decoder_plan_init, _free. */
#include "text/decoder.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/text_json.h"

static const char *const kind_name[AP_DECODER_N_KINDS] = {
    "Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel",
};

static ap_status copy_text(char **out, size_t *n_out, const char *text, size_t n, const char *where,
                           struct ap_error *err)
{
    *out = ap_strndup(text, n);
    *n_out = n;
    return *out ? AP_OK : ap_fail(err, AP_MEMORY, "%s: no memory for a decoder", where);
}

static ap_status read_replace(struct ap_decoder_stage *stage, const json_t *o, const char *where,
                              struct ap_error *err)
{
    static const char *const known[] = {"type", "pattern", "content"};
    const char *text = NULL;
    size_t n = 0;
    ap_status status;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_text_json_pattern(o, "pattern", where, &text, &n, err));
    AP_TRY(copy_text(&stage->pattern, &stage->n_pattern, text, n, where, err));
    AP_TRY(ap_json_text(o, "content", where, true, &text, &n, err));
    AP_TRY(copy_text(&stage->value, &stage->n_value, text, n, where, err));
out:
    return status;
}

static ap_status read_strip(struct ap_decoder_stage *stage, const json_t *o, const char *where,
                            struct ap_error *err)
{
    static const char *const known[] = {"type", "content", "start", "stop"};
    const char *text = NULL;
    size_t n = 0;
    int64_t stop = 0;
    uint32_t cp;
    ap_status status;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_json_text(o, "content", where, true, &text, &n, err));
    AP_TRY(ap_json_int(o, "start", where, true, 0, INT32_MAX, &stage->start, err));
    AP_TRY(ap_json_int(o, "stop", where, true, 0, INT32_MAX, &stop, err));
    if (n == 0 || ap_utf8_decode(text, n, &cp) != n)
        return ap_fail(err, AP_FORMAT,
                       "%s: Strip's \"content\" is \"%.64s\", expected one character", where, text);
    if (stop != 0)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: Strip's \"stop\" is %lld, expected 0; not "
                       "implemented",
                       where, (long long)stop);
    AP_TRY(copy_text(&stage->value, &stage->n_value, text, n, where, err));
out:
    return status;
}

static ap_status read_one(struct ap_decoder_plan *plan, const json_t *o, bool nested,
                          const char *where, struct ap_error *err);

static ap_status read_sequence(struct ap_decoder_plan *plan, const json_t *o, bool nested,
                               const char *where, struct ap_error *err)
{
    const json_t *list = NULL;
    if (nested)
        return ap_fail(err, AP_UNSUPPORTED, "%s: a Sequence in a Sequence, expected a flat one",
                       where);
    ap_status status = ap_text_json_array(o, "decoders", where, true, &list, err);
    for (size_t i = 0; status == AP_OK && i < json_array_size(list); i++)
        status = read_one(plan, json_array_get(list, i), true, where, err);
    return status;
}

static bool is_fused(const struct ap_decoder_plan *plan)
{
    for (int i = 0; i < plan->n; i++)
        if (plan->stage[i].kind == AP_DECODER_FUSE || plan->stage[i].kind == AP_DECODER_BYTE_LEVEL)
            return true;
    return false;
}

static ap_status read_one(struct ap_decoder_plan *plan, const json_t *o, bool nested,
                          const char *where, struct ap_error *err)
{
    size_t kind = 0;
    ap_status status = ap_text_json_kind(o, where, kind_name, AP_DECODER_N_KINDS, &kind, err);
    if (status != AP_OK)
        return status;
    if (kind == AP_DECODER_SEQUENCE)
        return read_sequence(plan, o, nested, where, err);
    if (plan->n == AP_DECODER_STAGES_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d decoders", where, AP_DECODER_STAGES_MAX);
    bool fused = is_fused(plan);
    if (fused && kind != AP_DECODER_FUSE && kind != AP_DECODER_STRIP)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: %s after the tokens have become one text, expected "
                       "Fuse or Strip there; not implemented",
                       where, kind_name[kind]);
    struct ap_decoder_stage *stage = &plan->stage[plan->n++];
    *stage = (struct ap_decoder_stage){.kind = kind, .fused = fused};
    if (kind == AP_DECODER_REPLACE)
        return read_replace(stage, o, where, err);
    return kind == AP_DECODER_STRIP ? read_strip(stage, o, where, err) : AP_OK;
}

ap_status ap_decoder_plan_init(struct ap_decoder_plan *plan, const json_t *config,
                               const char *where, struct ap_error *err)
{
    *plan = (struct ap_decoder_plan){.join = config == NULL};
    return config ? read_one(plan, config, false, where, err) : AP_OK;
}

void ap_decoder_plan_free(struct ap_decoder_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        ap_free(plan->stage[i].pattern);
        ap_free(plan->stage[i].value);
    }
    *plan = (struct ap_decoder_plan){0};
}
