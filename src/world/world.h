/* The bundled world: a field guide whose facts can be checked. User prompts in five styles, a
 * target's corpus, rewriting pairs, preference pairs, and the true score that no stage sees. Not
 * here: models, learned rewards. The generators behind the files: guide.h.
 *
 *   intent (an animal, 1-3 aspects) -> user prompt x -> request x' -> answer y -> true score
 */
#ifndef AP_WORLD_WORLD_H
#define AP_WORLD_WORLD_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Whose shape the preference data and the prompts have:
 *   ultrafeedback   pairs; the demo's world
 *   helpsteer       answers with five noisy scores; more vague and rambling prompts
 *   orca            pairs under one of two system messages, which prompter, target, reward and the
 *                   true score all see; lines hold "system", meta holds "voice" */
typedef enum ap_world_shape {
    AP_WORLD_ULTRAFEEDBACK,
    AP_WORLD_HELPSTEER,
    AP_WORLD_ORCA,
    AP_WORLD_SHAPES
} ap_world_shape;

extern const char *const ap_world_shape_names[AP_WORLD_SHAPES];

/* How many lines each file holds. */
struct ap_world_sizes {
    int64_t
        n_corpus; /* corpus.jsonl: {"prompt", "response"}, every intent: the target's pretraining */
    int64_t
        n_rewrites; /* rewrites.jsonl: {"prompt", "rewrite"}, train intents: mediocre rewriting */
    int64_t n_preferences; /* preferences.jsonl: pairs, in the schema of the shape, train intents */
    int64_t n_prompts;     /* prompts.jsonl: {"prompt", "meta"}, train intents, no prompt twice */
    int64_t n_valid;       /* valid.jsonl: {"prompt", "meta"}, in turn over the valid intents */
    int64_t n_test;        /* test.jsonl: {"prompt", "meta"}, in turn over the test intents */
};

/* 36,000, 10,000, 16,000, 8,000, 100 and 220. */
extern const struct ap_world_sizes ap_world_sizes_default;

/* Write the six files and, last, world.json (seed and sizes) into dir, which is made when absent.
 * A pure function of shape, seed and sizes: line i of a file depends on (seed, file, i) alone,
 * prompts that would repeat an earlier one of their file being drawn again. Files that world.json
 * vouches for are left as they are. sizes NULL stands for the default; a count outside [0, 1e6] is
 * AP_INVALID, as is one that asks for more distinct prompts than are found. */
ap_status ap_world_write(const char *dir, ap_world_shape shape, uint64_t seed,
                         const struct ap_world_sizes *sizes, struct ap_error *err);

struct ap_demo_data; /* alignpro/demo.h */
/* What world.json of dir says otherwise than that of these data would, as "seed is 1 there and 2
 * here"; nothing where it says the same, or is absent or damaged. */
ap_status ap_world_differences(const char *dir, const struct ap_demo_data *data,
                               struct ap_buffer *out, struct ap_error *err);

/* The true score of an answer to an intent, in about [-5, 5]:
 *     4 right/wanted - wrong - off - 0.5 extra - garbled - 0.5 lazy + c polite last sentence - no
 * end; c is 0.5, under Orca's system messages 1 (kind) or -0.5 (facts). meta: the JSON object of a
 * line's "meta" ({"animal", "aspects": [...], "voice", ...}; other keys are ignored). ended:
 * whether the answer had its end token. A meta that is not such an object is AP_FORMAT. */
ap_status ap_world_score(const char *meta, const char *answer, bool ended, double *score,
                         struct ap_error *err);

/* What a rewrite kept of the intent: whether it names the wanted animal and no other, and whether
 * it names exactly the wanted aspects, formally or colloquially. Errors as ap_world_score. */
ap_status ap_world_kept(const char *meta, const char *rewrite, bool *animal, bool *aspects,
                        struct ap_error *err);

#endif
