/* config.json in both spellings; defaults; what is refused, by key and value; written and read
 * back. */
#include "base/scratch.h"

#include "model/config.h"

#define SIZES                                                                                      \
    "\"model_type\":\"llama\",\"vocab_size\":100,\"hidden_size\":32,\"intermediate_size\":48,"     \
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

static struct ap_config good(void **state, const char *more)
{
    struct ap_config c;
    struct ap_error err;
    char text[2048];
    snprintf(text, sizeof(text), "{" SIZES "%s}", more);
    check_ok(read_text(state, text, &c, &err), err);
    return c;
}

static void refused(void **state, const char *more, ap_status status, const char *part,
                    const char *other)
{
    struct ap_config c;
    struct ap_error err;
    char text[2048];
    snprintf(text, sizeof(text), "{" SIZES "%s}", more);
    ap_status got = read_text(state, text, &c, &err);
    if (got != status)
        fprintf(stderr, "%s: %s\n", more, got ? err.text : "accepted");
    assert_int_equal(got, status);
    check_holds(err.text, "config.json");
    check_holds(err.text, part);
    check_holds(err.text, other);
}

static void test_defaults(void **state)
{
    struct ap_config c = good(state, "");
    assert_true(c.n_vocab == 100 && c.width == 32 && c.n_ffn == 48 && c.n_layer == 2);
    assert_true(c.n_head == 4 && c.n_kv_head == 4 && c.head_dim == 8 && c.max_position == 2048);
    assert_true(c.rms_eps == 1e-6f && c.rope_theta == 10000 && c.rope == AP_ROPE_DEFAULT);
    assert_true(!c.tied && !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.n_label);
    assert_true(c.bos == -1 && c.pad == -1 && c.n_eos == 0);
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
    check_holds(err.text, "\"model_type\" is \"gemma\", expected \"llama\"");
    assert_int_equal(read_text(state, "{}", &c, &err), no);
    refused(state, ",\"hidden_act\":\"gelu\"", no, "\"hidden_act\" is \"gelu\"", "\"silu\"");
    refused(state, ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", no,
            "rope_scaling: \"rope_type\" is \"yarn\"", "llama3");
    refused(state, ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", no,
            "\"type\" is \"linear\"", "default");
    refused(state, ",\"rope_parameters\":{\"rope_type\":\"dynamic\"}", no, "rope_parameters",
            "dynamic");
    refused(state, ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}", no,
            "partial_rotary_factor", "0.5");
    refused(state, ",\"rope_parameters\":[1]", no, "rope", "object");
    refused(state, ",\"attention_dropout\":0.1", no, "\"attention_dropout\" is 0.1", "0");
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

static void check_rewritten(void **state, const char *more)
{
    struct ap_error err;
    struct ap_config c = good(state, more), again;
    check_ok(ap_config_write(&c, *state, &err), err);
    check_ok(ap_config_read(&again, *state, &err), err);
    assert_int_equal(c.n_vocab, again.n_vocab);
    assert_true(c.width == again.width && c.n_layer == again.n_layer && c.n_head == again.n_head);
    assert_true(c.n_kv_head == again.n_kv_head && c.head_dim == again.head_dim);
    assert_true(c.n_ffn == again.n_ffn && c.max_position == again.max_position);
    assert_true(c.rms_eps == again.rms_eps && c.tied == again.tied);
    assert_true(c.qkv_bias == again.qkv_bias && c.o_bias == again.o_bias &&
                c.mlp_bias == again.mlp_bias);
    assert_true(c.rope == again.rope && c.rope_theta == again.rope_theta);
    assert_true(c.rope_factor == again.rope_factor && c.rope_low == again.rope_low);
    assert_true(c.rope_high == again.rope_high && c.rope_original == again.rope_original);
    assert_true(c.n_label == again.n_label && c.bos == again.bos && c.pad == again.pad);
    assert_true(c.initializer_range == again.initializer_range && c.n_eos == again.n_eos);
    assert_memory_equal(c.eos, again.eos, sizeof(c.eos));
}

static void test_write(void **state)
{
    check_rewritten(state, "");
    check_rewritten(state, ",\"head_dim\":16,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,"
                           "\"tie_word_embeddings\":true,\"attention_bias\":true,"
                           "\"rope_theta\":3e5,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3
                           "},\"eos_token_id\":[5,6],\"bos_token_id\":1,\"pad_token_id\":0");
    check_rewritten(state, ",\"architectures\":[\"LlamaForSequenceClassification\"],"
                           "\"num_labels\":1,\"mlp_bias\":true,\"initializer_range\":0.1,"
                           "\"eos_token_id\":2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_spellings, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_wrong, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_generation, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_write, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
