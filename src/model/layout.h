/* Laying buffers out in one arena: the same function runs twice, first to add the sizes up, then to
 * take the memory. */
#ifndef AP_MODEL_LAYOUT_H
#define AP_MODEL_LAYOUT_H

#include "base/memory.h"

#include <stdbool.h>

struct ap_layout {
    struct ap_arena *arena; /* NULL while sizes are added up */
    size_t size;            /* bytes so far */
    bool overflow;
};

static inline void *ap_layout_take(struct ap_layout *l, size_t n, size_t size)
{
    size_t bytes;
    if (l->arena)
        return ap_arena_take(l->arena, n, size);
    if (__builtin_mul_overflow(n, size, &bytes) || __builtin_add_overflow(bytes, 127, &bytes) ||
        __builtin_add_overflow(l->size, bytes / 64 * 64, &l->size))
        l->overflow = true;
    return NULL;
}

static inline float *ap_layout_floats(struct ap_layout *l, size_t n_row, size_t width)
{
    return ap_layout_take(l, n_row * width, sizeof(float));
}

/* Bytes of memory that an arena for what was added up takes; SIZE_MAX when it is past counting. */
static inline size_t ap_layout_bytes(const struct ap_layout *l)
{
    return l->overflow ? SIZE_MAX : ap_arena_bytes(l->size);
}

/* The arena for what was added up. */
static inline ap_status ap_layout_commit(struct ap_layout *l, struct ap_arena *arena,
                                         const char *name, struct ap_error *err)
{
    if (l->overflow)
        return ap_fail(err, AP_LIMIT, "%s: its size passes what memory can hold", name);
    l->arena = arena;
    return ap_arena_init(arena, l->size, name, err);
}

#endif
