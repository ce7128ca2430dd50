/* inspect of safetensors and GGUF files: golden ones against what made them, damaged and hostile
 * ones. */
#include "pipeline/inspected.h"

#include "model/gguf.h"

static void test_safetensors(void **state)
{
    char *folder = scratch_path(state, "st"), file[512];
    put_safetensors(folder, "any.name",
                    "{\"__metadata__\": {\"format\": \"pt\", \"by\\u001b[2J\": \"\\u202ex\"}, "
                    "\"m.0.w\\n\": {\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": "
                    "[0, 24]}, \"m.1.w\\n\": {\"dtype\": \"F32\", \"shape\": [2, 3], "
                    "\"data_offsets\": [24, 48]}, \"scalar\": {\"dtype\": \"U8\", \"shape\": [], "
                    "\"data_offsets\": [48, 49]}}",
                    49);
    snprintf(file, sizeof(file), "%s/any.name", folder);
    char *text = inspect_text(file, NULL, AP_OK);
    check_holds(text, "  kind        safetensors file\n");
    check_holds(text, "    format = pt\n");
    check_holds(text, "    by\\u{1b}[2J = \\u{202e}x\n");
    check_holds(text, "    m.{0..1}.w\\n F32 [2,3]\n");
    check_holds(text, "    scalar U8 []\n");
    check_holds(text, "  parameters  13 in 3 tensors\n");
    ap_text_free(text);
    json_t *o = inspect_json(file, NULL, AP_OK),
           *u8 = json_object_get(json_object_get(o, "dtypes"), "U8");
    assert_int_equal(integer_of(u8, "bytes"), 1);
    assert_string_equal(text_of(json_object_get(o, "metadata"), "format"), "pt");
    json_decref(o);
    assert_int_equal(truncate(file, 60), 0);
    check_refused(file, AP_FORMAT, "truncated");
    snprintf(file, sizeof(file), "%s/cut.safetensors", folder);
    put_file(folder, "cut.safetensors", "123456789");
    check_refused(file, AP_FORMAT, "truncated");
    ap_free(folder);
}

/* A thousand tensors of as many names, each of them long: the report stays short. */
static void test_flood(void **state)
{
    char *folder = scratch_path(state, "flood"), file[512], name[400];
    struct ap_buffer header = {0};
    struct ap_error err;
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    check_ok(ap_buffer_puts(&header, "{\"__metadata__\": {", &err), err);
    for (int i = 0; i < 1000; i++)
        check_ok(
            ap_buffer_printf(&header, &err, "%s\"k%d%s\": \"%s\"", i ? ", " : "", i, name, name),
            err);
    for (int i = 0; i < 1000; i++)
        check_ok(ap_buffer_printf(&header, &err,
                                  "%s\"%c%d%s\": {\"dtype\": \"U8\", \"shape\": [0, 1, 2, 3], "
                                  "\"data_offsets\": [0, 0]}",
                                  i ? ", " : "}, ", 'a' + i % 26, i, name),
                 err);
    check_ok(ap_buffer_puts(&header, "}", &err), err);
    put_safetensors(folder, "f.safetensors", header.data, 0);
    ap_buffer_free(&header);
    snprintf(file, sizeof(file), "%s/f.safetensors", folder);
    char *text = inspect_text(file, NULL, AP_OK);
    check_holds(text, "  parameters  0 in 1,000 tensors\n");
    check_holds(text, "    and 936 more\n");
    check_holds(text, " more tensors\n");
    assert_true(strlen(text) < 20000);
    ap_text_free(text);
    ap_free(folder);
}

static const char *const gguf_types[] = {"F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"};

