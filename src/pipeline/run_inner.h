/* Inside of a run: what its stages share. Entry points of the folder: include/alignpro/run.h,
 * sweep.h.
 *
 *   run.c        open, order of stages               run_data.c    data sets, splits, prompts
 *   run_check.c  what is refused at the start        stage_*.c     one stage a file
 *   run_valid.c  valid prompts and judges of the stages that learn from reward
 *   run_models.c models, roles, results              run_report.c  summary, tables, report.html
 *   run_reward.c the reward and its normaliser       rewriter.c    one prompt in, its rewrite out
 *   rewriting.c  a rewrite pass by pass              serve_*.c     many at once (serve_engine.h)
 *   run_passes.c the prompters, one after another
 *   run_stamp.c  under which settings rows of run.db were made
 *   run_versions.c  what writes its pages
 *   run_hashes.c what it was made of and what it made, by SHA-256
 *   run_past.c   a run that is over, opened for what it made: rewriter.c, export*.c, report_runs.c
 *   stage_share.c, stage_take.c   what a stage depends on; stages of other runs (stage_share.h)
 *   sweep*.c     several runs of one recipe (sweep_inner.h)
 *   plan*.c      the memory that a run will take, before it takes any (plan.h)
 */
#ifndef AP_PIPELINE_RUN_INNER_H
#define AP_PIPELINE_RUN_INNER_H

#include "alignpro/run.h"

#include "align/environment.h"
#include "align/lm.h"
#include "align/prompts.h"
#include "align/reward.h"
#include "align/stage.h"
#include "align/target.h"
#include "store/recipe.h"
#include "text/dataset.h"

#include <pthread.h>
#include <stdatomic.h>

#define AP_RUN_DATA_MAX 16

struct ap_run_data {
    char *path;
    struct ap_dataset set;
};

/* Tokenizer and template of a folder, open for as long as the run. */
struct ap_run_text {
    char *folder;
    struct ap_tokenizer *tokenizer;
    struct ap_template *chat;
};

struct ap_plan; /* plan.h */

/* A thread that looks at the process's memory every few milliseconds while a stage runs: the
 * kernel's own record of the peak cannot begin anew with each stage. */
struct ap_run_watch {
    pthread_t thread;
    bool running;
    atomic_bool stop;
    _Atomic size_t most; /* bytes, since the stage began */
    size_t before;       /* the process's peak when the stage began */
};

#define AP_REMOTES_MAX (1 + AP_REWARDS_MAX + AP_PAIRWISE_MAX)

struct ap_run {
    const struct ap_recipe *recipe;
    const struct ap_settings *s;
    const struct ap_sink *sink;
    struct ap_program_watch *patience; /* with the reward's programs; NULL: their timeout is all */
    struct ap_run_dir dir;
    struct ap_database *db;
    struct ap_event_file events;      /* of the stage that runs */
    struct ap_lm *lms[AP_MODELS_MAX]; /* in the order of s->models; NULL until asked for */
    struct ap_run_text texts[AP_MODELS_MAX];
    int n_text;
    struct ap_run_data data[AP_RUN_DATA_MAX];
    int n_data;
    size_t n_markup;  /* most ids that a template puts around one message; fixed by ap_run_check */
    int n_position;   /* most positions that a sequence of this run takes; fixed at open */
    int context_most; /* what every model of the run could take; fixed by ap_run_check */
    bool content_is_text;     /* whatever text.special_in_content says */
    bool plan_only;           /* nothing will be run: what is missing is counted by its bound */
    bool data_missing;        /* plan_only: a data file is not there */
    struct ap_ledger *ledger; /* opened with the first server */
    struct ap_run_remote *remotes[AP_REMOTES_MAX]; /* in the order of opening */
    int n_remote;
    struct ap_plan *plan; /* made at open */
    struct ap_run_watch watch;
    struct json_t *marks;     /* of files, by path (stage_share.c) */
    struct json_t *inputs;    /* by stage, as they were before anything was read (stage_share.h) */
    struct json_t *test_mark; /* of the file of test prompts, likewise; NULL: the run is over */
    struct json_t *shared;    /* by stage, what ap_share_has found */
};

