/* The local target, and the environment that asks it and pays: what is sent, what is penalised,
 * that answers do not depend on the order of a batch. math.md (3), (15). */
#include "align/environment.h"

#include "align/tiny_lm.h"

enum { EACH = 2, K = 3, NEW = 8 };

static struct ap_target open_target(const struct ap_lm *lm, double temperature, char *const *stop,
                                    int n_stop, int n_slot)
{
    struct ap_error err;
    struct ap_target target;
    struct ap_role role = {lm->weights, NULL};
    struct ap_target_options options = {.max_new_tokens = NEW,
                                        .sampling = {.temperature = temperature, .top_p = 1},
                                        .stop = stop,
                                        .n_stop = n_stop,
                                        .n_slot = n_slot};
    check_ok(ap_target_local(&target, lm, &role, &options, &err), err);
    return target;
}

static struct ap_target_request request_of(const char *prompt, uint64_t record)
{
    return (struct ap_target_request){.prompt = prompt,
                                      .stream = {.seed = 4, .stage = 2, .record = record}};
}

static void check_same_answer(const struct ap_answer *a, const struct ap_answer *b)
{
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->ended, b->ended);
    assert_int_equal(a->n_token, b->n_token);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n_token * sizeof(*a->ids));
}

/* -- the target -- */

static void test_answers_do_not_depend_on_their_company(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct ap_error err;
    struct ap_target together = open_target(lm, 1, NULL, 0, 7);
    struct ap_target alone = open_target(lm, 1, NULL, 0, 1);
    const char *const x[] = {"otter", "a fox eats", "bear", "the wolf and the goat"};
    struct ap_target_request requests[4], reversed[4];
    struct ap_answer a[4 * K], b[4 * K], one[K];
    for (int i = 0; i < 4; i++) {
        requests[i] = request_of(x[i], (uint64_t)i);
        reversed[3 - i] = requests[i];
    }
    check_ok(together.answer(together.self, requests, 4, K, a, &err), err);
    check_ok(together.answer(together.self, reversed, 4, K, b, &err), err);
    for (int i = 0; i < 4; i++) {
        check_ok(alone.answer(alone.self, &requests[i], 1, K, one, &err), err);
        for (int k = 0; k < K; k++) {
            check_same_answer(&a[i * K + k], &b[(3 - i) * K + k]);
            check_same_answer(&a[i * K + k], &one[k]);
        }
        ap_answers_free(one, K);
    }
    assert_string_not_equal(a[0].text, a[1].text); /* two samples of one prompt */
    requests[0].stream.sample = 1;                 /* sample k uses stream.sample + k */
    check_ok(alone.answer(alone.self, requests, 1, K - 1, one, &err), err);
    check_same_answer(&one[0], &a[1]);
    ap_answers_free(one, K - 1);
    ap_answers_free(a, 4 * K);
    ap_answers_free(b, 4 * K);
    ap_target_free(&together);
    ap_target_free(&alone);
    ap_lm_free(lm);
}

static void test_a_stop_string_ends_an_answer(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct ap_error err;
    struct ap_target plain = open_target(lm, 0, NULL, 0, 2);
    struct ap_target_request request = request_of("otter", 1);
    struct ap_answer whole, cut;
    check_ok(plain.answer(plain.self, &request, 1, 1, &whole, &err), err);
    assert_true(strlen(whole.text) > 3);
    assert_false(whole.ended);
    char *stop[] = {whole.text + 2};
    struct ap_target stopped = open_target(lm, 0, stop, 1, 2);
    check_ok(stopped.answer(stopped.self, &request, 1, 1, &cut, &err), err);
    assert_true(cut.ended);
    assert_true(strlen(cut.text) <= 2);
    assert_memory_equal(cut.text, whole.text, strlen(cut.text));
    ap_answers_free(&whole, 1);
    ap_answers_free(&cut, 1);
    ap_target_free(&plain);
    ap_target_free(&stopped);
    ap_lm_free(lm);
}

