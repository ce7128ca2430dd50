/* Arms on noisy prompts: what they are called in run.db, and the prompts themselves. */
#ifndef AP_EVAL_NOISY_H
#define AP_EVAL_NOISY_H

#include "align/prompts.h"

#define AP_NOISY_NAME_MAX 64
struct ap_noisy_name {
    char text[AP_NOISY_NAME_MAX];
};
/* "align" at 0, "align@0.05" at 5 %: the rows of an arm without noise are its own. */
struct ap_noisy_name ap_noisy_name(const char *arm, double noise);

/* Every x with noise of that strength from (seed, record): the same for every arm. Allocated, as
 * are the texts: ap_noisy_texts_free. */
ap_status ap_noisy_texts(char ***out, const struct ap_prompts *prompts, double noise, int64_t seed,
                         struct ap_error *err);
void ap_noisy_texts_free(char **texts, int n); /* NULL is fine */

#endif
