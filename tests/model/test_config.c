/* config.json in both spellings; defaults; what is refused, by key and value; written and read
 * back. */
#include "base/scratch.h"

#include "model/config.h"

#define SIZES "\"model_type\":\"llama\"," LAYERS
#define LAYERS                                                                                     \
    "\"vocab_size\":100,\"hidden_size\":32,\"intermediate_size\":48,"                              \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4"

static ap_status read_text(void **state, const char *text, struct ap_config *c,
                           struct ap_error *err)
{
    char *path = scratch_path(state, "config.json");
    scratch_put(path, text, strlen(text));
    ap_status status = ap_config_read_file(c, path, err);
    ap_free(path);
    return status;
}

static struct ap_config good_of(void **state, const char *family, const char *more)
{
    struct ap_config c;
    struct ap_error err;
    char text[2048];
    snprintf(text, sizeof(text), "{\"model_type\":\"%s\"," LAYERS "%s}", family, more);
    check_ok(read_text(state, text, &c, &err), err);
    return c;
}

static struct ap_config good(void **state, const char *more)
{
    return good_of(state, "llama", more);
}

static void refused_of(void **state, const char *family, const char *more, ap_status status,
                       const char *part, const char *other)
{
    struct ap_config c;
    struct ap_error err;
    char text[2048];
    snprintf(text, sizeof(text), "{\"model_type\":\"%s\"," LAYERS "%s}", family, more);
    ap_status got = read_text(state, text, &c, &err);
    if (got != status)
        fprintf(stderr, "%s: %s\n", more, got ? err.text : "accepted");
    assert_int_equal(got, status);
    check_holds(err.text, "config.json");
    check_holds(err.text, part);
    check_holds(err.text, other);
}

static void refused(void **state, const char *more, ap_status status, const char *part,
                    const char *other)
{
    refused_of(state, "llama", more, status, part, other);
}

static void test_defaults(void **state)
{
    struct ap_config c = good(state, "");
    assert_true(c.n_vocab == 100 && c.width == 32 && c.n_ffn == 48 && c.n_layer == 2);
    assert_true(c.n_head == 4 && c.n_kv_head == 4 && c.head_dim == 8 && c.max_position == 2048);
    assert_true(c.rms_eps == 1e-6f && c.rope_theta == 10000 && c.rope == AP_ROPE_DEFAULT);
    assert_true(!c.tied && !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.n_label);
    assert_true(c.bos == 1 && c.pad == -1 && c.n_eos == 1 && c.eos[0] == 2);
    c = good(state, ",\"bos_token_id\":null,\"eos_token_id\":null");
    assert_true(c.bos == -1 && c.n_eos == 0);
    c = good_of(state, "qwen2", ",\"num_key_value_heads\":null");
    assert_true(c.family == AP_QWEN2 && c.n_kv_head == 4 && c.max_position == 32768);
    assert_true(c.rms_eps == 1e-6f && c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.fused);
    assert_true(c.bos == -1 && c.pad == -1 && c.n_eos == 0 && !c.window);
    refused_of(state, "qwen2", "", AP_FORMAT, "num_attention_heads is 4", "32");
    c = good_of(state, "phi3", "");
    assert_true(c.family == AP_PHI3 && c.n_kv_head == 4 && c.max_position == 4096);
    assert_true(c.rms_eps == 1e-5f && !c.qkv_bias && !c.o_bias && !c.mlp_bias && c.fused);
    assert_true(c.bos == 1 && c.pad == -1 && c.n_eos == 0); /* 32000 is not in the vocabulary */
}

/* Keys of other families, and some that act in training only, change nothing. */
static void test_ignored(void **state)
{
    struct ap_config c = good_of(state, "phi3",
                                 ",\"attention_bias\":true,\"mlp_bias\":true,\"resid_pdrop\":0.1,"
                                 "\"embd_pdrop\":0.1,\"attention_dropout\":0.2");
    assert_true(!c.qkv_bias && !c.o_bias && !c.mlp_bias);
    c = good_of(state, "qwen2", ",\"num_key_value_heads\":2,\"attention_bias\":false");
    assert_true(c.qkv_bias && !c.o_bias && c.n_kv_head == 2);
    good(state, ",\"attention_dropout\":0.1");
}

/* -- windows -- */

static bool slides(const struct ap_config *c, int window, bool first, bool second)
{
    return c->window == window && ap_config_window(c, 0) == (first ? window : 0) &&
           ap_config_window(c, 1) == (second ? window : 0);
}