static void test_a_prompt_that_is_too_long_is_cut_to_leave_room(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct ap_error err;
    struct ap_target target = open_target(lm, 0, NULL, 0, 2);
    char x[5 * TINY_CONTEXT];
    struct ap_target_request request = request_of(x, 1);
    struct ap_answer a;
    memset(x, 'q', sizeof(x) - 1);
    x[sizeof(x) - 1] = '\0';
    check_ok(target.answer(target.self, &request, 1, 1, &a, &err), err);
    assert_in_range(a.n_token, 1, NEW);
    ap_answers_free(&a, 1);
    ap_target_free(&target);
    ap_lm_free(lm);
}

static void test_white_space_is_stripped(void **state)
{
    (void)state;
    char inner[] = " \t a b \n", all[] = " \n ", none[] = "";
    assert_string_equal(ap_strip(inner), "a b");
    assert_string_equal(ap_strip(all), "");
    assert_string_equal(ap_strip(none), "");
}

/* -- prompts -- */

/* Cut anywhere, what is told while the text grows is the beginning of what stands at last. */
static void test_what_is_told_of_an_answer_is_its_beginning(void **state)
{
    static const struct {
        const char *text;
        size_t n;
    } grown[] = {{" \n a  b\t\n c \n", 13}, {"ab", 2},  {" \n ", 3}, {"", 0}, {" a \0 b", 6},
                 {"\xc3\xaf \xc3\xaf ", 6}, {" \0a", 3}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(grown); i++)
        for (size_t pieces = 1; pieces < ((size_t)1 << grown[i].n); pieces += 2) {
            struct ap_answer_told told = {0};
            char whole[16] = "", all[16] = "";
            memcpy(whole, grown[i].text, grown[i].n);
            ap_strip(whole);
            for (size_t n = 0; n <= grown[i].n; n++) {
                const char *piece;
                if (n < grown[i].n && !(pieces >> n & 1))
                    continue;
                size_t n_piece = ap_answer_tell(&told, grown[i].text, n, &piece);
                strncat(all, piece, n_piece);
                assert_int_equal(told.end - told.begin, strlen(all));
            }
            assert_string_equal(all, whole);
        }
}

static void test_a_limit_counts_the_prompts_that_fit(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct tiny_prompts p;
    struct ap_prompts few;
    struct ap_error err;
    const int32_t index[TINY_PROMPTS] = {0, 1, 2, 3, 4, 5};
    tiny_prompts_open(&p, lm);
    int room = p.prompts.items[0].n - 1; /* the first one is too long by a token */
    assert_true(p.prompts.items[1].n <= room && p.prompts.items[3].n <= room);
    check_ok(ap_prompts_make(&few, &p.data, index, TINY_PROMPTS, lm, "{prompt}", room,
                             AP_TOO_LONG_SKIP, 2, &err),
             err);
    assert_int_equal(few.n, 2);
    assert_true(few.n_skipped >= 1);
    assert_int_equal(few.items[0].record, 101);
    ap_prompts_free(&few);
    assert_int_equal(ap_prompts_make(&few, &p.data, index, TINY_PROMPTS, lm, "{prompt}", room,
                                     AP_TOO_LONG_ERROR, 2, &err),
                     AP_LIMIT);
    check_holds(err.text, "prompt 100: the text has");
    assert_int_equal(ap_prompts_make(&few, &p.data, index, TINY_PROMPTS, lm, "{prompt}", 0,
                                     AP_TOO_LONG_SKIP, 0, &err),
                     AP_LIMIT);
    check_holds(err.text, "leaves no room for a prompt");
    ap_prompts_free(&p.prompts);
    ap_lm_free(lm);
}

/* The policy's ids are the noisy text's; x, by which rewards judge, is not touched; what does not
 * fit stays as it was. */
