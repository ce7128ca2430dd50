/* The cache of rewrites (serve_cache.h): a table of chains, and one list of all entries.
 *
 *     first (asked for last) ⇄ … ⇄ last (goes next)
 */
#include "pipeline/serve_cache.h"

#include "base/memory.h"
#include "base/sha256.h"

#include <string.h>

enum { BYTES_PER_CHAIN = 512, CHAINS_MOST = 1 << 16 };

struct entry {
    unsigned char key[AP_CACHE_KEY];
    struct entry *chained, *newer, *older;
    struct ap_cached_rewrite rewrite; /* its texts stand behind the entry */
    size_t bytes;
};

struct ap_serve_cache {
    size_t max, used; /* bytes */
    int64_t n;
    struct entry **chains; /* n_chain, a power of two; NULL: nothing is kept */
    size_t n_chain;
    struct entry *first, *last;
};

ap_status ap_serve_cache_open(struct ap_serve_cache **out, size_t max_bytes, struct ap_error *err)
{
    struct ap_serve_cache *c = ap_calloc(1, sizeof(*c));
    *out = NULL;
    if (!c)
        return ap_fail(err, AP_MEMORY, "the cache of rewrites: out of memory");
    c->max = max_bytes;
    for (c->n_chain = 1; c->n_chain < CHAINS_MOST && c->n_chain < max_bytes / BYTES_PER_CHAIN;)
        c->n_chain *= 2;
    c->used = ap_sum_bytes(ap_calloc_bytes(1, sizeof(*c)),
                           ap_calloc_bytes(c->n_chain, sizeof(struct entry *)));
    if (c->used <= c->max && !(c->chains = ap_calloc(c->n_chain, sizeof(struct entry *)))) {
        ap_free(c);
        return ap_fail(err, AP_MEMORY, "the cache of rewrites: out of memory");
    }
    *out = c;
    return AP_OK;
}

void ap_serve_cache_close(struct ap_serve_cache *c)
{
    if (!c)
        return;
    for (struct entry *e = c->first, *older; e; e = older) {
        older = e->older;
        ap_free(e);
    }
    ap_free(c->chains);
    ap_free(c);
}

static void add_text(struct ap_sha256 *s, const char *text)
{
    uint64_t n = strlen(text);
    ap_sha256_add(s, &n, sizeof(n));
    ap_sha256_add(s, text, (size_t)n);
}

void ap_serve_cache_key(unsigned char key[AP_CACHE_KEY], const struct ap_message *messages,
                        size_t n_message)
{
    struct ap_sha256 s;
    ap_sha256_init(&s);
    for (size_t i = 0; i < n_message; i++) {
        add_text(&s, messages[i].role);
        add_text(&s, messages[i].content);
    }
    ap_sha256_end(&s, key);
}

/* The place that points, or would point, to the entry of that key. */
static struct entry **place_of(struct ap_serve_cache *c, const unsigned char *key)
{
    uint64_t hash;
    memcpy(&hash, key, sizeof(hash));
    struct entry **place = &c->chains[hash & (c->n_chain - 1)];
    while (*place && memcmp((*place)->key, key, AP_CACHE_KEY) != 0)
        place = &(*place)->chained;
    return place;
}

static void unlink_entry(struct ap_serve_cache *c, struct entry *e)
{
    *(e->newer ? &e->newer->older : &c->first) = e->older;
    *(e->older ? &e->older->newer : &c->last) = e->newer;
}

static void put_first(struct ap_serve_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->first;
    *(c->first ? &c->first->newer : &c->last) = e;
    c->first = e;
}

bool ap_serve_cache_find(struct ap_serve_cache *c, const unsigned char key[AP_CACHE_KEY],
                         struct ap_cached_rewrite *out)
{
    struct entry *e = c->chains ? *place_of(c, key) : NULL;
    if (!e)
        return false;
    unlink_entry(c, e);
    put_first(c, e);
    *out = e->rewrite;
    return true;
}

static void drop_last(struct ap_serve_cache *c)
{
    struct entry *e = c->last;
    *place_of(c, e->key) = e->chained;
    unlink_entry(c, e);
    c->used -= e->bytes;
    c->n--;
    ap_free(e);
}

void ap_serve_cache_put(struct ap_serve_cache *c, const unsigned char key[AP_CACHE_KEY],
                        const struct ap_cached_rewrite *rewrite)
{
    const size_t n_text = strlen(rewrite->text) + 1, n_why = strlen(rewrite->why) + 1;
    const size_t size = ap_sum_bytes(sizeof(struct entry), ap_sum_bytes(n_text, n_why));
    const size_t bytes = ap_calloc_bytes(1, size);
    if (!c->chains || *place_of(c, key) || bytes > c->max)
        return;
    while (c->last && ap_sum_bytes(c->used, bytes) > c->max)
        drop_last(c);
    struct entry *e = ap_sum_bytes(c->used, bytes) > c->max ? NULL : ap_calloc(1, size);
    if (!e)
        return;
    char *texts = (char *)(e + 1);
    memcpy(e->key, key, AP_CACHE_KEY);
    memcpy(texts, rewrite->text, n_text);
    memcpy(texts + n_text, rewrite->why, n_why);
    e->rewrite = (struct ap_cached_rewrite){texts, texts + n_text, rewrite->guard, rewrite->ended};
    e->bytes = bytes;
    *place_of(c, key) = e;
    put_first(c, e);
    c->used += bytes;
    c->n++;
}

void ap_serve_cache_counts(const struct ap_serve_cache *c, int64_t *n, int64_t *bytes)
{
    *n = c->n;
    *bytes = c->chains ? (int64_t)c->used : 0;
}
