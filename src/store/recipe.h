/* Inside view of a recipe: its settings and the resolved text that is kept with a run. */
#ifndef AP_STORE_RECIPE_H
#define AP_STORE_RECIPE_H

#include "alignpro/recipe.h"

#include "base/buffer.h"
#include "store/settings.h"

/* From memory; ap_recipe_open is this on a file. name: in messages; folder: absolute, what paths
 * are relative to. */
ap_status ap_recipe_parse(struct ap_recipe **out, const char *text, size_t n, const char *name,
                          const char *folder, const char *const *overrides, size_t n_overrides,
                          struct ap_error *err);
/* After ap_fail about the file that a path of the recipe names: of which environment variable the
 * recipe makes that path, if of any, behind the text. Returns status. */
ap_status ap_recipe_tell_variable(const struct ap_recipe *recipe, const char *key, ap_status status,
                                  struct ap_error *err);
/* Borrowed until close. */
const struct ap_settings *ap_recipe_settings(const struct ap_recipe *recipe);
/* The resolved recipe as YAML, each value with its origin (recipe:line, --set, default) in a
 * comment. */
ap_status ap_recipe_resolved(const struct ap_recipe *recipe, struct ap_buffer *out,
                             struct ap_error *err);
/* Hash of all values that change results (not run.dir, threads, checkpoint_every, max_bad_steps,
 * batch): a run directory made by another recipe is refused. The resolved text has the same. */
uint64_t ap_recipe_fingerprint(const struct ap_recipe *recipe);
typedef enum {
    AP_DIFFER_ANY,
    AP_DIFFER_SEEDS, /* keys that are a seed: run.seed … */
    AP_DIFFER_OTHERS /* all but seeds, and what an evaluation depends on; of two paths the file's
                        own name, of tokenizers nothing */
} ap_difference_kind;
/* Which of those values differ, for a message: "align.kl is 0.05 there and 0.02 here"; a is there,
 * b is here. "" when none does. */
ap_status ap_recipe_differences(const struct ap_recipe *a, const struct ap_recipe *b,
                                ap_difference_kind kind, struct ap_buffer *out,
                                struct ap_error *err);
/* Which servers have other addresses than they had, which change no fingerprint, and whether the
 * target has another name in the ledger, for a note: "target.url was A, is now B: …"; "" for none.
 */
ap_status ap_recipe_moved(const struct ap_recipe *was, const struct ap_recipe *is,
                          struct ap_buffer *out, struct ap_error *err);
/* Its seeds, as a reader needs them: "run.seed 1, align.seed 2". */
ap_status ap_recipe_seeds(const struct ap_recipe *recipe, struct ap_buffer *out,
                          struct ap_error *err);
/* Every value, in whatever section, whether or not the recipe has it: "align.kl", as YAML.
 * harmless: it is not in the fingerprint. */
typedef ap_status (*ap_value_fn)(void *context, const char *key, const char *value, bool harmless,
                                 struct ap_error *err);
ap_status ap_recipe_each_value(const struct ap_recipe *recipe, ap_value_fn fn, void *context,
                               struct ap_error *err);
/* Does the recipe (or --set) have this section: "align", "sft", "prompter.adapter"? */
bool ap_recipe_has(const struct ap_recipe *recipe, const char *section);
/* The model named in the recipe, or AP_INVALID that lists the known names. */
ap_status ap_settings_model(const struct ap_settings *s, const char *name,
                            const struct ap_model_settings **out, struct ap_error *err);
/* The prompters in the order in which they rewrite: those of a list, else the one. */
const struct ap_prompter_settings *ap_settings_prompters(const struct ap_settings *s, int *n);
/* Whether several learn together. */
bool ap_settings_joint(const struct ap_settings *s);
/* The rewards whose weighted sum is the run's: those of rewards:, else the one of reward:. */
const struct ap_reward_settings *ap_settings_rewards(const struct ap_settings *s, int *n);
/* Of eval.judges, how many score answers: they stand first. Those behind compare. */
int ap_settings_n_scoring(const struct ap_settings *s);
/* NULL where judges: has no such name. */
const struct ap_judge_settings *ap_settings_pairwise(const struct ap_settings *s, const char *name);
/* Whether the target answers over HTTP; the model of models: that answers, "" then. */
bool ap_settings_remote(const struct ap_settings *s);
const char *ap_settings_target(const struct ap_settings *s);
/* The model of models: that a judge is; "" where it is a command, or answers over HTTP. */
const char *ap_judge_model(const struct ap_judge_settings *j);
/* What a refusal is worth; NaN: its text is scored. */
double ap_target_refusal(const struct ap_target_settings *t);
/* "reward", or "rewards.NAME". */
struct ap_section {
    char name[64];
};
struct ap_section ap_reward_section(const struct ap_reward_settings *r);
/* Who may be asked over HTTP: the i-th of the target, the rewards and the judges; false past the
 * last. http->n_url is 0 where nobody is. */
struct ap_server {
    struct ap_section section;
    const struct ap_http_settings *http;
    int judge; /* of s->judges; −1 for the others */
};
bool ap_settings_server(const struct ap_settings *s, int i, struct ap_server *out);
/* Whether the recipe has a reward at all. */
bool ap_recipe_has_reward(const struct ap_recipe *recipe);
/* Whether a model gives it: a classifier, or an implicit reward. */
bool ap_reward_is_model(const struct ap_reward_settings *r);
/* Whether that model is trained by the run. */
bool ap_reward_is_trained(const struct ap_reward_settings *r);

#endif
