/* Small tables of scores for the tests of statistics. */
#ifndef AP_TESTS_EVAL_TABLE_OF_H
#define AP_TESTS_EVAL_TABLE_OF_H

#include "base/memory.h"
#include "eval/statistics.h"

#include "check.h"

/* All cells present, score 0, no KL, no rewrite, answers of 10 tokens that ended. */
static inline struct ap_score_table make_table(int64_t n_prompt, int n_seed, int n_arm)
{
    struct ap_score_table t = {.n_prompt = n_prompt,
                               .n_seed = n_seed,
                               .n_arm = n_arm,
                               .bare = 0,
                               .instruct = -1,
                               .rlhf = -1};
    size_t n = (size_t)n_prompt * (size_t)n_seed * (size_t)n_arm;
    t.cells = ap_calloc(n, sizeof(*t.cells));
    assert_non_null(t.cells);
    for (size_t i = 0; i < n; i++)
        t.cells[i] = (struct ap_score_cell){.kl = NAN,
                                            .rewrite_tokens = NAN,
                                            .rewrite_ended = NAN,
                                            .answer_tokens = 10,
                                            .answer_ended = 1};
    return t;
}

static inline struct ap_score_cell *cell_at(const struct ap_score_table *t, int64_t prompt,
                                            int seed, int arm)
{
    return &t->cells[(prompt * t->n_seed + seed) * t->n_arm + arm];
}

static inline void check_interval(struct ap_interval x, double value, double low, double high)
{
    check_near(x.value, value, 1e-12, 0);
    check_near(x.low, low, 1e-12, 0);
    check_near(x.high, high, 1e-12, 0);
}

#endif
