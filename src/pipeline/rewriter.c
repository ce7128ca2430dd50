/* One prompt in, its rewrite out (run.h): the prompter that a run made. What a rewrite is stands in
 * rewriting.c. */
#include "pipeline/rewriting.h"

#include "base/memory.h"

struct ap_rewriter {
    struct ap_prompters prompters;
    struct ap_generator *generators[AP_PROMPTERS_MAX]; /* one sequence each */
};

static ap_status open_rewriter(struct ap_rewriter *r, const char *run_dir,
                               const char *const *guards, size_t n_guards, int threads,
                               struct ap_error *err)
{
    ap_status status;
    ap_threads_set(threads);
    AP_TRY(ap_prompters_open(&r->prompters, run_dir, guards, n_guards, 0, err));
    for (int k = 0; k < r->prompters.n_pass; k++)
        AP_TRY(ap_prompters_generator(&r->prompters, k, 1, &r->generators[k], err));
out:
    return status;
}

ap_status ap_rewriter_open(struct ap_rewriter **out, const char *run_dir, const char *const *guards,
                           size_t n_guards, int threads, struct ap_error *err)
{
    *out = NULL;
    struct ap_rewriter *r = ap_calloc(1, sizeof(*r));
    if (!r)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", run_dir);
    ap_status status = open_rewriter(r, run_dir, guards, n_guards, threads, err);
    if (status != AP_OK) {
        ap_rewriter_close(r);
        return status;
    }
    *out = r;
    return AP_OK;
}

void ap_rewriter_close(struct ap_rewriter *r)
{
    if (!r)
        return;
    for (int k = 0; k < AP_PROMPTERS_MAX; k++)
        ap_generator_close(r->generators[k]);
    ap_prompters_close(&r->prompters);
    ap_free(r);
}

const char *ap_rewriter_stage(const struct ap_rewriter *r)
{
    return r->prompters.stage ? r->prompters.stage : "base";
}

/* The callback's view of one pass. */
struct taking {
    const struct ap_prompters *prompters;
    int pass;
    struct ap_draft *draft;
    struct ap_error *err;
};

static ap_status take(void *context, int request, int sample, const struct ap_generated *g)
{
    struct taking *t = context;
    (void)request, (void)sample;
    return ap_draft_take(t->prompters, t->pass, t->draft, g, t->err);
}

static ap_status rewrite_pass(struct ap_rewriter *r, int k, struct ap_draft *draft,
                              const struct ap_rewrite_options *options, struct ap_error *err)
{
    ap_status status;
    struct ap_sequence sequence = {0};
    struct ap_gen_request request;
    struct ap_sampling sampling = {.temperature = options->temperature, .top_p = 1};
    struct taking taking = {&r->prompters, k, draft, err};
    struct ap_stream stream = {
        .seed = options->seed, .stage = ap_stream_stage("rewrite"), .record = options->record};
    AP_TRY(ap_draft_ask(&r->prompters, k, draft, &stream, &sequence, &request, err));
    AP_TRY(ap_generate(r->generators[k], &r->prompters.passes[k].role.role, &sampling, &request, 1,
                       take, &taking, err));
out:
    ap_sequence_free(&sequence);
    return status;
}

ap_status ap_rewrite(struct ap_rewriter *r, const char *x, const struct ap_rewrite_options *options,
                     struct ap_rewritten *out, struct ap_error *err)
{
    ap_status status;
    const struct ap_message message = {"user", x};
    struct ap_draft draft = {0};

    *out = (struct ap_rewritten){.guard = "", .ended = true};
    AP_TRY(ap_draft_begin(&draft, &message, 1, err));
    for (int k = 0; k < r->prompters.n_pass; k++)
        AP_TRY(rewrite_pass(r, k, &draft, options, err));
    AP_TRY(ap_draft_finish(&r->prompters, &draft, out, err));
out:
    ap_draft_free(&draft);
    return status;
}
