/* Safetensors: what is written is read back; conversions are exact; files that are cut or lie are
 * refused in one line that says where. */
#include "base/scratch.h"

#include "model/safetensors.h"

/* Header text and n bytes of data, as a file in memory; the caller frees it. */
static unsigned char *file_of(const char *header, size_t n_data, size_t *n)
{
    size_t length = strlen(header);
    unsigned char *file = ap_calloc(8 + length + n_data, 1);
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(length >> 8 * i);
    memcpy(file + 8, header, length);
    *n = 8 + length + n_data;
    return file;
}

static void check_refused(const char *header, size_t n_data, ap_status status, const char *part,
                          const char *more)
{
    struct ap_safetensors f;
    struct ap_error err;
    size_t n;
    unsigned char *file = file_of(header, n_data, &n);
    assert_int_equal(ap_safetensors_parse(&f, file, n, "x.safetensors", &err), status);
    check_holds(err.text, "x.safetensors");
    check_holds(err.text, part);
    check_holds(err.text, more);
    assert_null(strchr(err.text, '\n'));
    ap_free(file);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(first, second)                                                                         \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" first "},"                         \
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" second "}}"

static void test_lies(void **state)
{
    (void)state;
    check_refused(ONE("F32", "[2,3]", "[0,20]"), 20, AP_FORMAT, "a is F32 [2,3]", "20 bytes");
    check_refused(ONE("F32", "[2]", "[0,8]"), 4, AP_FORMAT, "data_offsets are [0,8]", "4 bytes");
    check_refused(ONE("F32", "[2]", "[8,0]"), 8, AP_FORMAT, "data_offsets are [8,0]", "a");
    check_refused(ONE("F32", "[2]", "[-8,0]"), 8, AP_FORMAT, "data_offsets are [-8,0]", "a");
    check_refused(ONE("F32", "[2]", "[0,8]"), 12, AP_FORMAT, "end at byte 8", "at 12");
    check_refused(ONE("F32", "[2]", "[0]"), 8, AP_FORMAT, "a: data_offsets", "pair");
    check_refused(ONE("F32", "[2]", "[0.0,8.0]"), 8, AP_FORMAT, "a: data_offsets", "integers");
    check_refused(TWO("[0,8]", "[4,12]"), 12, AP_FORMAT, "b begins at byte 4", "overlap");
    check_refused(TWO("[0,8]", "[0,8]"), 8, AP_FORMAT, "begins at byte 0", "overlap");
    check_refused(TWO("[0,8]", "[12,20]"), 20, AP_FORMAT, "b begins at byte 12", "hole");
    check_refused(TWO("[4,12]", "[12,20]"), 20, AP_FORMAT, "a begins at byte 4", "hole");
    check_refused(ONE("F8_E4M3", "[2]", "[0,2]"), 2, AP_UNSUPPORTED, "a has dtype F8_E4M3", "F32");
    check_refused(ONE("F32", "[-2]", "[0,8]"), 8, AP_FORMAT, "shape[0]", "a");
    check_refused(ONE("F32", "[1.5]", "[0,8]"), 8, AP_FORMAT, "shape[0]", "a");
    check_refused(ONE("F32", "2", "[0,8]"), 8, AP_FORMAT, "a: shape", "list");
    check_refused(ONE("F32", "[1,1,1,1,2]", "[0,8]"), 8, AP_FORMAT, "a: shape", "at most 4");
    check_refused(ONE("F32", "[4294967296,4294967296,2]", "[0,8]"), 8, AP_FORMAT, "shape[1]",
                  "memory");
    check_refused(ONE("F32", "[4611686018427387904]", "[0,0]"), 0, AP_FORMAT, "a is F32",
                  "do not fit");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, AP_FORMAT, "a has 2 keys",
                  "data_offsets");
    check_refused("{\"a\":7}", 8, AP_FORMAT, "a is not an object", "dtype");
    check_refused("{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, AP_FORMAT,
                  "dtype", "string");
    check_refused("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                  AP_FORMAT, "NUL", "key");
    check_refused("{\"a\":{},\"a\":{}}", 0, AP_FORMAT, "JSON", "duplicate");
    check_refused("[1,2]", 0, AP_FORMAT, "list", "object");
    check_refused("{\"a\":", 0, AP_FORMAT, "JSON", "1:");
}

static void check_cut(const unsigned char *file, size_t n, const char *part)
{
    struct ap_safetensors f;
    struct ap_error err;
    assert_int_equal(ap_safetensors_parse(&f, file, n, "cut", &err), AP_FORMAT);
    check_holds(err.text, part);
}