static void test_noise_is_what_the_policy_sees(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct tiny_prompts clean, noisy, again;
    struct ap_error err;
    int n_other = 0, n_kept = 0;
    tiny_prompts_open(&clean, lm);
    tiny_prompts_open(&noisy, lm);
    tiny_prompts_open(&again, lm);
    check_ok(ap_prompts_add_noise(&noisy.prompts, lm, "{prompt}", 96, 0, 5, &err), err);
    for (int i = 0; i < TINY_PROMPTS; i++) {
        assert_null(noisy.prompts.items[i].noisy);
        assert_ptr_equal(ap_prompt_seen(&noisy.prompts.items[i]), noisy.prompts.items[i].x);
    }
    check_ok(ap_prompts_add_noise(&noisy.prompts, lm, "{prompt}", 96, 1, 5, &err), err);
    int room = noisy.prompts.items[3].n; /* of the shortest */
    check_ok(ap_prompts_add_noise(&again.prompts, lm, "{prompt}", room, 1, 5, &err), err);
    for (int i = 0; i < TINY_PROMPTS; i++) {
        const struct ap_prompt *a = &clean.prompts.items[i], *b = &noisy.prompts.items[i],
                               *c = &again.prompts.items[i];
        assert_string_equal(a->x, b->x);
        assert_string_not_equal(ap_prompt_seen(b), b->x);
        n_other += a->n != b->n || memcmp(a->ids, b->ids, (size_t)a->n * sizeof(*a->ids)) != 0;
        const struct ap_prompt *expected = b->n <= room ? b : a;
        n_kept += expected == a;
        assert_string_equal(ap_prompt_seen(c), ap_prompt_seen(expected));
        assert_int_equal(c->n, expected->n);
        assert_memory_equal(c->ids, expected->ids, (size_t)c->n * sizeof(*c->ids));
    }
    assert_int_equal(n_other, TINY_PROMPTS);
    assert_in_range(n_kept, 1, TINY_PROMPTS - 1);
    ap_prompts_free(&clean.prompts);
    ap_prompts_free(&noisy.prompts);
    ap_prompts_free(&again.prompts);
    ap_lm_free(lm);
}

/* -- the environment -- */

/* A target that repeats what it was sent and numbers its samples; a reward that writes down. */
struct echo {
    char sent[TINY_PROMPTS * EACH][64];
    struct ap_stream stream[TINY_PROMPTS * EACH];
    int n;
};

static ap_status echo_answer(void *self, const struct ap_target_request *requests, int n,
                             int n_samples, struct ap_answer *out, struct ap_error *err)
{
    struct echo *e = self;
    (void)err;
    e->n = n;
    for (int i = 0; i < n; i++) {
        snprintf(e->sent[i], sizeof(e->sent[i]), "%s", requests[i].prompt);
        e->stream[i] = requests[i].stream;
        for (int k = 0; k < n_samples; k++) {
            char text[128];
            snprintf(text, sizeof(text), "%d|%s", k, requests[i].prompt);
            out[i * n_samples + k] =
                (struct ap_answer){.text = ap_strdup(text), .ended = k != 1, .n_token = 1};
        }
    }
    return AP_OK;
}

/* 10·record's place + sample: told apart by what it reads. */
static ap_status count_score(void *self, const struct ap_scored *items, int n, double *out,
                             struct ap_error *err)
{
    int *n_unended = self;
    (void)err;
    for (int i = 0; i < n; i++) {
        *n_unended += !items[i].ended;
        out[i] = (double)strlen(items[i].x) * 100 + (items[i].y[0] - '0');
    }
    return AP_OK;
}

static void add_row(struct ap_rollout *r, const struct ap_prompts *p, int prompt, int sample,
                    bool ended, const char *text)
{
    struct ap_error err;
    check_ok(ap_rollout_add(r, prompt, p->items[prompt].record, sample, (int32_t[]){7, 8}, 2, ended,
                            text ? ap_strdup(text) : NULL, &err),
             err);
}

struct scene {
    struct ap_lm *lm;
    struct tiny_prompts prompts;
    struct echo echo;
    struct ap_target target;
    struct ap_reward reward;
    int n_unended;
    struct ap_text_environment text;
    struct ap_environment env;
    struct ap_rollout rollout;
};