static void test_windows(void **state)
{
#define KV ",\"num_key_value_heads\":2"
#define USE KV ",\"use_sliding_window\":true"
    struct ap_config c = good_of(state, "phi3", ",\"sliding_window\":7");
    assert_true(slides(&c, 7, true, true));
    c = good_of(state, "phi3", ",\"sliding_window\":null");
    assert_true(slides(&c, 0, false, false));
    c = good_of(state, "qwen2",
                KV ",\"use_sliding_window\":false,\"sliding_window\":8,\"max_window_layers\":0");
    assert_true(slides(&c, 0, false, false));
    c = good_of(state, "qwen2", USE ",\"sliding_window\":8,\"max_window_layers\":1");
    assert_true(slides(&c, 8, false, true));
    c = good_of(state, "qwen2", USE ",\"sliding_window\":8,\"max_window_layers\":2");
    assert_true(slides(&c, 8, false, false));
    c = good_of(state, "qwen2", USE ",\"max_window_layers\":0");
    assert_true(slides(&c, 4096, true, true));
    c = good_of(state, "qwen2", USE ",\"sliding_window\":null,\"max_window_layers\":0");
    assert_true(slides(&c, 0, false, false));
    c = good_of(state, "qwen2",
                USE ",\"sliding_window\":3,\"layer_types\":[\"sliding_attention\","
                    "\"full_attention\"],\"max_window_layers\":1");
    assert_true(slides(&c, 3, true, false));
    refused_of(state, "phi3", ",\"sliding_window\":0", AP_FORMAT, "\"sliding_window\" is 0",
               "1 to");
    refused_of(state, "phi3", ",\"sliding_window\":-4", AP_FORMAT, "sliding_window", "-4");
    refused_of(state, "phi3", ",\"sliding_window\":2.5", AP_FORMAT, "sliding_window", "integer");
    refused_of(state, "phi3", ",\"sliding_window\":4,\"layer_types\":[\"full_attention\"]",
               AP_UNSUPPORTED, "layer_types", "\"sliding_attention\"");
    refused_of(state, "qwen2", USE ",\"sliding_window\":0", AP_FORMAT, "sliding_window", "0");
    refused_of(state, "qwen2", USE ",\"layer_types\":[\"full_attention\"]", AP_FORMAT,
               "\"layer_types\" holds 1 layers", "2");
    refused_of(state, "qwen2", USE ",\"layer_types\":[\"chunked\",\"full_attention\"]",
               AP_UNSUPPORTED, "layer_types", "chunked");
    refused_of(state, "qwen2", KV ",\"layer_types\":[\"sliding_attention\",\"full_attention\"]",
               AP_UNSUPPORTED, "layer_types", "no sliding_window is in use");
}

/* -- rotary positions -- */

#define FACTORS "\"short_factor\":[1,1.5,2,2.5],\"long_factor\":[3,4,5,6]"

static void test_longrope(void **state)
{
    struct ap_config c = good_of(state, "phi3",
                                 ",\"original_max_position_embeddings\":64,\"rope_scaling\":"
                                 "{\"type\":\"su\"," FACTORS "}");
    assert_true(c.rope == AP_ROPE_LONGROPE && c.rope_original == 64 && ap_config_n_freq(&c) == 4);
    assert_true(c.rope_short[1] == 1.5f && c.rope_long[3] == 6 && c.rope_factor == 0);
    assert_int_equal(ap_config_context(&c), 64);
    c = good_of(state, "phi3",
                ",\"original_max_position_embeddings\":64,\"rope_parameters\":{\"rope_type\":"
                "\"longrope\",\"rope_theta\":5,\"original_max_position_embeddings\":64,"
                "\"factor\":8.0,\"attention_factor\":1.25," FACTORS "}");
    assert_true(c.rope_theta == 5 && c.rope_factor == 8 && c.rope_attention == 1.25);
    c = good_of(state, "phi3",
                ",\"original_max_position_embeddings\":64,\"partial_rotary_factor\":0.5,"
                "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2],"
                "\"long_factor\":[3,4]}");
    assert_int_equal(ap_config_n_freq(&c), 2);
    c = good(state, ",\"rope_scaling\":{\"rope_type\":\"longrope\","
                    "\"original_max_position_embeddings\":32," FACTORS "}");
    assert_true(c.rope == AP_ROPE_LONGROPE && c.rope_original == 32);
    c = good(state, ",\"rope_scaling\":{\"rope_type\":\"longrope\"," FACTORS "}");
    assert_int_equal(c.rope_original, 2048);
#define ORIGINAL ",\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"longrope\","
    refused_of(state, "phi3", ORIGINAL "\"short_factor\":[1,2,3],\"long_factor\":[1,2,3,4]}",
               AP_FORMAT, "\"short_factor\" holds 3 numbers", "4");
    refused_of(state, "phi3", ORIGINAL "\"short_factor\":[1,2,3,4]}", AP_FORMAT,
               "\"long_factor\" holds 0 numbers", "4");
    refused_of(state, "phi3", ORIGINAL "\"short_factor\":[1,2,3,\"4\"],\"long_factor\":[1,2,3,4]}",
               AP_FORMAT, "short_factor", "place 4 of 4");
    refused_of(state, "phi3", ORIGINAL "\"short_factor\":[1,2,0,4],\"long_factor\":[1,2,3,4]}",
               AP_FORMAT, "short_factor", "place 3 of 4");
    refused_of(state, "phi3", ORIGINAL "\"attention_factor\":-1," FACTORS "}", AP_FORMAT,
               "attention_factor", "positive");
    refused_of(state, "phi3",
               ",\"original_max_position_embeddings\":5000,\"rope_scaling\":{\"type\":"
               "\"longrope\"," FACTORS "}",
               AP_FORMAT, "original_max_position_embeddings is 5000",
               "max_position_embeddings 4096");
    refused_of(state, "phi3",
               ",\"rope_parameters\":{\"rope_type\":\"longrope\","
               "\"original_max_position_embeddings\":64," FACTORS "}",
               AP_FORMAT, "original_max_position_embeddings is 64", "expected 4096");
    refused_of(
        state, "phi3",
        ",\"original_max_position_embeddings\":1.5,\"rope_scaling\":{\"type\":\"longrope\"," FACTORS
        "}",
        AP_FORMAT, "original_max_position_embeddings", "integer");
}

