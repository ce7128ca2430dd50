/* The bundled demonstration's data: a small world with facts that can be checked. */
#ifndef ALIGNPRO_DEMO_H
#define ALIGNPRO_DEMO_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stddef.h>
#include <stdint.h>

AP_API_BEGIN

/* Which data. */
struct ap_demo_data {
    const char *shape; /* of whose preference data: "ultrafeedback", "helpsteer" or "orca" */
    uint64_t seed;
    int64_t n_rewrites; /* lines of rewrites.jsonl; 0 for the demo's own number */
};

/* Write the world's files into dir (made when absent, with parents), a pure function of data:
 *     corpus.jsonl       {"prompt", "response"}   what the target learns before anything else
 *     rewrites.jsonl     {"prompt", "rewrite"}    mediocre rewriting, for sft
 *     preferences.jsonl  for the reward: {"prompt", "chosen", "rejected"}; helpsteer: {"prompt",
 *                        "response", "helpfulness", "correctness", "coherence", "complexity",
 *                        "verbosity"}; orca: {"system", "question", "chosen", "rejected"}
 *     prompts.jsonl      {"prompt", "meta"}       for align and rlhf
 *     valid.jsonl, test.jsonl   {"prompt", "meta"}   of intents that the three files above never
 * hold, and last world.json, which says what was written; in orca's every line has a "system",
 * too. Files that it vouches for are left as they are; anything else by these names is replaced.
 * Which intents are held out does not depend on shape or seed. Errors: AP_INVALID for an unknown
 * shape, AP_IO, AP_MEMORY. */
ap_status ap_demo_write_data(const char *dir, const struct ap_demo_data *data,
                             struct ap_error *err);

/* What the demo in dir would be refused for, before anything is written: data that another run of
 * it was not made from, and, where overrides is given, "KEY=VALUE"s that its recipe does not take
 * or that its run directory was not made with. AP_INVALID in one line; AP_OK where no run is there.
 */
ap_status ap_demo_check(const char *dir, const struct ap_demo_data *data,
                        const char *const *overrides, size_t n_overrides, struct ap_error *err);

/* The demo's folder whole: the data in dir/data, and recipe.yaml, model configs and tokenizer in
 * dir. Files of the same names are replaced. */
ap_status ap_demo_write(const char *dir, const struct ap_demo_data *data, struct ap_error *err);

AP_API_END

#endif
