/* The engine of a run (serve_engine.h): opening, closing, and its thread. */
#include "pipeline/serve_inner.h"

#include "base/memory.h"

#include <string.h>

enum { CONTEXT_MOST = 4096, QUEUE_MOST = 1 << 16 };

/* ---- the thread ---- */

static void drop_begun_not(struct ap_serve *s, struct ap_serve_list *list)
{
    struct ap_serve_list begun = {0};
    for (struct ap_serve_job *job; (job = ap_serve_pop(list));)
        if (job->begun)
            ap_serve_push(&begun, job);
        else
            ap_serve_finish(s, job, AP_WORK_DROPPED);
    *list = begun;
}

/* Each role in its turn. Whether any had something to do. */
static bool turn(struct ap_serve *s)
{
    bool busy, any = false;
    for (int i = 0; i < s->n_lane; i++) {
        ap_serve_lane_step(&s->lanes[i], &busy);
        any = any || busy;
    }
    return any;
}

static void *serve(void *self)
{
    struct ap_serve *s = self;
    bool busy = false, closing = false;
    ap_threads_set(s->threads); /* a thread's own matter */
    while (!closing || busy) {
        struct ap_serve_list arrived;
        struct ap_serve_job *job;
        closing = ap_serve_arrived(s, !busy, &arrived);
        while ((job = ap_serve_pop(&arrived)))
            ap_serve_sort(s, job);
        for (int i = 0; closing && i < s->n_lane; i++)
            drop_begun_not(s, &s->lanes[i].waiting);
        busy = turn(s);
    }
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_cond_signal(&s->wake_scorer);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- opening ---- */

static struct ap_serve_lane *add_lane(struct ap_serve *s, int pass, const struct ap_lm *lm,
                                      const struct ap_role *role)
{
    struct ap_serve_lane *lane = &s->lanes[s->n_lane++];
    *lane = (struct ap_serve_lane){.serve = s, .pass = pass, .lm = lm, .role = *role};
    return lane;
}

static ap_status open_passes(struct ap_serve *s, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int k = 0; status == AP_OK && k < s->prompters.n_pass; k++) {
        const struct ap_prompter_pass *pass = &s->prompters.passes[k];
        struct ap_serve_lane *lane = add_lane(s, k, pass->lm, &pass->role.role);
        status = ap_prompters_generator(&s->prompters, k, s->batch, &lane->generator, err);
    }
    return status;
}

/* The frozen model, as the run's own arms ask it. */
static ap_status open_target(struct ap_serve *s, struct ap_error *err)
{
    struct ap_run *run = &s->prompters.past.run;
    struct ap_lm *lm;
    if (ap_settings_remote(run->s))
        return ap_fail(err, AP_INVALID,
                       "%s: its target answers over HTTP, expected a model here; give its address "
                       "as --upstream %s",
                       run->dir.path, run->s->target.http.url[0]);
    ap_status status = ap_run_lm(run, run->s->target.model, &lm, err);
    if (status != AP_OK)
        return status;
    s->target = add_lane(s, -1, lm, &(struct ap_role){lm->weights, NULL});
    s->face.target = run->s->target.model;
    struct ap_generator_options options = {.n_slot = s->batch,
                                           .context = lm->context,
                                           .end = lm->end,
                                           .n_end = lm->n_end,
                                           .tokenizer = lm->tokenizer};
    return ap_generator_open(&s->target->generator, &lm->weights->config, &options, err);
}

/* Its normaliser is read, never fixed here; and nothing is bought. */
static ap_status check_normalisers(const struct ap_run *run, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < n; i++) {
        struct ap_reward_stage stage = ap_run_reward_stage(&r[i]);
        if (r[i].http.n_url > 0)
            return ap_fail(err, AP_NOT_FOUND,
                           "%s is a server's: who asks here would spend what the run may",
                           ap_reward_section(&r[i]).name);
        char *path = ap_run_dir_path(&run->dir, stage.name, "normaliser.json");
        if (!path)
            status = ap_fail(err, AP_MEMORY, "%s: out of memory", stage.name);
        else if (r[i].normalise && !ap_file_exists(path))
            status = ap_fail(err, AP_NOT_FOUND,
                             "%s is missing: the run has not come to use its reward yet; finish it "
                             "with `alignpro run`",
                             path);
        ap_free(path);
    }
    return status;
}

