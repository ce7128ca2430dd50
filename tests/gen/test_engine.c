/* The one-model engine on tiny random folders, with the demo's tokenizer, with another, and with
 * none. */
#include "check.h"

#include "alignpro/model.h"

#include "base/scratch.h"
#include "gen/tiny.h"
#include "model/param.h"

static struct ap_config text_config(void)
{
    struct ap_config c = tiny_config;
    c.n_vocab = 600; /* the demo's tokenizer */
    c.max_position = 96;
    c.bos = 0;
    c.eos[0] = 1;
    return c;
}

static void copy_file(const char *from, const char *to)
{
    struct ap_error err;
    struct ap_buffer bytes = {0};
    check_ok(ap_file_read(from, 1 << 22, &bytes, &err), err);
    scratch_put(to, bytes.data, bytes.len);
    ap_buffer_free(&bytes);
}

static void add_tokenizer(const char *dir)
{
    const char *names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < AP_LEN(names); i++) {
        char *from = ap_path_join(AP_SOURCE_DIR "/examples/demo", names[i]);
        char *to = ap_path_join(dir, names[i]);
        copy_file(from, to);
        ap_free(from);
        ap_free(to);
    }
}

enum { PAD = 7 };

/* A folder with a random model; allocated path. */
static char *make_model(void **state, const char *name, int n_label, bool with_tokenizer)
{
    struct ap_error err;
    struct ap_weights *w;
    struct ap_config c = text_config();
    char *dir = scratch_path(state, name);
    c.n_label = n_label;
    c.pad = PAD;
    check_ok(ap_weights_random(&w, &c, 0, AP_F32, 3, &err), err);
    check_ok(ap_weights_save(w, dir, &err), err);
    ap_weights_free(w);
    if (with_tokenizer)
        add_tokenizer(dir);
    return dir;
}

static struct ap_engine *open_engine(const char *dir, int context)
{
    struct ap_engine *e;
    struct ap_error err;
    struct ap_engine_options options = {.model = dir, .context = context, .threads = 1};
    check_ok(ap_engine_open(&e, &options, &err), err);
    return e;
}

static void test_score_is_the_forwards(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "score", 0, false);
    struct ap_engine *e = open_engine(dir, 0);
    struct ap_weights *w;
    int32_t ids[90];
    double logp[89];
    float want[89];
    for (int i = 0; i < 90; i++)
        ids[i] = (i * 31) % 600;
    check_ok(ap_weights_load(&w, dir, 0, AP_F32, &err), err);
    assert_int_equal(ap_engine_context(e), 96);
    assert_false(ap_engine_is_classifier(e));
    const int lengths[] = {1, 2, 90, 5}; /* short after long: memory that has grown */
    for (size_t k = 0; k < AP_LEN(lengths); k++) {
        int n = lengths[k];
        check_ok(ap_engine_score(e, ids, (size_t)n, logp, &err), err);
        if (n > 1)
            tiny_forward_logp(&(struct ap_role){w, NULL}, ids, 1, ids + 1, n - 1, 1, want);
        for (int t = 0; t < n - 1; t++)
            assert_true(logp[t] == (double)want[t]);
    }
    ap_weights_free(w);
    ap_engine_close(e);
    ap_free(dir);
}

static void test_score_refuses(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "refuses", 0, false);
    struct ap_engine *e = open_engine(dir, 10);
    double value;
    int32_t ids[11] = {0, 599, 600};
    assert_int_equal(ap_engine_score(e, ids, 0, &value, &err), AP_INVALID);
    assert_int_equal(ap_engine_score(e, ids, 3, &value, &err), AP_INVALID);
    check_holds(err.text, "600");
    assert_int_equal(ap_engine_score(e, ids, 11, &value, &err), AP_LIMIT);
    check_holds(err.text, "11 tokens");
    check_holds(err.text, "10");
    assert_int_equal(ap_engine_classify(e, ids, 2, &value, &err), AP_INVALID);
    check_holds(err.text, "no scalar head");
    ap_engine_close(e);
    ap_free(dir);
}

static void test_classifier(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "classifier", 1, false);
    struct ap_engine *e = open_engine(dir, 0);
    int32_t ids[] = {0, 5, 9};
    double score, shorter, logp[2];
    struct ap_generation g;
    struct ap_generation_options options = {0};
    assert_true(ap_engine_is_classifier(e));
    check_ok(ap_engine_classify(e, ids, 3, &score, &err), err);
    check_ok(ap_engine_classify(e, ids, 2, &shorter, &err), err);
    assert_true(isfinite(score) && score != shorter);
    ids[2] = PAD; /* the head reads the last token that is none, as transformers' does */
    check_ok(ap_engine_classify(e, ids, 3, &score, &err), err);
    assert_true(score == shorter);
    assert_int_equal(ap_engine_score(e, ids, 3, logp, &err), AP_INVALID);
    check_holds(err.text, "sequence classifier");
    assert_int_equal(ap_engine_generate(e, ids, 3, &options, &g, &err), AP_INVALID);
    check_holds(err.text, "sequence classifier");
    assert_null(g.ids);
    ap_engine_close(e);
    ap_free(dir);
}

