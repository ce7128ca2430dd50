/* Adapters: made as peft makes them, saved and loaded in its folder; what is not implemented is
 * refused by key and value. */
#include "base/scratch.h"

#include "model/adapter.h"
#include "model/module.h"
#include "tiny.h"

static void check_equal(const struct ap_adapter *a, const struct ap_adapter *b)
{
    assert_int_equal(a->table.n, b->table.n);
    assert_true(a->rank == b->rank && a->alpha == b->alpha && a->rslora == b->rslora);
    assert_true(a->r == b->r && (a->score >= 0) == (b->score >= 0));
    for (int i = 0; i < a->config.n_layer * AP_LORA_N; i++) {
        assert_true((a->a[i] < 0) == (b->a[i] < 0));
        assert_true(a->alphas[i] == b->alphas[i] && a->scales[i] == b->scales[i]);
    }
    for (int i = 0; i < a->table.n; i++) {
        const struct ap_param *p = ap_params_find(&b->table, a->table.rows[i].name);
        assert_non_null(p);
        assert_memory_equal(a->table.rows[i].data, p->data, p->n * sizeof(float));
    }
}

static struct ap_adapter *make(const struct ap_weights *w, int rank, double alpha,
                               const char *targets, bool rslora, bool head)
{
    struct ap_error err;
    struct ap_adapter *a;
    char text[64];
    snprintf(text, sizeof(text), "%s", targets);
    struct ap_adapter_settings s = {
        .rank = rank, .alpha = alpha, .targets = text, .rslora = rslora};
    check_ok(ap_adapter_new(&a, w, &s, head, 5, &err), err);
    return a;
}

