/* Rewrites that were made before, by what was rewritten; those not asked for the longest go when a
 * limit of bytes is reached. One thread's. */
#ifndef AP_PIPELINE_SERVE_CACHE_H
#define AP_PIPELINE_SERVE_CACHE_H

#include "alignpro/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AP_CACHE_KEY 32

struct ap_cached_rewrite {
    const char *text, *why; /* borrowed: copied by put, from find until the next call */
    const char *guard;      /* static */
    bool ended;
};

struct ap_serve_cache;
/* max_bytes: of the process's memory, its own table included; 0: it keeps nothing. */
ap_status ap_serve_cache_open(struct ap_serve_cache **out, size_t max_bytes, struct ap_error *err);
void ap_serve_cache_close(struct ap_serve_cache *c); /* NULL is fine */

/* Of a whole conversation: SHA-256 of roles and contents with their lengths. */
void ap_serve_cache_key(unsigned char key[AP_CACHE_KEY], const struct ap_message *messages,
                        size_t n_message);
bool ap_serve_cache_find(struct ap_serve_cache *c, const unsigned char key[AP_CACHE_KEY],
                         struct ap_cached_rewrite *out);
/* What does not fit, or finds no memory, is not kept. */
void ap_serve_cache_put(struct ap_serve_cache *c, const unsigned char key[AP_CACHE_KEY],
                        const struct ap_cached_rewrite *rewrite);
void ap_serve_cache_counts(const struct ap_serve_cache *c, int64_t *n, int64_t *bytes);

#endif