static void test_other_ropes(void **state)
{
    struct ap_config c = good(state, ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}");
    assert_true(c.rope == AP_ROPE_LINEAR && c.rope_factor == 2.5);
    c = good_of(state, "qwen2", KV ",\"rope_parameters\":{\"rope_type\":\"dynamic\",\"factor\":4}");
    assert_true(c.rope == AP_ROPE_DYNAMIC && ap_config_context(&c) == 32768);
    c = good_of(state, "phi3", ",\"partial_rotary_factor\":0.5");
    assert_int_equal(ap_config_n_freq(&c), 2);
    c = good_of(state, "phi3", ",\"partial_rotary_factor\":0.4,\"head_dim\":8"); /* 3.2 */
    assert_true(ap_config_rotating(&c) == 3 && ap_config_n_freq(&c) == 2);
    c = good_of(state, "phi3",
                ",\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"partial_rotary_factor\":1}");
    assert_int_equal(ap_config_n_freq(&c), 4);
    refused_of(state, "phi3", ",\"partial_rotary_factor\":1.5", AP_FORMAT, "partial_rotary_factor",
               "at most 1");
    refused_of(state, "phi3", ",\"partial_rotary_factor\":0.1", AP_FORMAT, "partial_rotary_factor",
               "one element");
    refused_of(state, "qwen2", KV ",\"partial_rotary_factor\":0.5", AP_UNSUPPORTED,
               "partial_rotary_factor", "0.5");
    refused_of(state, "phi3", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}",
               AP_UNSUPPORTED, "\"type\" is \"linear\"", "longrope");
    refused_of(state, "qwen2",
               KV ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}",
               AP_UNSUPPORTED, "full_attention", "a number");
}

