/* Keys of clients: making, checking, reloading, rates, and files that are refused. */
#include "serve/keys.h"

#include "base/file.h"

#include "check.h"

#include <sys/stat.h>

static char path[64];

static int set_up(void **state)
{
    (void)state;
    char dir[] = "/tmp/alignpro-keys-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/keys", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    return rmdir(path);
}

static void write_bytes(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    fwrite(text, 1, n, f);
    fclose(f);
    chmod(path, 0600);
}

static void write_file(const char *text)
{
    write_bytes(text, strlen(text));
}

static ap_key_answer check(struct ap_keys *k, const char *key, double now)
{
    char name[AP_KEY_NAME_MAX];
    double retry;
    return ap_keys_check(k, key, true, now, name, &retry);
}

static void test_make_and_check(void **state)
{
    struct ap_error err;
    struct ap_keys *k;
    struct stat info;
    char ada[AP_KEY_TEXT_MAX], bob[AP_KEY_TEXT_MAX], name[AP_KEY_NAME_MAX] = "", text[512] = "";
    double retry;
    (void)state;
    check_ok(ap_keys_make(path, "ada", ada, &err), err);
    check_ok(ap_keys_make(path, "bob", bob, &err), err);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(strlen(ada), 3 + 64);
    assert_string_not_equal(ada, bob);
    FILE *f = fopen(path, "r");
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    assert_null(strstr(text, ada + 3)); /* the hash stands there, not the key */
    check_ok(ap_keys_open(&k, path, &err), err);
    assert_int_equal(ap_keys_check(k, bob, true, 1, name, &retry), AP_KEY_KNOWN);
    assert_string_equal(name, "bob");
    assert_int_equal(check(k, ada, 1), AP_KEY_KNOWN);
    assert_int_equal(check(k, "", 1), AP_KEY_UNKNOWN);
    ada[5] = ada[5] == 'a' ? 'b' : 'a';
    assert_int_equal(check(k, ada, 1), AP_KEY_UNKNOWN);
    assert_int_equal(ap_keys_make(path, "bob", ada, &err), AP_INVALID);
    check_holds(err.text, "bob has a key already");
    assert_int_equal(ap_keys_make(path, "a b", ada, &err), AP_INVALID);
    ap_keys_close(k);
}

/* "secret" */
#define SECRET "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define OTHER "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25c"

static void test_reload(void **state)
{
    struct ap_error err;
    struct ap_keys *k;
    (void)state;
    write_file("# people\n\nada " SECRET " # hers\n");
    check_ok(ap_keys_open(&k, path, &err), err);
    assert_int_equal(check(k, "secret", 1), AP_KEY_KNOWN);
    write_file("ada nonsense\n");
    assert_int_equal(ap_keys_reload(k, &err), AP_FORMAT);
    check_holds(err.text, ":1: is no key");
    assert_int_equal(check(k, "secret", 1), AP_KEY_KNOWN); /* as before */
    write_file("ada " OTHER);
    check_ok(ap_keys_reload(k, &err), err);
    assert_int_equal(check(k, "secret", 1), AP_KEY_UNKNOWN);
    write_file("");
    check_ok(ap_keys_reload(k, &err), err);
    assert_int_equal(check(k, "secret", 1), AP_KEY_UNKNOWN);
    ap_keys_close(k);
}

static void test_rate(void **state)
{
    struct ap_error err;
    struct ap_keys *k;
    char name[AP_KEY_NAME_MAX];
    double retry = 0;
    (void)state;
    write_file("ada " SECRET " 12\n"); /* one in five seconds, two at once */
    check_ok(ap_keys_open(&k, path, &err), err);
    assert_int_equal(check(k, "secret", 100), AP_KEY_KNOWN);
    assert_int_equal(check(k, "secret", 100), AP_KEY_KNOWN);
    assert_int_equal(ap_keys_check(k, "secret", true, 101, name, &retry), AP_KEY_LIMITED);
    check_near(retry, 4, 1e-9, 0);
    check_ok(ap_keys_reload(k, &err), err);
    assert_int_equal(check(k, "secret", 101), AP_KEY_LIMITED); /* a reload fills nothing */
    assert_int_equal(ap_keys_check(k, "secret", false, 101, name, &retry), AP_KEY_KNOWN);
    assert_int_equal(check(k, "secret", 105.1), AP_KEY_KNOWN);
    assert_int_equal(check(k, "secret", 105.2), AP_KEY_LIMITED);
    assert_int_equal(check(k, "secret", 1e6), AP_KEY_KNOWN);
    assert_int_equal(check(k, "secret", 1e6), AP_KEY_KNOWN);
    assert_int_equal(check(k, "secret", 1e6), AP_KEY_LIMITED); /* never more than the burst */
    ap_keys_close(k);
}

static void test_refuses(void **state)
{
    static const char *const files[] = {"ada\n",
                                        "ada 2bb8\n",
                                        "ada " SECRET " x\n",
                                        "ada " SECRET " -1\n",
                                        "ada " SECRET " 1 2\n",
                                        "ada " SECRET "\nada " OTHER "\n",
                                        "a/b " SECRET "\n"};
    struct ap_error err;
    struct ap_keys *k;
    (void)state;
    for (size_t i = 0; i < AP_LEN(files); i++) {
        write_file(files[i]);
        assert_int_equal(ap_keys_open(&k, path, &err), AP_FORMAT);
        assert_null(k);
    }
    static const char nul[] = "ada " SECRET "\0 6\nbob " OTHER "\n"; /* no rate, and no bob */
    write_bytes(nul, sizeof(nul) - 1);
    assert_int_equal(ap_keys_open(&k, path, &err), AP_FORMAT);
    write_file("ada " SECRET "\n");
    chmod(path, 0620);
    assert_int_equal(ap_keys_open(&k, path, &err), AP_INVALID);
    check_holds(err.text, "chmod 600");
    unlink(path);
    assert_int_equal(ap_keys_open(&k, path, &err), AP_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_make_and_check, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
