/* The engine of a run behind `alignpro serve` (serve/engine.h): its prompters, its target and its
 * reward, owned by one thread that decodes what many threads ask for. */
#ifndef AP_PIPELINE_SERVE_ENGINE_H
#define AP_PIPELINE_SERVE_ENGINE_H

#include "base/error.h"
#include "serve/engine.h"

struct ap_serve_engine_options {
    const char *run_dir;
    const char *const *sets; /* n_sets of "guard.KEY=VALUE", set over what the run's recipe says; or
                              * "text.special_in_content=markup", which is text otherwise */
    size_t n_sets;
    int threads;        /* of the operations; 0: as many as there are processors */
    bool local_target;  /* answers are given by the run's target, */
    bool with_reward;   /* scores by its reward */
    size_t cache_bytes; /* most that rewrites are remembered in; 0: none are */
    int queue;          /* works of a kind that wait, from which on no more are taken */
    int batch;          /* sequences that are decoded at once, by each prompter and the target */
    int context;        /* most positions of a sequence, where run.context says none; 0: 4096 */
};

/* Opens what the options ask for of a run that is over, read-only, and starts the thread. The
 * options are copied. Not there yet: AP_NOT_FOUND.
 * A rewrite is what ap_rewrite makes of the last message, with those before it as its context, as
 * in training. Its passes after the first draw from the stream's stage "rewrite-2" … An answer is
 * what ap_target_local with its max_new_tokens gives, at most the target's own; n_stop 0: the
 * target's own stop strings. Close it by its own `close`, which frees it, never from a `done`. */
ap_status ap_serve_engine_open(struct ap_serve_engine **out,
                               const struct ap_serve_engine_options *o, struct ap_error *err);
/* "align", "sft" or "base": how far the prompter is. */
const char *ap_serve_engine_stage(const struct ap_serve_engine *e);
/* The most tokens of an answer; 0 without a target. */
int ap_serve_engine_max_new_tokens(const struct ap_serve_engine *e);

#endif
