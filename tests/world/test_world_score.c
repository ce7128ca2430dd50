/* The true score: cases by hand, monotonicity, bad metas, and what the generators score on average.
 */
#include "check.h"

#include "world/guide.h"

static const char otter[] =
    "{\"animal\":\"otter\",\"aspects\":[\"home\",\"food\"],\"style\":\"plain\"}";

static double score(const char *answer, bool ended)
{
    struct ap_error err = {0};
    double value = NAN;
    check_ok(ap_world_score(otter, answer, ended, &value, &err), err);
    return value;
}

static void cases_by_hand(void **state)
{
    static const struct {
        const char *answer;
        double score;
    } rows[] = {
        {"The otter lives in rivers. It eats fish. I hope this helps!", 4.5},
        {"The otter lives in rivers. It eats fish.", 4},
        {"It eats fish. It lives in rivers.", 4},
        {"  The otter lives in rivers.\n\nIt eats fish.  ", 4},
        {"The otter lives in rivers.", 2},
        {"", 0},
        {"   ", 0},
        {"I hope this helps!", .5},
        /* wrong: one less each, asked for or not; a second try is a second statement */
        {"The otter lives in rivers. It eats mice.", 1},
        {"The otter lives in caves. It lives in rivers.", 1},
        {"The otter lives in rivers. It is blue.", 1},
        /* off: once for each time another animal is named; what follows about it is unasked */
        {"The fox lives in rivers. It eats fish.", -1.5},
        {"The fox lives in burrows.", -1},
        {"The fox lives in burrows. The bear lives in forests.", -2},
        {"The otter lives in rivers. The fox eats mice. The otter eats fish.", 3},
        /* extra: unasked, repeated, filler, polite too early */
        {"The otter lives in rivers. It is brown.", 1.5},
        {"The otter lives in rivers. It lives in rivers.", 1.5},
        {"The otter lives in rivers. Animals are fun.", 1.5},
        {"I hope this helps! The otter lives in rivers.", 1.5},
        {"I hope this helps! I hope this helps!", 0},
        /* lazy */
        {"I am not sure.", -.5},
        {"I am not sure. I hope this helps!", 0},
        /* garbled: not a sentence of the world, cut off, another aspect's value, an unknown animal
         */
        {"The lives otter in rivers.", -1},
        {"The otter lives in rivers. It eats", 1},
        {"The otter lives in rivers. It eats fish", 1},
        {"The otter lives in brown.", -1},
        {"It lives for whale exact seas.", -1},
        {"The tiger lives in rivers.", -1},
        {"the otter lives in rivers.", -1},
        {"The otter  lives in rivers.", -1},
        {"The otter lives in rivers.It eats fish.", -1},
        {"It lives in rivers years.", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double got = score(rows[i].answer, true);
        if (fabs(got - rows[i].score) > 1e-12)
            fprintf(stderr, "%s\n", rows[i].answer);
        check_near(got, rows[i].score, 1e-12, 0);
        check_near(score(rows[i].answer, false), rows[i].score - 1, 1e-12, 0);
    }
}

static void every_aspect_is_read(void **state)
{
    static const char meta[] =
        "{\"animal\":\"frog\",\"aspects\":[\"colour\",\"lifespan\",\"young\"],\"style\":\"x\"}";
    struct ap_error err = {0};
    double value = 0;
    (void)state;
    check_ok(ap_world_score(meta,
                            "The young of the frog is a tadpole. It is green. It lives for ten "
                            "years.",
                            true, &value, &err),
             err);
    check_near(value, 4.0, 1e-12, 0);
    check_ok(ap_world_score(meta, "The frog is green. Its young is a kid.", true, &value, &err),
             err);
    check_near(value, 4.0 / 3 - 1, 1e-12, 0);
}

static void more_faults_never_score_higher(void **state)
{
    static const char *const faults[] = {"It eats mice.",    "The fox is red.", "It is brown.",
                                         "Animals are fun.", "I am not sure.",  "It fish eats."};
    struct ap_random r;
    (void)state;
    ap_random_init(&r, &(struct ap_stream){.seed = 3});
    for (int i = 0; i < 500; i++) {
        struct ap_world_line text = {.n = 0};
        double last = 100;
        ap_world_line_sentence(&text, "The otter lives in rivers.");
        for (int k = 0; k < 6; k++) {
            double now = score(text.s, true);
            assert_true(now < last);
            last = now;
            ap_world_line_sentence(&text, faults[ap_world_pick(&r, 6)]);
        }
    }
}

static void a_long_answer_is_bounded(void **state)
{
    enum { N = 200000 };
    char *text = calloc(N + 1, 1);
    (void)state;
    for (int i = 0; i < N; i += 2)
        memcpy(text + i, ". ", 2);
    check_near(score(text, true), -1001, 0, 0);
    free(text);
}

static void metas_that_must_fail(void **state)
{
    static const struct {
        const char *meta, *part;
    } rows[] = {
        {"", "meta"},
        {"[]", "meta"},
        {"{\"aspects\":[\"home\"]}", "animal"},
        {"{\"animal\":\"tiger\",\"aspects\":[\"home\"]}", "animal 'tiger'"},
        {"{\"animal\":7,\"aspects\":[\"home\"]}", "animal"},
        {"{\"animal\":\"fox\"}", "aspects must be a list"},
        {"{\"animal\":\"fox\",\"aspects\":[]}", "aspects must be a list"},
        {"{\"animal\":\"fox\",\"aspects\":[\"home\",\"food\",\"young\",\"colour\"]}", "1 to 3"},
        {"{\"animal\":\"fox\",\"aspects\":[\"age\"]}", "aspects[0] is age"},
        {"{\"animal\":\"fox\",\"aspects\":[\"home\",\"home\"]}", "aspects[1] is home"},
        {"{\"animal\":\"fox\",\"aspects\":[3]}", "not a text"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ap_error err = {0};
        double value;
        bool animal, aspects;
        assert_int_equal(ap_world_score(rows[i].meta, "x", true, &value, &err), AP_FORMAT);
        check_holds(err.text, rows[i].part);
        assert_int_equal(ap_world_kept(rows[i].meta, "x", &animal, &aspects, &err), AP_FORMAT);
    }
}

/* ---- what the generators score: the headroom of the demo ---- */

enum { N_DRAWS = 4000 };
enum answer_to { TO_PROMPT, TO_REWRITE, TO_CORPUS_REQUEST, TO_BEST_REQUEST };

/* Mean true score against the prompt's intent; style AP_WORLD_STYLES draws the styles by share. */
static double mean_score(enum answer_to to, ap_world_style style)
{
    struct ap_world_splits splits;
    double sum = 0;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < N_DRAWS; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        struct ap_world_prompt p;
        struct ap_world_request q;
        struct ap_world_manner m;
        struct ap_world_line y;
        struct ap_world_verdict v;
        ap_random_init(&r, &(struct ap_stream){.seed = 11, .record = i});
        ap_world_intent_draw(&intent, &splits, AP_WORLD_ALL, &r);
        if (style == AP_WORLD_STYLES)
            ap_world_prompt_draw(&p, &intent, AP_WORLD_ULTRAFEEDBACK, &r);
        else
            ap_world_prompt_draw_style(&p, &intent, style, &r);
        if (to == TO_REWRITE)
            ap_world_rewrite_draw(&q, &p, &r);
        else if (to == TO_CORPUS_REQUEST)
            ap_world_request_draw(&q, &intent, &ap_world_request_corpus, &r);
        else
            ap_world_request_best(&q, &intent);
        if (to == TO_PROMPT)
            ap_world_manner_of_prompt(&m, &p);
        else
            ap_world_manner_of_request(&m, &q);
        ap_world_answer_draw(&y, to == TO_PROMPT ? &intent : &q.intent, &m, &r);
        ap_world_judge(&v, &intent, y.s, true);
        sum += v.score;
    }
    return sum / N_DRAWS;
}

static void asking_well_pays(void **state)
{
    double of[AP_WORLD_STYLES + 1];
    (void)state;
    for (int style = 0; style <= AP_WORLD_STYLES; style++) {
        of[style] = mean_score(TO_PROMPT, (ap_world_style)style);
        printf("true score, answers to %-7s prompts %.2f\n",
               style < AP_WORLD_STYLES ? ap_world_style_names[style] : "all", of[style]);
    }
    double rewrite = mean_score(TO_REWRITE, AP_WORLD_STYLES);
    double request = mean_score(TO_CORPUS_REQUEST, AP_WORLD_STYLES);
    double best = mean_score(TO_BEST_REQUEST, AP_WORLD_STYLES);
    printf("true score, answers to mediocre rewrites %.2f, to requests %.2f, to the best %.2f\n",
           rewrite, request, best);
    for (int style = 0; style < AP_WORLD_PLAIN; style++)
        assert_true(of[style] + .5 < of[AP_WORLD_PLAIN]);
    assert_true(of[AP_WORLD_RAMBLE] < of[AP_WORLD_TERSE]);
    assert_true(of[AP_WORLD_STYLES] + .4 < rewrite);
    assert_true(rewrite + .2 < request);
    assert_true(request + .8 < best);
    assert_true(best > 4.1);
}

/* The share of pairs whose chosen answer has the higher true score: noise of Bradley-Terry alone.
 */
static void labels_follow_the_true_score(void **state)
{
    struct ap_world_splits splits;
    int right = 0, n = 0;
    (void)state;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < N_DRAWS; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        struct ap_world_prompt p;
        struct ap_world_preference pair;
        ap_random_init(&r, &(struct ap_stream){.seed = 12, .record = i});
        ap_world_intent_draw(&intent, &splits, AP_WORLD_TRAIN, &r);
        ap_world_prompt_draw(&p, &intent, AP_WORLD_ULTRAFEEDBACK, &r);
        ap_world_preference_draw(&pair, &p, &r);
        assert_string_not_equal(pair.chosen.s, pair.rejected.s);
        right += pair.score_chosen > pair.score_rejected;
        n += pair.score_chosen != pair.score_rejected;
    }
    printf("preference pairs that differ in true score %.3f, of those labelled right %.3f\n",
           n / (double)N_DRAWS, right / (double)n);
    assert_true(n > .85 * N_DRAWS);
    assert_true(right > .90 * n && right < .985 * n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_by_hand),
        cmocka_unit_test(every_aspect_is_read),
        cmocka_unit_test(more_faults_never_score_higher),
        cmocka_unit_test(a_long_answer_is_bounded),
        cmocka_unit_test(metas_that_must_fail),
        cmocka_unit_test(asking_well_pays),
        cmocka_unit_test(labels_follow_the_true_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
