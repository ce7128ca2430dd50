/* Post-processors. Entry points: ap_postprocessor_init, ap_postprocessor_free. */
#include "text/postprocessor.h"

#include "text/text_json.h"

#include <string.h>

#define TEMPLATE_IDS_MAX 64

void ap_postprocessor_free(struct ap_postprocessor *p)
{
    ap_ids_free(&p->before);
    ap_ids_free(&p->after);
}

/* The ids that special_tokens[name] lists. */
static ap_status read_special(struct ap_ids *ids, const json_t *special, const char *name,
                              int32_t n_vocab, const char *where, struct ap_error *err)
{
    const json_t *entry, *list = NULL;
    ap_status status;
    AP_TRY(ap_text_json_object(special, name, where, true, &entry, err));
    AP_TRY(ap_text_json_array(entry, "ids", where, true, &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            return ap_fail(err, AP_FORMAT,
                           "%s: \"special_tokens\".\"%.64s\".\"ids\"[%zu] is no id of the "
                           "vocabulary, expected 0 to %d",
                           where, name, i, n_vocab - 1);
        if (ids->n == TEMPLATE_IDS_MAX)
            return ap_fail(err, AP_LIMIT, "%s: a template adds more than %d ids", where,
                           TEMPLATE_IDS_MAX);
        AP_TRY(ap_ids_push(ids, (int32_t)json_integer_value(id), err));
    }
out:
    return status;
}

/* One piece of "single": the place of the text, or a special token before or after it. */
static ap_status read_piece(struct ap_postprocessor *p, const json_t *piece, const json_t *special,
                            bool *placed, int32_t n_vocab, const char *where, struct ap_error *err)
{
    const json_t *token, *sequence;
    const char *id = NULL;
    ap_status status;
    AP_TRY(ap_text_json_object(piece, "SpecialToken", where, false, &token, err));
    AP_TRY(ap_text_json_object(piece, "Sequence", where, token == NULL, &sequence, err));
    AP_TRY(ap_json_text(token ? token : sequence, "id", where, true, &id, NULL, err));
    if (token)
        return read_special(*placed ? &p->after : &p->before, special, id, n_vocab, where, err);
    if (*placed || strcmp(id, "A") != 0)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: \"single\" holds the Sequence \"%.64s\"%s, expected \"A\" once; use "
                       "another tokenizer",
                       where, id, *placed ? " as a second one" : "");
    *placed = true;
out:
    return status;
}

static ap_status read_template(struct ap_postprocessor *p, const json_t *o, int32_t n_vocab,
                               const char *where, struct ap_error *err)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens"};
    const json_t *single = NULL, *special = NULL;
    bool placed = false;
    ap_status status;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_text_json_array(o, "single", where, true, &single, err));
    AP_TRY(ap_text_json_object(o, "special_tokens", where, false, &special, err));
    if (p->before.n || p->after.n)
        return ap_fail(err, AP_UNSUPPORTED, "%s: a second TemplateProcessing, expected one", where);
    for (size_t i = 0; i < json_array_size(single); i++)
        AP_TRY(read_piece(p, json_array_get(single, i), special, &placed, n_vocab, where, err));
    if (!placed)
        return ap_fail(err, AP_FORMAT, "%s: \"single\" has no Sequence \"A\"; add it", where);
out:
    return status;
}

enum { KIND_SEQUENCE, KIND_TEMPLATE, KIND_BYTE_LEVEL, N_KINDS };
static const char *const kind_name[N_KINDS] = {"Sequence", "TemplateProcessing", "ByteLevel"};

static ap_status read_one(struct ap_postprocessor *p, const json_t *o, bool nested, int32_t n_vocab,
                          const char *where, struct ap_error *err)
{
    size_t kind = 0;
    const json_t *list = NULL;
    ap_status status = ap_text_json_kind(o, where, kind_name, N_KINDS, &kind, err);
    if (status != AP_OK || kind == KIND_BYTE_LEVEL)
        return status;
    if (kind == KIND_TEMPLATE)
        return read_template(p, o, n_vocab, where, err);
    if (nested)
        return ap_fail(err, AP_UNSUPPORTED, "%s: a Sequence in a Sequence, expected a flat one",
                       where);
    status = ap_text_json_array(o, "processors", where, true, &list, err);
    for (size_t i = 0; status == AP_OK && i < json_array_size(list); i++)
        status = read_one(p, json_array_get(list, i), true, n_vocab, where, err);
    return status;
}

ap_status ap_postprocessor_init(struct ap_postprocessor *p, const json_t *config, int32_t n_vocab,
                                const char *where, struct ap_error *err)
{
    *p = (struct ap_postprocessor){0};
    return config ? read_one(p, config, false, n_vocab, where, err) : AP_OK;
}