/* A role together with the parts of it that are its own. */
struct ap_owned_role {
    struct ap_role role;
    struct ap_weights *weights; /* NULL: the model's shared ones */
    struct ap_adapter *adapter;
};
void ap_owned_role_free(struct ap_owned_role *r);

/* ---- run_hashes.c ---- */

/* Data files and weights; allocated, also after an error. */
struct ap_report_hash;
ap_status ap_run_hashes(const struct ap_run *run, struct ap_report_hash **out, int *n,
                        struct ap_error *err);
void ap_run_hashes_free(struct ap_report_hash *hashes, int n);

/* ---- run.c ---- */

/* Whether one of its rewards is trained by the run. */
bool ap_run_learns_reward(const struct ap_run *run);
/* Whether ap_run_stage(wanted) comes to `bound`: its section, or its command. */
bool ap_run_asks_bound(const struct ap_run *run, const char *wanted);
/* Whether eval.arms names it. */
bool ap_run_has_arm(const struct ap_run *run, const char *name);

/* The i-th of the stages that the recipe asks for, in their order; NULL past the last. */
const char *ap_run_stage_at(const struct ap_run *run, size_t i);
/* Whether ap_run_stage(wanted) comes to run the stage, as far as it is not done yet. */
bool ap_run_includes(const struct ap_run *run, const char *wanted, const char *stage);

/* ---- run_check.c ---- */

/* Settings, models and data, as far as they can be refused before anything is trained. Reads the
 * data sets. */
ap_status ap_run_check(struct ap_run *run, const char *wanted, struct ap_error *err);

/* ---- run_memory.c ---- */

/* Makes run->plan for what ap_run_stage(wanted) will run, writes it into text, and shows it unless
 * plan_only. AP_LIMIT when it does not fit. */
ap_status ap_run_plan_memory(struct ap_run *run, const char *wanted, struct ap_buffer *text,
                             struct ap_error *err);
/* Around a stage, whether it succeeds or not; then, where it did, what it took at its peak goes
 * into the log and into STAGE/memory.json, beside the plan. */
void ap_run_watch_begin(struct ap_run *run);
void ap_run_watch_end(struct ap_run *run);
ap_status ap_run_report_memory(struct ap_run *run, const char *stage, struct ap_error *err);

/* ---- run_models.c ---- */

/* Where a model's tokenizer.json is. Allocated (ap_free). */
char *ap_run_tokenizer_folder(const struct ap_model_settings *m);
/* text.*, borrowed from the settings. */
struct ap_template_options ap_run_chat(const struct ap_run *run);

/* Its tokenizer and template, opened once for all models of one folder. Borrowed from the run. */
ap_status ap_run_text(struct ap_run *run, const struct ap_model_settings *m,
                      const struct ap_run_text **out, struct ap_error *err);
/* Models and texts. */
void ap_run_models_free(struct ap_run *run);
/* Positions that sequences of a model made for `most` of them take in this run: run.context, or
 * what the data ask for. */
int ap_run_context(const struct ap_run *run, int most);
/* Free the models that `stage` has no use for. */
void ap_run_release_models(struct ap_run *run, const char *stage);
/* Free all but one. */
void ap_run_keep_model(struct ap_run *run, const char *model);
/* Whether the stage ("best-of-n" is one here) computes with the recipe's model. */
bool ap_run_stage_uses(const struct ap_run *run, const char *stage, const char *model);

/* The most positions that a sequence of the data sets takes in this run. */
int ap_run_positions(const struct ap_run *run);
/* The recipe's model, loaded once: from pretrain's result where there is one. Borrowed from the
 * run. */
ap_status ap_run_lm(struct ap_run *run, const char *name, struct ap_lm **out, struct ap_error *err);
/* The same with the recipe's own start, whatever was pretrained; owned by the caller. */
ap_status ap_run_lm_start(struct ap_run *run, const char *name, struct ap_lm **out,
                          struct ap_error *err);