static ap_status open_reward(struct ap_serve *s, struct ap_error *err)
{
    struct ap_run *run = &s->prompters.past.run;
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = check_normalisers(run, err);
    s->patience = (struct ap_program_watch){.self = s, .go_on = ap_serve_score_goes_on};
    run->patience = &s->patience;
    if (status == AP_OK)
        status = ap_run_reward_open(run, false, &s->reward, err);
    s->has_reward = status == AP_OK;
    s->face.reward = n > 1 || !r[0].name ? "reward" : r[0].name;
    return status;
}

static ap_status check_options(const struct ap_serve_engine_options *o, struct ap_error *err)
{
    if (o->queue < 1 || o->queue > QUEUE_MOST)
        return ap_fail(err, AP_INVALID, "serve: a queue of %d works, expected 1 to %d", o->queue,
                       (int)QUEUE_MOST);
    if (o->context < 0)
        return ap_fail(err, AP_INVALID, "serve: a context of %d tokens, expected 0 or more",
                       o->context);
    return AP_OK;
}

/* The last part of the run's folder. */
static char *name_of_run(const struct ap_run *run)
{
    const char *slash = strrchr(run->dir.path, '/');
    return ap_strdup(slash && slash[1] ? slash + 1 : run->dir.path);
}

static ap_status open_serve(struct ap_serve *s, const struct ap_serve_engine_options *o,
                            struct ap_error *err)
{
    ap_status status;
    AP_TRY(check_options(o, err));
    ap_threads_set(o->threads);
    AP_TRY(ap_prompters_open(&s->prompters, o->run_dir, o->sets, o->n_sets,
                             o->context > 0 ? o->context : CONTEXT_MOST, err));
    if (!(s->model = name_of_run(&s->prompters.past.run)))
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: out of memory", o->run_dir));
    s->face.model = s->model;
    AP_TRY(ap_serve_cache_open(&s->cache, o->cache_bytes, err));
    AP_TRY(open_passes(s, err));
    if (o->local_target)
        AP_TRY(open_target(s, err));
    if (o->with_reward)
        AP_TRY(open_reward(s, err));
    AP_TRY(ap_serve_jobs_open(s, err));
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no thread can be started", o->run_dir));
    s->started = true;
    if (s->has_reward && pthread_create(&s->scorer, NULL, ap_serve_scorer, s) != 0)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no second thread can be started", o->run_dir));
    s->scorer_started = s->has_reward;
out:
    return status;
}

static void close_serve(void *self)
{
    struct ap_serve *s = self;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    if (s->scorer_started)
        pthread_join(s->scorer, NULL);
    for (int i = 0; i < s->n_lane; i++)
        ap_generator_close(s->lanes[i].generator);
    ap_serve_cache_close(s->cache);
    ap_run_reward_close(&s->reward);
    ap_prompters_close(&s->prompters);
    ap_free(s->jobs);
    ap_free(s->model);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->wake_scorer);
    pthread_mutex_destroy(&s->lock);
    ap_free(s);
}

ap_status ap_serve_engine_open(struct ap_serve_engine **out,
                               const struct ap_serve_engine_options *o, struct ap_error *err)
{
    *out = NULL;
    struct ap_serve *s = ap_calloc(1, sizeof(*s));
    if (!s)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", o->run_dir);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->wake_scorer, NULL);
    s->threads = o->threads;
    s->batch = o->batch;
    s->queue = o->queue;
    ap_status status = open_serve(s, o, err);
    if (status != AP_OK) {
        close_serve(s);
        return status;
    }
    s->face.self = s;
    s->face.submit = ap_serve_submit;
    s->face.cancel = ap_serve_cancel;
    s->face.counts = ap_serve_counts;
    s->face.close = close_serve;
    *out = &s->face;
    return AP_OK;
}

const char *ap_serve_engine_stage(const struct ap_serve_engine *e)
{
    const struct ap_serve *s = e->self;
    return s->prompters.stage ? s->prompters.stage : "base";
}

int ap_serve_engine_max_new_tokens(const struct ap_serve_engine *e)
{
    const struct ap_serve *s = e->self;
    return s->target ? s->prompters.past.run.s->target.max_new_tokens : 0;
}
