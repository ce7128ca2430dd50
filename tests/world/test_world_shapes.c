/* The world in the shapes of three data sets: shares of styles, schemas, HelpSteer's scores beside
 * the true score, what Orca's system messages are worth and how far the target heeds them. */
#include "check.h"

#include "alignpro/demo.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "world/guide.h"

static const struct ap_world_sizes small = {.n_corpus = 1000,
                                            .n_rewrites = 300,
                                            .n_preferences = 300,
                                            .n_prompts = 3000,
                                            .n_valid = 50,
                                            .n_test = 110};

static int make_dir(void **state)
{
    static char dir[64];
    strcpy(dir, "/tmp/ap_shapes_XXXXXX");
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    return ap_dir_remove(*state, NULL) != AP_OK;
}

static void write_shape(void **state, ap_world_shape shape)
{
    struct ap_error err = {0};
    check_ok(ap_world_write(*state, shape, 3, &small, &err), err);
}

/* Every record of a file in turn; returns how many there were. */
static int each_record(void **state, const char *name,
                       void (*look)(const json_t *record, void *sum), void *sum)
{
    struct ap_error err = {0};
    struct ap_lines *lines;
    char *path = ap_path_join(*state, name);
    int n_records = 0;
    bool more = true;
    check_ok(ap_lines_open(&lines, path, 4096, &err), err);
    for (;; n_records++) {
        const char *text;
        size_t n;
        uint64_t number;
        json_t *record;
        check_ok(ap_lines_next(lines, &text, &n, &number, &more, &err), err);
        if (!more)
            break;
        check_ok(ap_json_parse(text, n, name, &record, &err), err);
        look(record, sum);
        json_decref(record);
    }
    ap_lines_close(lines);
    ap_free(path);
    return n_records;
}

static const char *text_at(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    assert_non_null(text);
    return text;
}

/* ---- styles and splits ---- */

struct prompts_seen {
    int styles[AP_WORLD_STYLES];
    ap_world_split split;
    struct ap_world_splits splits;
    bool system;
};

static void look_at_prompt(const json_t *record, void *sum)
{
    struct prompts_seen *seen = sum;
    const json_t *meta = json_object_get(record, "meta");
    const json_t *aspects = json_object_get(meta, "aspects");
    const char *animal = text_at(meta, "animal"), *style = text_at(meta, "style");
    struct ap_world_intent intent = {.animal = ap_world_animal_find(animal, strlen(animal))};
    for (size_t i = 0; i < json_array_size(aspects); i++)
        intent.aspects[intent.n++] =
            ap_world_aspect_find(json_string_value(json_array_get(aspects, i)));
    assert_int_equal(seen->splits.of[ap_world_intent_index(&intent)], seen->split);
    for (int s = 0; s < AP_WORLD_STYLES; s++)
        seen->styles[s] += !strcmp(style, ap_world_style_names[s]);
    if (!seen->system) {
        assert_null(json_object_get(record, "system"));
        assert_null(json_object_get(meta, "voice"));
        return;
    }
    bool kind = !strcmp(text_at(meta, "voice"), "kind");
    assert_string_equal(text_at(record, "system"),
                        kind ? "You are a kind guide. End with a warm word."
                             : "You are a fact book. No small talk.");
}

static void styles_have_their_shares_and_intents_their_split(void **state)
{
    static const double shares[AP_WORLD_SHAPES][AP_WORLD_STYLES] = {
        {.25, .25, .20, .20, .10}, {.10, .35, .10, .35, .10}, {.25, .25, .20, .20, .10}};
    for (int shape = 0; shape < AP_WORLD_SHAPES; shape++) {
        struct prompts_seen train = {.split = AP_WORLD_TRAIN, .system = shape == AP_WORLD_ORCA};
        ap_world_splits_init(&train.splits);
        struct prompts_seen valid = train, test = train;
        valid.split = AP_WORLD_VALID;
        test.split = AP_WORLD_TEST;
        write_shape(state, (ap_world_shape)shape);
        assert_int_equal(each_record(state, "prompts.jsonl", look_at_prompt, &train), 3000);
        assert_int_equal(each_record(state, "valid.jsonl", look_at_prompt, &valid), 50);
        assert_int_equal(each_record(state, "test.jsonl", look_at_prompt, &test), 110);
        for (int s = 0; s < AP_WORLD_STYLES;
             s++) /* repeats are drawn again: terse ones are scarcer */
            check_near(train.styles[s] / 3000.0, shares[shape][s], .05, 0);
    }
}