static void test_new(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = make(w, 4, 10, "q_proj, down_proj", false, true);
    (void)state;
    assert_int_equal(a->table.n, 2 * 2 * 2 + 1);
    check_near(a->scales[AP_LORA_DOWN], 2.5, 0, 0);
    assert_true(a->a[AP_LORA_K] == -1 && a->a[AP_LORA_Q] >= 0 && a->score >= 0);
    const struct ap_param *p = &a->table.rows[a->a[AP_LORA_DOWN]];
    assert_true(p->shape[0] == 4 && p->shape[1] == 24);
    double most = 0;
    for (size_t k = 0; k < p->n; k++)
        most = fmax(most, fabs((double)p->data[k]));
    assert_true(most <= 1 / sqrt(24) && most > 0.8 / sqrt(24)); /* kaiming-uniform, √5 */
    p = &a->table.rows[a->b[AP_LORA_DOWN]];
    assert_true(p->shape[0] == 16 && p->shape[1] == 4);
    for (size_t k = 0; k < p->n; k++)
        assert_true(p->data[k] == 0);
    ap_adapter_free(a);
    a = make(w, 4, 10, "all-linear", true, false);
    check_near(a->scales[AP_LORA_DOWN], 5, 0, 0);
    assert_int_equal(a->table.n, 2 * 7 * 2);
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void new_refused(const struct ap_weights *w, int rank, double alpha, const char *targets,
                        const char *part)
{
    struct ap_error err;
    struct ap_adapter *a;
    char text[64];
    snprintf(text, sizeof(text), "%s", targets);
    struct ap_adapter_settings s = {.rank = rank, .alpha = alpha, .targets = text};
    assert_int_equal(ap_adapter_new(&a, w, &s, false, 5, &err), AP_INVALID);
    assert_null(a);
    check_holds(err.text, part);
}

static void test_new_refused(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    (void)state;
    new_refused(w, 0, 1, "all-linear", "rank is 0");
    new_refused(w, 4, 0, "all-linear", "alpha is 0");
    new_refused(w, 4, NAN, "all-linear", "alpha");
    new_refused(w, 4, 1, "q_proj,lm_head", "\"lm_head\" is no target");
    new_refused(w, 4, 1, "", "no targets");
    ap_weights_free(w);
}

static void check_round_trip(void **state, struct ap_adapter *a, const struct ap_weights *w)
{
    struct ap_error err;
    struct ap_adapter *loaded, *copy;
    tiny_stir(a->ops, &a->table, 17, 0.3);
    a->dropout = 0.0625;
    check_ok(ap_adapter_save(a, *state, "some/base", &err), err);
    check_ok(ap_adapter_load(&loaded, w, *state, &err), err);
    check_equal(a, loaded);
    check_ok(ap_adapter_copy(&copy, loaded, &err), err);
    assert_true(loaded->dropout == a->dropout && copy->dropout == a->dropout);
    check_ok(ap_adapter_set_trainable(loaded, &err), err);
    assert_true(loaded->trainable && loaded->table.rows[0].grad && !copy->trainable);
    loaded->table.rows[0].own[0] += 1;
    check_equal(a, copy);
    check_ok(ap_adapter_restore(loaded, *state, &err), err);
    check_equal(a, loaded);
    ap_adapter_free(copy);
    ap_adapter_free(loaded);
    ap_adapter_free(a);
}

static void test_round_trip(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    check_round_trip(state, make(w, 4, 10, "all-linear", false, false), w);
    check_round_trip(state, make(w, 3, 2.5, "v_proj,up_proj", true, true), w);
    ap_weights_free(w);
}

/* What peft asks of the file: the names that it writes itself. */
static void test_spelling(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = make(w, 4, 10, "q_proj", false, true);
    struct ap_buffer text = {0};
    char *path = scratch_path(state, "adapter_config.json");
    check_ok(ap_adapter_save(a, *state, NULL, &err), err);
    check_ok(ap_file_read(path, 1 << 16, &text, &err), err);
    check_holds(text.data, "\"peft_type\": \"LORA\"");
    check_holds(text.data, "\"task_type\": \"SEQ_CLS\"");
    check_holds(text.data, "\"lora_alpha\": 10");
    check_holds(text.data, "\"r\": 4");
    check_holds(text.data, "\"base_model_name_or_path\": null");
    check_holds(text.data, "\"score\"");
    assert_non_null(ap_params_find(
        &a->table, "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"));
    assert_non_null(ap_params_find(&a->table, "base_model.model.score.weight"));
    ap_buffer_free(&text);
    ap_free(path);
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void load_with(void **state, const struct ap_weights *w, const char *more,
                      ap_status expected, const char *part, const char *other)
{
    struct ap_error err;
    struct ap_adapter *a;
    char text[1024], *path = scratch_path(state, "adapter_config.json");
    snprintf(text, sizeof(text), "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":10%s%s}",
             strstr(more, "target_modules") ? "" : ",\"target_modules\":[\"q_proj\"]", more);
    scratch_put(path, text, strlen(text));
    ap_status got = ap_adapter_load(&a, w, *state, &err);
    if (got != expected)
        fprintf(stderr, "%s: %s\n", more, got ? err.text : "accepted");
    assert_int_equal(got, expected);
    if (expected != AP_OK) {
        check_holds(err.text, part);
        check_holds(err.text, other);
    }
    ap_adapter_free(a);
    ap_free(path);
}

static void test_refused(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = make(w, 4, 10, "q_proj", false, false);
    const ap_status no = AP_UNSUPPORTED;
    check_ok(ap_adapter_save(a, *state, NULL, &err), err);
    load_with(state, w, "", AP_OK, "", "");
    load_with(
        state, w,
        ",\"bias\":\"none\",\"use_dora\":false,\"rank_pattern\":{},\"lora_dropout\":0.05,"
        "\"layers_to_transform\":null,\"megatron_core\":\"megatron.core\",\"eva_config\":null,"
        "\"qalora_group_size\":16,\"task_type\":\"CAUSAL_LM\",\"init_lora_weights\":true",
        AP_OK, "", "");
    load_with(state, w, ",\"lora_dropout\":1", AP_FORMAT, "lora_dropout is 1", "below 1");
    load_with(state, w, ",\"use_dora\":true", no, "\"use_dora\" is true", "adapter_config.json");
    load_with(state, w, ",\"rank_pattern\":{\"q_proj\":8}", AP_FORMAT, "is F32 [4,16]",
              "expected [8,16]");
    load_with(state, w, ",\"bias\":\"all\"", no, "\"bias\" is \"all\"", "\"none\"");
    load_with(state, w, ",\"layers_to_transform\":[0]", AP_FORMAT, "layers.1.self_attn.q_proj",
              "too many");
    load_with(state, w, ",\"fan_in_fan_out\":true", no, "fan_in_fan_out", "true");
    load_with(state, w, ",\"something_new\":{\"x\":1}", no, "something_new", "{\"x\":1}");
    load_with(state, w, ",\"init_lora_weights\":\"pissa\"", no, "init_lora_weights", "pissa");
    load_with(state, w, ",\"task_type\":\"SEQ_2_SEQ_LM\"", no, "task_type", "SEQ_2_SEQ_LM");
    load_with(state, w, ",\"modules_to_save\":[\"lm_head\"]", no, "modules_to_save", "lm_head");
    load_with(state, w, ",\"target_modules\":[\"q_proj\",\"lm_head\"]", no, "target_modules",
              "lm_head");
    load_with(state, w, ",\"target_modules\":\".*k_proj\"", AP_FORMAT,
              "k_proj.lora_A.weight is missing", "");
    load_with(state, w, ",\"modules_to_save\":[\"classifier\",\"score\"]", AP_FORMAT,
              "base_model.model.score.weight is missing", "adapter_model.safetensors");
    load_with(state, w, ",\"target_modules\":\"all-linear\"", AP_FORMAT,
              "k_proj.lora_A.weight is missing", "");
    load_with(state, w, ",\"target_modules\":[\"v_proj\"]", AP_FORMAT,
              "v_proj.lora_A.weight is missing", "");
    c.n_layer = 1;
    struct ap_weights *shallow = tiny_weights(&c);
    load_with(state, shallow, "", AP_FORMAT, "layers.1.self_attn.q_proj", "too many");
    c.width = 24;
    struct ap_weights *wide = tiny_weights(&c);
    load_with(state, wide, "", AP_FORMAT, "is F32 [4,16], expected [4,24]",
              "(r and the base's inputs in adapter_config.json with the base's config.json)");
    struct ap_config judge = tiny_config();
    judge.n_label = 1;
    struct ap_weights *classifier = tiny_weights(&judge);
    load_with(state, classifier, ",\"task_type\":\"CAUSAL_LM\"", AP_INVALID,
              "\"task_type\" is \"CAUSAL_LM\"", "use the adapter with the language model");
    load_with(state, classifier, ",\"task_type\":\"SEQ_CLS\"", AP_OK, "", "");
    ap_weights_free(classifier);
    ap_weights_free(wide);
    ap_weights_free(shallow);
    ap_adapter_free(a);
    ap_weights_free(w);
}

/* ---- PEFT's rules ---- */

/* The ranks of a two-layer base by an adapter_config.json, layer by layer: q k v o gate up down. */
static void expect_ranks(const char *keys, const char *expected)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_adapter_plan plan;
    json_t *o = NULL;
    char text[1024], got[128];
    size_t used = 0;
    snprintf(text, sizeof(text), "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":10,%s}", keys);
    check_ok(ap_json_parse(text, strlen(text), "config", &o, &err), err);
    check_ok(ap_adapter_plan_read(&plan, o, "config", &c, &err), err);
    for (int i = 0; i < plan.n; i++)
        if (ap_module_is_there(&c, i % AP_LORA_N))
            used += (size_t)snprintf(got + used, sizeof(got) - used, "%s%d",
                                     i == AP_LORA_N ? " | "
                                     : i            ? " "
                                                    : "",
                                     plan.ranks[i]);
        else
            assert_int_equal(plan.ranks[i], 0);
    if (strcmp(got, expected) != 0)
        fprintf(stderr, "%s: %s, expected %s\n", keys, got, expected);
    assert_string_equal(got, expected);
    ap_adapter_plan_free(&plan);
    json_decref(o);
}