static void open_scene(struct scene *s, bool with_target)
{
    struct ap_error err;
    *s = (struct scene){.lm = tiny_lm_new(3)};
    tiny_prompts_open(&s->prompts, s->lm);
    s->target = (struct ap_target){&s->echo, echo_answer, NULL, NULL};
    s->reward = (struct ap_reward){&s->n_unended, count_score, NULL, 1, 0, 0};
    s->text = (struct ap_text_environment){.prompts = &s->prompts.prompts,
                                           .target = with_target ? &s->target : NULL,
                                           .reward = &s->reward,
                                           .n_answers = K,
                                           .missing_end_penalty = 1.5,
                                           .seed = 8,
                                           .stage = "align"};
    s->env = ap_text_environment(&s->text);
    check_ok(ap_rollout_init(&s->rollout, TINY_PROMPTS * EACH, 4 * TINY_PROMPTS * EACH, &err), err);
    s->rollout.n_each = EACH;
}

static void close_scene(struct scene *s)
{
    ap_rollout_free(&s->rollout);
    ap_prompts_free(&s->prompts.prompts);
    ap_lm_free(s->lm);
}

static void test_rewrites_are_sent_and_empty_ones_are_not(void **state)
{
    (void)state;
    struct scene s;
    struct ap_error err;
    open_scene(&s, true);
    const char *x = s.prompts.prompts.items[1].x;
    add_row(&s.rollout, &s.prompts.prompts, 1, 0, true, "Describe the fox.");
    add_row(&s.rollout, &s.prompts.prompts, 1, 1, true, "");
    add_row(&s.rollout, &s.prompts.prompts, 2, 0, false, "no end");
    add_row(&s.rollout, &s.prompts.prompts, 2, 1, false, "");
    check_ok(s.env.score(s.env.self, 5, &s.rollout, &err), err);
    assert_int_equal(s.echo.n, 4);
    assert_string_equal(s.echo.sent[0], "Describe the fox.");
    assert_string_equal(s.echo.sent[1], x); /* x itself, with the penalty */
    const double penalty[] = {0, 1.5, 1.5, 1.5};
    for (int i = 0; i < 4; i++) {
        const struct ap_rollout_row *row = &s.rollout.rows[i];
        double length = (double)strlen(s.prompts.prompts.items[row->prompt].x);
        check_near(row->score, 100 * length + 1, 1e-9, 0); /* the mean of samples 0, 1, 2 */
        assert_true(row->penalty == penalty[i]);
        assert_memory_equal(row->answer, "0|", 2); /* the first of the K */
    }
    assert_int_equal(s.text.n_empty, 2);
    assert_int_equal(s.n_unended, 4); /* the second answer of each */
    assert_int_equal(s.env.n_prompt, TINY_PROMPTS);
    assert_string_equal(s.env.prompt_text(s.env.self, 1), x);
    close_scene(&s);
}

static void test_with_noise_the_reward_sees_the_prompt_without_it(void **state)
{
    (void)state;
    struct scene s;
    struct ap_error err;
    open_scene(&s, true);
    struct ap_prompt *x = &s.prompts.prompts.items[1];
    check_ok(ap_prompts_add_noise(&s.prompts.prompts, s.lm, "{prompt}", 96, 1, 5, &err), err);
    add_row(&s.rollout, &s.prompts.prompts, 1, 0, true, "");
    check_ok(s.env.score(s.env.self, 5, &s.rollout, &err), err);
    assert_string_equal(s.echo.sent[0], x->noisy); /* what was typed, for want of a rewrite */
    assert_string_equal(s.env.prompt_text(s.env.self, 1), x->noisy);
    assert_int_not_equal(strlen(x->x), strlen(x->noisy));
    check_near(s.rollout.rows[0].score, 100 * (double)strlen(x->x) + 1, 1e-9, 0);
    close_scene(&s);
}

