/* inspect of model, tokenizer and adapter folders: golden ones counted anew by hand, a model of
 * many gigabytes that is not read, folders that do not fit together. */
#include "pipeline/inspected.h"

#include "base/process.h"

#include <limits.h>
#include <sys/stat.h>

/* What config.json must come to, counted without the code under test. */
static int64_t count_parameters(const char *config)
{
    struct ap_buffer text = {0};
    assert_int_equal(ap_file_read(config, 1 << 20, &text, NULL), AP_OK);
    json_t *o = json_loads(text.data, 0, NULL);
    assert_non_null(o);
    int64_t v = integer_of(o, "vocab_size"), c = integer_of(o, "hidden_size"),
            f = integer_of(o, "intermediate_size"), l = integer_of(o, "num_hidden_layers"),
            h = integer_of(o, "num_attention_heads"), kv = integer_of(o, "num_key_value_heads");
    const json_t *head = json_object_get(o, "head_dim");
    int64_t d = json_is_integer(head) ? json_integer_value(head) : c / h;
    bool qwen2 = !strcmp(text_of(o, "model_type"), "qwen2");
    bool biased = json_is_true(json_object_get(o, "attention_bias"));
    bool classifier = strstr(
        json_string_value(json_array_get(json_object_get(o, "architectures"), 0)), "Sequence");
    int64_t layer = c * h * d + 2 * c * kv * d + h * d * c + 3 * c * f + 2 * c;
    layer += qwen2 || biased ? (h + 2 * kv) * d : 0;
    layer += biased ? c : 0;
    layer += json_is_true(json_object_get(o, "mlp_bias")) ? 2 * f + c : 0;
    int64_t n = v * c + l * layer + c;
    n += classifier ? c : json_is_true(json_object_get(o, "tie_word_embeddings")) ? 0 : v * c;
    json_decref(o);
    ap_buffer_free(&text);
    return n;
}

static void check_golden_model(const char *folder, const char *family, const char *task)
{
    char config[1200];
    snprintf(config, sizeof(config), "%s/config.json", folder);
    json_t *o = inspect_json(folder, NULL, AP_OK);
    assert_string_equal(text_of(o, "kind"), "model");
    assert_string_equal(text_of(o, "family"), family);
    assert_string_equal(text_of(o, "task"), task);
    assert_int_equal(integer_of(o, "parameters"), count_parameters(config));
    assert_true(json_is_true(json_object_get(o, "as_config_says")));
    assert_int_equal(integer_of(o, "n_problems"), 0);
    assert_true(integer_of(o, "memory_f32") > integer_of(o, "memory_bf16"));
    /* all values are there once, and not twice: packed, or mapped as they are stored */
    assert_true(integer_of(o, "memory_f32") > 3 * integer_of(o, "parameters"));
    assert_true(integer_of(o, "memory_f32") < 8 * integer_of(o, "parameters"));
    json_decref(o);
    ap_text_free(inspect_text(folder, NULL, AP_OK));
}

static const struct {
    const char *name, *family, *rope, *dtype;
    int shards;
} golden[] = {
    {"llama31_rope", "llama", "llama3", "F32", 1},
    {"llama_bf16", "llama", "default", "BF16", 1},
    {"llama_gqa", "llama", "default", "F32", 1},
    {"llama_sharded_f16", "llama", "default", "F16", 3},
    {"llama_tied_bias_headdim", "llama", "default", "F32", 1},
    {"phi3_longrope_long", "phi3", "longrope", "F32", 1},
    {"phi3_longrope_short", "phi3", "longrope", "F32", 1},
    {"phi3_partial", "phi3", "default", "F32", 1},
    {"phi3_plain", "phi3", "default", "F32", 1},
    {"phi3_sliding", "phi3", "default", "F32", 1},
    {"qwen2_tied", "qwen2", "default", "F32", 1},
    {"qwen2_untied", "qwen2", "default", "F32", 1},
};

static void test_golden_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "models/%s", golden[i].name);
        const char *folder = check_golden(name);
        if (!folder)
            skip();
        check_golden_model(folder, golden[i].family, "causal");
        json_t *o = inspect_json(folder, NULL, AP_OK);
        assert_string_equal(text_of(o, "rope"), golden[i].rope);
        assert_int_equal(integer_of(o, "shards"), golden[i].shards);
        assert_int_equal(json_object_size(json_object_get(o, "dtypes")), 1);
        assert_non_null(json_object_get(json_object_get(o, "dtypes"), golden[i].dtype));
        assert_int_equal(integer_of(o, "window") > 0, strstr(golden[i].name, "sliding") != NULL);
        json_decref(o);
        strcat(name, "/reward");
        check_golden_model(check_golden(name), golden[i].family, "classifier");
    }
}

