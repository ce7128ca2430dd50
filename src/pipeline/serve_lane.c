/* What the engine's thread does with a job (serve_inner.h): prompts in, the batch of its role,
 * texts out. Each lane is stepped in turn, a token at a time, so that none waits for another's end.
 */
#include "pipeline/serve_inner.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- arriving ---- */

static void init_results(struct ap_work *w)
{
    w->text = NULL;
    w->logp = NULL;
    w->guard = "";
    w->why[0] = '\0';
    w->text_ended = w->cached = w->too_long = false;
    w->n_prompt = w->n_token = 0;
    w->score = 0;
}

static bool finish_cached(struct ap_serve *s, struct ap_serve_job *job)
{
    struct ap_work *w = job->work;
    struct ap_cached_rewrite found;
    if (!ap_serve_cache_find(s->cache, job->key, &found) || !(w->text = ap_strdup(found.text)))
        return false;
    w->guard = found.guard;
    snprintf(w->why, sizeof(w->why), "%s", found.why);
    w->text_ended = found.ended;
    w->cached = true;
    ap_serve_finish(s, job, AP_WORK_DONE);
    return true;
}

/* A draw of chance is made anew each time. */
static bool is_cacheable(const struct ap_work *w)
{
    return w->temperature == 0;
}

static ap_status sort_rewrite(struct ap_serve *s, struct ap_serve_job *job, struct ap_error *err)
{
    const struct ap_work *w = job->work;
    ap_status status = ap_draft_begin(&job->draft, w->messages, w->n_message, err);
    if (status != AP_OK)
        return status;
    if (is_cacheable(w)) {
        ap_serve_cache_key(job->key, w->messages, w->n_message);
        if (finish_cached(s, job))
            return AP_OK;
    }
    ap_serve_push(&s->lanes[0].waiting, job);
    return AP_OK;
}

static ap_status check_turn(const struct ap_work *w, struct ap_error *err)
{
    if (w->n_message > 0 && strcmp(w->messages[w->n_message - 1].role, "user") == 0)
        return AP_OK;
    return ap_fail(err, AP_INVALID,
                   "the conversation does not end in a message of the user's, as one that is "
                   "answered does");
}

static int most_tokens(const struct ap_serve *s, const struct ap_work *w)
{
    const int most = s->prompters.past.run.s->target.max_new_tokens;
    return w->max_new_tokens > 0 && w->max_new_tokens < most ? w->max_new_tokens : most;
}

/* As ap_target_local of so many new tokens asks; now, so that of a request with a prompt that does
 * not fit nothing was said yet. */
static ap_status sort_answer(struct ap_serve *s, struct ap_serve_job *job, struct ap_error *err)
{
    struct ap_work *w = job->work;
    if (!s->target)
        return ap_fail(err, AP_UNSUPPORTED, "the engine was opened without a target of its own");
    ap_status status = check_turn(w, err);
    if (status != AP_OK)
        return status;
    const struct ap_lm *lm = s->target->lm;
    const int n = most_tokens(s, w);
    struct ap_target_request request = {.context = w->messages,
                                        .n_context = w->n_message - 1,
                                        .prompt = w->messages[w->n_message - 1].content,
                                        .stream = w->stream};
    status = ap_target_prompt(lm, &request, n, w->cuts ? AP_TOO_LONG_TRUNCATE : AP_TOO_LONG_ERROR,
                              &job->sequence, err);
    w->too_long = status == AP_LIMIT;
    if (status == AP_LIMIT)
        ap_fail(err, AP_LIMIT,
                "the prompt is too long: with %d new tokens it takes more than the %d positions of "
                "the target's context; shorten it",
                n, lm->context);
    if (status != AP_OK)
        return status;
    w->n_prompt = job->sequence.n;
    ap_serve_push(&s->target->waiting, job);
    return AP_OK;
}

