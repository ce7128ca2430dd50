/* A small run of any of the loops on a table, with what it tells and, where asked, a directory that
 * keeps it: for the tests of what every stage promises. */
#ifndef AP_TESTS_ALIGN_TABULAR_RUN_H
#define AP_TESTS_ALIGN_TABULAR_RUN_H

#include "align/rl_common.h"
#include "align/tabular.h"
#include "base/file.h"

#include <signal.h>
#include <sys/wait.h>

enum { X = 3, R = 8, Y = 2, N_PROMPT = 10, STEPS = 9 };

/* -- a small run -- */

enum loop { RLOO, GRPO, PPO, N_LOOP };
static ap_status (*const loops[])(struct ap_stage *, struct ap_policy *, struct ap_environment *,
                                  const struct ap_rl_settings *,
                                  struct ap_error *) = {ap_rloo, ap_grpo, ap_ppo};

struct recorder {
    int n[AP_EVENT_WARN + 1];
    int64_t stop_at, kill_at; /* steps done; 0: never */
    volatile sig_atomic_t stop;
    char warning[1024];
    uint64_t allocations[STEPS + 1]; /* after each step */
    double tokens_per_s;
};

struct run {
    double rho[X * R], target[X * R * Y], bare[X * Y], reward[X * Y], prompts[X], value[X * R];
    struct ap_exact_world world;
    struct tabular table;
    struct tabular_scorer scorer;
    struct ap_policy policy;
    struct ap_environment env;
    struct ap_rl_settings settings;
    struct recorder recorder;
    struct ap_sink sink;
    struct ap_stage stage;
};

static inline void on_event(void *context, const struct ap_event *event)
{
    struct recorder *o = context;
    o->n[event->kind]++;
    if (event->kind == AP_EVENT_WARN)
        snprintf(o->warning, sizeof(o->warning), "%s", event->text);
    if (event->kind != AP_EVENT_STEP)
        return;
    o->tokens_per_s = event->tokens_per_s;
    if (event->step <= STEPS)
        o->allocations[event->step] = ap_memory_n_allocations();
    if (event->step == o->kill_at)
        raise(SIGKILL);
    if (event->step == o->stop_at)
        o->stop = 1;
}

/* n numbers in rows that sum to 1. */
static inline void fill_simplex(double *p, int n, int width)
{
    for (int i = 0; i < n; i++)
        p[i] = 1 + i * 5 % 7;
    for (int row = 0; row < n; row += width) {
        double sum = 0;
        for (int i = row; i < row + width; i++)
            sum += p[i];
        for (int i = row; i < row + width; i++)
            p[i] /= sum;
    }
}

static inline void run_open(struct run *o, enum loop loop)
{
    memset(o, 0, sizeof(*o));
    fill_simplex(o->rho, X * R, R);
    fill_simplex(o->target, X * R * Y, Y);
    for (int i = 0; i < X * R; i++)
        o->value[i] = (i * 7 % 11) / 10.0;
    for (int i = 0; i < X * Y; i++)
        o->reward[i] = i % Y;
    o->world =
        (struct ap_exact_world){X, R, Y, 0.1, 1, o->prompts, o->rho, o->target, o->bare, o->reward};
    o->settings = (struct ap_rl_settings){
        .kl = 0.1,
        .kl_loss = "k2",
        .rewrites = 4,
        .prompts = 3,
        .steps = STEPS,
        .epochs = 2,
        .minibatches = 3,
        .clip = 0.2,
        .value_clip = 0.2,
        .value_weight = 0.1,
        .gamma = 1,
        .gae_lambda = 0.95,
        .optimiser = {.lr = 0.05, .schedule = "linear", .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8}};
    tabular_open(&o->table, &o->world, 2, 3, &o->settings.optimiser, 0.05, (int64_t)STEPS * 2 * 3,
                 1);
    o->scorer = (struct tabular_scorer){&o->world, o->value, 2, 2, 1, 0};
    o->policy = tabular_policy(&o->table);
    o->env =
        (struct ap_environment){.self = &o->scorer, .n_prompt = N_PROMPT, .score = tabular_score};
    o->sink = (struct ap_sink){on_event, &o->recorder, &o->recorder.stop};
    o->stage = (struct ap_stage){
        .name = loop == PPO ? "rlhf" : "align", .seed = 1, .sink = &o->sink, .max_bad_steps = 2};
}

static inline ap_status run_go(struct run *o, enum loop loop, struct ap_error *err)
{
    return loops[loop](&o->stage, &o->policy, &o->env, &o->settings, err);
}

static inline void run_close(struct run *o)
{
    tabular_close(&o->table);
}

static inline void check_same_adam(const struct tabular_adam *a, const struct tabular_adam *b)
{
    assert_memory_equal(a->x, b->x, a->n * sizeof(double));
    assert_memory_equal(a->m, b->m, a->n * sizeof(double));
    assert_memory_equal(a->v, b->v, a->n * sizeof(double));
}

static inline void check_same_table(const struct run *a, const struct run *b)
{
    check_same_adam(&a->table.logits, &b->table.logits);
    check_same_adam(&a->table.values, &b->table.values);
    assert_int_equal(a->table.n_applied, b->table.n_applied);
    assert_true(a->stage.kl == b->stage.kl);
}

/* -- resume -- */

struct kept {
    struct ap_run_dir dir;
    struct ap_database *db;
};

static inline void kept_open(struct kept *k, struct run *o, const char *root, const char *name)
{
    struct ap_error err;
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    check_ok(ap_dir_make(path, &err), err);
    k->dir = (struct ap_run_dir){.path = ap_strdup(path)};
    snprintf(path, sizeof(path), "%s/%s/run.db", root, name);
    check_ok(ap_database_open(&k->db, path, &err), err);
    o->stage.dir = &k->dir;
    o->stage.db = k->db;
}

static inline void kept_close(struct kept *k)
{
    ap_database_close(k->db);
    ap_free(k->dir.path);
}

struct sums {
    int n;
    double sum;
    int64_t last;
};

static inline ap_status add_metric(void *context, const char *stage, int64_t step, const char *name,
                                   double value)
{
    struct sums *s = context;
    (void)stage;
    s->n++;
    s->sum += value * (double)(1 + step) * (double)strlen(name);
    s->last = step;
    return AP_OK;
}

/* The rows of two databases say the same. */
static inline void check_same_metrics(const struct kept *a, const struct kept *b)
{
    struct ap_error err;
    struct sums x = {0}, y = {0};
    check_ok(ap_database_each_metric(a->db, add_metric, &x, &err), err);
    check_ok(ap_database_each_metric(b->db, add_metric, &y, &err), err);
    assert_true(x.n >= 10 * STEPS);
    assert_int_equal(x.n, y.n);
    assert_int_equal(x.last, STEPS - 1);
    assert_true(x.sum == y.sum);
}

static inline int make_root(void **state)
{
    char path[] = "/tmp/alignpro-test-XXXXXX";
    *state = mkdtemp(path) ? ap_strdup(path) : NULL;
    return *state ? 0 : -1;
}

static inline int remove_root(void **state)
{
    ap_status status = ap_dir_remove(*state, NULL);
    ap_free(*state);
    return status == AP_OK ? 0 : -1;
}

#endif