/* The folder again, one value of its last norm no number. */
static void break_weights(const char *dir)
{
    struct ap_error err;
    struct ap_weights *w;
    check_ok(ap_weights_load(&w, dir, 0, AP_F32, &err), err);
    struct ap_param *norm = &w->table.rows[w->norm];
    check_ok(ap_param_own(norm, &err), err);
    norm->own[3] = NAN;
    check_ok(ap_weights_save(w, dir, &err), err);
    ap_weights_free(w);
}

static void test_broken_weights_are_an_error(void **state)
{
    struct ap_error err;
    int32_t ids[] = {0, 5, 9};
    double value[2];
    for (int n_label = 0; n_label < 2; n_label++) {
        char *dir = make_model(state, n_label ? "bad-judge" : "bad", n_label, false);
        break_weights(dir);
        struct ap_engine *e = open_engine(dir, 0);
        ap_status status = n_label ? ap_engine_classify(e, ids, 3, value, &err)
                                   : ap_engine_score(e, ids, 3, value, &err);
        assert_int_equal(status, AP_NUMERIC);
        check_holds(err.text, dir);
        check_holds(err.text, n_label ? "scalar head at token 2" : "logits after token 0");
        check_holds(err.text, "NaN or Inf");
        check_holds(err.text, "look at the model's weights and adapter");
        ap_engine_close(e);
        ap_free(dir);
    }
}

static struct ap_generation generate(struct ap_engine *e, const int32_t *ids, size_t n,
                                     const struct ap_generation_options *options)
{
    struct ap_error err;
    struct ap_generation g;
    check_ok(ap_engine_generate(e, ids, n, options, &g, &err), err);
    return g;
}

static void test_generation_follows_its_stream(void **state)
{
    char *dir = make_model(state, "stream", 0, true);
    struct ap_engine *e = open_engine(dir, 0);
    int32_t ids[] = {0, 44, 45};
    struct ap_generation_options options = {.max_new_tokens = 30, .temperature = 1, .seed = 4};
    struct ap_generation a = generate(e, ids, 3, &options), b = generate(e, ids, 3, &options);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.ids, b.ids, a.n * sizeof(*a.ids));
    assert_string_equal(a.text, b.text);
    assert_int_equal(a.n_text, strlen(a.text));
    ap_generation_free(&b);
    options.seed = 5;
    b = generate(e, ids, 3, &options);
    assert_true(a.n != b.n || memcmp(a.ids, b.ids, a.n * sizeof(*a.ids)) != 0);
    ap_generation_free(&b);
    options.seed = 4;
    options.record = 1;
    b = generate(e, ids, 3, &options);
    assert_true(a.n != b.n || memcmp(a.ids, b.ids, a.n * sizeof(*a.ids)) != 0);
    ap_generation_free(&b);
    ap_generation_free(&a);
    ap_engine_close(e);
    ap_free(dir);
}

static void test_limits_of_a_generation(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "limits", 0, false);
    struct ap_engine *e = open_engine(dir, 0);
    int32_t ids[96] = {0};
    struct ap_generation_options options = {.max_new_tokens = 3};
    struct ap_generation g = generate(e, ids, 1, &options);
    assert_int_equal(g.n, 3);
    assert_string_equal(g.stop, "length");
    assert_null(g.text); /* no tokenizer in the folder */
    ap_generation_free(&g);
    options.max_new_tokens = 50;
    g = generate(e, ids, 90, &options);
    assert_int_equal(g.n, 6);
    assert_string_equal(g.stop, "length");
    ap_generation_free(&g);
    assert_int_equal(ap_engine_generate(e, ids, 96, &options, &g, &err), AP_LIMIT);
    check_holds(err.text, "has 96 tokens");
    check_holds(err.text, "context of 96");
    assert_int_equal(ap_engine_generate(e, ids, 0, &options, &g, &err), AP_INVALID);
    options.max_new_tokens = -1;
    assert_int_equal(ap_engine_generate(e, ids, 1, &options, &g, &err), AP_INVALID);
    ap_engine_close(e);
    ap_free(dir);
}

