/* CRC-32C against the values of RFC 3720, B.4, and the check value of its polynomial. */
#include "base/crc32c.h"
#include "check.h"

static void test_known_values(void **state)
{
    (void)state;
    unsigned char bytes[32];
    assert_int_equal(ap_crc32c("", 0), 0);
    assert_int_equal(ap_crc32c("123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(ap_crc32c(bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(ap_crc32c(bytes, sizeof(bytes)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(ap_crc32c(bytes, sizeof(bytes)), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(ap_crc32c(bytes, sizeof(bytes)), 0x113fdb5c);
}

/* Every bit counts, wherever it stands. */
static void test_one_bit_changes_it(void **state)
{
    (void)state;
    unsigned char bytes[21] = "twenty bytes and one";
    uint32_t whole = ap_crc32c(bytes, sizeof(bytes));
    for (size_t i = 0; i < 8 * sizeof(bytes); i++) {
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        assert_int_not_equal(ap_crc32c(bytes, sizeof(bytes)), whole);
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_one_bit_changes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