/* The frozen role that a stage left in RUN/STAGE/final; stage NULL: the model itself, none for lm
 * NULL. */
ap_status ap_run_role(struct ap_run *run, struct ap_lm *lm,
                      const struct ap_adapter_settings *adapter, const char *stage,
                      struct ap_owned_role *out, struct ap_error *err);
/* The same for a stage that has been run; where its result is gone the message begins with `who`
 * and names the command that makes it. */
ap_status ap_run_trained_role(struct ap_run *run, struct ap_lm *lm,
                              const struct ap_adapter_settings *adapter, const char *who,
                              const char *stage, struct ap_owned_role *out, struct ap_error *err);
/* A role to train that starts there: its adapter (fresh, B = 0, when stage is NULL), or its own
 * copy of all weights. */
ap_status ap_run_policy(struct ap_run *run, struct ap_lm *lm,
                        const struct ap_adapter_settings *adapter, const char *stage,
                        struct ap_owned_role *out, struct ap_error *err);
/* Write the trained part of a role as RUN/STAGE/final and DONE with the JSON text. */
ap_status ap_run_finish(struct ap_run *run, const char *stage, const struct ap_lm *lm,
                        const struct ap_role *role, const char *json, struct ap_error *err);
/* The target's model; NULL where it answers over HTTP. Borrowed from the run. */
ap_status ap_run_target_lm(struct ap_run *run, struct ap_lm **out, struct ap_error *err);
/* The target behind its interface, on a role; lm NULL: over HTTP. */
ap_status ap_run_target(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                        struct ap_target *out, struct ap_error *err);
/* Why no log-probabilities of the target's answers can be had, one clause; NULL: they can. Static.
 */
const char *ap_run_no_logp(const struct ap_run *run);
/* The prompter behind the same interface: its answer to x inside the meta-prompt is the rewrite. */
ap_status ap_run_rewriter(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                          double temperature, int n_slot, struct ap_target *out,
                          struct ap_error *err);
/* "sft" when that stage trains something, else NULL: where ρ_sft comes from. */
const char *ap_run_sft_stage(const struct ap_run *run);
/* The recipe's meta-prompt, the default resolved. */
const char *ap_run_meta_prompt(const struct ap_run *run);
struct ap_stage ap_run_begin(struct ap_run *run, const char *stage);

/* ---- run_remote.c: servers that are asked over HTTP ---- */

struct ap_remote;
typedef ap_status ap_ledger_opener(struct ap_ledger **out, const char *path, const char *run,
                                   struct ap_error *err);
/* The ledger of the run in that folder, where its recipe has it and by the name that the run has
 * there; opened by ap_ledger_open, or _open_read. */
ap_status ap_run_ledger(const struct ap_settings *s, const char *folder, ap_ledger_opener *open,
                        struct ap_ledger **out, struct ap_error *err);
/* The one called `who`, opened at the first need; borrowed from the run. */
ap_status ap_run_remote(struct ap_run *run, const char *who, const struct ap_http_settings *http,
                        double timeout, struct ap_remote **out, struct ap_error *err);
/* A note of what each has sold so far. */
void ap_run_remotes_tell(const struct ap_run *run);
/* The same of every server of the recipe, as one text; nothing where it has none. */
ap_status ap_run_bought(struct ap_run *run, struct ap_buffer *out, struct ap_error *err);
/* run_asks.c: what align and bound will ask a target over HTTP for, at most, a line each; nothing
 * where they ask for none. */
ap_status ap_run_asks(struct ap_run *run, const char *wanted, struct ap_buffer *out,
                      struct ap_error *err);
/* Addresses, and keys that must be there. */
ap_status ap_run_check_http(const struct ap_run *run, struct ap_error *err);
/* Warns of addresses where nobody takes connections, of servers that ap_run_stage(wanted) will
 * ask: hours before it does. */
