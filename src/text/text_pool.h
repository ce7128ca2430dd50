/* Strings that live and die together. */
#ifndef AP_TEXT_TEXT_POOL_H
#define AP_TEXT_TEXT_POOL_H

#include <stddef.h>

struct ap_text_pool_block; /* a piece of memory; the newest first */

struct ap_text_pool {
    struct ap_text_pool_block *head; /* owned */
};

/* n zeroed bytes, aligned for any struct; NULL when memory is out. */
void *ap_text_pool_take(struct ap_text_pool *pool, size_t n);
/* A terminated copy of n bytes. */
char *ap_text_pool_copy(struct ap_text_pool *pool, const char *text, size_t n);
void ap_text_pool_free(struct ap_text_pool *pool);

/* Where a pool stands, and back to there: what was taken since is gone, what was there stays. */
struct ap_text_pool_mark {
    struct ap_text_pool_block *head;
    size_t used;
};
struct ap_text_pool_mark ap_text_pool_mark(const struct ap_text_pool *pool);
void ap_text_pool_rewind(struct ap_text_pool *pool, struct ap_text_pool_mark mark);

#endif
