/* Prompts as a policy sees them (prompts.h). */
#include "align/prompts.h"

#include "base/memory.h"

void ap_prompts_free(struct ap_prompts *p)
{
    for (int i = 0; i < p->n; i++)
        ap_free(p->items[i].ids);
    ap_free(p->items);
    *p = (struct ap_prompts){0};
}

static ap_status add_prompt(struct ap_prompts *out, const struct ap_example *e,
                            const struct ap_lm *lm, const char *meta_prompt, int max_tokens,
                            ap_too_long too_long, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits = false;
    char *wrapped = ap_meta_prompt_apply(meta_prompt ? meta_prompt : "", e->prompt);
    if (!wrapped)
        return ap_fail(err, AP_MEMORY, "prompt %llu: out of memory", (unsigned long long)e->record);
    ap_status status = ap_sequence_make(&s, lm->chat, e->context, e->n_context, wrapped, NULL,
                                        max_tokens, too_long, &fits, err);
    ap_free(wrapped);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "prompt %llu", (unsigned long long)e->record);
    if (!fits) {
        out->n_skipped++;
        ap_sequence_free(&s);
        return AP_OK;
    }
    out->items[out->n++] = (struct ap_prompt){.record = e->record,
                                              .context = e->context,
                                              .n_context = e->n_context,
                                              .x = e->prompt,
                                              .meta = e->meta,
                                              .ids = s.ids,
                                              .n = s.n};
    s.ids = NULL; /* taken over */
    ap_sequence_free(&s);
    return AP_OK;
}

ap_status ap_prompts_make(struct ap_prompts *out, const struct ap_dataset *data,
                          const int32_t *index, size_t n_index, const struct ap_lm *lm,
                          const char *meta_prompt, int max_tokens, ap_too_long too_long,
                          int64_t limit, struct ap_error *err)
{
    *out = (struct ap_prompts){0};
    if (max_tokens < 1)
        return ap_fail(err, AP_LIMIT,
                       "model %s: a context of %d positions leaves no room for a prompt beside "
                       "max_new_tokens; lower max_new_tokens or raise run.context",
                       lm->name, lm->context);
    out->items = ap_calloc(n_index ? n_index : 1, sizeof(*out->items));
    if (!out->items)
        return ap_fail(err, AP_MEMORY, "%zu prompts: out of memory", n_index);
    for (size_t i = 0; i < n_index && (limit <= 0 || out->n < limit); i++) {
        ap_status status =
            add_prompt(out, &data->examples[index[i]], lm, meta_prompt, max_tokens, too_long, err);
        if (status != AP_OK) {
            ap_prompts_free(out);
            return status;
        }
    }
    return AP_OK;
}
