/* The rollout table: appending, limits, who owns the texts. */
#include "align/rollout.h"
#include "base/memory.h"
#include "check.h"

static const int32_t ids[] = {5, 6, 7, 8};

static void test_rows_stand_one_after_another(void **state)
{
    (void)state;
    struct ap_rollout r;
    struct ap_error err;
    check_ok(ap_rollout_init(&r, 3, 6, &err), err);
    check_ok(ap_rollout_add(&r, 4, 40, 0, ids, 2, true, ap_strdup("one"), &err), err);
    check_ok(ap_rollout_add(&r, 4, 40, 1, ids + 1, 3, false, NULL, &err), err);
    assert_int_equal(r.n_row, 2);
    assert_int_equal(r.n_token, 5);
    assert_int_equal(r.rows[1].first, 2);
    assert_int_equal(r.rows[1].sample, 1);
    assert_int_equal(r.rows[0].record, 40);
    assert_true(r.rows[0].ended && !r.rows[1].ended);
    assert_int_equal(r.ids[2], 6);
    assert_string_equal(r.rows[0].text, "one");
    ap_rollout_clear(&r);
    assert_int_equal(r.n_row, 0);
    assert_int_equal(r.n_token, 0);
    assert_null(r.rows[0].text);
    ap_rollout_free(&r);
    ap_rollout_free(&r); /* once more does no harm */
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct ap_rollout r;
    struct ap_error err;
    check_ok(ap_rollout_init(&r, 2, 5, &err), err);
    check_ok(ap_rollout_add(&r, 0, 0, 0, ids, 3, true, NULL, &err), err);
    assert_int_equal(ap_rollout_add(&r, 0, 0, 1, ids, 3, true, ap_strdup("too long"), &err),
                     AP_LIMIT);
    check_holds(err.text, "a row of 3 tokens does not fit");
    assert_int_equal(ap_rollout_add(&r, 0, 0, 1, ids, 0, true, NULL, &err), AP_INVALID);
    check_ok(ap_rollout_add(&r, 0, 0, 1, ids, 2, true, NULL, &err), err);
    assert_int_equal(ap_rollout_add(&r, 0, 0, 2, ids, 1, true, NULL, &err), AP_LIMIT);
    assert_int_equal(r.n_row, 2);
    ap_rollout_free(&r);
}

static void test_init_checks_its_sizes(void **state)
{
    (void)state;
    struct ap_rollout r;
    struct ap_error err;
    assert_int_equal(ap_rollout_init(&r, 0, 5, &err), AP_INVALID);
    assert_int_equal(ap_rollout_init(&r, 4, SIZE_MAX / 2, &err), AP_MEMORY);
    check_holds(err.text, "out of memory");
    assert_null(r.rows);
}

static void test_a_step_allocates_nothing_but_texts(void **state)
{
    (void)state;
    struct ap_rollout r;
    struct ap_error err;
    check_ok(ap_rollout_init(&r, 2, 8, &err), err);
    uint64_t before = ap_memory_n_allocations();
    for (int step = 0; step < 5; step++) {
        ap_rollout_clear(&r);
        check_ok(ap_rollout_add(&r, 0, 0, 0, ids, 4, true, NULL, &err), err);
        check_ok(ap_rollout_add(&r, 0, 0, 1, ids, 4, true, NULL, &err), err);
    }
    assert_int_equal(ap_memory_n_allocations(), before);
    ap_rollout_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_stand_one_after_another),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
        cmocka_unit_test(test_init_checks_its_sizes),
        cmocka_unit_test(test_a_step_allocates_nothing_but_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
