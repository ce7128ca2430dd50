/* The directory of a run: lock, stage folders, checkpoints with DONE written last.
 *
 *   RUN/recipe.yaml  RUN/run.db  RUN/lock
 *   RUN/tb/STAGE/…                   TensorBoard's copy of run.db's metrics (event_file.h)
 *   RUN/STAGE/ckpt/step-00000040/…   newest complete one is resumed
 *   RUN/STAGE/best/step-00000020/…   the step that did best on valid prompts, where one is kept
 *   RUN/STAGE/final/…                the stage's result
 *   RUN/STAGE/DONE                   written last; holds a line of JSON */
#ifndef AP_STORE_RUN_DIR_H
#define AP_STORE_RUN_DIR_H

#include "base/buffer.h"
#include "base/file.h"
#include "store/event_file.h"
#include "store/recipe.h"

/* Temporary names inside a stage's folder; removed when a run directory is opened. */
#define AP_CHECKPOINT_NEW "ckpt/new.tmp"
#define AP_CHECKPOINT_OLD "ckpt/old.tmp"
#define AP_BEST_NEW "best/new.tmp"
#define AP_BEST_OLD "best/old.tmp"
#define AP_FINAL_NEW "final.tmp"

struct ap_run_dir {
    char *path; /* owned */
    struct ap_lock lock;
    struct ap_buffer moved; /* ap_recipe_moved since the recipe that was there, or that this one
                               took its place; empty: nothing */
};

/* Makes the directory, takes the lock (AP_BUSY names the holder), writes recipe.yaml or refuses
 * when the one that is there has another fingerprint and the directory is not unused (the message
 * says which keys differ and how to start afresh). */
ap_status ap_run_dir_open(struct ap_run_dir *dir, const struct ap_recipe *recipe,
                          struct ap_error *err);
void ap_run_dir_close(struct ap_run_dir *dir);
/* What open would refuse about a directory's recipe, without touching anything; only `path` is
 * read. A directory without a recipe is fine. */
ap_status ap_run_dir_check(const struct ap_run_dir *dir, const struct ap_recipe *recipe,
                           struct ap_error *err);

/* Whether it holds nothing but what is there before a stage makes anything: no DONE, checkpoint or
 * result, a run.db without a row and no answer in its ledger. False in doubt. Reads `path`, writes
 * nothing. */
bool ap_run_dir_unused(const struct ap_run_dir *dir);

/* RUN/STAGE/NAME; allocated (ap_free). name may be "". */
char *ap_run_dir_path(const struct ap_run_dir *dir, const char *stage, const char *name);
/* Write RUN/STAGE/NAME, the folder made where it is not there. */
ap_status ap_run_dir_write(const struct ap_run_dir *dir, const char *stage, const char *name,
                           const void *data, size_t n, struct ap_error *err);
/* The next event file of RUN/tb/STAGE, for what comes from `step` on; it begins with recipe.yaml. A
 * stage is a run in TensorBoard's sense, and a tag is a metric's plain name: TensorBoard draws one
 * tag of several runs in one chart, so align and rlhf are compared there, and so are recipes when
 * their directories have one parent. */
ap_status ap_run_dir_events(const struct ap_run_dir *dir, const char *stage, int64_t step,
                            struct ap_event_file *out, struct ap_error *err);
bool ap_stage_done(const struct ap_run_dir *dir, const char *stage);
/* Write RUN/STAGE/DONE with the JSON text. */
ap_status ap_stage_finish(const struct ap_run_dir *dir, const char *stage, const char *json,
                          struct ap_error *err);
/* Its DONE goes, and nothing else of a stage that has one: what is told of it is "begun" again. */
ap_status ap_stage_reopen(const struct ap_run_dir *dir, const char *stage, struct ap_error *err);

/* Checkpoints: begin gives a temporary folder to fill (allocated path), commit syncs and renames it
 * to step-N and removes older ones but `keep`. */
ap_status ap_checkpoint_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                              struct ap_error *err);
ap_status ap_checkpoint_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                               int64_t step, int keep, struct ap_error *err);
/* The newest complete checkpoint: its folder (allocated) and step; *folder NULL when there is none.
 */
ap_status ap_checkpoint_newest(const struct ap_run_dir *dir, const char *stage, char **folder,
                               int64_t *step, struct ap_error *err);
/* What did best on valid prompts: begin gives a temporary folder, commit renames it to best/step-N
 * and removes every other one but that of step `keep` (−1: none), which the newest checkpoint still
 * goes on with. */
ap_status ap_best_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                        struct ap_error *err);
ap_status ap_best_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                         int64_t step, int64_t keep, struct ap_error *err);
/* The newest whole one; −1 where there is none. */
ap_status ap_best_newest(const struct ap_run_dir *dir, const char *stage, int64_t *step,
                         struct ap_error *err);
/* A step's folder (allocated); AP_NOT_FOUND where there is no whole one. */
ap_status ap_best_folder(const struct ap_run_dir *dir, const char *stage, int64_t step,
                         char **folder, struct ap_error *err);
/* The same for a stage's result: a temporary folder, then RUN/STAGE/final. */
ap_status ap_final_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                         struct ap_error *err);
ap_status ap_final_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                          struct ap_error *err);

#endif
