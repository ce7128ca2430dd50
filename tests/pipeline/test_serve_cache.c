/* The cache of rewrites: who is remembered, who goes, and that its limit holds. */
#include "check.h"

#include "base/error.h"
#include "base/random.h"
#include "pipeline/serve_cache.h"

#include <stdio.h>

static struct ap_serve_cache *open_cache(size_t max)
{
    struct ap_serve_cache *c;
    struct ap_error err;
    check_ok(ap_serve_cache_open(&c, max, &err), err);
    return c;
}

static void put(struct ap_serve_cache *c, const char *x, const char *text)
{
    unsigned char key[AP_CACHE_KEY];
    ap_serve_cache_key(key, &(struct ap_message){"user", x}, 1);
    ap_serve_cache_put(c, key,
                       &(struct ap_cached_rewrite){.text = text, .why = "w", .guard = "length"});
}

static const char *find(struct ap_serve_cache *c, const char *x)
{
    struct ap_cached_rewrite found;
    unsigned char key[AP_CACHE_KEY];
    ap_serve_cache_key(key, &(struct ap_message){"user", x}, 1);
    if (!ap_serve_cache_find(c, key, &found))
        return NULL;
    assert_string_equal(found.why, "w");
    assert_string_equal(found.guard, "length");
    return found.text;
}

static void test_keys(void **state)
{
    (void)state;
    static const struct ap_message talks[][2] = {{{"user", "ab"}, {"user", "c"}},
                                                 {{"user", "a"}, {"user", "bc"}},
                                                 {{"user", "ab"}, {"system", "c"}},
                                                 {{"user", "c"}, {"user", "ab"}}};
    unsigned char keys[AP_LEN(talks) + 1][AP_CACHE_KEY];
    for (size_t i = 0; i < AP_LEN(talks); i++)
        ap_serve_cache_key(keys[i], talks[i], 2);
    ap_serve_cache_key(keys[AP_LEN(talks)], talks[0], 1);
    for (size_t i = 0; i < AP_LEN(keys); i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(keys[i], keys[k], AP_CACHE_KEY);
}

static void test_the_longest_not_asked_for_goes(void **state)
{
    (void)state;
    struct ap_serve_cache *c = open_cache(2048);
    int64_t n, bytes;
    char x[16];
    int first = 0;
    put(c, "kept", "K");
    for (int i = 0; i < 50; i++) {
        snprintf(x, sizeof(x), "x%d", i);
        put(c, x, x);
        assert_string_equal(find(c, "kept"), "K");
        assert_string_equal(find(c, x), x);
    }
    ap_serve_cache_counts(c, &n, &bytes);
    assert_in_range(n, 3, 20);
    for (; first < 50; first++) { /* the last n − 1 are there, in a row */
        snprintf(x, sizeof(x), "x%d", first);
        if (find(c, x))
            break;
    }
    assert_int_equal(first, 50 - (n - 1));
    for (; first < 50; first++) {
        snprintf(x, sizeof(x), "x%d", first);
        assert_string_equal(find(c, x), x);
    }
    ap_serve_cache_close(c);
}

static void test_the_limit_holds(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 100, 300, 1000, 5000, 100000};
    static char text[3000];
    for (size_t k = 0; k < AP_LEN(limits); k++) {
        struct ap_serve_cache *c = open_cache(limits[k]);
        struct ap_random r;
        int64_t n = 0, bytes;
        int n_found = 0;
        ap_random_init(&r, &(struct ap_stream){.seed = k});
        for (int i = 0; i < 2000; i++) {
            char x[16];
            size_t n_text = ap_random_below(&r, 10) ? 1 + ap_random_below(&r, 60)
                                                    : ap_random_below(&r, sizeof(text) - 1);
            snprintf(x, sizeof(x), "%u", ap_random_below(&r, 100));
            memset(text, 'a' + x[0] % 7, n_text);
            text[n_text] = '\0';
            const char *found = find(c, x);
            n_found += found != NULL;
            assert_true(!found || !found[0] || found[0] == 'a' + x[0] % 7);
            put(c, x, text);
            ap_serve_cache_counts(c, &n, &bytes);
            assert_in_range(bytes, 0, limits[k]);
        }
        assert_int_equal(n_found > 0, limits[k] >= 1000);
        assert_int_equal(n > 0, limits[k] >= 1000);
        ap_serve_cache_close(c);
    }
    ap_serve_cache_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_the_longest_not_asked_for_goes),
        cmocka_unit_test(test_the_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
