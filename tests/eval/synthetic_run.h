/* A run.db in memory with plausible rows: six arms, two judges, training curves, and texts of a
 * small world, a few of them hostile. */
#ifndef AP_TESTS_EVAL_SYNTHETIC_RUN_H
#define AP_TESTS_EVAL_SYNTHETIC_RUN_H

#include "base/random.h"
#include "eval/report.h"

#include "check.h"

#define HOSTILE "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</td></svg></blockquote>"

static char *const synthetic_arms[] = {"bare", "instruct", "sft", "align", "rlhf", "best-of-n"};
static char *const synthetic_judges[] = {"reward", "world"};
enum { SYNTHETIC_ARMS = 6, SYNTHETIC_JUDGES = 2 };

static inline void synthetic_metrics(struct ap_database *db, const char *stage, int n_steps,
                                     double reward, double kl)
{
    struct ap_error err = {0};
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 5, .stage = ap_stream_stage(stage)});
    for (int i = 1; i <= n_steps; i++) {
        double done = 1 - exp(-3.0 * i / n_steps);
        if (reward > 0) {
            check_ok(ap_database_metric(db, stage, i, "reward",
                                        -0.5 + reward * done + 0.12 * ap_random_normal(&r), &err),
                     err);
            check_ok(ap_database_metric(db, stage, i, "kl",
                                        kl * done * (1 + 0.08 * ap_random_normal(&r)), &err),
                     err);
        }
        check_ok(ap_database_metric(
                     db, stage, i, "loss",
                     0.4 + 5.5 * exp(-8.0 * i / n_steps) + 0.05 * ap_random_normal(&r), &err),
                 err);
        check_ok(ap_database_metric(db, stage, i, "lr", 1e-3, &err), err);
    }
}

static inline void synthetic_answer(struct ap_database *db, int arm, int64_t seed, uint64_t record,
                                    double prompt, struct ap_random *r)
{
    static const double shift[] = {-0.7, -0.4, -0.12, 0.74, 0.98, 0.87},
                        kl[] = {NAN, NAN, 0, 3.0, 4.7, NAN};
    static const char *const animals[] = {"otter", "fox", "bear", "wolf", "deer", "goat"};
    char x[256], rewrite[256], answer[4096];
    struct ap_error err = {0};
    const char *animal = animals[record % 6];
    bool has_rewrite = arm != 0 && arm != 4;
    double reward = shift[arm] + 0.6 * prompt + 0.7 * ap_random_normal(r),
           world = 0.5 * round(2 * (3 + reward + 0.4 * ap_random_normal(r)));

    snprintf(x, sizeof(x), "my son saw a %s today. anyway the %s, house and snacks?", animal,
             animal);
    snprintf(rewrite, sizeof(rewrite),
             "Please tell me about the %s. Cover its home and food. Check every fact.", animal);
    snprintf(answer, sizeof(answer), "The %s lives in %s. It eats %s. I hope this helps!", animal,
             arm == 0 ? "woods" : "rivers", record % 2 ? "fish" : "grass");
    if (record == 7) { /* extreme on purpose: it is among the examples */
        reward = arm == 0 ? 4 : -4;
        snprintf(x, sizeof(x), "%s", HOSTILE);
        snprintf(rewrite, sizeof(rewrite), "%s", "cut \xE2\x82 byte \x01 \xE2\x80\xAE turned");
        memset(answer, 'a', sizeof(answer) - 1);
        answer[sizeof(answer) - 1] = '\0';
    }
    struct ap_evaluation_record row = {
        .arm = synthetic_arms[arm],
        .seed = seed,
        .record = record,
        .sample = -1,
        .prompt = x,
        .rewrite = has_rewrite ? rewrite : NULL,
        .answer = answer,
        .n_rewrite_tokens = has_rewrite ? 18 + (int)(record % 9) : 0,
        .n_answer_tokens = 20 + (int)(record % 13) + 3 * arm,
        .rewrite_ended = true,
        .answer_ended = arm != 4 || record % 9 != 0,
        .kl = isnan(kl[arm]) ? NAN : kl[arm] * (0.8 + 0.4 * ap_random_uniform(r))};
    check_ok(ap_database_evaluation(db, &row, &err), err);
    check_ok(ap_database_score(db, row.arm, seed, record, -1, "reward", reward, &err), err);
    check_ok(ap_database_score(db, row.arm, seed, record, -1, "world", world, &err), err);
    if (arm == 5) { /* the samples of best-of-n that were not kept */
        row.sample = 0;
        check_ok(ap_database_evaluation(db, &row, &err), err);
        check_ok(ap_database_score(db, row.arm, seed, record, 0, "reward", -100, &err), err);
    }
}

static inline struct ap_database *synthetic_run(int n_prompts, int n_seeds)
{
    struct ap_database *db = NULL;
    struct ap_error err = {0};
    check_ok(ap_database_open(&db, ":memory:", &err), err);
    check_ok(ap_database_begin(db, &err), err);
    for (int p = 0; p < n_prompts; p++) {
        struct ap_random r;
        ap_random_init(&r, &(struct ap_stream){.seed = 3, .record = (uint64_t)p});
        double prompt = ap_random_normal(&r);
        for (int s = 1; s <= n_seeds; s++)
            for (int a = 0; a < SYNTHETIC_ARMS; a++)
                synthetic_answer(db, a, s, (uint64_t)p, prompt, &r);
    }
    synthetic_metrics(db, "pretrain", 1250, 0, 0);
    synthetic_metrics(db, "sft", 400, 0, 0);
    synthetic_metrics(db, "reward", 340, 0, 0);
    synthetic_metrics(db, "align", 80, 1.4, 3.1);
    synthetic_metrics(db, "rlhf", 60, 1.6, 4.6);
    check_ok(ap_database_commit(db, &err), err);
    return db;
}

static inline void synthetic_evaluation(struct ap_evaluation *e, struct ap_database *db)
{
    struct ap_error err = {0};
    check_ok(ap_evaluate(e, db, synthetic_arms, SYNTHETIC_ARMS, synthetic_judges, SYNTHETIC_JUDGES,
                         2000, 1, &err),
             err);
}

#endif