static void test_golden_adapters(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "models/%s", golden[i].name);
        const char *base = check_golden(name);
        strcat(name, "/adapter");
        const char *folder = check_golden(name);
        if (!base || !folder)
            skip();
        json_t *o = inspect_json(folder, base, AP_OK);
        assert_string_equal(text_of(o, "kind"), "adapter");
        assert_string_equal(text_of(o, "task_type"), "CAUSAL_LM");
        assert_string_equal(text_of(o, "checked_against"), base);
        assert_int_equal(integer_of(o, "tensors"), 2 * integer_of(o, "modules"));
        double rank = json_number_value(json_object_get(o, "rank"));
        double root = json_is_true(json_object_get(o, "rslora")) ? sqrt(rank) : rank;
        check_near(json_number_value(json_object_get(o, "scale")),
                   json_number_value(json_object_get(o, "alpha")) / root, 0, 1e-12);
        json_decref(o);
    }
    /* by hand: 3 layers, rank 4, q [64,64] and v [16,64], and a head of 64 */
    const char *folder = check_golden("models/llama_gqa/reward_adapter");
    json_t *o = inspect_json(folder, NULL, AP_OK);
    assert_int_equal(integer_of(o, "parameters"), 3 * (4 * (64 + 64) + 4 * (64 + 16)) + 64);
    assert_string_equal(text_of(o, "task_type"), "SEQ_CLS");
    assert_true(json_is_null(json_object_get(o, "checked_against")));
    json_decref(o);
    /* another base: what does not fit is named */
    char *text = inspect_text(folder, check_golden("models/llama31_rope"), AP_OK);
    check_holds(text, "fits"); /* of the same sizes */
    ap_text_free(text);
    check_problem(check_golden("models/qwen2_tied/adapter"), check_golden("models/phi3_plain"),
                  "is a tensor too many");
}

static void test_stories(void **state)
{
    (void)state;
    const char *folder = check_data("models/stories260K-hf");
    if (!folder)
        skip();
    check_golden_model(folder, "llama", "causal");
    char *text = inspect_text(folder, NULL, AP_OK);
    check_holds(text, "  parameters  260,032 in 47 tensors\n");
    check_holds(text, "    model.layers.{0..4}.mlp.up_proj.weight F32 [172,64]\n");
    check_holds(text, "BPE of characters, bytes for others, 512 tokens, 3 of them added");
    check_holds(text, "bos 1 <s>");
    check_holds(text, "  template    none: plain\n");
    ap_text_free(text);
}

static void test_tokenizers(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"tokenizers/llama-3.2-instruct", "llama3"},
                                           {"tokenizers/qwen2.5-instruct", "qwen2"},
                                           {"tokenizers/phi-3-mini", "phi3"}};
    for (size_t i = 0; i < 3; i++) {
        const char *folder = check_data(names[i][0]);
        if (!folder)
            skip();
        json_t *o = inspect_json(folder, NULL, AP_OK);
        assert_string_equal(text_of(o, "kind"), "tokenizer");
        assert_string_equal(text_of(o, "template"), names[i][1]);
        json_decref(o);
    }
}

/* ---- folders made here ---- */

static const char large_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": "
    "128000, "
    "\"hidden_size\": 8192, \"num_hidden_layers\": 0, \"num_attention_heads\": 64, "
    "\"num_key_value_heads\": 8, \"intermediate_size\": 28672, \"hidden_act\": \"silu\", "
    "\"tie_word_embeddings\": true}";

