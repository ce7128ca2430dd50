/* The bundled demonstration's data: a small world with facts that can be checked. */
#ifndef ALIGNPRO_DEMO_H
#define ALIGNPRO_DEMO_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stdint.h>

AP_API_BEGIN

/* Write the world's files into dir (made when absent, with parents), a pure function of seed:
 *     corpus.jsonl       {"prompt", "response"}            what the target learns before anything
 * else rewrites.jsonl     {"prompt", "rewrite"}             mediocre rewriting, for sft
 *     preferences.jsonl  {"prompt", "chosen", "rejected"}  for the reward
 *     prompts.jsonl      {"prompt", "meta"}                for align and rlhf
 *     valid.jsonl, test.jsonl   {"prompt", "meta"}         of intents that the three files above
 * never hold and last world.json, which says what was written. Files that it vouches for are left
 * as they are; anything else by these names is replaced. Which intents are held out does not depend
 * on seed. Errors: AP_IO, AP_MEMORY. */
ap_status ap_demo_write_data(const char *dir, uint64_t seed, struct ap_error *err);

/* The demo's folder whole: the data in dir/data, and recipe.yaml, model configs and tokenizer in
 * dir. Files of the same names are replaced. */
ap_status ap_demo_write(const char *dir, uint64_t seed, struct ap_error *err);

AP_API_END

#endif
