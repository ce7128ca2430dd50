/* GGUF files: what is written reads back; golden files of llama.cpp's tools read whole; lying
 * headers are refused. */
#include "base/json.h"
#include "base/memory.h"
#include "base/scratch.h"
#include "model/gguf.h"

#include <math.h>

static const struct ap_gguf_tensor_out tensors[] = {
    {"token_embd.weight", AP_GGML_F16, 2, {5, 3}},
    {"output_norm.weight", AP_GGML_F32, 1, {5}},
    {"output.weight", AP_GGML_BF16, 2, {5, 3}},
};
static const size_t sizes[] = {30, 20, 30};

/* A small file of every kind of value that is written. */
static char *write_small(void **state)
{
    struct ap_error err;
    struct ap_gguf_values v = {0};
    struct ap_writer w = {0};
    unsigned char bytes[30];
    char *path = scratch_path(state, "small.gguf");
    check_ok(ap_gguf_put_text(&v, "general.architecture", "llama", 5, &err), err);
    check_ok(ap_gguf_put_u32(&v, "llama.block_count", 7, &err), err);
    check_ok(ap_gguf_put_f32(&v, "llama.rope.freq_base", 10000.5f, &err), err);
    check_ok(ap_gguf_put_bool(&v, "tokenizer.ggml.add_bos_token", true, &err), err);
    check_ok(ap_gguf_begin_array(&v, "tokenizer.ggml.tokens", AP_GGUF_STRING, 3, &err), err);
    check_ok(ap_gguf_add_text(&v, "", 0, &err), err);
    check_ok(ap_gguf_add_text(&v, "a\0b", 3, &err), err);
    check_ok(ap_gguf_add_text(&v, "é", 2, &err), err);
    check_ok(ap_gguf_begin_array(&v, "tokenizer.ggml.token_type", AP_GGUF_I32, 2, &err), err);
    check_ok(ap_gguf_add_i32(&v, -3, &err), err);
    check_ok(ap_gguf_add_i32(&v, 6, &err), err);
    check_ok(ap_gguf_begin_array(&v, "tokenizer.ggml.scores", AP_GGUF_F32, 1, &err), err);
    check_ok(ap_gguf_add_f32(&v, -0.5f, &err), err);
    check_ok(ap_gguf_begin(&w, path, &v, tensors, AP_LEN(tensors), &err), err);
    for (size_t i = 0; i < AP_LEN(tensors); i++) {
        memset(bytes, 'a' + (int)i, sizeof(bytes));
        check_ok(ap_writer_append(&w, bytes, sizes[i], &err), err);
        check_ok(ap_gguf_pad(&w, &err), err);
    }
    check_ok(ap_writer_commit(&w, &err), err);
    ap_buffer_free(&v.bytes);
    return path;
}

static int64_t integer(const struct ap_gguf *g, const char *key, uint64_t i)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    int64_t value;
    assert_non_null(v);
    assert_true(ap_gguf_integer(v, i, &value));
    return value;
}

static double real(const struct ap_gguf *g, const char *key, uint64_t i)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    double value;
    assert_non_null(v);
    assert_true(ap_gguf_real(v, i, &value));
    return value;
}

