/* The bundled world: a field guide whose facts can be checked, prompts in five styles, a target's corpus,
 * rewriting pairs, preference pairs, and the true score that no stage sees.
 * Not here: models, rewards that are learned. Source of the design: docs/world.md. */
#ifndef AP_WORLD_WORLD_H
#define AP_WORLD_WORLD_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* How many lines of each file to write. */
struct ap_world_sizes {
    int64_t n_corpus;      /* corpus.jsonl: {"prompt", "response"} for the target's pretraining */
    int64_t n_rewrites;    /* rewrites.jsonl: {"prompt", "rewrite"} mediocre rewriting */
    int64_t n_prompts;     /* prompts.jsonl: {"prompt", "meta"}, every split's intents; "split" by hash of the intent */
    int64_t n_preferences; /* see ap_world_preferences */
};

/* The true score of an answer y to an intent. meta: the JSON object that prompts.jsonl carries
 * ({"animal", "aspects": […], "style", …}). ended: whether y had its end token. In about [−5, 5]. */
ap_status ap_world_score(const char *meta, const char *answer, bool ended, double *score,
                         struct ap_error *err);

#endif
