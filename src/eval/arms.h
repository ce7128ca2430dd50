/* Running the arms of math.md section 3 over fixed test prompts into run.db. Statistics: report.h.
 */
#ifndef AP_EVAL_ARMS_H
#define AP_EVAL_ARMS_H

#include "align/pass_text.h"
#include "align/prompts.h"
#include "align/reward.h"
#include "align/target.h"
#include "base/progress.h"
#include "store/database.h"
#include "store/settings.h"

/* A judge's name and how it scores; `world` reads the example's meta, a reward reads (x, y). */
struct ap_judge {
    const char *name;
    const struct ap_reward *reward; /* NULL: the world's true score */
};

/* A further rewriter of an arm, which rewrites what the one before it wrote. */
struct ap_arm_pass {
    struct ap_target *rewriter;
    struct ap_text_pass text; /* how its prompts are made; `from` and `prompts` are not used */
    struct ap_role kl_policy, kl_reference; /* adds to the arm's KL; as below */
};

struct ap_arm {
    const char *name;                          /* one of eval.arms */
    struct ap_target *rewriter;                /* NULL: the target sees x */
    const struct ap_prompts *rewriter_prompts; /* the same test prompts as the prompter sees them */
    const char *meta_prompt;
    struct ap_target *target;
    int n; /* rewrites, or answers without a rewriter; the best by the first judge counts; 1 but
            for best-of-n and best-of-n-answers */
    /* For the KL of rewrites, or of answers when there is no rewriter; weights NULL: none. */
    struct ap_role kl_policy, kl_reference;
    double kl_temperature;
    const struct ap_arm_pass *more; /* the second rewriter and those after it; borrowed */
    int n_more;
};

struct ap_eval_options {
    const struct ap_prompts *prompts; /* as the target sees x */
    const struct ap_judge *judges;    /* the first one picks best-of-n */
    int n_judge;
    char *const
        *noisy; /* the prompts as arms see them, judged as what prompts has; NULL: as it has */
    const struct ap_guard_settings *guard; /* when x is sent in place of a rewrite */
    int batch_tokens;
    struct ap_database *db;
    const struct ap_sink *sink;
};

/* One arm under one seed, in one transaction: all of its rows are there or none. Streams depend on
 * (seed, record, sample) and not on the arm: the same sampling seeds for all. */
ap_status ap_eval_arm(const struct ap_eval_options *options, const struct ap_arm *arm, int64_t seed,
                      struct ap_error *err);

#endif
