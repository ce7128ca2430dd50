/* One prompt in, its rewrite out (run.h): the prompter that a run made. */
#include "pipeline/run_past.h"

#include "align/guard.h"
#include "base/memory.h"
#include "text/sequence.h"
#include "text/space.h"

#include <stdio.h>
#include <string.h>

_Static_assert(AP_REWRITE_WHY_MAX == AP_GUARD_WHY_MAX, "AP_REWRITE_WHY_MAX");

/* One prompter; of several each rewrites what the one before it wrote. */
struct pass {
    struct ap_lm *lm;
    struct ap_owned_role role;
};

struct ap_rewriter {
    struct ap_past_run past;
    struct pass passes[AP_PROMPTERS_MAX];
    int n_pass;
    const char *stage; /* "align", "sft"; NULL: the prompters before any training */
};

static ap_status open_pass(struct ap_rewriter *r, int k, const char *run_dir, struct ap_error *err)
{
    struct ap_run *run = &r->past.run;
    struct pass *pass = &r->passes[k];
    const struct ap_prompter_settings *p = ap_run_prompter(run, k);
    const struct ap_model_settings *m;
    const char *stage = !r->stage                        ? NULL
                        : strcmp(r->stage, "align") == 0 ? ap_run_pass_stage(k)
                                                         : ap_run_pass_sft(run, k);
    ap_status status;

    AP_TRY(ap_settings_model(run->s, p->model, &m, err));
    if (!stage && !m->path[0] && strcmp(run->s->pretrain.model, m->name) != 0)
        AP_TRY(ap_fail(err, AP_NOT_FOUND,
                       "%s: has no prompter yet: neither sft nor align is finished, and before "
                       "them its weights are random; finish it with `alignpro run`",
                       run_dir));
    AP_TRY(ap_run_lm(run, p->model, &pass->lm, err));
    pass->lm->context = pass->lm->weights->context;
    AP_TRY(ap_run_role(run, pass->lm, &p->adapter, stage, &pass->role, err));
out:
    return status;
}

static ap_status open_rewriter(struct ap_rewriter *r, const char *run_dir,
                               const char *const *guards, size_t n_guards, int threads,
                               struct ap_error *err)
{
    ap_status status;

    AP_TRY(ap_past_run_open(&r->past, run_dir, guards, n_guards, err));
    ap_threads_set(threads);
    r->stage = ap_past_run_stage(&r->past);
    for (r->n_pass = 0; r->n_pass < ap_run_n_passes(&r->past.run); r->n_pass++)
        AP_TRY(open_pass(r, r->n_pass, run_dir, err));
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
    for (int k = 0; k < AP_PROMPTERS_MAX; k++)
        ap_owned_role_free(&r->passes[k].role);
    ap_past_run_close(&r->past);
    ap_free(r);
}

const char *ap_rewriter_stage(const struct ap_rewriter *r)
{
    return r->stage ? r->stage : "base";
}

/* What the prompter makes of nothing is about something that nobody asked. */
static ap_status check_prompt(const char *x, struct ap_error *err)
{
    size_t n = strlen(x);
    if (ap_space_prefix(x, n) < n)
        return AP_OK;
    return ap_fail(err, AP_INVALID, "the prompt is %s, expected a text to rewrite",
                   n ? "white space only" : "empty");
}

/* The target interface would cut a prompt that is too long; here the user is told. */
static ap_status check_length(const struct ap_rewriter *r, int k, const char *wrapped,
                              struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits;
    const struct ap_lm *lm = r->passes[k].lm;
    int room = lm->context - ap_run_prompter(&r->past.run, k)->max_new_tokens;
    ap_status status = ap_sequence_make(&s, lm->chat, NULL, 0, wrapped, NULL, room > 1 ? room : 1,
                                        AP_TOO_LONG_ERROR, &fits, err);
    ap_sequence_free(&s);
    return status;
}

/* text, "" where no pass wrote anything yet, becomes what pass k makes of it, or of x, and stays
 * where that is nothing; *ended: whether all passes so far have an end. */
static ap_status rewrite_once(struct ap_rewriter *r, int k, const char *x,
                              const struct ap_rewrite_options *options, char **text, bool *ended,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    char stage[32] = "rewrite";
    struct ap_target rewriter = {0};
    struct ap_answer answer = {0};
    char *wrapped = ap_meta_prompt_apply(ap_run_pass_meta(&r->past.run, k), (*text)[0] ? *text : x);

    if (k > 0)
        snprintf(stage, sizeof(stage), "rewrite-%d", k + 1);
    struct ap_target_request request = {.prompt = wrapped,
                                        .stream = {.seed = options->seed,
                                                   .stage = ap_stream_stage(stage),
                                                   .record = options->record}};
    if (!wrapped) {
        status = ap_fail(err, AP_MEMORY, "rewrite: out of memory");
        goto out;
    }
    AP_TRY(check_length(r, k, wrapped, err));
    AP_TRY(ap_run_pass_rewriter(&r->past.run, k, r->passes[k].lm, &r->passes[k].role.role,
                                options->temperature, 1, &rewriter, err));
    AP_TRY(rewriter.answer(rewriter.self, &request, 1, 1, &answer, err));
    *ended = *ended && answer.ended;
    if (answer.text[0]) {
        ap_free(*text);
        *text = answer.text;
        answer.text = NULL;
    }
out:
    ap_answers_free(&answer, 1);
    ap_target_free(&rewriter);
    ap_free(wrapped);
    return status;
}

ap_status ap_rewrite(struct ap_rewriter *r, const char *x, const struct ap_rewrite_options *options,
                     struct ap_rewritten *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    char *text = NULL;
    ap_guard guard;

    *out = (struct ap_rewritten){.guard = "", .ended = true};
    AP_TRY(check_prompt(x, err));
    if (!(text = ap_strdup("")))
        AP_TRY(ap_fail(err, AP_MEMORY, "rewrite: out of memory"));
    for (int k = 0; k < r->n_pass; k++)
        AP_TRY(rewrite_once(r, k, x, options, &text, &out->ended, err));
    AP_TRY(ap_guard_check(&r->past.run.s->guard, x, text, &guard, out->why, err));
    out->guard = ap_guard_name(guard);
    out->text = guard == AP_GUARD_NONE ? text : ap_strdup(x);
    text = guard == AP_GUARD_NONE ? NULL : text;
    if (!out->text)
        status = ap_fail(err, AP_MEMORY, "rewrite: out of memory");
out:
    ap_free(text);
    return status;
}