static void test_rules(void **state)
{
    (void)state;
    expect_ranks("\"target_modules\":\"All-Linear\"", "4 4 4 4 4 4 4 | 4 4 4 4 4 4 4");
    expect_ranks("\"target_modules\":[\"q_proj\",\"1.mlp.up_proj\",\"nothing\"]",
                 "4 0 0 0 0 0 0 | 4 0 0 0 0 4 0");
    expect_ranks("\"target_modules\":\".*layers\\\\.1\\\\..*(q|v)_proj\"",
                 "0 0 0 0 0 0 0 | 4 0 4 0 0 0 0");
    expect_ranks("\"target_modules\":\".*_proj\",\"exclude_modules\":\".*mlp.*\"",
                 "4 4 4 4 0 0 0 | 4 4 4 4 0 0 0");
    expect_ranks("\"target_modules\":\"all-linear\","
                 "\"exclude_modules\":[\"o_proj\",\"model.layers.0.mlp.up_proj\"]",
                 "4 4 4 0 4 0 4 | 4 4 4 0 4 4 4");
    expect_ranks("\"target_modules\":[\"q_proj\"],\"layers_to_transform\":1",
                 "0 0 0 0 0 0 0 | 4 0 0 0 0 0 0");
    /* a whole name counts in every layer, as in peft */
    expect_ranks("\"target_modules\":[\"v_proj\",\"model.layers.1.self_attn.q_proj\"],"
                 "\"layers_to_transform\":[0],\"layers_pattern\":\"layers\"",
                 "0 0 4 0 0 0 0 | 4 0 0 0 0 0 0");
    expect_ranks("\"target_modules\":[\"q_proj\",\"model.layers.0.mlp.up_proj\"],"
                 "\"layers_to_transform\":[0,1],\"layers_pattern\":[\"h\",\"blocks\"]",
                 "0 0 0 0 0 4 0 | 0 0 0 0 0 0 0");
    /* the first pattern that matches the end of a name counts */
    expect_ranks("\"target_modules\":\"all-linear\",\"rank_pattern\":"
                 "{\"0.mlp.up_proj\":2,\"up_proj\":3,\"layers.\\\\d.self_attn.[kv]_proj\":8,"
                 "\"v_proj\":9,\"q\":7,\"^model.layers.1.mlp.down_proj\":5}",
                 "4 8 8 4 4 2 4 | 4 8 8 4 4 3 5");
}

