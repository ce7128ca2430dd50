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

#endif
