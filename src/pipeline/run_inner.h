/* Inside of a run: what its stages share. Entry points of the folder: include/alignpro/run.h.
 *
 *   run.c        open, order of stages               run_data.c    data sets, splits, prompts
 *   run_check.c  what is refused at the start        stage_*.c     one stage a file
 *   run_models.c models, roles, results              run_report.c  summary, tables, report.html
 *   run_reward.c the reward and its normaliser       rewriter.c    one prompt in, its rewrite out
 */
#ifndef AP_PIPELINE_RUN_INNER_H
#define AP_PIPELINE_RUN_INNER_H

#include "alignpro/run.h"

#include "align/lm.h"
#include "align/prompts.h"
#include "align/reward.h"
#include "align/stage.h"
#include "align/target.h"
#include "store/recipe.h"
#include "text/dataset.h"

#define AP_RUN_DATA_MAX 8

struct ap_run_data {
    char *path;
    struct ap_dataset set;
};

struct ap_run {
    const struct ap_recipe *recipe;
    const struct ap_settings *s;
    const struct ap_sink *sink;
    struct ap_run_dir dir;
    struct ap_database *db;
    struct ap_lm *lms[AP_MODELS_MAX]; /* in the order of s->models; NULL until asked for */
    struct ap_run_data data[AP_RUN_DATA_MAX];
    int n_data;
    size_t n_markup; /* most ids that a template puts around one message; fixed by ap_run_check */
    int n_position;  /* most positions that a sequence of this run takes; fixed at open */
};

/* A role together with the parts of it that are its own. */
struct ap_owned_role {
    struct ap_role role;
    struct ap_weights *weights; /* NULL: the model's shared ones */
    struct ap_adapter *adapter;
};
void ap_owned_role_free(struct ap_owned_role *r);

/* ---- run.c ---- */

/* Whether one of its rewards is trained by the run. */
bool ap_run_learns_reward(const struct ap_run *run);
/* Whether eval.arms names it. */
bool ap_run_has_arm(const struct ap_run *run, const char *name);

/* ---- run_check.c ---- */

/* Settings, models and data, as far as they can be refused before anything is trained. Reads the
 * data sets. */
ap_status ap_run_check(struct ap_run *run, struct ap_error *err);

/* ---- run_models.c ---- */

/* Where a model's tokenizer.json is. Allocated (ap_free). */
char *ap_run_tokenizer_folder(const struct ap_model_settings *m);
/* text.*, borrowed from the settings. */
struct ap_template_options ap_run_chat(const struct ap_run *run);

/* The most positions that a sequence of the data sets takes in this run. */
int ap_run_positions(const struct ap_run *run);
/* The recipe's model, loaded once: from pretrain's result where there is one. Borrowed from the
 * run. */
ap_status ap_run_lm(struct ap_run *run, const char *name, struct ap_lm **out, struct ap_error *err);
/* The same with the recipe's own start, whatever was pretrained; owned by the caller. */
ap_status ap_run_lm_start(struct ap_run *run, const char *name, struct ap_lm **out,
                          struct ap_error *err);
/* The frozen role that a stage left in RUN/STAGE/final; stage NULL: the model itself. */
ap_status ap_run_role(struct ap_run *run, struct ap_lm *lm,
                      const struct ap_adapter_settings *adapter, const char *stage,
                      struct ap_owned_role *out, struct ap_error *err);
/* A role to train that starts there: its adapter (fresh, B = 0, when stage is NULL), or its own
 * copy of all weights. */
ap_status ap_run_policy(struct ap_run *run, struct ap_lm *lm,
                        const struct ap_adapter_settings *adapter, const char *stage,
                        struct ap_owned_role *out, struct ap_error *err);
/* Write the trained part of a role as RUN/STAGE/final and DONE with the JSON text. */
ap_status ap_run_finish(struct ap_run *run, const char *stage, const struct ap_lm *lm,
                        const struct ap_role *role, const char *json, struct ap_error *err);
/* The target behind its interface, on a role. */
ap_status ap_run_target(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                        struct ap_target *out, struct ap_error *err);
/* The prompter behind the same interface: its answer to x inside the meta-prompt is the rewrite. */
ap_status ap_run_rewriter(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                          double temperature, int n_slot, struct ap_target *out,
                          struct ap_error *err);
/* "sft" when that stage trains something, else NULL: where ρ_sft comes from. */
const char *ap_run_sft_stage(const struct ap_run *run);
/* The recipe's meta-prompt, the default resolved. */
const char *ap_run_meta_prompt(const struct ap_run *run);
struct ap_stage ap_run_begin(struct ap_run *run, const char *stage);

/* ---- run_data.c ---- */

/* Read once, kept with the run. path "": data.path. */
ap_status ap_run_dataset(struct ap_run *run, const char *path, const struct ap_dataset **out,
                         struct ap_error *err);
ap_status ap_run_select(struct ap_run *run, const struct ap_dataset *d, ap_split split,
                        bool unique_prompts, int32_t **index, size_t *n, struct ap_error *err);
ap_too_long ap_run_too_long(const struct ap_run *run);
/* Prompts of a split as lm sees them, at most limit (0: all). meta_prompt NULL: x as it is. */
ap_status ap_run_prompts(struct ap_run *run, const char *path, ap_split split,
                         const struct ap_lm *lm, const char *meta_prompt, int max_new_tokens,
                         int64_t limit, struct ap_prompts *out, struct ap_error *err);

/* ---- run_reward.c ---- */

struct ap_run_member {
    const struct ap_reward_settings *settings;
    struct ap_reward reward;
    struct ap_owned_role policy, reference; /* of a model's */
};
struct ap_run_reward {
    struct ap_reward reward; /* the weighted sum of the members, the run's reward */
    struct ap_run_member members[AP_REWARDS_MAX];
    int n;
};
/* The stage that trains a reward, and its folder: "reward", or "reward-NAME" of several. */
struct ap_reward_stage {
    char name[48];
};
struct ap_reward_stage ap_run_reward_stage(const struct ap_reward_settings *r);
/* The rewards, each normalised when its normaliser is fixed or `fix` asks to fix it now; of several
 * it is fixed in any case, because their sum depends on it. Borrows the run; stays where it is. */
ap_status ap_run_reward_open(struct ap_run *run, bool fix, struct ap_run_reward *out,
                             struct ap_error *err);
void ap_run_reward_close(struct ap_run_reward *r);

/* ---- stages ---- */
ap_status ap_run_stage_pretrain(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_sft(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_reward(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_align(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_rlhf(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_eval(struct ap_run *run, struct ap_error *err);
/* Whether eval is done under the settings of this recipe: eval.* may change in a run that is there.
 */
bool ap_run_eval_done(const struct ap_run *run);
/* report.html anew from what run.db holds. */
ap_status ap_run_report(struct ap_run *run, struct ap_error *err);

#endif
