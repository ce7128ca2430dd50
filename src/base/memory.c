/* The heap with overflow checks and a count, and arenas on anonymous pages. Entry points:
 * ap_calloc, ap_realloc, ap_free, ap_arena_init, ap_arena_take. */
#include "base/memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT ((size_t)64) /* a cache line, and the widest vector */
#define PAGE ((size_t)4096)
#define OWN_PAGES ((size_t)256 << 10) /* from here on the C library maps a block of its own */

static _Atomic uint64_t n_allocations;

uint64_t ap_memory_n_allocations(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}

void *ap_calloc(size_t n, size_t size)
{
    size_t bytes;
    void *p = NULL;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    if (posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1) != 0)
        return NULL;
    memset(p, 0, bytes ? bytes : 1);
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return p;
}

/* x rounded up, SIZE_MAX when it overflows. */
static size_t round_up(size_t x, size_t unit)
{
    return __builtin_add_overflow(x, unit - 1, &x) ? SIZE_MAX : x / unit * unit;
}

size_t ap_calloc_bytes(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) ||
        __builtin_add_overflow(bytes, 2 * sizeof(size_t) + ALIGNMENT, &bytes)) /* its header */
        return SIZE_MAX;
    return round_up(bytes, bytes < OWN_PAGES ? ALIGNMENT : PAGE);
}

void *ap_realloc(void *p, size_t old_n, size_t n, size_t size)
{
    void *grown = ap_calloc(n, size);
    if (!grown)
        return NULL;
    size_t kept = old_n < n ? old_n : n;
    if (p && kept)
        memcpy(grown, p, kept * size);
    free(p);
    return grown;
}

void ap_free(void *p)
{
    free(p);
}

char *ap_strndup(const char *text, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = ap_calloc(n + 1, 1);
    if (copy && n)
        memcpy(copy, text, n);
    return copy;
}

char *ap_strdup(const char *text)
{
    return ap_strndup(text, strlen(text));
}

size_t ap_arena_bytes(size_t size)
{
    return round_up(size ? size : 1, PAGE);
}

/* All pages now: by the kernel in one call, by touching each where it is older than that call. */
static void take_pages(unsigned char *base, size_t size)
{
    madvise(base, size, MADV_HUGEPAGE); /* only a hint: an old kernel may refuse it */
#ifdef MADV_POPULATE_WRITE
    if (madvise(base, size, MADV_POPULATE_WRITE) == 0)
        return;
#endif
    for (size_t i = 0; i < size; i += PAGE)
        ((volatile unsigned char *)base)[i] = 0;
}

ap_status ap_arena_init(struct ap_arena *arena, size_t size, const char *name, struct ap_error *err)
{
    *arena = (struct ap_arena){0};
    size_t mapped = size ? size : 1;
    void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return ap_fail(
            err, AP_MEMORY,
            "%s: no memory for %zu bytes (%.1f MiB); free some, or lower the batch or the "
            "context",
            name, size, (double)size / 1048576.0);
    take_pages(base, mapped);
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    arena->base = base;
    arena->size = size;
    return AP_OK;
}

void *ap_arena_take(struct ap_arena *arena, size_t n, size_t size)
{
    size_t bytes, start, end;
    assert(arena->base);
    if (__builtin_mul_overflow(n, size, &bytes) ||
        __builtin_add_overflow(arena->used, ALIGNMENT - 1, &start))
        return NULL;
    start &= ~(ALIGNMENT - 1);
    if (__builtin_add_overflow(start, bytes, &end) || end > arena->size)
        return NULL;
    arena->used = end;
    if (end > arena->peak)
        arena->peak = end;
    return arena->base + start;
}

size_t ap_arena_mark(const struct ap_arena *arena)
{
    return arena->used;
}

void ap_arena_rewind(struct ap_arena *arena, size_t mark)
{
    assert(mark <= arena->used);
    arena->used = mark;
}

void ap_arena_free(struct ap_arena *arena)
{
    if (arena->base)
        munmap(arena->base, arena->size ? arena->size : 1);
    *arena = (struct ap_arena){0};
}
