/* Runs: a recipe's stages, each skipped when its result exists, resumed where it stopped.
 *
 *   pretrain → reward → sft → align → rlhf → dpo → ift → eval → bound
 *
 * One process holds a run directory at a time. Operations bring their own threads (OpenMP): set
 * OMP_WAIT_POLICY=passive before the program starts where other work shares the processors. */
#ifndef ALIGNPRO_RUN_H
#define ALIGNPRO_RUN_H

#include "alignpro/api.h"
#include "alignpro/error.h"
#include "alignpro/progress.h"
#include "alignpro/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

AP_API_BEGIN

struct ap_run;

/* Makes or reopens the run directory and takes its lock. recipe and sink are borrowed until close.
 * stage: what will be run, as in ap_run_stage; its memory is planned and shown before the directory
 * is made. AP_LIMIT, with the changes that would help, when it does not fit.
 * AP_BUSY when another process has the directory; AP_INVALID when it was made by another recipe. */
ap_status ap_run_open(struct ap_run **out, const struct ap_recipe *recipe, const char *stage,
                      const struct ap_sink *sink, struct ap_error *err);
void ap_run_close(struct ap_run *run); /* NULL is fine */

/* The same plan without a run: nothing is made or trained. *text: a table of stages and parts, the
 * peak, what the machine has; allocated (ap_text_free), there also after AP_LIMIT, which says that
 * it does not fit; NULL after another error. Needs a model's config.json only: weights, tokenizer
 * or data that are missing are counted by their bounds, and a note says so. */
ap_status ap_run_plan(const struct ap_recipe *recipe, const char *stage, const struct ap_sink *sink,
                      char **text, struct ap_error *err);

/* "pretrain", "sft", "reward", "align", "rlhf", "dpo", "ift", "eval" or "bound", with the stages
 * that it needs and that are not there yet; NULL: every stage of the recipe (of bound: where it has
 * that section). AP_INTERRUPTED after a
 * checkpoint was saved: the same call goes on from there. */
ap_status ap_run_stage(struct ap_run *run, const char *stage, struct ap_error *err);

/* What eval found: sentences and table. Allocated (ap_text_free). AP_NOT_FOUND before eval. */
ap_status ap_run_summary(struct ap_run *run, char **text, struct ap_error *err);
/* How far prompting can get, math.md (5)-(7), in sentences. Allocated (ap_text_free). AP_NOT_FOUND
 * before bound. */
ap_status ap_run_bound_text(struct ap_run *run, char **text, struct ap_error *err);
/* Borrowed. */
const char *ap_run_directory(const struct ap_run *run);

/* ---- one prompt in, its rewrite out ---- */

struct ap_rewriter;

/* The prompter of a run: after align, or what the newest finished stage left (a note says which).
 * Reads the run's own resolved recipe; guards: n of "guard.KEY=VALUE", set over what it says.
 * Special tokens that a prompt spells are text, whatever the run was trained with, unless
 * "text.special_in_content=markup" is among them. */
ap_status ap_rewriter_open(struct ap_rewriter **out, const char *run_dir, const char *const *guards,
                           size_t n_guards, int threads, struct ap_error *err);
void ap_rewriter_close(struct ap_rewriter *r);
/* "align", "sft" or "base". */
const char *ap_rewriter_stage(const struct ap_rewriter *r);

struct ap_rewrite_options {
    double temperature; /* 0: greedy */
    uint64_t seed, record;
};
#define AP_REWRITE_WHY_MAX 200
struct ap_rewritten {
    char *text;                   /* the rewrite, or x where a guard fired; ap_text_free */
    bool ended;                   /* the rewrite came to its end within its limit */
    const char *guard;            /* which one fired: "empty", "code", "quote", "url", "number",
                                     "bracket", "similarity", "length"; "" for none; static */
    char why[AP_REWRITE_WHY_MAX]; /* what it saw, one line; "" for none */
};
/* A prompt that does not fit the context is AP_LIMIT, one of white space alone AP_INVALID. After an
 * error text is NULL. */
ap_status ap_rewrite(struct ap_rewriter *r, const char *x, const struct ap_rewrite_options *options,
                     struct ap_rewritten *out, struct ap_error *err);

AP_API_END

#endif