static void test_round_trip(void **state)
{
    struct ap_error err;
    struct ap_gguf g;
    struct ap_gguf_text text;
    size_t at = 0;
    int64_t value;
    char *path = write_small(state);
    check_ok(ap_gguf_open(&g, path, &err), err);
    assert_true(g.version == 3 && g.alignment == 32 && g.n_values == 7 && g.n_tensors == 3);
    assert_int_equal(integer(&g, "llama.block_count", 0), 7);
    assert_int_equal(integer(&g, "tokenizer.ggml.add_bos_token", 0), 1);
    assert_int_equal(integer(&g, "tokenizer.ggml.token_type", 0), -3);
    check_near(real(&g, "llama.rope.freq_base", 0), 10000.5, 0, 0);
    check_near(real(&g, "tokenizer.ggml.scores", 0), -0.5, 0, 0);
    const struct ap_gguf_value *tokens = ap_gguf_find(&g, "tokenizer.ggml.tokens");
    assert_true(tokens && tokens->n == 3 && tokens->element == AP_GGUF_STRING);
    assert_true(ap_gguf_next_text(tokens, &at, &text) && text.n == 0);
    assert_true(ap_gguf_next_text(tokens, &at, &text) && text.n == 3);
    assert_memory_equal(text.data, "a\0b", 3);
    assert_true(ap_gguf_next_text(tokens, &at, &text) && text.n == 2);
    assert_false(ap_gguf_next_text(tokens, &at, &text));
    assert_false(ap_gguf_integer(tokens, 0, &value));
    assert_false(ap_gguf_text(tokens, &text));
    assert_true(ap_gguf_text(ap_gguf_find(&g, "general.architecture"), &text));
    assert_memory_equal(text.data, "llama", 5);
    assert_null(ap_gguf_find(&g, "general.name"));
    for (size_t i = 0; i < g.n_tensors; i++) {
        assert_true(g.tensors[i].size == sizes[i] && g.tensors[i].offset % 32 == 0);
        assert_int_equal(g.map.data[g.tensors[i].offset + sizes[i] - 1], 'a' + (int)i);
    }
    ap_gguf_close(&g);
    ap_free(path);
}

/* Every shorter file is refused, and none is read past its end. */
static void test_truncated(void **state)
{
    struct ap_error err;
    struct ap_buffer whole = {0};
    struct ap_gguf g;
    char *path = write_small(state);
    check_ok(ap_file_read(path, 1 << 20, &whole, &err), err);
    size_t data = whole.len - 96; /* the padding of the last tensor may go */
    for (size_t n = 0; n < data + 64 + 30; n++) {
        char *part = ap_calloc(n, 1);
        assert_non_null(part);
        memcpy(part, whole.data, n);
        assert_int_equal(ap_gguf_parse(&g, part, n, "part", &err), AP_FORMAT);
        ap_free(part);
    }
    check_ok(ap_gguf_parse(&g, whole.data, data + 64 + 30, "whole", &err), err);
    ap_gguf_close(&g);
    ap_buffer_free(&whole);
    ap_free(path);
}

/* The small file with bytes changed at the first place of a text in it. */
static void refuse(void **state, const char *text, size_t n_text, long shift, const void *bytes,
                   size_t n, ap_status expected, const char *part)
{
    struct ap_error err;
    struct ap_buffer whole = {0};
    struct ap_gguf g;
    char *path = write_small(state);
    check_ok(ap_file_read(path, 1 << 20, &whole, &err), err);
    char *at = memmem(whole.data, whole.len, text, n_text);
    assert_non_null(at);
    memcpy(at + shift, bytes, n);
    ap_status status = ap_gguf_parse(&g, whole.data, whole.len, "changed", &err);
    if (status != expected)
        fprintf(stderr, "expected '%s', got '%s'\n", part, status ? err.text : "accepted");
    assert_int_equal(status, expected);
    check_holds(err.text, part);
    ap_buffer_free(&whole);
    ap_free(path);
}