static ap_status sort_score(struct ap_serve *s, struct ap_serve_job *job, struct ap_error *err)
{
    if (!s->has_reward)
        return ap_fail(err, AP_UNSUPPORTED, "the engine was opened without a reward");
    ap_status status = check_turn(job->work, err);
    if (status == AP_OK)
        ap_serve_push_score(s, job);
    return status;
}

void ap_serve_sort(struct ap_serve *s, struct ap_serve_job *job)
{
    struct ap_error err;
    init_results(job->work);
    if (ap_serve_unwanted(s, job))
        return;
    const ap_work_kind kind = job->work->kind;
    ap_status status = kind == AP_WORK_REWRITE  ? sort_rewrite(s, job, &err)
                       : kind == AP_WORK_ANSWER ? sort_answer(s, job, &err)
                                                : sort_score(s, job, &err);
    if (status != AP_OK)
        ap_serve_fail(s, job, &err);
}

/* ---- beginning ---- */

static void ask_target(struct ap_serve_lane *lane, struct ap_serve_job *job,
                       struct ap_gen_work *out)
{
    const struct ap_work *w = job->work;
    const struct ap_target_settings *t = &lane->serve->prompters.past.run.s->target;
    *out = (struct ap_gen_work){
        .request = {job->sequence.ids, job->sequence.n, 1, most_tokens(lane->serve, w), w->stream},
        .sampling = {w->temperature, w->top_k, w->top_p, w->min_p, w->repetition_penalty},
        .stop = w->n_stop > 0 ? w->stop : t->stop,
        .n_stop = w->n_stop > 0 ? w->n_stop : t->n_stop,
        .text_wanted = w->grew != NULL};
    job->told = (struct ap_answer_told){0};
}

static ap_status ask_pass(struct ap_serve_lane *lane, struct ap_serve_job *job,
                          struct ap_gen_work *out, struct ap_error *err)
{
    const struct ap_work *w = job->work;
    *out = (struct ap_gen_work){.sampling = {.temperature = w->temperature, .top_p = 1}};
    return ap_draft_ask(&lane->serve->prompters, lane->pass, &job->draft, &w->stream,
                        &job->sequence, &out->request, err);
}

static bool lane_next(void *self, struct ap_gen_work *out)
{
    struct ap_serve_lane *lane = self;
    struct ap_serve_job *job;
    while ((job = ap_serve_pop(&lane->waiting))) {
        struct ap_error err;
        if (ap_serve_unwanted(lane->serve, job))
            continue;
        ap_status status = AP_OK;
        if (lane->pass < 0)
            ask_target(lane, job, out);
        else
            status = ask_pass(lane, job, out, &err);
        if (status == AP_OK) {
            out->tag = job;
            ap_serve_runs(lane->serve, job, lane);
            return true;
        }
        ap_serve_fail(lane->serve, job, &err);
    }
    return false;
}

static bool lane_drop(void *self, void *tag)
{
    struct ap_serve_lane *lane = self;
    return ap_serve_unwanted(lane->serve, tag);
}

static void lane_failed(void *self, void *tag, const struct ap_error *why)
{
    struct ap_serve_lane *lane = self;
    ap_serve_fail(lane->serve, tag, why);
}

/* ---- growing ---- */

static void lane_grew(void *self, void *tag, int sample, const char *text, size_t n)
{
    struct ap_serve_job *job = tag;
    const char *piece;
    (void)self;
    (void)sample;
    size_t n_piece = ap_answer_tell(&job->told, text, n, &piece);
    if (n_piece > 0)
        job->work->grew(job->work, piece, n_piece);
}

/* What its last tokens made sure. */
static void tell_rest(const struct ap_serve_job *job)
{
    struct ap_work *w = job->work;
    const char *rest = w->text + (job->told.end - job->told.begin);
    if (w->grew && *rest)
        w->grew(w, rest, strlen(rest));
}

/* ---- ending ---- */

