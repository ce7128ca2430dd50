/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11). A stream is a pure function
 * of its key, so a result never depends on batching, threads or where a run was interrupted. */
#ifndef AP_BASE_RANDOM_H
#define AP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What a stream belongs to. `record` is the record's own number, never its row in a batch. */
struct ap_stream {
    uint64_t seed;
    uint32_t stage; /* ap_stream_stage("align") */
    uint32_t step;
    uint64_t record;
    uint32_t sample;
};

struct ap_random {
    uint32_t key[2], counter[4];
    uint32_t block[4];
    int n_left; /* words of block not yet handed out */
};

/* One block of Philox4x32-10: the generator itself. */
void ap_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A small number for a stage's name (FNV-1a, folded). */
uint32_t ap_stream_stage(const char *name);
/* The stream as one number of 63 bits, for generators that are not ours: two streams meet when 63
 * random bits agree. */
uint64_t ap_stream_seed(const struct ap_stream *stream);
void ap_random_init(struct ap_random *r, const struct ap_stream *stream);
uint32_t ap_random_u32(struct ap_random *r);
double ap_random_uniform(struct ap_random *r);             /* [0, 1), 53 bits */
double ap_random_normal(struct ap_random *r);              /* mean 0, variance 1 */
uint32_t ap_random_below(struct ap_random *r, uint32_t n); /* 0 … n−1 without bias; n > 0 */
/* Fisher–Yates on an index array. */
void ap_random_shuffle(struct ap_random *r, int32_t *index, int32_t n);

/* 64-bit FNV-1a with a final mix: splits and names, not security. */
uint64_t ap_hash(const void *data, size_t n);

#endif
