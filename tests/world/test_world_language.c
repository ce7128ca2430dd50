/* The world's vocabulary and grammar: distinct facts, splits, and every style and request read
 * back. */
#include "check.h"

#include "world/guide.h"

static void stream(struct ap_random *r, uint64_t record)
{
    ap_random_init(r, &(struct ap_stream){.seed = 7, .stage = 1, .record = record});
}

/* Distinct values of an aspect, and whether two animals agree in everything. */
static void facts_are_distinct(void **state)
{
    static const int expected[AP_WORLD_ASPECTS] = {8, 8, 8, 6, 9};
    (void)state;
    for (int aspect = 0; aspect < AP_WORLD_ASPECTS; aspect++) {
        int n = 0;
        for (int a = 0; a < AP_WORLD_ANIMALS; a++) {
            bool first = true;
            for (int b = 0; b < a; b++)
                first &=
                    strcmp(ap_world_animals[a].fact[aspect], ap_world_animals[b].fact[aspect]) != 0;
            n += first;
        }
        assert_int_equal(n, expected[aspect]);
    }
    for (int a = 0; a < AP_WORLD_ANIMALS; a++)
        for (int b = 0; b < a; b++) {
            int differ = 0;
            for (int aspect = 0; aspect < AP_WORLD_ASPECTS; aspect++)
                differ +=
                    strcmp(ap_world_animals[a].fact[aspect], ap_world_animals[b].fact[aspect]) != 0;
            assert_true(differ >= 2);
        }
}

/* A value belongs to one aspect only, so that a statement cannot be read as another. */
static void values_belong_to_one_aspect(void **state)
{
    (void)state;
    for (int a = 0; a < AP_WORLD_ANIMALS; a++)
        for (int b = 0; b < AP_WORLD_ANIMALS; b++)
            for (int i = 0; i < AP_WORLD_ASPECTS; i++)
                for (int j = 0; j < i; j++)
                    assert_string_not_equal(ap_world_animals[a].fact[i],
                                            ap_world_animals[b].fact[j]);
}

static void intents_are_numbered_and_split(void **state)
{
    struct ap_world_splits splits;
    int n[8] = {0}, animals[8][AP_WORLD_ANIMALS] = {{0}};
    (void)state;
    ap_world_splits_init(&splits);
    for (int i = 0; i < AP_WORLD_INTENTS; i++) {
        struct ap_world_intent intent;
        ap_world_intent_at(&intent, i);
        assert_in_range(intent.n, 1, AP_WORLD_WANTED_MAX);
        assert_int_equal(ap_world_intent_index(&intent), i);
        n[splits.of[i]]++;
        animals[splits.of[i]][intent.animal]++;
    }
    assert_int_equal(n[AP_WORLD_TRAIN], AP_WORLD_INTENTS - 55 - 25);
    assert_int_equal(n[AP_WORLD_VALID], 25);
    assert_int_equal(n[AP_WORLD_TEST], 55);
    for (int a = 0; a < AP_WORLD_ANIMALS; a++)
        assert_true(animals[AP_WORLD_TRAIN][a] > 0);
}

static void drawn_intents_stay_in_their_split(void **state)
{
    struct ap_world_splits splits;
    int sizes[4] = {0};
    (void)state;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < 11000; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        stream(&r, i);
        ap_world_intent_draw(&intent, &splits, i % 2 ? AP_WORLD_TRAIN : AP_WORLD_ALL, &r);
        if (i % 2)
            assert_int_equal(splits.of[ap_world_intent_index(&intent)], AP_WORLD_TRAIN);
        else
            sizes[intent.n]++;
    }
    check_near(sizes[1] / 5500.0, 2.0 / 11, 0.02, 0);
    check_near(sizes[2] / 5500.0, 5.0 / 11, 0.02, 0);
}

static bool names_all(const struct ap_world_prompt *p)
{
    const char *at = strstr(p->text.s, ap_world_animals[p->intent.animal].name);
    bool all = at != NULL;
    for (int i = 0; i < p->intent.n; i++) {
        const struct ap_world_aspect *names = &ap_world_aspects[p->intent.aspects[i]];
        bool named = strstr(p->text.s, names->formal) != NULL;
        for (int k = 0; k < 3; k++)
            named |= strstr(p->text.s, names->colloquial[k]) != NULL;
        all &= named;
    }
    return all;
}

static void every_style_asks_for_its_intent(void **state)
{
    struct ap_world_splits splits;
    int styles[AP_WORLD_STYLES] = {0}, typos = 0;
    (void)state;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < 4000; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        struct ap_world_prompt p;
        stream(&r, i);
        ap_world_intent_draw(&intent, &splits, AP_WORLD_ALL, &r);
        ap_world_prompt_draw(&p, &intent, AP_WORLD_ULTRAFEEDBACK, &r);
        styles[p.style]++;
        if (p.style == AP_WORLD_NOISY)
            typos += !names_all(&p);
        else
            assert_true(names_all(&p));
        assert_int_equal(p.distractor >= 0, p.style == AP_WORLD_RAMBLE);
        assert_true(p.distractor != p.intent.animal);
        assert_null(strchr(p.text.s, '%'));
        assert_int_equal(strlen(p.text.s), p.text.n);
    }
    check_near(styles[AP_WORLD_TERSE] / 4000.0, .25, .03, 0);
    check_near(styles[AP_WORLD_VAGUE] / 4000.0, .25, .03, 0);
    check_near(styles[AP_WORLD_NOISY] / 4000.0, .20, .03, 0);
    check_near(styles[AP_WORLD_RAMBLE] / 4000.0, .20, .03, 0);
    check_near(styles[AP_WORLD_PLAIN] / 4000.0, .10, .03, 0);
    assert_true(typos > styles[AP_WORLD_NOISY] / 4); /* a typo that hits a name hides it */
}

