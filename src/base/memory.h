/* Heap allocation with overflow checks, and arenas for what lives as long as a model or a step.
 * Not here: device memory (tensor/). */
#ifndef AP_BASE_MEMORY_H
#define AP_BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* n elements of size bytes, zeroed, 64-byte aligned; NULL when n*size overflows or memory is out.
 * n = 0 gives a valid pointer. Freed with ap_free (which takes NULL). */
void *ap_calloc(size_t n, size_t size);
/* Bytes of the process's memory that such a block takes; SIZE_MAX when n*size overflows. */
size_t ap_calloc_bytes(size_t n, size_t size);
/* Of two counts of bytes, SIZE_MAX when either is or the sum passes it. */
static inline size_t ap_sum_bytes(size_t a, size_t b)
{
    return __builtin_add_overflow(a, b, &a) ? SIZE_MAX : a;
}
/* Grow p (from ap_calloc/ap_realloc or NULL) from old_n to n elements; the new ones are zeroed.
 * NULL on failure, p then untouched. */
void *ap_realloc(void *p, size_t old_n, size_t n, size_t size);
void ap_free(void *p);
/* Copy of n bytes of text, terminated; of a C string. */
char *ap_strndup(const char *text, size_t n);
char *ap_strdup(const char *text);

/* Allocations made through this file since the process began: a test asserts that a training or
 * decode step does not move it. Atomic; the project's only file-scope counter. */
uint64_t ap_memory_n_allocations(void);

/* One block, bump-allocated. All pointers taken from it die with it. Its pages are taken from the
 * system at once, so that a run that has begun has what it was planned with
 * (docs/decisions/0005-memory.md). */
struct ap_arena {
    unsigned char *base; /* owned; page-aligned; NULL before init */
    size_t size, used;   /* bytes */
    size_t peak;         /* the most `used` has been, bytes */
};

ap_status ap_arena_init(struct ap_arena *arena, size_t size, const char *name,
                        struct ap_error *err);
/* Bytes of the process's memory that an arena of this size takes. */
size_t ap_arena_bytes(size_t size);
/* 64-byte aligned, zeroed at first, NOT after a rewind; NULL when it does not fit. */
void *ap_arena_take(struct ap_arena *arena, size_t n, size_t size);
size_t ap_arena_mark(const struct ap_arena *arena);
void ap_arena_rewind(struct ap_arena *arena, size_t mark);
void ap_arena_free(struct ap_arena *arena);

#endif