void ap_run_probe_http(const struct ap_run *run, const char *wanted);
void ap_run_remotes_close(struct ap_run *run);

/* ---- run_passes.c: prompters that rewrite one after another; passes count from 0 ---- */

int ap_run_n_passes(const struct ap_run *run);
const struct ap_prompter_settings *ap_run_prompter(const struct ap_run *run, int pass);
/* Its meta-prompt, the default resolved. */
const char *ap_run_pass_meta(const struct ap_run *run, int pass);
/* The stage whose result the trained prompter of a pass is, however it was trained: "align",
 * "align-2" … */
const char *ap_run_pass_stage(int pass);
/* The stage of its reference, "sft", "sft-2" …, NULL without one. Passes of one model, adapter and
 * meta-prompt share the first's. */
const char *ap_run_pass_sft(const struct ap_run *run, int pass);
/* Whether the recipe has these stages: each pass its own sft unless it shares one, and its own
 * align unless all are trained jointly in the first's. */
bool ap_run_wants_sft(const struct ap_run *run, int pass);
bool ap_run_wants_align(const struct ap_run *run, int pass);
/* The pass of "align", "sft-2" …; −1: another stage. Whether it is align's, also for arms. */
int ap_run_pass_of(const char *stage);
bool ap_run_is_align(const char *stage);
/* Passes of an arm: all but for align-1, align-2 … */
int ap_run_arm_passes(const struct ap_run *run, const char *arm);
bool ap_run_has_align_arm(const struct ap_run *run);
/* ap_run_rewriter of a pass. */
ap_status ap_run_pass_rewriter(struct ap_run *run, int pass, const struct ap_lm *lm,
                               const struct ap_role *role, double temperature, int n_slot,
                               struct ap_target *out, struct ap_error *err);

/* ---- run_data.c ---- */

/* Every key of a data file, and its path; "" where the run reads none. Borrows from s. */
#define AP_RUN_PATHS 11
struct ap_run_path {
    const char *key, *path;
};
void ap_run_paths(const struct ap_settings *s, struct ap_run_path out[AP_RUN_PATHS]);

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

/* The test prompts that both models can take, as each sees them: of eval.path, or the test split;
 * at most limit (0: all). Both are freed by the caller, also after an error. */
ap_status ap_run_test_prompts(struct ap_run *run, const struct ap_lm *target,
                              const struct ap_lm *prompter, int64_t limit, struct ap_prompts *out,
                              struct ap_prompts *rewriter, struct ap_error *err);

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
/* Its range (reward.h) in the run's units, without a model: 0 unless all that training asks are
 * rules that have one. */
ap_status ap_run_reward_range(struct ap_run *run, double *range, struct ap_error *err);

/* ---- run_valid.c ---- */

/* Seed of the stage's streams. */
uint64_t ap_run_rl_seed(const struct ap_run *run, const struct ap_rl_settings *s);
/* Where its valid prompts come from: the valid split of its prompts, or all of a file. */
struct ap_valid_source {
    const char *path;
    ap_split split;
};
struct ap_valid_source ap_run_valid_source(const struct ap_rl_settings *s);
/* The prompts of a stage's validations, as lm sees them, none of which is among its training
 * prompts; empty where it has none. */
ap_status ap_run_valid_prompts(struct ap_run *run, const struct ap_rl_settings *s,
                               const struct ap_lm *lm, const char *meta_prompt, int max_new_tokens,
                               struct ap_prompts *out, struct ap_error *err);
/* Who judges on them: fills judges, n_judge and picks of env, whose prompts and n_valid are there.
 * Borrows reward. */
ap_status ap_run_valid_judges(struct ap_run *run, const struct ap_rl_settings *s,
                              const struct ap_run_reward *reward, struct ap_text_environment *env,
                              struct ap_error *err);

/* ---- stages ---- */

/* The adapter of PPO's critic: the policy's, or one of its own where the policy has none. */
struct ap_adapter_settings ap_critic_adapter(const struct ap_adapter_settings *policy);