/* A header of a model as large as config.json says, but for what `change` changes. */
static uint64_t write_header(struct ap_buffer *out, int n_layer, int rows_of_up)
{
    const struct {
        const char *name;
        int n_out, n_in;
    } maps[] = {{"self_attn.q_proj", 8192, 8192},     {"self_attn.k_proj", 1024, 8192},
                {"self_attn.v_proj", 1024, 8192},     {"self_attn.o_proj", 8192, 8192},
                {"mlp.gate_proj", 28672, 8192},       {"mlp.up_proj", rows_of_up, 8192},
                {"mlp.down_proj", 8192, 28672},       {"input_layernorm", 8192, 0},
                {"post_attention_layernorm", 8192, 0}};
    uint64_t at = 0;
    struct ap_error err;
    ap_buffer_clear(out);
#define PUT(n_bytes, ...)                                                                          \
    do {                                                                                           \
        check_ok(ap_buffer_printf(out, &err, __VA_ARGS__), err);                                   \
        check_ok(ap_buffer_printf(out, &err, "\"data_offsets\": [%llu, %llu]}",                    \
                                  (unsigned long long)at, (unsigned long long)(at + (n_bytes))),   \
                 err);                                                                             \
        at += (n_bytes);                                                                           \
    } while (0)
    PUT(2ull * 128000 * 8192, "{\"model.embed_tokens.weight\": {\"dtype\": \"BF16\", \"shape\": "
                              "[128000, 8192], ");
    PUT(2ull * 8192, ", \"model.norm.weight\": {\"dtype\": \"BF16\", \"shape\": [8192], ");
    for (int l = 0; l < n_layer; l++)
        for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
            uint64_t n = 2ull * (uint64_t)maps[i].n_out * (maps[i].n_in ? 8192 : 1);
            char shape[48];
            n = maps[i].n_in ? 2ull * (uint64_t)maps[i].n_out * (uint64_t)maps[i].n_in : n;
            snprintf(shape, sizeof(shape), maps[i].n_in ? "[%d, %d]" : "[%d]", maps[i].n_out,
                     maps[i].n_in);
            PUT(n, ", \"model.layers.%d.%s.weight\": {\"dtype\": \"BF16\", \"shape\": %s, ", l,
                maps[i].name, shape);
        }
#undef PUT
    check_ok(ap_buffer_puts(out, "}", &err), err);
    return at;
}

static char *put_large(void **state, const char *name, int said, int there, int rows_of_up)
{
    struct ap_buffer header = {0};
    char config[sizeof(large_config) + 8], *folder = scratch_path(state, name);
    strcpy(config, large_config);
    *strchr(strstr(config, "layers\": "), '0') = (char)('0' + said);
    put_file(folder, "config.json", config);
    uint64_t bytes = write_header(&header, there, rows_of_up);
    put_safetensors(folder, "model.safetensors", header.data, bytes);
    ap_buffer_free(&header);
    return folder;
}

/* Eighteen gigabytes of nothing: told without touching them, so that the peak of memory stays. */
static void test_nothing_is_loaded(void **state)
{
    char *folder = put_large(state, "large", 9, 9, 28672), file[512];
    snprintf(file, sizeof(file), "%s/model.safetensors", folder);
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    assert_true(info.st_size > (off_t)16 << 30);
    size_t before = ap_process_peak();
    json_t *o = inspect_json(folder, NULL, AP_OK);
    int64_t layer = 8192ll * (8192 + 1024 + 1024 + 8192) + 3ll * 8192 * 28672 + 2 * 8192;
    assert_int_equal(integer_of(o, "parameters"), 128000ll * 8192 + 9 * layer + 8192);
    assert_int_equal(integer_of(o, "tensor_bytes"), 2 * integer_of(o, "parameters"));
    assert_true(json_is_true(json_object_get(o, "as_config_says")));
    json_decref(o);
    o = inspect_json(file, NULL, AP_OK);
    assert_string_equal(text_of(o, "kind"), "safetensors");
    json_decref(o);
    if (before > 0) /* where /proc tells it */
        assert_true(ap_process_peak() - before < (size_t)64 << 20);
    ap_free(folder);
}

static void test_tensors_that_do_not_fit(void **state)
{
    char *folder = put_large(state, "missing", 3, 2, 28672);
    char *text = inspect_text(folder, NULL, AP_FORMAT);
    check_problem(folder, NULL,
                  "model.layers.2.self_attn.q_proj.weight is missing, expected [8192,8192]");
    check_holds(text, "  sizes       3 layers");
    check_holds(text, "    model.layers.{0..1}.mlp.up_proj.weight BF16 [28672,8192]");
    ap_text_free(text);
    ap_free(folder);

    folder = put_large(state, "more", 1, 2, 28672);
    json_t *o = inspect_json(folder, NULL, AP_FORMAT);
    assert_int_equal(integer_of(o, "n_problems"), 9);
    check_holds(json_string_value(json_array_get(json_object_get(o, "problems"), 0)),
                "is a tensor too many");
    json_decref(o);
    ap_free(folder);

    folder = put_large(state, "other", 1, 1, 64);
    check_problem(folder, NULL, "up_proj.weight is BF16 [64,8192], expected [28672,8192]");
    ap_free(folder);
}