static ap_status take_answer(struct ap_serve_lane *lane, struct ap_serve_job *job,
                             const struct ap_generated *g, struct ap_error *err)
{
    struct ap_work *w = job->work;
    struct ap_answer answer = {0};
    ap_status status = ap_answer_take(&answer, lane->lm, g, err);
    float *logp = status == AP_OK ? ap_calloc((size_t)g->n, sizeof(*logp)) : NULL;
    if (status == AP_OK && !logp)
        status = ap_fail(err, AP_MEMORY, "answer of %d tokens: out of memory", g->n);
    if (status == AP_OK) {
        memcpy(logp, g->logp, (size_t)g->n * sizeof(*logp));
        w->logp = logp;
        w->text = answer.text;
        answer.text = NULL;
        w->text_ended = answer.ended;
        w->n_token = answer.n_token;
        tell_rest(job);
        ap_serve_finish(lane->serve, job, AP_WORK_DONE);
    }
    ap_answers_free(&answer, 1);
    return status;
}

static ap_status finish_rewrite(struct ap_serve *s, struct ap_serve_job *job, struct ap_error *err)
{
    struct ap_work *w = job->work;
    struct ap_rewritten rewritten;
    ap_status status = ap_draft_finish(&s->prompters, &job->draft, &rewritten, err);
    if (status != AP_OK)
        return status;
    w->text = rewritten.text;
    w->guard = rewritten.guard;
    snprintf(w->why, sizeof(w->why), "%s", rewritten.why);
    w->text_ended = rewritten.ended;
    w->n_prompt = job->draft.n_prompt;
    w->n_token = job->draft.n_token;
    if (is_cacheable(w))
        ap_serve_cache_put(
            s->cache, job->key,
            &(struct ap_cached_rewrite){
                .text = w->text, .why = w->why, .guard = w->guard, .ended = w->text_ended});
    ap_serve_finish(s, job, AP_WORK_DONE);
    return AP_OK;
}

static ap_status take_rewrite(struct ap_serve_lane *lane, struct ap_serve_job *job,
                              const struct ap_generated *g, struct ap_error *err)
{
    struct ap_serve *s = lane->serve;
    ap_status status = ap_draft_take(&s->prompters, lane->pass, &job->draft, g, err);
    if (status != AP_OK)
        return status;
    ap_serve_runs(s, job, NULL);
    if (lane->pass + 1 == s->prompters.n_pass)
        return finish_rewrite(s, job, err);
    ap_serve_push(&s->lanes[lane->pass + 1].waiting, job);
    return AP_OK;
}

static ap_status lane_done(void *self, void *tag, int sample, const struct ap_generated *g)
{
    struct ap_serve_lane *lane = self;
    struct ap_serve_job *job = tag;
    struct ap_error err;
    (void)sample;
    ap_status status =
        lane->pass < 0 ? take_answer(lane, job, g, &err) : take_rewrite(lane, job, g, &err);
    if (status != AP_OK)
        ap_serve_fail(lane->serve, job, &err);
    return AP_OK; /* the others go on */
}

/* ---- a step ---- */

/* The batch itself failed: nobody in it can go on. */
static void fail_running(struct ap_serve_lane *lane, const struct ap_error *why)
{
    struct ap_serve *s = lane->serve;
    for (int i = 0; i < s->n_job; i++)
        if (s->jobs[i].running == lane)
            ap_serve_fail(s, &s->jobs[i], why);
}

static void drop_unwanted(struct ap_serve *s, struct ap_serve_list *list)
{
    struct ap_serve_list kept = {0};
    for (struct ap_serve_job *job; (job = ap_serve_pop(list));)
        if (!ap_serve_unwanted(s, job))
            ap_serve_push(&kept, job);
    *list = kept;
}

void ap_serve_lane_step(struct ap_serve_lane *lane, bool *busy)
{
    const struct ap_gen_feed feed = {lane, lane_next, lane_drop, lane_done, lane_failed, lane_grew};
    struct ap_error err;
    *busy = lane->waiting.first || lane->n_running > 0;
    if (!*busy)
        return;
    drop_unwanted(lane->serve, &lane->waiting);
    if (ap_generate_step(lane->generator, &lane->role, &feed, busy, &err) != AP_OK)
        fail_running(lane, &err);
    *busy = true;
}