ap_status ap_run_stage_pretrain(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_sft(struct ap_run *run, int pass, struct ap_error *err);
ap_status ap_run_stage_reward(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_align(struct ap_run *run, int pass, struct ap_error *err);
ap_status ap_run_stage_rlhf(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_dpo(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_ift(struct ap_run *run, struct ap_error *err);
ap_status ap_run_stage_eval(struct ap_run *run, struct ap_error *err);
/* Whether eval is done under the settings of this recipe: eval.* may change in a run that is there.
 */
bool ap_run_eval_done(const struct ap_run *run);
/* stage_judges.c: the judges of eval.judges that compare, when the answers are there. */
ap_status ap_run_judges(struct ap_run *run, const struct ap_prompts *prompts, struct ap_error *err);
bool ap_run_judges_done(const struct ap_run *run);
bool ap_run_asks_judge(const struct ap_settings *s, int i); /* eval.judges names judges[i] */
/* Of a model that judges: questions at once, and the most positions of one with its reply; those of
 * the texts that are trained on say nothing of it. */
int ap_run_judge_slots(const struct ap_settings *s);
int ap_run_judge_context(const struct ap_run *run, int most);
/* What its eval found, which must be done. */
struct ap_evaluation;
ap_status ap_run_evaluation(struct ap_run *run, struct ap_evaluation *out, struct ap_error *err);
/* Whether an eval that is done has all that a report takes from it, under the settings of this
 * recipe: before hours are spent on what is reported beside it. */
ap_status ap_run_check_evaluation(struct ap_run *run, struct ap_error *err);

/* ---- run_versions.c ---- */

struct ap_versions {
    char text[400]; /* "0.1.0 (compiled by …; oneDNN 2.6.3, …)" */
};
struct ap_versions ap_run_versions(void);

/* ---- run_hashes.c ---- */

/* SHA-256 of a file in hexadecimal; false, with the reason in its place, where it cannot be read or
 * is too large to be read every time. out: AP_REPORT_HASH_MAX bytes. */
bool ap_run_hash_file(const char *path, char *out);

/* ---- run_stamp.c ---- */

/* Whether RUN/STAGE/NAME is this text; and put it there. */
bool ap_run_stamp_agrees(const struct ap_run *run, const char *stage, const char *name,
                         const struct ap_buffer *now);
ap_status ap_run_stamp_put(const struct ap_run *run, const char *stage, const char *name,
                           const struct ap_buffer *now, struct ap_error *err);
/* The same of what the file of test prompts holds. They agree where nothing is known. */
bool ap_run_prompts_agree(const struct ap_run *run, const char *stage);
ap_status ap_run_prompts_put(const struct ap_run *run, const char *stage, struct ap_error *err);

/* ---- run_bound.c, stage_bound.c ---- */

struct ap_bound_told; /* eval/bound_told.h */

ap_status ap_run_stage_bound(struct ap_run *run, struct ap_error *err);
/* Whether the samples are there under the settings of this recipe: bound.* may change. */
bool ap_run_bound_done(const struct ap_run *run);
/* Which policies it samples beside ρ_sft. */
bool ap_run_bound_has_align(const struct ap_run *run);
bool ap_run_bound_has_rlhf(const struct ap_run *run);
/* Prompts in one transaction. */
int ap_bound_step(const struct ap_settings *s);
/* What the samples say, under bound.kl; and RUN/bound.json with it. */
ap_status ap_run_bound_tell(struct ap_run *run, struct ap_bound_told *out, struct ap_error *err);
ap_status ap_run_bound_write(struct ap_run *run, struct ap_error *err);

/* report.html anew from what run.db holds. */
ap_status ap_run_report(struct ap_run *run, struct ap_error *err);
/* The mean of each arm under each judge as eval/JUDGE/ARM in a new event file of tb/eval. What
 * fails there is a warning, as in a stage. */
ap_status ap_run_eval_events(struct ap_run *run, struct ap_error *err);

#endif