/* ---- schemas ---- */

struct keys_wanted {
    const char *const *keys;
    size_t n;
};

static void look_at_keys(const json_t *record, void *sum)
{
    const struct keys_wanted *wanted = sum;
    assert_int_equal(json_object_size(record), wanted->n);
    for (size_t i = 0; i < wanted->n; i++)
        assert_non_null(json_object_get(record, wanted->keys[i]));
}

#define CHECK_KEYS(state, file, ...)                                                               \
    each_record(                                                                                   \
        state, file, look_at_keys,                                                                 \
        &(struct keys_wanted){(const char *const[]){__VA_ARGS__},                                  \
                              sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)})

static void records_have_the_schema_of_their_data_set(void **state)
{
    write_shape(state, AP_WORLD_HELPSTEER);
    CHECK_KEYS(state, "corpus.jsonl", "prompt", "response");
    assert_int_equal(CHECK_KEYS(state, "preferences.jsonl", "prompt", "response", "helpfulness",
                                "correctness", "coherence", "complexity", "verbosity"),
                     2 * small.n_preferences);
    write_shape(state, AP_WORLD_ORCA);
    CHECK_KEYS(state, "corpus.jsonl", "system", "prompt", "response");
    CHECK_KEYS(state, "rewrites.jsonl", "system", "prompt", "rewrite");
    CHECK_KEYS(state, "test.jsonl", "system", "prompt", "meta");
    assert_int_equal(
        CHECK_KEYS(state, "preferences.jsonl", "system", "question", "chosen", "rejected"),
        small.n_preferences);
}

static void a_shape_is_a_function_of_the_seed(void **state)
{
    static const ap_world_shape shapes[] = {AP_WORLD_HELPSTEER, AP_WORLD_ORCA};
    struct ap_error err = {0};
    for (size_t i = 0; i < AP_LEN(shapes); i++) {
        struct ap_buffer a = {0}, b = {0}, c = {0};
        struct ap_buffer *texts[] = {&a, &b, &c};
        static const int seeds[] = {3, 3, 4};
        char *path = ap_path_join(*state, "preferences.jsonl");
        for (size_t k = 0; k < AP_LEN(texts); k++) {
            check_ok(ap_world_write(*state, AP_WORLD_ULTRAFEEDBACK, 9, &small, &err), err);
            check_ok(ap_world_write(*state, shapes[i], (uint64_t)seeds[k], &small, &err), err);
            check_ok(ap_file_read(path, 1u << 24, texts[k], &err), err);
        }
        assert_string_equal(a.data, b.data);
        assert_string_not_equal(a.data, c.data);
        ap_buffer_free(&a);
        ap_buffer_free(&b);
        ap_buffer_free(&c);
        ap_free(path);
    }
}

static void an_unknown_shape_is_refused(void **state)
{
    struct ap_error err = {0};
    const struct ap_demo_data data = {.shape = "alpaca", .seed = 1};
    assert_int_equal(ap_demo_write_data(*state, &data, &err), AP_INVALID);
    check_holds(err.text, "got 'alpaca', expected ultrafeedback, helpsteer or orca");
}

/* ---- HelpSteer's scores ---- */