static void test_refused(void **state)
{
    static const unsigned char ones[8] = {255, 255, 255, 255, 255, 255, 255, 127}, zero[8];
    static const char name[] = "output_norm.weight"; /* then u32 1, u64 5, u32 0, u64 offset */
    const long end = sizeof(name) - 1;
    refuse(state, "GGUF", 4, 0, "GGJT", 4, AP_FORMAT, "does not begin with GGUF");
    refuse(state, "GGUF", 4, 4, "\1", 1, AP_UNSUPPORTED, "GGUF version 1, expected 2 or 3");
    refuse(state, "GGUF", 4, 4, "\0\0\0\3", 4, AP_UNSUPPORTED, "big-endian");
    refuse(state, "GGUF", 4, 8, ones, 8, AP_FORMAT, "tensors, which the file");
    refuse(state, "GGUF", 4, 16, ones, 8, AP_FORMAT, "values, which the file");
    refuse(state, "general.arch", 12, 0, "\x80", 1, AP_FORMAT, "a key at byte 24 is no text");
    refuse(state, "general.arch", 12, -8, ones, 8, AP_FORMAT, "expected at most 65535");
    refuse(state, "general.arch", 12, 20, "\x63", 1, AP_UNSUPPORTED, "type 99 of a value");
    refuse(state, "llama.block_count", 17, 17, "\x9\0\0\0\x8", 5, AP_FORMAT, "bytes");
    refuse(state, "tokenizer.ggml.scores", 21, 25, "\x8\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f", 12,
           AP_FORMAT, "truncated");
    refuse(state, name, end, end, "\5", 1, AP_FORMAT, "5 dimensions, expected 1 to 4");
    refuse(state, name, end, end, zero, 1, AP_FORMAT, "0 dimensions");
    refuse(state, name, end, end + 4, ones, 8, AP_FORMAT, "larger than any file");
    refuse(state, name, end, end + 4, zero, 8, AP_FORMAT, "is 0, which is no size");
    refuse(state, name, end, end + 12, "\x63", 1, AP_UNSUPPORTED, "the type 99");
    refuse(state, name, end, end + 12, "\x8", 1, AP_FORMAT, "Q8_0 with rows of 5");
    refuse(state, name, end, end + 16, "\1", 1, AP_FORMAT, "expected a multiple of 32");
    refuse(state, name, end, end + 16, zero, 8, AP_FORMAT, "overlap");
    refuse(state, name, end, end + 16, ones, 7, AP_FORMAT, "expected a multiple of 32");
    refuse(state, name, end, end + 18, "\1", 1, AP_FORMAT, "ends past the file's");
    refuse(state, "tokenizer.ggml.scores", 21, 15, "tokens", 6, AP_FORMAT,
           "the key tokenizer.ggml.tokens is there twice");
}

static void test_alignment(void **state)
{
    struct ap_error err;
    struct ap_gguf g;
    unsigned char file[128] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0"
                              "general.alignment\4\0\0\0\x40";
    (void)state;
    check_ok(ap_gguf_parse(&g, file, sizeof(file), "file", &err), err);
    assert_int_equal(g.alignment, 64);
    ap_gguf_close(&g);
    file[53] = 0x30;
    assert_int_equal(ap_gguf_parse(&g, file, sizeof(file), "file", &err), AP_FORMAT);
    check_holds(err.text, "general.alignment is no power of two");
}

static void check_golden_file(const char *name, const json_t *expected, const char *root)
{
    struct ap_error err;
    struct ap_gguf g;
    char path[1024];
    const char *type;
    json_t *count;
    snprintf(path, sizeof(path), "%s/%s", root, name);
    check_ok(ap_gguf_open(&g, path, &err), err);
    json_object_foreach(json_object_get(expected, "tensor_types"), type, count)
    {
        int n = 0;
        for (size_t i = 0; i < g.n_tensors; i++)
            n += !strcmp(g.tensors[i].type->name, type);
        assert_int_equal(n, json_integer_value(count));
    }
    const json_t *metadata = json_object_get(expected, "metadata");
    assert_int_equal(integer(&g, "general.file_type", 0),
                     atoi(json_string_value(json_object_get(metadata, "general.file_type"))));
    assert_int_equal(g.n_values,
                     atoi(json_string_value(json_object_get(metadata, "GGUF.kv_count"))));
    ap_gguf_close(&g);
}

static void test_golden(void **state)
{
    struct ap_error err;
    const char *root = check_golden("gguf"), *name;
    json_t *index, *expected;
    char path[1024];
    int n = 0;
    (void)state;
    if (!root)
        skip();
    snprintf(path, sizeof(path), "%s/index.json", root);
    check_ok(ap_json_load(path, 1 << 20, &index, &err), err);
    json_object_foreach(index, name, expected)
    {
        check_golden_file(name, expected, root);
        n++;
    }
    assert_true(n >= 12);
    json_decref(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_truncated, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
