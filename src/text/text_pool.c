/* A list of blocks that strings are cut from. Entry points: ap_text_pool_take, _copy, _mark,
 * _rewind, _free. */
#include "text/text_pool.h"

#include "base/memory.h"

#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)1 << 16)
#define ALIGNMENT ((size_t)16)

struct ap_text_pool_block {
    struct ap_text_pool_block *next;
    size_t used, size; /* bytes of data */
    _Alignas(16) char data[];
};

void *ap_text_pool_take(struct ap_text_pool *pool, size_t n)
{
    struct ap_text_pool_block *b = pool->head;
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (!b || b->size - b->used < n) {
        size_t size = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        struct ap_text_pool_block *fresh = ap_calloc(sizeof(*fresh) + size, 1);
        if (!fresh)
            return NULL;
        fresh->size = size;
        fresh->next = b;
        pool->head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

char *ap_text_pool_copy(struct ap_text_pool *pool, const char *text, size_t n)
{
    char *copy = n < SIZE_MAX / 2 ? ap_text_pool_take(pool, n + 1) : NULL;
    if (copy && n)
        memcpy(copy, text, n);
    return copy;
}

void ap_text_pool_free(struct ap_text_pool *pool)
{
    while (pool->head) {
        struct ap_text_pool_block *next = pool->head->next;
        ap_free(pool->head);
        pool->head = next;
    }
}

struct ap_text_pool_mark ap_text_pool_mark(const struct ap_text_pool *pool)
{
    return (struct ap_text_pool_mark){pool->head, pool->head ? pool->head->used : 0};
}

void ap_text_pool_rewind(struct ap_text_pool *pool, struct ap_text_pool_mark mark)
{
    while (pool->head != mark.head) {
        struct ap_text_pool_block *next = pool->head->next;
        ap_free(pool->head);
        pool->head = next;
    }
    if (!mark.head || mark.used == mark.head->used)
        return;
    memset(mark.head->data + mark.used, 0, mark.head->used - mark.used);
    mark.head->used = mark.used;
}