/* The text before a stop string that two or more tokens make, for several of them in turn. */
static void test_stop_strings(void **state)
{
    char *dir = make_model(state, "stops", 0, true);
    struct ap_engine *e = open_engine(dir, 0);
    int32_t ids[] = {0, 300};
    struct ap_generation_options options = {.max_new_tokens = 60, .temperature = 1, .seed = 2};
    struct ap_generation whole = generate(e, ids, 2, &options);
    int n_tried = 0;
    for (size_t at = 4; at + 12 < whole.n_text; at += 7) {
        char stop[16];
        memcpy(stop, whole.text + at, 11);
        stop[11] = '\0';
        if ((stop[0] & 0xC0) == 0x80 || (whole.text[at + 11] & 0xC0) == 0x80)
            continue;
        options.stop = (const char *[]){"not in there", stop};
        options.n_stop = 2;
        struct ap_generation g = generate(e, ids, 2, &options);
        assert_string_equal(g.stop, "string");
        assert_int_equal(g.n_text, strstr(whole.text, stop) - whole.text);
        assert_memory_equal(g.text, whole.text, g.n_text);
        assert_int_equal(g.text[g.n_text], '\0');
        assert_true(g.n <= whole.n);
        assert_memory_equal(g.ids, whole.ids, g.n * sizeof(*g.ids));
        ap_generation_free(&g);
        n_tried++;
    }
    assert_true(n_tried > 3);
    ap_generation_free(&whole);
    ap_engine_close(e);
    ap_free(dir);
}

static void test_the_end_token_is_in_ids_but_not_in_text(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "end", 0, true);
    struct ap_engine *e = open_engine(dir, 0);
    const struct ap_tokenizer *t;
    int32_t ids[] = {0};
    int n_ended = 0;
    check_ok(ap_engine_tokenizer(e, &t, &err), err);
    for (uint64_t record = 0; record < 300 && n_ended < 3; record++) {
        struct ap_generation_options options = {
            .max_new_tokens = 90, .temperature = 2, .record = record};
        struct ap_generation g = generate(e, ids, 1, &options);
        if (strcmp(g.stop, "end") == 0) {
            char *text;
            size_t n;
            assert_int_equal(g.ids[g.n - 1], 1);
            check_ok(ap_tokenizer_decode(t, g.ids, g.n - 1, true, &text, &n, &err), err);
            assert_string_equal(g.text, text);
            ap_text_free(text);
            n_ended++;
        }
        ap_generation_free(&g);
    }
    assert_int_equal(n_ended, 3);
    ap_engine_close(e);
    ap_free(dir);
}

static void test_without_a_tokenizer(void **state)
{
    struct ap_error err;
    char *dir = make_model(state, "silent", 0, false);
    struct ap_engine *e = open_engine(dir, 0);
    const struct ap_tokenizer *t;
    const struct ap_template *tpl;
    struct ap_generation g;
    int32_t ids[] = {7};
    struct ap_generation_options options = {.stop = (const char *[]){"x"}, .n_stop = 1};
    assert_int_equal(ap_engine_tokenizer(e, &t, &err), AP_NOT_FOUND);
    check_holds(err.text, "tokenizer.json");
    assert_int_equal(ap_engine_template(e, &tpl, &err), AP_NOT_FOUND);
    check_holds(err.text, "tokenizer.json");
    assert_int_equal(ap_engine_generate(e, ids, 1, &options, &g, &err), AP_NOT_FOUND);
    check_holds(err.text, "tokenizer.json");
    ap_engine_close(e);

    char *path = ap_path_join(dir, "tokenizer.json");
    scratch_put(path, "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", 44);
    e = open_engine(dir, 0); /* ids alone need none */
    options.n_stop = 0;
    options.max_new_tokens = 2;
    g = generate(e, ids, 1, &options);
    assert_int_equal(g.n, 2);
    ap_generation_free(&g);
    assert_int_not_equal(ap_engine_tokenizer(e, &t, &err), AP_OK);
    check_holds(err.text, "tokenizer.json");
    ap_free(path);
    ap_engine_close(e);
    ap_free(dir);
}

static void test_folders_that_are_none(void **state)
{
    struct ap_error err;
    struct ap_engine *e;
    char *dir = scratch_path(state, "nowhere"), *model = make_model(state, "base", 0, false);
    struct ap_engine_options options = {.model = dir};
    assert_int_not_equal(ap_engine_open(&e, &options, &err), AP_OK);
    check_holds(err.text, "nowhere");
    assert_null(e);
    options = (struct ap_engine_options){.model = model, .adapter = dir};
    assert_int_not_equal(ap_engine_open(&e, &options, &err), AP_OK);
    check_holds(err.text, "nowhere");
    ap_free(dir);
    ap_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_is_the_forwards),
        cmocka_unit_test(test_score_refuses),
        cmocka_unit_test(test_classifier),
        cmocka_unit_test(test_broken_weights_are_an_error),
        cmocka_unit_test(test_generation_follows_its_stream),
        cmocka_unit_test(test_limits_of_a_generation),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_the_end_token_is_in_ids_but_not_in_text),
        cmocka_unit_test(test_without_a_tokenizer),
        cmocka_unit_test(test_folders_that_are_none),
    };
    return cmocka_run_group_tests_name("engine", tests, scratch_setup, scratch_teardown);
}