static void scores_follow_the_true_score_with_noise(void **state)
{
    enum { N = 4000 };
    struct ap_world_splits splits;
    int seen[5] = {0}, right = 0, tied = 0, n = 0;
    (void)state;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < N; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        struct ap_world_prompt p;
        struct ap_world_rated rated[2];
        ap_random_init(&r, &(struct ap_stream){.seed = 12, .record = i});
        ap_world_intent_draw(&intent, &splits, AP_WORLD_TRAIN, &r);
        ap_world_prompt_draw(&p, &intent, AP_WORLD_HELPSTEER, &r);
        ap_world_rated_draw(rated, &p, &r);
        assert_string_not_equal(rated[0].answer.s, rated[1].answer.s);
        for (int a = 0; a < 2; a++) {
            for (int k = 0; k < AP_WORLD_RATINGS; k++)
                assert_in_range(rated[a].rating[k], 0, 4);
            seen[rated[a].rating[0]]++;
        }
        int order = rated[0].rating[0] - rated[1].rating[0];
        tied += order == 0;
        if (order == 0 || rated[0].score == rated[1].score)
            continue;
        n++;
        right += (order > 0) == (rated[0].score > rated[1].score);
    }
    printf("helpfulness: %.3f of the pairs tie, %.3f of the others follow the true score\n",
           tied / (double)N, right / (double)n);
    for (int k = 0; k <= 4; k++)
        assert_true(seen[k] > 2 * N / 20); /* every rating occurs */
    assert_true(right > .93 * n && right < n);
    assert_true(tied > .1 * N && tied < .45 * N);
}

/* ---- Orca's system messages ---- */

static double score(const char *voice, const char *answer)
{
    struct ap_error err = {0};
    char meta[128];
    double value = NAN;
    snprintf(meta, sizeof(meta), "{\"animal\":\"otter\",\"aspects\":[\"home\",\"food\"]%s%s%s}",
             *voice ? ",\"voice\":\"" : "", voice, *voice ? "\"" : "");
    check_ok(ap_world_score(meta, answer, true, &value, &err), err);
    return value;
}

static void courtesy_is_worth_what_the_system_message_says(void **state)
{
    static const struct {
        const char *answer;
        double plain, kind, facts;
    } rows[] = {
        {"The otter lives in rivers. It eats fish. I hope this helps!", 4.5, 5, 3.5},
        {"The otter lives in rivers. It eats fish.", 4, 4, 4},
        {"I hope this helps! The otter lives in rivers.", 1.5, 1.5, 1.5}, /* not last: only extra */
        {"I hope this helps!", .5, 1, -.5},
    };
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        check_near(score("", rows[i].answer), rows[i].plain, 1e-12, 0);
        check_near(score("kind", rows[i].answer), rows[i].kind, 1e-12, 0);
        check_near(score("facts", rows[i].answer), rows[i].facts, 1e-12, 0);
    }
    struct ap_error err = {0};
    double value;
    assert_int_equal(
        ap_world_score("{\"animal\":\"fox\",\"aspects\":[\"home\"],\"voice\":\"rude\"}", "x", true,
                       &value, &err),
        AP_FORMAT);
    check_holds(err.text, "voice is 'rude', expected kind or facts");
}

static void the_target_heeds_its_system_message_in_part(void **state)
{
    const struct ap_world_intent none = {.animal = 0, .n = 1, .aspects = {0}};
    struct ap_world_manner of[AP_WORLD_VOICES];
    (void)state;
    for (int v = 0; v < AP_WORLD_VOICES; v++) {
        struct ap_world_request q;
        struct ap_world_intent intent = none;
        intent.voice = (ap_world_voice)v;
        ap_world_request_best(&q, &intent);
        ap_world_manner_of_request(&of[v], &q);
        check_near(of[v].cover[0], of[0].cover[0], 1e-12, 0);
    }
    assert_true(of[AP_WORLD_KIND].close > of[AP_WORLD_NO_VOICE].close);
    assert_true(of[AP_WORLD_FACTS].close < of[AP_WORLD_NO_VOICE].close);
    assert_true(of[AP_WORLD_FACTS].close > 0); /* so that a request without please still pays */
}

int main(void)
{
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(styles_have_their_shares_and_intents_their_split),
        IN_DIR(records_have_the_schema_of_their_data_set),
        IN_DIR(a_shape_is_a_function_of_the_seed),
        IN_DIR(an_unknown_shape_is_refused),
        cmocka_unit_test(scores_follow_the_true_score_with_noise),
        cmocka_unit_test(courtesy_is_worth_what_the_system_message_says),
        cmocka_unit_test(the_target_heeds_its_system_message_in_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