static void terse_and_ramble_read_as_specified(void **state)
{
    struct ap_world_intent intent = {.animal = 10, .n = 2, .aspects = {1, 0}};
    bool terse = false, ramble = false;
    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        struct ap_random r;
        struct ap_world_prompt p;
        stream(&r, i);
        ap_world_prompt_draw_style(&p, &intent, AP_WORLD_TERSE, &r);
        terse |= !strcmp(p.text.s, "duck food, spot");
        ap_world_prompt_draw_style(&p, &intent, AP_WORLD_RAMBLE, &r);
        ramble |= !strcmp(p.text.s, "my son saw an owl today. anyway the duck, snacks and house?");
    }
    assert_true(terse);
    assert_true(ramble);
}

static void a_typo_changes_one_inner_letter(void **state)
{
    int shorter = 0, same = 0, longer = 0;
    (void)state;
    for (uint64_t i = 0; i < 400; i++) {
        struct ap_random r;
        struct ap_world_line text = {.n = 0};
        stream(&r, i);
        ap_world_line_add(&text, "a bear is??");
        ap_world_typo(&text, &r);
        assert_memory_equal(text.s, "a b", 3);
        assert_string_equal(strchr(text.s, 'r'), "r is??");
        shorter += text.n == 10;
        same += text.n == 11;
        longer += text.n == 12;
    }
    assert_int_equal(shorter + same + longer, 400);
    assert_true(shorter > 50 && same > 50 && longer > 50);
    struct ap_random r;
    struct ap_world_line none = {.n = 0};
    stream(&r, 0);
    ap_world_line_add(&none, "of it?");
    ap_world_typo(&none, &r);
    assert_string_equal(none.s, "of it?");
}

static void the_best_request_reads_as_specified(void **state)
{
    struct ap_world_intent intent = {.animal = 1, .n = 3, .aspects = {4, 0, 3}};
    struct ap_world_request q;
    (void)state;
    ap_world_request_best(&q, &intent);
    assert_string_equal(q.text.s, "Please describe the fox. Cover its young, home and lifespan. "
                                  "Check every fact. Stay on topic. Use full sentences.");
}

static void mediocre_rewrites_fail_as_often_as_specified(void **state)
{
    enum { N = 20000 };
    struct ap_world_splits splits;
    int animal = 0, dropped = 0, added = 0, please = 0, clauses = 0;
    (void)state;
    ap_world_splits_init(&splits);
    for (uint64_t i = 0; i < N; i++) {
        struct ap_random r;
        struct ap_world_intent intent;
        struct ap_world_prompt p;
        struct ap_world_request q;
        stream(&r, i);
        ap_world_intent_draw(&intent, &splits, AP_WORLD_TRAIN, &r);
        ap_world_prompt_draw_style(&p, &intent, AP_WORLD_RAMBLE, &r);
        ap_world_rewrite_draw(&q, &p, &r);
        animal += q.intent.animal != intent.animal;
        dropped += q.intent.n < intent.n;
        added += q.intent.n > intent.n;
        please += q.please;
        clauses += __builtin_popcount(q.clauses);
        assert_true(__builtin_popcount(q.clauses) <= 2);
    }
    check_near(animal / (double)N, .04 + .02 * 15 / 16, .006, 0);
    check_near(dropped / (double)N, .15 * 9 / 11, .02, 0); /* one aspect cannot be dropped */
    check_near(added / (double)N, .85 * .12 * 7 / 11, .02, 0);
    check_near(please / (double)N, .35, .02, 0);
    check_near(clauses / (double)N, 1.0, .03, 0);
}

static void rewrites_are_checked_for_what_they_kept(void **state)
{
    const char meta[] =
        "{\"animal\":\"bat\",\"aspects\":[\"lifespan\",\"home\"],\"style\":\"terse\"}";
    static const struct {
        const char *rewrite;
        bool animal, aspects;
    } rows[] = {
        {"Describe the bat. Cover its home and lifespan.", true, true},
        {"Describe the bat. Cover its spot and time on earth. Be exact.", true, true},
        {"Describe the bat. Cover its home.", true, false},
        {"Describe the bat. Cover its home, lifespan and food.", true, false},
        {"Describe the goat. Cover its home and age.", false, true},
        {"Describe the bat and the fox. Say its home and age.", false, true},
        {"", false, false},
    };
    struct ap_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool animal, aspects;
        check_ok(ap_world_kept(meta, rows[i].rewrite, &animal, &aspects, &err), err);
        assert_int_equal(animal, rows[i].animal);
        assert_int_equal(aspects, rows[i].aspects);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_distinct),
        cmocka_unit_test(values_belong_to_one_aspect),
        cmocka_unit_test(intents_are_numbered_and_split),
        cmocka_unit_test(drawn_intents_stay_in_their_split),
        cmocka_unit_test(every_style_asks_for_its_intent),
        cmocka_unit_test(terse_and_ramble_read_as_specified),
        cmocka_unit_test(a_typo_changes_one_inner_letter),
        cmocka_unit_test(the_best_request_reads_as_specified),
        cmocka_unit_test(mediocre_rewrites_fail_as_often_as_specified),
        cmocka_unit_test(rewrites_are_checked_for_what_they_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
