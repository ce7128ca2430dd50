/* Choosing a token from one row of logits. Not here: logits, log-probabilities (tensor/). */
#ifndef AP_GEN_SAMPLER_H
#define AP_GEN_SAMPLER_H

#include "gen/generator.h"

#include <stddef.h>

/* Working memory of one row in flight; views of memory that the generator owns. */
struct ap_sampler_scratch {
    double *block; /* ap_sampler_n_block(V): sums of weights, block by block */
    int32_t *heap; /* V ids: candidates under truncation */
};

size_t ap_sampler_n_block(int n_vocab);

/* The settings within their ranges, or AP_INVALID. */
ap_status ap_sampling_check(const struct ap_sampling *sampling, struct ap_error *err);

/* Inverse CDF: the token on whose share of the mass `uniform` in [0, 1) falls, tokens standing in
 * the order of their ids, under truncation in the order of their probabilities (equal ones by id).
 * top_k keeps k tokens, then top_p the fewest of those left whose share reaches p, then min_p those
 * whose probability is at least min_p of the largest; in the order of transformers, and as it does,
 * but for a tie at the k-th place, where the lowest ids stay. temperature 0: the largest
 * logit, of equal ones the lowest id; uniform is not read. A row with NaN gives some id: the caller
 * sees it in the log-probability. */
int32_t ap_sample_token(const float *logits, int n_vocab, const struct ap_sampling *sampling,
                        double uniform, const struct ap_sampler_scratch *scratch);

/* The repetition penalty of CTRL (arXiv 1909.05858), as transformers applies it, before everything
 * else: the logits of n ids, each taken once however often it stands there, are divided by the
 * penalty where they are positive and multiplied where not. saved[n] gets what they were. */
void ap_penalise(float *logits, const int32_t *ids, int n, double penalty, float *saved);
/* Undoes it. */
void ap_unpenalise(float *logits, const int32_t *ids, int n, const float *saved);

#endif
