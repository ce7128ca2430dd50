/* What a run will ask a target over HTTP for, at most, before it asks for anything: a text for the
 * plan. Not here: the asking (run_remote.c). Entry point: ap_run_asks. */
#include "pipeline/run_inner.h"

#include "base/memory.h"

#include <string.h>

/* ", 8 tokens each: 64 written, 0.032 usd" */
static ap_status tell_tokens(const struct ap_run *run, int64_t n, struct ap_buffer *out,
                             struct ap_error *err)
{
    const struct ap_target_settings *t = &run->s->target;
    double tokens = (double)n * t->max_new_tokens, price = t->http.budget.price_out;
    ap_status status =
        ap_buffer_printf(out, err, ", %d tokens each: %.0f written", t->max_new_tokens, tokens);
    if (status == AP_OK && price > 0)
        status = ap_buffer_printf(out, err, ", %.4g usd", tokens * price / 1e6);
    return status;
}

/* ---- align ---- */

static ap_status tell_align(const struct ap_run *run, const char *wanted, struct ap_buffer *out,
                            struct ap_error *err)
{
    const struct ap_rl_settings *a = &run->s->align;
    ap_status status = AP_OK;
    int64_t n = 0;
    for (int pass = 0; pass < ap_run_n_passes(run); pass++)
        if (ap_run_includes(run, wanted, ap_run_pass_stage(pass)))
            n += (int64_t)a->steps * a->prompts * a->rewrites * a->answers;
    if (n == 0)
        return AP_OK;
    AP_TRY(ap_buffer_printf(out, err,
                            "target    align asks for up to %lld answers (%d steps of %d prompts, "
                            "%d rewrites of each, %d answers to each)",
                            (long long)n, a->steps, a->prompts, a->rewrites, a->answers));
    AP_TRY(tell_tokens(run, n, out, err));
    AP_TRY(ap_buffer_puts(out,
                          ap_run_includes(run, wanted, "eval")
                              ? "; validation and eval ask for theirs besides\n"
                              : "; validation asks for its own besides\n",
                          err));
out:
    return status;
}

/* ---- bound ---- */

/* Test prompts of bound, at most: those too long are not looked for. Where the file is not there
 * to be planned with, as many as the recipe allows; 0: nobody knows. */
static ap_status count_prompts(struct ap_run *run, int64_t *n, struct ap_error *err)
{
    const char *path = run->s->eval.path;
    const struct ap_dataset *d;
    int32_t *index = NULL;
    size_t n_there;
    struct ap_error absent;
    *n = run->s->bound.prompts;
    if (run->data_missing && ap_run_dataset(run, path, &d, &absent) != AP_OK)
        return AP_OK;
    ap_status status = ap_run_dataset(run, path, &d, err);
    if (status == AP_OK)
        status = ap_run_select(run, d, path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST, true, &index,
                               &n_there, err);
    if (status == AP_OK && (*n <= 0 || (int64_t)n_there < *n))
        *n = (int64_t)n_there;
    ap_free(index);
    return status;
}

/* Of scored answers of ρ_sft alone, behind what was sent and behind x (stage_bound.c); chats are
 * asked about each prompt without its answer, too (logp_http.c). */
static int64_t n_logp(const struct ap_run *run, int64_t n_prompt)
{
    const struct ap_bound_settings *b = &run->s->bound;
    int rounds = strcmp(run->s->target.api, "completions") == 0 ? 1 : 2;
    return ap_run_no_logp(run) ? 0 : 2 * rounds * n_prompt * b->rewrites * b->scored;
}

static ap_status tell_bound(struct ap_run *run, struct ap_buffer *out, struct ap_error *err)
{
    const struct ap_bound_settings *b = &run->s->bound;
    bool align = ap_run_bound_has_align(run);
    int64_t n_prompt;
    ap_status status;
    AP_TRY(count_prompts(run, &n_prompt, err));
    if (n_prompt == 0)
        return AP_OK;
    int64_t n = (align ? 2 : 1) * n_prompt * b->rewrites * b->answers;
    AP_TRY(ap_buffer_printf(out, err,
                            "target    bound asks for up to %lld answers (%lld test prompts, %d "
                            "rewrites of each before alignment%s, %d answers to each)",
                            (long long)n, (long long)n_prompt, b->rewrites,
                            align ? " and as many after it" : "", b->answers));
    AP_TRY(tell_tokens(run, n, out, err));
    if (n_logp(run, n_prompt) > 0)
        AP_TRY(ap_buffer_printf(out, err, "; log-probabilities take up to %lld requests more",
                                (long long)n_logp(run, n_prompt)));
    AP_TRY(ap_buffer_puts(out, "\n", err));
out:
    return status;
}

ap_status ap_run_asks(struct ap_run *run, const char *wanted, struct ap_buffer *out,
                      struct ap_error *err)
{
    ap_status status = AP_OK;
    if (!ap_settings_remote(run->s))
        return AP_OK;
    AP_TRY(tell_align(run, wanted, out, err));
    if (ap_run_includes(run, wanted, "bound"))
        AP_TRY(tell_bound(run, out, err));
out:
    return status;
}