static void test_spellings(void **state)
{
    struct ap_config c =
        good(state, ",\"rope_theta\":500000.0,\"rope_scaling\":null,\"torch_dtype\":\"bfloat16\"");
    assert_true(c.rope_theta == 500000 && c.rope == AP_ROPE_DEFAULT);
    c = good(state, ",\"rope_parameters\":{\"rope_theta\":7000,\"rope_type\":\"default\"},"
                    "\"dtype\":\"float32\"");
    assert_true(c.rope_theta == 7000 && c.rope == AP_ROPE_DEFAULT);
#define LLAMA3                                                                                     \
    "\"factor\":8,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"                               \
    "\"original_max_position_embeddings\":64"
    c = good(state, ",\"rope_theta\":6.5,\"rope_scaling\":{\"type\":\"llama3\"," LLAMA3 "}");
    assert_true(c.rope == AP_ROPE_LLAMA3 && c.rope_theta == 6.5 && c.rope_factor == 8);
    assert_true(c.rope_low == 1 && c.rope_high == 4 && c.rope_original == 64);
    c = good(state,
             ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"rope_theta\":9.0," LLAMA3 "}");
    assert_true(c.rope == AP_ROPE_LLAMA3 && c.rope_theta == 9 && c.rope_original == 64);
    c = good(state, ",\"head_dim\":16,\"num_key_value_heads\":2,\"tie_word_embeddings\":true,"
                    "\"attention_bias\":true,\"mlp_bias\":true,\"rms_norm_eps\":1e-5");
    assert_true(c.head_dim == 16 && c.n_kv_head == 2 && c.tied && c.qkv_bias && c.o_bias &&
                c.mlp_bias);
    c = good(state, ",\"eos_token_id\":[5,6,7],\"bos_token_id\":1,\"pad_token_id\":-1");
    assert_true(c.n_eos == 3 && c.eos[2] == 7 && c.bos == 1 && c.pad == -1);
    c = good(state, ",\"eos_token_id\":5,\"pad_token_id\":100");
    assert_true(c.n_eos == 1 && c.eos[0] == 5 && c.pad == -1);
    c = good(state, ",\"architectures\":[\"LlamaForSequenceClassification\"],"
                    "\"id2label\":{\"0\":\"LABEL_0\"}");
    assert_int_equal(c.n_label, 1);
    good(state, ",\"architectures\":[\"LlamaForCausalLM\"],\"layer_types\":[\"full_attention\"],"
                "\"pretraining_tp\":1,\"attention_dropout\":0.0,\"sliding_window\":null");
}

static void test_refused(void **state)
{
    struct ap_config c;
    struct ap_error err;
    const ap_status no = AP_UNSUPPORTED;
    assert_int_equal(read_text(state, "{\"model_type\":\"gemma\"}", &c, &err), no);
    check_holds(err.text, "\"model_type\" is \"gemma\", expected \"llama\", \"qwen2\" or \"phi3\"");
    assert_int_equal(read_text(state, "{}", &c, &err), no);
    refused(state, ",\"hidden_act\":\"gelu\"", no, "\"hidden_act\" is \"gelu\"", "\"silu\"");
    refused(state, ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", no,
            "rope_scaling: \"rope_type\" is \"yarn\"", "llama3");
    refused(state, ",\"rope_scaling\":{\"type\":\"su\"}", no, "\"type\" is \"su\"", "default");
    refused(state, ",\"rope_parameters\":{\"rope_type\":\"dynamic\"}", AP_FORMAT, "rope_parameters",
            "\"factor\" is missing");
    refused(state, ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}", no,
            "partial_rotary_factor", "0.5");
    refused(state, ",\"rope_parameters\":[1]", no, "rope", "object");
    refused(state, ",\"quantization_config\":{\"bits\":4}", no, "quantization_config",
            "{\"bits\":4}");
    refused(state, ",\"pretraining_tp\":2", no, "\"pretraining_tp\" is 2", "1");
    refused(state, ",\"sliding_window\":4096", no, "\"sliding_window\" is 4096", "null");
    refused(state, ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", no, "layer_types",
            "sliding_attention");
    refused(state, ",\"architectures\":[\"LlamaForTokenClassification\"]", no, "architectures",
            "TokenClassification");
    refused(state, ",\"architectures\":[\"LlamaForSequenceClassification\"]", no, "2 labels",
            "expected 1");
    refused(state,
            ",\"architectures\":[\"LlamaForSequenceClassification\"],\"id2label\":{\"0\":\"a\","
            "\"1\":\"b\",\"2\":\"c\"}",
            no, "3 labels", "expected 1");
}