static void expect_refused(const char *keys, ap_status expected, const char *part)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_adapter_plan plan;
    json_t *o = NULL;
    char text[1024];
    snprintf(text, sizeof(text), "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":10,%s}", keys);
    check_ok(ap_json_parse(text, strlen(text), "config", &o, &err), err);
    assert_int_equal(ap_adapter_plan_read(&plan, o, "config", &c, &err), expected);
    check_holds(err.text, part);
    ap_adapter_plan_free(&plan);
    json_decref(o);
}

#define ALL "\"target_modules\":\"all-linear\","

static void test_rules_refused(void **state)
{
    const ap_status no = AP_UNSUPPORTED;
    (void)state;
    expect_refused("\"target_modules\":null", no, "\"target_modules\" is null");
    expect_refused("\"target_modules\":[]", no, "\"target_modules\" is []");
    expect_refused("\"target_modules\":[\"q_proj\",3]", no, "is 3, expected a list of names");
    expect_refused("\"target_modules\":[\"c_attn\"]", no, "may be for another kind of model");
    expect_refused("\"target_modules\":\".*\"", no, "takes in lm_head");
    expect_refused("\"target_modules\":[\"q_proj\",\"embed_tokens\"]", no, "model.embed_tokens");
    expect_refused("\"target_modules\":\"(q_proj\"", no, "is no regular expression");
    expect_refused("\"target_modules\":\"((.+)+)+[A-Z]\"", AP_LIMIT, "takes too long");
    expect_refused("\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[7]", no,
                   "\"target_modules\" is [\"q_proj\"]");
    expect_refused("\"target_modules\":\".*q_proj\",\"layers_to_transform\":[0]", no,
                   "layers_to_transform");
    expect_refused("\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[\"0\"]", no,
                   "\"layers_to_transform\" is [\"0\"]");
    expect_refused(ALL "\"exclude_modules\":7", no, "\"exclude_modules\" is 7");
    expect_refused(ALL "\"rank_pattern\":{\"q_proj\":0}", AP_FORMAT, "\"q_proj\" is not a rank");
    expect_refused(ALL "\"rank_pattern\":{\"q_proj\":2.5}", AP_FORMAT, "not a rank from 1 to 4096");
    expect_refused(ALL "\"rank_pattern\":[1]", no, "\"rank_pattern\" is [1], expected an object");
    expect_refused(ALL "\"alpha_pattern\":{\"q_proj\":-1}", AP_FORMAT, "not a positive number");
    expect_refused(ALL "\"alpha_pattern\":{\"[\":1}", no, "\"[\" is no regular expression");
    expect_refused(ALL "\"init_lora_weights\":\"pissa_niter_16\"", no,
                   "path_initial_model_for_weight_conversion");
    expect_refused(ALL "\"use_dora\":true", no, "\"use_dora\" is true");
    expect_refused(ALL "\"lora_bias\":true", no, "\"lora_bias\" is true");
    expect_refused(ALL "\"trainable_token_indices\":[1]", no, "trainable_token_indices");
    expect_refused(ALL "\"megatron_config\":{\"x\":1}", no, "megatron_config");
    expect_refused(ALL "\"target_parameters\":[\"w\"]", no, "target_parameters");
}

/* Ranks and alphas of their own survive a save and a load; a copy has them too. */
static void test_patterns_round_trip(void **state)
{
    static const char text[] =
        "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":10,\"target_modules\":[\"q_proj\","
        "\"1.mlp.up_proj\"],\"rank_pattern\":{\"layers.1.self_attn.q_proj\":6},"
        "\"alpha_pattern\":{\"up_proj\":2.5}}";
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter_plan plan;
    struct ap_adapter *a;
    json_t *o = NULL;
    check_ok(ap_json_parse(text, strlen(text), "config", &o, &err), err);
    check_ok(ap_adapter_plan_read(&plan, o, "config", &c, &err), err);
    check_ok(ap_adapter_make(&a, &c, &plan, &err), err);
    assert_int_equal(a->rank, 6);
    check_near(a->scales[AP_LORA_Q], 2.5, 0, 0);
    check_near(a->scales[AP_LORA_N + AP_LORA_Q], 10 / 6.0, 1e-6, 0);
    check_near(a->scales[AP_LORA_N + AP_LORA_UP], 0.625, 0, 0);
    check_round_trip(state, a, w);
    ap_adapter_plan_free(&plan);
    json_decref(o);
    ap_weights_free(w);
}

