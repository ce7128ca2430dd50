/* The bundled demonstration: its data and its recipe, made from a seed. */
#ifndef ALIGNPRO_DEMO_H
#define ALIGNPRO_DEMO_H

#include "alignpro/error.h"

#include <stdint.h>

/* Write corpus.jsonl, rewrites.jsonl, preferences.jsonl, prompts.jsonl and test.jsonl of the world into dir (made when
 * absent), deterministically from seed. Existing files of the same seed are left as they are. */
ap_status ap_demo_write_data(const char *dir, uint64_t seed, struct ap_error *err);

#endif
