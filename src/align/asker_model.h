/* A judge that is a language model of the recipe, frozen and greedy. */
#ifndef AP_ALIGN_ASKER_MODEL_H
#define AP_ALIGN_ASKER_MODEL_H

#include "align/judge_pairs.h"
#include "align/lm.h"
#include "base/progress.h"

struct ap_asker_model_options {
    int max_new_tokens; /* of a reply, more than 0; one that is cut there stays as it is */
    int n_slot;         /* replies decoded at once */
};

/* lm: borrowed until ap_asker_free. Its context is the most that a question and its reply take;
 * memory grows with the longest question so far. A question that does not fit has an empty reply,
 * which holds no verdict: it is never cut. */
ap_status ap_asker_model(struct ap_asker *out, const struct ap_lm *lm,
                         const struct ap_asker_model_options *options, const struct ap_sink *sink,
                         struct ap_error *err);

/* Positions that its caches have when the longest question has n tokens; at most context. */
int ap_asker_model_positions(const struct ap_asker_model_options *options, int context, int n);

#endif