/* Against index.json, which the tool that made the files wrote. */
static void test_golden_gguf(void **state)
{
    (void)state;
    const char *index = check_golden("gguf/index.json");
    if (!index)
        skip();
    json_t *all = json_load_file(index, 0, NULL);
    assert_non_null(all);
    for (int i = 0; i < 12; i++) {
        char name[64];
        snprintf(name, sizeof(name), "gguf/%s-%s.gguf", i % 2 ? "qwen2" : "llama",
                 gguf_types[i / 2]);
        json_t *o = inspect_json(check_golden(name), NULL, AP_OK);
        json_t *want = json_object_get(json_object_get(all, name + 5), "tensor_types");
        json_t *dtypes = json_object_get(o, "dtypes"), *n;
        const char *type;
        assert_int_equal(json_object_size(dtypes), json_object_size(want));
        json_object_foreach(want, type, n) assert_int_equal(
            integer_of(json_object_get(dtypes, type), "tensors"), json_integer_value(n));
        assert_string_equal(text_of(o, "architecture"), i % 2 ? "qwen2" : "llama");
        /* 2 layers of width 256, 8 heads of 32, 2 of keys and values, 512 */
        int64_t v = i % 2 ? integer_of(json_object_get(o, "tokenizer"), "tokens") : 512;
        int64_t layer = 2 * 256 * 256 + 2 * 256 * 64 + 3 * 256 * 512 + 2 * 256;
        int64_t biases = i % 2 ? 256 + 2 * 64 : 0, tied = integer_of(o, "parameters");
        int64_t body = v * 256 + 2 * (layer + biases) + 256;
        assert_true(tied == body || tied == body + v * 256);
        json_decref(o);
        ap_text_free(inspect_text(check_golden(name), NULL, AP_OK));
    }
    json_decref(all);
}

static void put_gguf(const char *path, int n_array, const char *text)
{
    struct ap_gguf_values v = {0};
    struct ap_writer w = {0};
    struct ap_error err;
    struct ap_gguf_tensor_out tensor = {.name = "blk.0.x", .n_dim = 2, .shape = {4, 2}};
    float data[8] = {0};
    check_ok(ap_gguf_put_text(&v, "general.architecture", text, strlen(text), &err), err);
    check_ok(ap_gguf_put_text(&v, "tokenizer.ggml.model", "gpt2", 4, &err), err);
    check_ok(ap_gguf_put_text(&v, "tokenizer.chat_template", "{{ x\x1b }}\nmore", 13, &err), err);
    check_ok(ap_gguf_begin_array(&v, "list", AP_GGUF_I32, (uint64_t)n_array, &err), err);
    for (int i = 0; i < n_array; i++)
        check_ok(ap_gguf_add_i32(&v, i, &err), err);
    check_ok(ap_gguf_begin(&w, path, &v, &tensor, 1, &err), err);
    check_ok(ap_writer_append(&w, data, sizeof(data), &err), err);
    check_ok(ap_gguf_pad(&w, &err), err);
    check_ok(ap_writer_commit(&w, &err), err);
    ap_buffer_free(&v.bytes);
}

static void test_hostile_gguf(void **state)
{
    char *path = scratch_path(state, "h.bin");
    static char flood[100000];
    memset(flood, 'f', sizeof(flood) - 1);
    memcpy(flood, "\x1b[31m\xff", 6);
    put_gguf(path, 100000, flood);
    char *text = inspect_text(path, NULL, AP_OK);
    check_holds(text, "\\u{1b}[31m");
    check_holds(text, "    list = 100000 i32 [0, 1, 2, 3]\n");
    check_holds(text, "not one of those known");
    check_holds(text, "    blk.0.x F32 [2,4]\n");
    assert_true(strlen(text) < 4000);
    ap_text_free(text);
    json_t *o = inspect_json(path, NULL, AP_OK);
    json_t *list = json_object_get(json_object_get(o, "metadata"), "list");
    assert_int_equal(integer_of(list, "n"), 100000);
    assert_int_equal(json_array_size(json_object_get(list, "first")), 4);
    assert_string_equal(text_of(o, "template"), "unknown");
    json_decref(o);

    struct ap_buffer bytes = {0};
    assert_int_equal(ap_file_read(path, 1 << 24, &bytes, NULL), AP_OK);
    scratch_put(path, bytes.data, bytes.len - 40); /* cut */
    check_refused(path, AP_FORMAT, "truncated");
    memset(bytes.data + 8, 0xFF, 8); /* tensors without end */
    scratch_put(path, bytes.data, bytes.len);
    check_refused(path, AP_FORMAT, path);
    scratch_put(path, "GGUF\x09\0\0\0", 8);
    check_refused(path, AP_UNSUPPORTED, "version 9");
    ap_buffer_free(&bytes);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_golden_gguf),
        cmocka_unit_test(test_hostile_gguf),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
