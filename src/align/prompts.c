/* Prompts as a policy sees them (prompts.h). */
#include "align/prompts.h"

#include "base/memory.h"
#include "text/noise.h"

#include <string.h>

void ap_prompts_free(struct ap_prompts *p)
{
    for (int i = 0; i < p->n; i++) {
        ap_free(p->items[i].ids);
        ap_free(p->items[i].noisy);
    }
    ap_free(p->items);
    *p = (struct ap_prompts){0};
}

static ap_status add_prompt(struct ap_prompts *out, const struct ap_example *e,
                            const struct ap_lm *lm, const char *meta_prompt, int max_tokens,
                            ap_too_long too_long, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits = !lm;
    ap_status status = AP_OK;
    char *wrapped = lm ? ap_meta_prompt_apply(meta_prompt ? meta_prompt : "", e->prompt) : NULL;
    if (lm && !wrapped)
        return ap_fail(err, AP_MEMORY, "prompt %llu: out of memory", (unsigned long long)e->record);
    if (lm)
        status = ap_sequence_make(&s, lm->chat, e->context, e->n_context, wrapped, NULL, max_tokens,
                                  too_long, &fits, err);
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
    if (lm && max_tokens < 1)
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

ap_status ap_prompts_append(struct ap_prompts *p, struct ap_prompts *more, struct ap_error *err)
{
    const size_t n = (size_t)p->n, n_all = n + (size_t)more->n;
    struct ap_prompt *grown = ap_realloc(p->items, n, n_all, sizeof(*grown));
    if (!grown)
        return ap_fail(err, AP_MEMORY, "%zu prompts: out of memory", n_all);
    p->items = grown;
    for (int i = 0; i < more->n; i++)
        p->items[p->n++] = more->items[i];
    more->n = 0; /* its texts are p's */
    ap_prompts_free(more);
    return AP_OK;
}

/* ---- noise ---- */

const char *ap_prompt_seen(const struct ap_prompt *p)
{
    return p->noisy ? p->noisy : p->x;
}

/* Takes noisy. */
static ap_status see_noise(struct ap_prompt *p, const struct ap_lm *lm, const char *meta_prompt,
                           int max_tokens, char *noisy, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits = false;
    char *wrapped = ap_meta_prompt_apply(meta_prompt ? meta_prompt : "", noisy);
    if (!wrapped) {
        ap_free(noisy);
        return ap_fail(err, AP_MEMORY, "out of memory");
    }
    ap_status status = ap_sequence_make(&s, lm->chat, p->context, p->n_context, wrapped, NULL,
                                        max_tokens, AP_TOO_LONG_SKIP, &fits, err);
    ap_free(wrapped);
    if (status != AP_OK || !fits) {
        ap_free(noisy);
        ap_sequence_free(&s);
        return status;
    }
    ap_free(p->ids);
    ap_free(p->noisy);
    p->ids = s.ids;
    p->n = s.n;
    p->noisy = noisy;
    s.ids = NULL; /* taken over */
    ap_sequence_free(&s);
    return AP_OK;
}

ap_status ap_prompts_add_noise(struct ap_prompts *p, const struct ap_lm *lm,
                               const char *meta_prompt, int max_tokens, double strength,
                               uint64_t seed, struct ap_error *err)
{
    for (int i = 0; i < p->n && strength > 0; i++) {
        struct ap_buffer noisy = {0};
        struct ap_stream stream = {
            .seed = seed, .stage = ap_stream_stage("noise"), .record = p->items[i].record};
        ap_status status =
            ap_noise(p->items[i].x, strlen(p->items[i].x), strength, &stream, &noisy, NULL, err);
        if (status == AP_OK && noisy.data)
            status = see_noise(&p->items[i], lm, meta_prompt, max_tokens, noisy.data, err);
        else
            ap_buffer_free(&noisy);
        if (status != AP_OK)
            return ap_fail_prefix(err, status, "prompt %llu",
                                  (unsigned long long)p->items[i].record);
    }
    return AP_OK;
}
