/* The error record: one clean line, whatever is put into it. */
#include "check.h"

#include "base/error.h"

#include <errno.h>

static void test_status_and_text(void **state)
{
    (void)state;
    struct ap_error err;
    assert_int_equal(ap_fail(&err, AP_FORMAT, "%s: %d, expected %d", "f.json", 3, 4), AP_FORMAT);
    assert_int_equal(err.status, AP_FORMAT);
    assert_string_equal(err.text, "f.json: 3, expected 4");
    assert_int_equal(ap_fail(NULL, AP_LIMIT, "unseen"), AP_LIMIT);
    assert_string_equal(ap_status_text(AP_OK), "ok");
    assert_string_equal(ap_status_text(AP_LIMIT), "limit exceeded");
    assert_string_equal(ap_status_text((ap_status)999), "unknown status");
}

static void test_hostile_bytes_are_replaced(void **state)
{
    (void)state;
    struct ap_error err;
    ap_fail(&err, AP_FORMAT, "%s", "a\nb\r\033[31mc\x7f");
    assert_string_equal(err.text, "a?b??[31mc?");
    ap_fail(&err, AP_FORMAT, "%s", "\xC2\x9B|\xFF|\xE2\x82|\xED\xA0\x80"); /* C1, broken UTF-8 */
    assert_string_equal(err.text, "?|?|?|???");
    ap_fail(&err, AP_FORMAT, "%s", "na\xC3\xAFve \xEF\xBF\xBD \xF0\x9F\x98\x80");
    assert_string_equal(err.text, "na\xC3\xAFve \xEF\xBF\xBD \xF0\x9F\x98\x80");
}

static void test_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    struct ap_error err;
    char text[3001] = {0};
    for (int i = 0; i < 3000; i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    for (int shift = 0; shift < 2; shift++) {
        ap_fail(&err, AP_LIMIT, "%s%s", shift ? "x" : "", text);
        size_t n = strlen(err.text);
        assert_in_range(n, AP_ERROR_TEXT_MAX - 3, AP_ERROR_TEXT_MAX - 1);
        assert_string_equal(err.text + n - 3, "...");
        assert_memory_equal(err.text + n - 5, "\xC3\xA4", 2);
    }
}

static void test_prefix(void **state)
{
    (void)state;
    struct ap_error err;
    ap_fail(&err, AP_IO, "disk gone");
    assert_int_equal(ap_fail_prefix(&err, AP_FORMAT, "shard %d", 2), AP_IO);
    assert_string_equal(err.text, "shard 2: disk gone");
    err = (struct ap_error){0};
    assert_int_equal(ap_fail_prefix(&err, AP_MEMORY, "here"), AP_MEMORY);
    assert_string_equal(err.text, "here: out of memory");
    assert_int_equal(ap_fail_prefix(NULL, AP_BUSY, "x"), AP_BUSY);
    ap_fail(&err, AP_IO, "inner");
    ap_fail(&err, AP_IO, "outer (%s)", err.text); /* an argument inside the record itself */
    assert_string_equal(err.text, "outer (inner)");
}

static void test_errno(void **state)
{
    (void)state;
    struct ap_error err;
    assert_int_equal(ap_fail_errno(&err, ENOSPC, "%s: cannot write", "run.db"), AP_IO);
    assert_string_equal(err.text,
                        "run.db: cannot write: No space left on device; free some space or "
                        "choose another directory");
    assert_int_equal(ap_fail_errno(&err, ENOENT, "x"), AP_NOT_FOUND);
    assert_int_equal(ap_fail_errno(&err, ENOMEM, "x"), AP_MEMORY);
    assert_int_equal(ap_fail_errno(NULL, EIO, "x"), AP_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_and_text),
        cmocka_unit_test(test_hostile_bytes_are_replaced),
        cmocka_unit_test(test_long_text_is_cut_between_characters),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
