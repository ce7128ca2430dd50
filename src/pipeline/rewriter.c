/* One prompt in, its rewrite out (run.h): the prompter that a run made. */
#include "pipeline/run_past.h"

#include "align/guard.h"
#include "base/memory.h"
#include "text/sequence.h"

#include <stdio.h>
#include <string.h>

_Static_assert(AP_REWRITE_WHY_MAX == AP_GUARD_WHY_MAX, "AP_REWRITE_WHY_MAX");

struct ap_rewriter {
    struct ap_past_run past;
    struct ap_lm *lm;
    struct ap_owned_role role;
    const char *stage; /* NULL: the prompter before any training */
};

static ap_status open_rewriter(struct ap_rewriter *r, const char *run_dir,
                               const char *const *guards, size_t n_guards, int threads,
                               struct ap_error *err)
{
    struct ap_run *run = &r->past.run;
    const struct ap_model_settings *m;
    ap_status status;

    AP_TRY(ap_past_run_open(&r->past, run_dir, guards, n_guards, err));
    ap_threads_set(threads);
    r->stage = ap_past_run_stage(&r->past);
    AP_TRY(ap_settings_model(run->s, run->s->prompter.model, &m, err));
    if (!r->stage && !m->path[0] && strcmp(run->s->pretrain.model, m->name) != 0)
        AP_TRY(ap_fail(err, AP_NOT_FOUND,
                       "%s: has no prompter yet: neither sft nor align is finished, and before "
                       "them its weights are random; finish it with `alignpro run`",
                       run_dir));
    AP_TRY(ap_run_lm(run, run->s->prompter.model, &r->lm, err));
    r->lm->context = r->lm->weights->context;
    AP_TRY(ap_run_role(run, r->lm, &run->s->prompter.adapter, r->stage, &r->role, err));
out:
    return status;
}

ap_status ap_rewriter_open(struct ap_rewriter **out, const char *run_dir, const char *const *guards,
                           size_t n_guards, int threads, struct ap_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < n_guards; i++)
        if (strncmp(guards[i], "guard.", 6) != 0)
            return ap_fail(err, AP_INVALID,
                           "'%.100s' is no key of guard, expected guard.KEY=VALUE; the other keys "
                           "are those that the run was made with",
                           guards[i]);
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
    ap_owned_role_free(&r->role);
    ap_past_run_close(&r->past);
    ap_free(r);
}

const char *ap_rewriter_stage(const struct ap_rewriter *r)
{
    return r->stage ? r->stage : "base";
}

/* The target interface would cut a prompt that is too long; here the user is told. */
static ap_status check_length(struct ap_rewriter *r, const char *wrapped, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits;
    int room = r->lm->context - r->past.run.s->prompter.max_new_tokens;
    ap_status status = ap_sequence_make(&s, r->lm->chat, NULL, 0, wrapped, NULL,
                                        room > 1 ? room : 1, AP_TOO_LONG_ERROR, &fits, err);
    ap_sequence_free(&s);
    return status;
}

ap_status ap_rewrite(struct ap_rewriter *r, const char *x, const struct ap_rewrite_options *options,
                     struct ap_rewritten *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_target rewriter = {0};
    struct ap_answer answer = {0};
    char *wrapped = ap_meta_prompt_apply(ap_run_meta_prompt(&r->past.run), x);
    struct ap_target_request request = {.prompt = wrapped,
                                        .stream = {.seed = options->seed,
                                                   .stage = ap_stream_stage("rewrite"),
                                                   .record = options->record}};
    ap_guard guard;

    *out = (struct ap_rewritten){.guard = ""};
    if (!wrapped) {
        status = ap_fail(err, AP_MEMORY, "rewrite: out of memory");
        goto out;
    }
    AP_TRY(check_length(r, wrapped, err));
    AP_TRY(ap_run_rewriter(&r->past.run, r->lm, &r->role.role, options->temperature, 1, &rewriter,
                           err));
    AP_TRY(rewriter.answer(rewriter.self, &request, 1, 1, &answer, err));
    AP_TRY(ap_guard_check(&r->past.run.s->guard, x, answer.text, &guard, out->why, err));
    out->ended = answer.ended;
    out->guard = ap_guard_name(guard);
    out->text = ap_strdup(guard == AP_GUARD_NONE ? answer.text : x);
    if (!out->text)
        status = ap_fail(err, AP_MEMORY, "rewrite: out of memory");
out:
    ap_answers_free(&answer, 1);
    ap_target_free(&rewriter);
    ap_free(wrapped);
    return status;
}