static void test_wrong(void **state)
{
    struct ap_config c;
    struct ap_error err;
    const ap_status bad = AP_FORMAT;
    assert_int_equal(read_text(state, "{\"model_type\":\"llama\"}", &c, &err), bad);
    check_holds(err.text, "\"vocab_size\" is missing");
    assert_int_equal(read_text(state, "[]", &c, &err), bad);
    assert_int_equal(read_text(state, "{" SIZES, &c, &err), bad);
    refused(state, ",\"head_dim\":7", bad, "head_dim is 7", "even");
    refused(state, ",\"num_key_value_heads\":3", bad, "num_attention_heads is 4", "3");
    refused(state, ",\"num_key_value_heads\":0", bad, "\"num_key_value_heads\" is 0", "1 to");
    refused(state, ",\"max_position_embeddings\":1e3", bad, "max_position_embeddings", "real");
    refused(state, ",\"max_position_embeddings\":99999999999", bad, "max_position_embeddings",
            "expected 1 to");
    refused(state, ",\"rms_norm_eps\":0", bad, "rms_norm_eps", "positive");
    refused(state, ",\"rms_norm_eps\":1e-46", bad, "rms_norm_eps", "positive");
    refused(state, ",\"rope_theta\":-1", bad, "rope_theta", "positive");
    refused(state, ",\"tie_word_embeddings\":1", bad, "tie_word_embeddings", "true or false");
    refused(state, ",\"eos_token_id\":100", bad, "eos_token_id", "0 to 99");
    refused(state, ",\"eos_token_id\":[1,\"2\"]", bad, "eos_token_id", "token id");
    refused(state, ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", AP_LIMIT, "eos_token_id", "8");
    refused(state, ",\"bos_token_id\":-5", bad, "bos_token_id", "token id");
    refused(state, ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}", bad,
            "\"low_freq_factor\" is missing", "rope_scaling");
    refused(state,
            ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
            "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}",
            bad, "high_freq_factor is 4", "low_freq_factor");
    refused(state, ",\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{}", bad,
            "rope_parameters and rope_scaling", "differ");
    assert_int_equal(read_text(state,
                               "{\"model_type\":\"llama\",\"vocab_size\":100,\"hidden_size\":33,"
                               "\"intermediate_size\":48,\"num_hidden_layers\":2,"
                               "\"num_attention_heads\":4}",
                               &c, &err),
                     bad);
    check_holds(err.text, "hidden_size is 33");
}

static void test_generation(void **state)
{
    struct ap_config c;
    struct ap_error err;
    char *path = scratch_path(state, "generation_config.json");
    const char text[] = "{\"eos_token_id\":[3,4],\"temperature\":0.6}";
    good(state, ",\"eos_token_id\":9,\"bos_token_id\":1");
    check_ok(ap_config_read(&c, *state, &err), err);
    assert_true(c.n_eos == 1 && c.eos[0] == 9);
    scratch_put(path, text, strlen(text));
    check_ok(ap_config_read(&c, *state, &err), err);
    assert_true(c.n_eos == 2 && c.eos[0] == 3 && c.eos[1] == 4 && c.bos == 1);
    scratch_put(path, "{\"eos_token_id\":1000}", 21);
    assert_int_equal(ap_config_read(&c, *state, &err), AP_FORMAT);
    check_holds(err.text, "generation_config.json");
    ap_free(path);
}

/* Compared whole: reading begins with zeros. */
static void check_rewritten(void **state, const char *family, const char *more)
{
    struct ap_error err;
    struct ap_config c = good_of(state, family, more), again;
    check_ok(ap_config_write(&c, AP_F32, *state, &err), err);
    check_ok(ap_config_read(&again, *state, &err), err);
    assert_memory_equal(&c, &again, sizeof(c));
}

static void test_write(void **state)
{
    check_rewritten(state, "llama", "");
    check_rewritten(state, "llama",
                    ",\"head_dim\":16,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,"
                    "\"tie_word_embeddings\":true,\"attention_bias\":true,"
                    "\"rope_theta\":3e5,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3
                    "},\"eos_token_id\":[5,6],\"bos_token_id\":1,\"pad_token_id\":0");
    check_rewritten(state, "llama",
                    ",\"architectures\":[\"LlamaForSequenceClassification\"],"
                    "\"num_labels\":1,\"mlp_bias\":true,\"initializer_range\":0.1,"
                    "\"eos_token_id\":2");
    check_rewritten(state, "llama", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}");
    check_rewritten(state, "llama",
                    ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":3.5,"
                    "\"original_max_position_embeddings\":99," FACTORS "}");
    check_rewritten(state, "qwen2", KV ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}");
    check_rewritten(state, "qwen2", USE ",\"sliding_window\":8,\"max_window_layers\":1");
    check_rewritten(state, "qwen2",
                    USE ",\"sliding_window\":3,\"head_dim\":16,\"layer_types\":["
                        "\"sliding_attention\",\"full_attention\"]");
    check_rewritten(state, "qwen2",
                    KV ",\"architectures\":[\"Qwen2ForSequenceClassification\"],\"num_labels\":1");
    check_rewritten(state, "phi3", ",\"partial_rotary_factor\":0.4,\"sliding_window\":5");
    check_rewritten(state, "phi3",
                    ",\"original_max_position_embeddings\":64,\"rope_scaling\":"
                    "{\"type\":\"su\"," FACTORS "}");
    check_rewritten(state, "phi3",
                    ",\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":"
                    "\"longrope\",\"factor\":7.5,\"attention_factor\":1.1," FACTORS "},"
                    "\"architectures\":[\"Phi3ForSequenceClassification\"],\"num_labels\":1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_ignored, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_windows, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_longrope, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_other_ropes, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_spellings, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_wrong, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_generation, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_write, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
