/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC'11),
 * checked against the known answers of Random123. Entry points: ap_random_init and the draws.
 *
 *     key      = words 0, 1 of philox(key = seed, counter = stage, step, sample, 0)
 *     counter  = block (64 bits) | record xor words 2, 3
 *
 * For one seed the inner block is a bijection, so two streams meet only when 64 random bits agree.
 */
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void ap_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t fnv1a(const void *data, size_t n)
{
    const unsigned char *bytes = data;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

uint64_t ap_hash(const void *data, size_t n)
{
    uint64_t hash =
        fnv1a(data, n); /* then the finaliser of MurmurHash3: FNV's high bits are weak */
    hash = (hash ^ hash >> 33) * 0xFF51AFD7ED558CCDu;
    hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53u;
    return hash ^ hash >> 33;
}

uint32_t ap_stream_stage(const char *name)
{
    uint64_t hash = fnv1a(name, strlen(name));
    return (uint32_t)(hash ^ hash >> 32);
}

void ap_random_init(struct ap_random *r, const struct ap_stream *stream)
{
    uint32_t seed[2] = {(uint32_t)stream->seed, (uint32_t)(stream->seed >> 32)};
    uint32_t place[4] = {stream->stage, stream->step, stream->sample, 0}, mixed[4];
    ap_philox(place, seed, mixed);
    *r = (struct ap_random){
        .key = {mixed[0], mixed[1]},
        .counter = {0, 0, (uint32_t)stream->record ^ mixed[2],
                    (uint32_t)(stream->record >> 32) ^ mixed[3]},
    };
}

uint64_t ap_stream_seed(const struct ap_stream *stream)
{
    struct ap_random r;
    ap_random_init(&r, stream);
    const uint32_t state[4] = {r.key[0], r.key[1], r.counter[2], r.counter[3]};
    return ap_hash(state, sizeof(state)) >> 1;
}

uint32_t ap_random_u32(struct ap_random *r)
{
    if (r->n_left == 0) {
        ap_philox(r->counter, r->key, r->block);
        if (++r->counter[0] == 0)
            r->counter[1]++;
        r->n_left = 4;
    }
    return r->block[4 - r->n_left--];
}

double ap_random_uniform(struct ap_random *r)
{
    uint64_t high = ap_random_u32(r) >> 5, low = ap_random_u32(r) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

/* Box–Muller, one of the pair: a second value kept would make draws depend on their order. */
double ap_random_normal(struct ap_random *r)
{
    double radius = sqrt(-2.0 * log(1.0 - ap_random_uniform(r)));
    return radius * cos(2.0 * M_PI * ap_random_uniform(r));
}

/* Lemire, Fast random integer generation in an interval (2019). */
uint32_t ap_random_below(struct ap_random *r, uint32_t n)
{
    assert(n > 0);
    uint64_t product = (uint64_t)ap_random_u32(r) * n;
    if ((uint32_t)product < n) {
        uint32_t least = -n % n; /* 2^32 mod n */
        while ((uint32_t)product < least)
            product = (uint64_t)ap_random_u32(r) * n;
    }
    return (uint32_t)(product >> 32);
}

void ap_random_shuffle(struct ap_random *r, int32_t *index, int32_t n)
{
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)ap_random_below(r, (uint32_t)i + 1), kept = index[i];
        index[i] = index[j];
        index[j] = kept;
    }
}