/* ---- names of tensors ---- */

static void rename_rows(struct ap_adapter *a, const char *from, const char *to)
{
    for (int i = 0; i < a->table.n; i++) {
        char *name = a->table.rows[i].name, rest[AP_NAME_MAX], *at = strstr(name, from);
        if (!at)
            continue;
        snprintf(rest, sizeof(rest), "%s%s", to, at + strlen(from));
        snprintf(at, AP_NAME_MAX - (size_t)(at - name), "%s", rest);
    }
}

static void expect_renamed(void **state, const struct ap_weights *w, const char *from,
                           const char *to, ap_status expected, const char *part)
{
    struct ap_error err;
    struct ap_adapter *a = make(w, 4, 10, "q_proj,down_proj", false, true), *loaded, *same;
    tiny_stir(a->ops, &a->table, 17, 0.3);
    check_ok(ap_adapter_copy(&same, a, &err), err);
    rename_rows(a, from, to);
    check_ok(ap_adapter_save(a, *state, NULL, &err), err);
    assert_int_equal(ap_adapter_load(&loaded, w, *state, &err), expected);
    if (expected == AP_OK)
        check_equal(same, loaded);
    else
        check_holds(err.text, part);
    ap_adapter_free(loaded);
    ap_adapter_free(same);
    ap_adapter_free(a);
}

static void test_names(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    expect_renamed(state, w, "lora_A.weight", "lora_A.default.weight", AP_OK, "");
    expect_renamed(state, w, "lora_B.weight", "lora_B", AP_OK, "");
    expect_renamed(state, w, "base_model.model.", "", AP_OK, "");
    expect_renamed(state, w, "score.weight", "score.modules_to_save.default.weight", AP_OK, "");
    expect_renamed(state, w, "0.self_attn.q_proj.lora_A.weight",
                   "1.self_attn.q_proj.lora_A.default.weight", AP_FORMAT, "are the same matrix");
    expect_renamed(state, w, "1.mlp.down_proj.lora_B", "1.mlp.down_proj.lora_magnitude_vector",
                   AP_FORMAT, "1.mlp.down_proj.lora_B.weight is missing");
    ap_weights_free(w);
}

static void test_pickle(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = make(w, 4, 10, "q_proj", false, false), *loaded;
    char *path = scratch_path(state, "adapter_model.safetensors");
    char *pickle = scratch_path(state, "adapter_model.bin");
    check_ok(ap_adapter_save(a, *state, NULL, &err), err);
    assert_int_equal(rename(path, pickle), 0);
    assert_int_equal(ap_adapter_load(&loaded, w, *state, &err), AP_UNSUPPORTED);
    check_holds(err.text, "has adapter_model.bin, expected adapter_model.safetensors");
    ap_free(pickle);
    ap_free(path);
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void test_config_refused(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a;
    char *path = scratch_path(state, "adapter_config.json");
    static const char *const text[] = {
        "{\"peft_type\":\"IA3\"}", "[]", "{", "{\"peft_type\":\"LORA\",\"lora_alpha\":1}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":-1,\"target_modules\":[\"q_proj\"]}"};
    static const char *const part[] = {"\"peft_type\" is \"IA3\"", "list", "JSON", "\"r\"",
                                       "lora_alpha is -1"};
    assert_int_equal(ap_adapter_load(&a, w, *state, &err), AP_NOT_FOUND);
    for (size_t i = 0; i < AP_LEN(text); i++) {
        scratch_put(path, text[i], strlen(text[i]));
        assert_int_not_equal(ap_adapter_load(&a, w, *state, &err), AP_OK);
        assert_null(a);
        check_holds(err.text, "adapter_config.json");
        check_holds(err.text, part[i]);
    }
    ap_free(path);
    ap_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_new_refused),
        cmocka_unit_test_setup_teardown(test_round_trip, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_spelling, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_rules_refused),
        cmocka_unit_test_setup_teardown(test_patterns_round_trip, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_names, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_pickle, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_config_refused, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
