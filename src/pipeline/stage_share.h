/* What a stage's result is made from, and taking a finished stage over from another run directory
 * whose stage was made from the same (run.from). */
#ifndef AP_PIPELINE_STAGE_SHARE_H
#define AP_PIPELINE_STAGE_SHARE_H

#include "pipeline/run_inner.h"

#include <jansson.h>

/* Whether a stage of the recipe is one that can be taken over: it has a row in the table. */
bool ap_share_knows(const char *stage);

/* The inputs of "sft", "reward-NAME" or "normaliser-NAME" (of one reward "normaliser"): an object
 * of the settings that reach it, with their values, of the files, with bytes and SHA-256 (of a very
 * large one the time of its change) as they are now, and the names of the stages that it stands on.
 * A new reference. */
ap_status ap_share_inputs(const struct ap_run *run, const char *stage, json_t **out,
                          struct ap_error *err);
/* The first thing in which two of them differ: "align.kl: 0.05 there, 0.02 here". False when
 * nothing does. */
bool ap_share_difference(const json_t *there, const json_t *here, char *out, size_t size);

/* The file that a folder lacks to be a run directory; NULL where it is one. */
const char *ap_share_missing(const char *folder);

/* Called at open, before a file is read: inputs of every stage of the recipe, kept in run->inputs,
 * and what the file of test prompts holds; and run.from is looked at. */
ap_status ap_share_open(struct ap_run *run, struct ap_error *err);
/* What a file of a run that is going on holds, {"bytes", "sha256"}; NULL where it is not there, or
 * the run is over. A new reference. */
json_t *ap_share_mark(const struct ap_run *run, const char *path);
/* The marks of a model's files, its tokenizer's too, by path. A new reference. */
ap_status ap_share_model(const struct ap_run *run, const char *model, json_t **out,
                         struct ap_error *err);

/* Before anything is planned or made: AP_INVALID where a stage that is there, or begun, was made
 * from a file of data or of a model that holds something else now, or where a file beside a model's
 * weights came or went. */
ap_status ap_share_check(struct ap_run *run, struct ap_error *err);
/* Around a stage: RUN/STAGE/inputs.json before it does anything, and once more before its DONE. A
 * file that changed meanwhile, or a command while the stage stood still, makes the record one that
 * agrees with no other. */
ap_status ap_share_begin(struct ap_run *run, const char *stage, struct ap_error *err);
ap_status ap_share_seal(const struct ap_run *run, const char *stage, struct ap_error *err);

/* Whether a folder of run.from has the stage, made from the same, as it was when first asked: for
 * the plan, ap_share_take looks for itself. */
bool ap_share_has(const struct ap_run *run, const char *stage);
/* Take the stage over from the first such folder: *taken. A note says from where, or why not. */
ap_status ap_share_take(struct ap_run *run, const char *stage, bool *taken, struct ap_error *err);
/* The same for a reward's normaliser: FOLDER/normaliser.json of the reward's own folder. */
ap_status ap_share_take_normaliser(struct ap_run *run, const struct ap_reward_settings *r,
                                   bool *taken, struct ap_error *err);
/* Beside a normaliser that this run fixed: what it was made from. */
ap_status ap_share_keep_normaliser(const struct ap_run *run, const struct ap_reward_settings *r,
                                   struct ap_error *err);

#endif