static void test_streams_belong_to_record_step_and_sample(void **state)
{
    (void)state;
    struct scene s;
    struct ap_error err;
    open_scene(&s, true);
    for (int p = 0; p < 3; p++)
        for (int k = 0; k < EACH; k++)
            add_row(&s.rollout, &s.prompts.prompts, p, k, true, "same");
    check_ok(s.env.score(s.env.self, 5, &s.rollout, &err), err);
    for (int i = 0; i < s.rollout.n_row; i++) {
        const struct ap_stream *a = &s.echo.stream[i];
        assert_int_equal(a->seed, 8);
        assert_int_equal(a->step, 5);
        assert_int_equal(a->record, s.rollout.rows[i].record);
        assert_int_equal(a->sample, s.rollout.rows[i].sample * K);
        assert_int_not_equal(a->stage, ap_stream_stage("align")); /* not the rewrite's own */
    }
    close_scene(&s);
}

static void test_without_a_target_the_text_is_the_answer(void **state)
{
    (void)state;
    struct scene s;
    struct ap_error err;
    open_scene(&s, false);
    add_row(&s.rollout, &s.prompts.prompts, 1, 0, true, "3 otters");
    add_row(&s.rollout, &s.prompts.prompts, 1, 1, false, "4");
    check_ok(s.env.score(s.env.self, 0, &s.rollout, &err), err);
    double length = (double)strlen(s.prompts.prompts.items[1].x);
    check_near(s.rollout.rows[0].score, 100 * length + 3, 1e-9, 0);
    check_near(s.rollout.rows[1].score, 100 * length + 4, 1e-9, 0);
    assert_true(s.rollout.rows[0].penalty == 0);
    assert_true(s.rollout.rows[1].penalty == 1.5);
    assert_null(s.rollout.rows[0].answer);
    assert_int_equal(s.n_unended, 1);
    close_scene(&s);
}

/* With the real target: rows in another order are answered and scored as before. */
static void test_the_order_of_rows_does_not_matter(void **state)
{
    (void)state;
    struct scene a, b;
    struct ap_error err;
    struct ap_reward length;
    static const char *const rewrites[] = {"fox", "the bear", "deer and duck", "owl"};
    open_scene(&a, true);
    open_scene(&b, true);
    check_ok(ap_reward_rule(&length, "length", NULL, 9, &err), err);
    a.text.reward = b.text.reward = &length;
    struct ap_target x = open_target(a.lm, 1, NULL, 0, 5), y = open_target(b.lm, 1, NULL, 0, 2);
    a.text.target = &x;
    b.text.target = &y;
    for (int i = 0; i < 4; i++) {
        add_row(&a.rollout, &a.prompts.prompts, i, 0, true, rewrites[i]);
        add_row(&b.rollout, &b.prompts.prompts, 3 - i, 0, true, rewrites[3 - i]);
    }
    check_ok(a.env.score(a.env.self, 2, &a.rollout, &err), err);
    check_ok(b.env.score(b.env.self, 2, &b.rollout, &err), err);
    for (int i = 0; i < 4; i++) {
        assert_true(a.rollout.rows[i].score == b.rollout.rows[3 - i].score);
        assert_string_equal(a.rollout.rows[i].answer, b.rollout.rows[3 - i].answer);
    }
    ap_target_free(&x);
    ap_target_free(&y);
    ap_reward_free(&length);
    close_scene(&a);
    close_scene(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_do_not_depend_on_their_company),
        cmocka_unit_test(test_a_stop_string_ends_an_answer),
        cmocka_unit_test(test_a_prompt_that_is_too_long_is_cut_to_leave_room),
        cmocka_unit_test(test_white_space_is_stripped),
        cmocka_unit_test(test_what_is_told_of_an_answer_is_its_beginning),
        cmocka_unit_test(test_a_limit_counts_the_prompts_that_fit),
        cmocka_unit_test(test_rewrites_are_sent_and_empty_ones_are_not),
        cmocka_unit_test(test_noise_is_what_the_policy_sees),
        cmocka_unit_test(test_with_noise_the_reward_sees_the_prompt_without_it),
        cmocka_unit_test(test_streams_belong_to_record_step_and_sample),
        cmocka_unit_test(test_without_a_target_the_text_is_the_answer),
        cmocka_unit_test(test_the_order_of_rows_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
