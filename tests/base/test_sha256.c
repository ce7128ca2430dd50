/* SHA-256 against the examples of FIPS 180-4, whole and in pieces. */
#include "base/sha256.h"

#include "check.h"

static void check_digest(const void *data, size_t n, size_t piece, const char *want)
{
    struct ap_sha256 s;
    unsigned char digest[32];
    char hex[AP_SHA256_HEX];
    ap_sha256_init(&s);
    for (size_t at = 0; at < n; at += piece)
        ap_sha256_add(&s, (const char *)data + at, n - at < piece ? n - at : piece);
    ap_sha256_end(&s, digest);
    ap_sha256_hex(digest, hex);
    assert_string_equal(hex, want);
}

static void test_examples(void **state)
{
    (void)state;
    static char many[1000000];
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    memset(many, 'a', sizeof(many));
    for (size_t piece = 1; piece < 200; piece += 31) {
        check_digest("", 0, piece,
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check_digest("abc", 3, piece,
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check_digest(two, strlen(two), piece,
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        check_digest(many, sizeof(many), piece,
                     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}

static void test_base64(void **state)
{
    (void)state;
    struct ap_sha256 s;
    unsigned char digest[32];
    char text[AP_SHA256_BASE64];
    ap_sha256_init(&s);
    ap_sha256_add(&s, "abc", 3);
    ap_sha256_end(&s, digest);
    ap_sha256_base64(digest, text);
    assert_string_equal(text, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
