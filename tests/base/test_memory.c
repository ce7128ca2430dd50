/* The heap, arenas, and the buffer that grows on the heap: alignment, zeroing, overflow, ceilings,
 * failures. */
#include "check.h"

#include "base/buffer.h"
#include "base/faults.h"
#include "base/memory.h"

static int clear_faults(void **state)
{
    (void)state;
    faults.memory.after = -1;
    return 0;
}

static bool is_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void test_heap_is_zeroed_and_aligned(void **state)
{
    (void)state;
    uint64_t before = ap_memory_n_allocations();
    unsigned char *p = ap_calloc(33, 7);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_true(is_zero(p, 33 * 7));
    assert_int_equal(ap_memory_n_allocations(), before + 1);
    void *none = ap_calloc(0, 8);
    assert_non_null(none);
    ap_free(none);
    ap_free(p);
    ap_free(NULL);
    assert_null(ap_calloc(SIZE_MAX / 2, 3));
    assert_null(ap_calloc(SIZE_MAX, 1));
}

static void test_realloc_keeps_and_zeroes(void **state)
{
    (void)state;
    uint32_t *p = ap_realloc(NULL, 0, 10, sizeof(*p));
    for (uint32_t i = 0; i < 10; i++)
        p[i] = i + 1;
    p = ap_realloc(p, 10, 1000, sizeof(*p));
    assert_int_equal((uintptr_t)p % 64, 0);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(p[i], i + 1);
    assert_true(is_zero((unsigned char *)(p + 10), 990 * sizeof(*p)));
    assert_null(ap_realloc(p, 1000, SIZE_MAX, sizeof(*p)));
    assert_int_equal(p[9], 10); /* untouched by the failure */
    p = ap_realloc(p, 1000, 3, sizeof(*p));
    assert_int_equal(p[2], 3);
    ap_free(p);
}

static void test_copies_of_text(void **state)
{
    (void)state;
    char *part = ap_strndup("abcdef", 3), *whole = ap_strdup("abcdef");
    assert_string_equal(part, "abc");
    assert_string_equal(whole, "abcdef");
    ap_free(part);
    ap_free(whole);
    assert_null(ap_strndup("", SIZE_MAX));
}

static void test_arena(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_arena arena;
    check_ok(ap_arena_init(&arena, 4096, "scratch", &err), err);
    uint64_t before = ap_memory_n_allocations();
    unsigned char *a = ap_arena_take(&arena, 10, 1);
    size_t mark = ap_arena_mark(&arena);
    unsigned char *b = ap_arena_take(&arena, 100, 8);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal(b - a, 64);
    assert_true(is_zero(b, 800));
    assert_null(ap_arena_take(&arena, 4096, 1));
    assert_null(ap_arena_take(&arena, SIZE_MAX, 2));
    assert_null(ap_arena_take(&arena, SIZE_MAX - 32, 1));
    assert_int_equal(arena.used, 864);
    ap_arena_rewind(&arena, mark);
    assert_ptr_equal(ap_arena_take(&arena, 1, 1), b);
    assert_int_equal(arena.peak, 864);
    assert_non_null(ap_arena_take(&arena, 4096 - 128, 1)); /* to the last byte */
    assert_null(ap_arena_take(&arena, 1, 1));
    assert_int_equal(ap_memory_n_allocations(), before);
    ap_arena_free(&arena);
    ap_arena_free(&arena);
}

static void test_arena_too_large(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_arena arena;
    assert_int_equal(ap_arena_init(&arena, (size_t)1 << 62, "the tape", &err), AP_MEMORY);
    check_holds(err.text, "the tape: no memory for 4611686018427387904 bytes");
    check_holds(err.text, "lower the batch");
    ap_arena_free(&arena);
}

static void test_buffer(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer b = {0};
    for (int i = 0; i < 500; i++)
        check_ok(ap_buffer_printf(&b, &err, "%03d,", i), err);
    assert_int_equal(b.len, 2000);
    assert_int_equal(b.data[2000], 0);
    assert_memory_equal(b.data + 1996, "499,", 4);
    check_ok(ap_buffer_append(&b, "\0x", 2, &err), err);
    assert_int_equal(b.len, 2002);
    size_t cap = b.cap;
    ap_buffer_clear(&b);
    assert_int_equal(b.cap, cap);
    check_ok(ap_buffer_puts(&b, "again", &err), err);
    assert_string_equal(b.data, "again");
    ap_buffer_free(&b);
    ap_buffer_free(&b);
}

static void test_buffer_ceiling(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer b = {.max = 5};
    check_ok(ap_buffer_puts(&b, "12345", &err), err);
    assert_int_equal(ap_buffer_puts(&b, "6", &err), AP_LIMIT);
    check_holds(err.text, "limit of 5 bytes");
    assert_int_equal(ap_buffer_printf(&b, &err, "%d", 6), AP_LIMIT);
    assert_int_equal(ap_buffer_append(&b, "", SIZE_MAX, &err), AP_LIMIT);
    assert_string_equal(b.data, "12345");
    check_ok(ap_buffer_append(&b, NULL, 0, &err), err);
    ap_buffer_free(&b);
    assert_int_equal(ap_buffer_reserve(&b, 6, &err), AP_LIMIT);
    b.max = 0;
    assert_int_equal(ap_buffer_reserve(&b, AP_BUFFER_MAX + 1, &err), AP_LIMIT);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_buffer b = {0};
    check_ok(ap_buffer_puts(&b, "kept", &err), err);
    faults.memory = (struct fault){0, 0};
    assert_null(ap_calloc(1, 1));
    assert_null(ap_strdup("x"));
    assert_int_equal(ap_buffer_printf(&b, &err, "%0500d", 0), AP_MEMORY);
    check_holds(err.text, "no memory");
    assert_string_equal(b.data, "kept");
    ap_buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_is_zeroed_and_aligned),
        cmocka_unit_test(test_realloc_keeps_and_zeroes),
        cmocka_unit_test(test_copies_of_text),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_too_large),
        cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_buffer_ceiling),
        cmocka_unit_test_teardown(test_out_of_memory, clear_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