/* Every prefix of a good file is refused. */
static void test_truncated(void **state)
{
    struct ap_safetensors f;
    struct ap_error err;
    size_t n;
    unsigned char *file = file_of(ONE("F32", "[2]", "[0,8]"), 8, &n);
    (void)state;
    for (size_t k = 0; k < n; k++)
        check_cut(file, k, "cut");
    check_cut(file, 7, "truncated");
    check_cut(file, 20, "header length");
    check_cut(file, n - 1, "data_offsets are [0,8]");
    check_ok(ap_safetensors_parse(&f, file, n, "whole", &err), err);
    ap_safetensors_close(&f);
    memset(file, 0xff, 8);
    check_cut(file, n, "header length 18446744073709551615");
    ap_free(file);
}

static void test_round_trip(void **state)
{
    struct ap_error err;
    struct ap_safetensors f;
    const float a[] = {1, -2, 3, 4, 5, 6};
    const int64_t b = -9000000000;
    const unsigned char c[] = {7, 8, 9};
    const struct ap_tensor_out out[] = {
        {.name = "z.first", .dtype = AP_F32, .n_dim = 2, .shape = {2, 3}, .data = a},
        {.name = "a \"quoted\"", .dtype = AP_I64, .n_dim = 0, .data = &b},
        {.name = "bytes", .dtype = AP_U8, .n_dim = 1, .shape = {3}, .data = c},
        {.name = "empty", .dtype = AP_F32, .n_dim = 2, .shape = {0, 5}, .data = a},
    };
    char *path = scratch_path(state, "t.safetensors");
    check_ok(ap_safetensors_write(path, out, 4, &err), err);
    check_ok(ap_safetensors_open(&f, path, &err), err);
    assert_int_equal(f.n, 4);
    const struct ap_tensor_view *v = ap_safetensors_find(&f, "z.first");
    assert_non_null(v);
    assert_int_equal((uintptr_t)v->data % 8, 0);
    assert_true(v->n_dim == 2 && v->shape[0] == 2 && v->shape[1] == 3 && v->n == 6);
    assert_memory_equal(v->data, a, sizeof(a));
    v = ap_safetensors_find(&f, "a \"quoted\"");
    assert_true(v && v->n == 1 && v->n_dim == 0);
    assert_memory_equal(v->data, &b, sizeof(b));
    assert_memory_equal(ap_safetensors_find(&f, "bytes")->data, c, sizeof(c));
    assert_int_equal(ap_safetensors_find(&f, "empty")->n, 0);
    assert_null(ap_safetensors_find(&f, "z"));
    ap_safetensors_close(&f);
    ap_free(path);
}

static void test_missing_file(void **state)
{
    struct ap_error err;
    struct ap_safetensors f;
    char *path = scratch_path(state, "nothing");
    assert_int_equal(ap_safetensors_open(&f, path, &err), AP_NOT_FOUND);
    check_holds(err.text, "nothing");
    scratch_put(path, "", 0);
    assert_int_equal(ap_safetensors_open(&f, path, &err), AP_FORMAT);
    check_holds(err.text, "0 bytes");
    ap_free(path);
}

static void test_halves(void **state)
{
    static const uint16_t f16[] = {0x3c00, 0xc100, 0x7bff, 0x0001, 0x8001, 0x03ff,
                                   0x0400, 0x7c00, 0xfc00, 0x0000, 0x8000, 0x3555};
    static const float want16[] = {1,        -2.5f,    65504,     0x1p-24f, -0x1p-24f, 0x1.ff8p-15f,
                                   0x1p-14f, INFINITY, -INFINITY, 0,        -0.0f,     0x1.554p-2f};
    static const uint16_t bf16[] = {0x3f80, 0xc020, 0x7f7f, 0x0001, 0x7f80, 0x8000};
    static const float want_b[] = {1, -2.5f, 0x1.fep127f, 0x1p-133f, INFINITY, -0.0f};
    struct ap_error err;
    float got[12];
    struct ap_tensor_view v = {.name = (char[]){"h"}, .dtype = AP_F16, .n = 12, .data = f16};
    (void)state;
    check_ok(ap_tensor_to_f32(&v, got, &err), err);
    assert_memory_equal(got, want16, sizeof(want16));
    v = (struct ap_tensor_view){.name = (char[]){"b"}, .dtype = AP_BF16, .n = 6, .data = bf16};
    check_ok(ap_tensor_to_f32(&v, got, &err), err);
    assert_memory_equal(got, want_b, sizeof(want_b));
    v = (struct ap_tensor_view){
        .name = (char[]){"n"}, .dtype = AP_F16, .n = 1, .data = (uint16_t[]){0x7e01}};
    check_ok(ap_tensor_to_f32(&v, got, &err), err);
    assert_true(isnan(got[0]));
    v.dtype = AP_I32;
    assert_int_equal(ap_tensor_to_f32(&v, got, &err), AP_UNSUPPORTED);
    check_holds(err.text, "n is I32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test_setup_teardown(test_round_trip, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_missing_file, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