static void test_other_family(void **state)
{
    char *folder = scratch_path(state, "gemma");
    put_file(folder, "config.json",
             "{\"model_type\": \"gem\\u001b[31mma\", \"architectures\": [\"GemmaForCausalLM\"]}");
    put_safetensors(folder, "model.safetensors",
                    "{\"a.0.b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, "
                    "\"a.1.b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [8, 16]}, "
                    "\"a.7.b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [16, 24]}}",
                    24);
    char *text = inspect_text(folder, NULL, AP_OK);
    check_holds(text, "  family      gem\\u{1b}[31mma (GemmaForCausalLM)\n");
    check_holds(text, "  unsupported ");
    check_holds(text, "  parameters  6 in 3 tensors\n");
    check_holds(text, "    a.{0..7}.b F32 [2] (3)\n");
    ap_text_free(text);
    ap_free(folder);
}

static void test_damaged_folders(void **state)
{
    char *folder = scratch_path(state, "cut");
    put_file(folder, "config.json", large_config);
    put_file(folder, "model.safetensors", "\xff\xff\xff");
    check_problem(folder, NULL, "num_hidden_layers");
    check_problem(folder, NULL, "it is truncated");
    ap_free(folder);

    folder = scratch_path(state, "pipe");
    put_file(folder, "a", "");
    char fifo[512];
    snprintf(fifo, sizeof(fifo), "%s/config.json", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    check_problem(folder, NULL, "is a device or pipe, expected a regular file");
    check_refused(fifo, AP_INVALID, "is a device or pipe");
    ap_free(folder);

    folder = scratch_path(state, "unknown");
    put_file(folder, "holiday.jpg", "");
    check_refused(folder, AP_UNSUPPORTED, "with holiday.jpg; expected a model (config.json)");
    ap_free(folder);

    folder = scratch_path(state, "circle");
    assert_int_equal(symlink(folder, folder), 0);
    struct ap_error err = {0};
    char *text;
    assert_int_equal(ap_inspect(folder, &(struct ap_inspect_options){0}, &text, &err), AP_IO);
    assert_null(text);
    ap_free(folder);
}

/* The files of a model are often links: into the cache of a hub. */
static void test_links(void **state)
{
    const char *real = check_data("models/stories260K-hf");
    if (!real)
        skip();
    char *folder = scratch_path(state, "links"), from[1200], to[512];
    assert_int_equal(ap_dir_make(folder, NULL), AP_OK);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "config.json" : "model.safetensors";
        char whole[PATH_MAX];
        snprintf(from, sizeof(from), "%s/%s", real, name);
        snprintf(to, sizeof(to), "%s/%s", folder, name);
        assert_non_null(realpath(from, whole));
        assert_int_equal(symlink(whole, to), 0);
    }
    json_t *o = inspect_json(folder, NULL, AP_OK);
    assert_int_equal(integer_of(o, "parameters"), 260032);
    json_decref(o);
    ap_free(folder);
}

static void test_adapter_goes_first(void **state)
{
    char *folder = scratch_path(state, "both");
    put_file(folder, "config.json", large_config);
    put_file(folder, "adapter_config.json",
             "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"use_rslora\": true, "
             "\"use_dora\": true, \"target_modules\": [\"q_proj\\u0007\"], "
             "\"base_model_name_or_path\": \"some/model\"}");
    put_file(folder, "adapter_model.bin", "pickle");
    char *text = inspect_text(folder, NULL, AP_OK);
    check_holds(text, "  kind        adapter folder of PEFT\n");
    check_holds(text, "config.json, a model's: told is the adapter");
    check_holds(text, "rank        8, alpha 16, scale 5.65685");
    check_holds(text, "\"use_dora\" is true");
    check_holds(text, "a pickle may run any code");
    check_holds(text, "q_proj\\u{7}");
    check_holds(text, "some/model, no folder here");
    ap_text_free(text);
    json_t *o = inspect_json(folder, NULL, AP_OK);
    assert_int_equal(json_array_size(json_object_get(o, "unsupported")), 2);
    json_decref(o);
    ap_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_models),
        cmocka_unit_test(test_golden_adapters),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_nothing_is_loaded),
        cmocka_unit_test(test_tensors_that_do_not_fit),
        cmocka_unit_test(test_other_family),
        cmocka_unit_test(test_damaged_folders),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_adapter_goes_first),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
