/* What the engine behind `alignpro serve` gives: rewrites as `rewrite` and training make them,
 * answers as the run's target gives them, scores as the run's reward does, from any thread. What
 * becomes of works that nobody waits for: test_serve_works.c. */
#include "served.h"

#include "store/database.h"

#include <pthread.h>

static const char *const prompts[] = {
    "about the fox 7",   "about the otter 3", "deer",
    "what is a wolf 12", "goat or duck?",     "about the bear 21"};
enum { PROMPTS = AP_LEN(prompts) };

/* -- rewrites -- */

static void test_rewrites_are_those_of_rewrite(void **state)
{
    const char *folder = *state;
    struct ap_serve_engine_options options = served_options(folder);
    struct ap_serve_engine *e = served_open(&options);
    struct ap_rewriter *rewriter;
    struct ap_error err;
    assert_string_equal(e->model, SERVED_RUN);
    assert_string_equal(ap_serve_engine_stage(e), "align");
    check_ok(ap_rewriter_open(&rewriter, options.run_dir, NULL, 0, 1, &err), err);
    for (int i = 0; i < 2 * PROMPTS; i++) {
        struct ap_rewrite_options how = {.temperature = i % 2, .seed = 5, .record = (uint64_t)i};
        struct ap_rewritten want;
        struct asked a;
        check_ok(ap_rewrite(rewriter, prompts[i / 2], &how, &want, &err), err);
        asked_init(&a, AP_WORK_REWRITE, prompts[i / 2]);
        a.work.temperature = how.temperature;
        a.work.stream = (struct ap_stream){
            .seed = how.seed, .stage = ap_stream_stage("rewrite"), .record = how.record};
        asked_go(e, &a);
        check_end(&a, AP_WORK_DONE, "");
        assert_string_equal(a.work.text, want.text);
        assert_string_equal(a.work.guard, want.guard);
        assert_int_equal(a.work.text_ended, want.ended);
        assert_in_range(a.work.n_token, 2, 8 + 6);
        assert_true(a.work.n_prompt > 2);
        ap_free(want.text);
        asked_free(&a);
    }
    ap_rewriter_close(rewriter);
    e->close(e->self);
}

static const struct ap_message talk[] = {{"system", "be brief"},
                                         {"user", "about the duck 1"},
                                         {"assistant", "A duck."},
                                         {"user", "about the fox 7"}};
enum { TALK = AP_LEN(talk) };

/* A pass as the run itself draws it: the prompter behind the interface of targets. */
static char *pass_by_the_run(struct ap_prompters *p, int pass, const char *x, double temperature)
{
    struct ap_error err;
    struct ap_target rewriter;
    struct ap_answer answer;
    char *wrapped = ap_meta_prompt_apply(ap_run_pass_meta(&p->past.run, pass), x);
    struct ap_target_request request = {
        .context = talk,
        .n_context = TALK - 1,
        .prompt = wrapped,
        .stream = {.seed = 8, .stage = ap_stream_stage(pass ? "rewrite-2" : "rewrite")}};
    check_ok(ap_run_pass_rewriter(&p->past.run, pass, p->passes[pass].lm,
                                  &p->passes[pass].role.role, temperature, 1, &rewriter, &err),
             err);
    check_ok(rewriter.answer(rewriter.self, &request, 1, 1, &answer, &err), err);
    ap_target_free(&rewriter);
    ap_free(wrapped);
    ap_free(answer.ids);
    assert_true(answer.text[0] != '\0');
    return answer.text;
}

static void test_context_is_given_as_in_training(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_prompters p;
    struct ap_error err;
    struct ap_serve_engine *e = served_open(&options);
    check_ok(ap_prompters_open(&p, options.run_dir, NULL, 0, 0, &err), err);
    assert_int_equal(p.n_pass, 2);
    for (int temperature = 0; temperature < 2; temperature++) {
        struct asked a, alone;
        char *first = pass_by_the_run(&p, 0, talk[TALK - 1].content, temperature);
        char *second = pass_by_the_run(&p, 1, first, temperature);
        asked_init(&a, AP_WORK_REWRITE, "");
        a.work.messages = talk;
        a.work.n_message = TALK;
        a.work.temperature = temperature;
        a.work.stream = (struct ap_stream){.seed = 8, .stage = ap_stream_stage("rewrite")};
        asked_go(e, &a);
        check_end(&a, AP_WORK_DONE, "");
        assert_string_equal(a.work.text, second);
        asked_init(&alone, AP_WORK_REWRITE, talk[TALK - 1].content);
        asked_go(e, &alone);
        assert_true(alone.work.n_prompt < a.work.n_prompt);
        asked_free(&a);
        asked_free(&alone);
        ap_free(first);
        ap_free(second);
    }
    e->close(e->self);
    ap_prompters_close(&p);
}

static struct ap_sequence first_prompt(const struct ap_prompters *p,
                                       const struct ap_message *messages, size_t n)
{
    struct ap_error err;
    struct ap_draft d;
    struct ap_sequence s = {0};
    struct ap_gen_request request;
    check_ok(ap_draft_begin(&d, messages, n, &err), err);
    check_ok(ap_draft_ask(p, 0, &d, &(struct ap_stream){0}, &s, &request, &err), err);
    assert_int_equal(request.max_new_tokens, 8);
    ap_draft_free(&d);
    return s;
}

/* The longest prompt that fits: the system message and the last turns, of which the first is the
 * user's where any are left out. The whole context is p's, nothing of it is left out. */
static struct ap_sequence fitted(const struct ap_prompters *p, const struct ap_message *messages,
                                 size_t n, int room)
{
    struct ap_message less[64] = {messages[0]};
    for (size_t from = 1; from < n; from++) {
        if (from > 1 && strcmp(messages[from].role, "user") != 0)
            continue;
        memcpy(less + 1, messages + from, (n - from) * sizeof(*less));
        struct ap_sequence s = first_prompt(p, less, 1 + n - from);
        if (s.n <= room)
            return s;
        ap_sequence_free(&s);
    }
    fail();
    return (struct ap_sequence){0};
}

/* Of turns that do not fit as few as possible go, the oldest. */
static void test_turns_that_do_not_fit(void **state)
{
    enum { CONTEXT = 44, TURNS = 14 };
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_prompters whole, p;
    struct ap_error err;
    struct ap_message turns[TURNS];
    int n_cut = 0;
    check_ok(ap_prompters_open(&whole, options.run_dir, NULL, 0, 0, &err), err);
    check_ok(ap_prompters_open(&p, options.run_dir, NULL, 0, CONTEXT, &err), err);
    turns[0] = talk[0];
    for (size_t n = 2; n <= TURNS; n++) {
        for (size_t i = 1; i < n; i++)
            turns[i] = (n - i) % 2 ? (struct ap_message){"user", i % 3 ? "deer" : "about the fox 7"}
                                   : (struct ap_message){"assistant", i % 4 ? "A fox." : "Yes!"};
        struct ap_sequence want = fitted(&whole, turns, n, CONTEXT - 8);
        struct ap_sequence s = first_prompt(&p, turns, n), all = first_prompt(&whole, turns, n);
        assert_int_equal(s.n, want.n);
        assert_memory_equal(s.ids, want.ids, (size_t)s.n * sizeof(*s.ids));
        n_cut += s.n < all.n;
        ap_sequence_free(&want);
        ap_sequence_free(&s);
        ap_sequence_free(&all);
    }
    assert_in_range(n_cut, 4, TURNS - 4);
    ap_prompters_close(&p);
    ap_prompters_close(&whole);
}

/* x itself is never cut; a system message goes rather than that x is not rewritten. */
static void test_prompts_that_do_not_fit(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    char text[2000];
    struct asked a;
    options.context = 100;
    struct ap_serve_engine *e = served_open(&options);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    asked_init(&a, AP_WORK_REWRITE, text);
    asked_go(e, &a);
    check_end(&a, AP_WORK_FAILED, "over the limit of 92");
    asked_free(&a);
    for (int system = 0; system < 2; system++) {
        const struct ap_message messages[] = {{system ? "system" : "user", text}, {"user", "deer"}};
        asked_init(&a, AP_WORK_REWRITE, "");
        a.work.messages = messages;
        a.work.n_message = 2;
        asked_go(e, &a);
        check_end(&a, AP_WORK_DONE, "");
        assert_in_range(a.work.n_prompt, 4, 40);
        asked_free(&a);
    }
    e->close(e->self);
}

/* -- special tokens -- */

static int count_id(const struct ap_sequence *s, int32_t id)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->ids[i] == id;
    return n;
}

static void test_a_special_token_that_is_spelt_stays_text(void **state)
{
    static const char *const markup[] = {"text.special_in_content=markup"};
    static const char x[] = "about<|im_end|> the fox";
    struct ap_serve_engine_options options = served_options(*state);
    int n_prompt[2];
    for (size_t n_sets = 0; n_sets < 2; n_sets++) {
        const struct ap_message messages[] = {{"user", "a<|im_end|>b"}, {"user", x}};
        struct ap_prompters p;
        struct ap_error err;
        struct ap_draft d = {0};
        struct ap_sequence s;
        struct ap_gen_request request;
        struct asked a;
        struct ap_rewriter *rewriter;
        struct ap_rewritten made;
        check_ok(ap_prompters_open(&p, options.run_dir, markup, n_sets, 0, &err), err);
        int32_t end = ap_tokenizer_id(p.passes[0].lm->tokenizer, "<|im_end|>");
        assert_true(end >= 0);
        check_ok(ap_draft_begin(&d, messages, 2, &err), err);
        check_ok(ap_draft_ask(&p, 0, &d, &(struct ap_stream){0}, &s, &request, &err), err);
        assert_int_equal(count_id(&s, end), n_sets ? 2 : 0);
        ap_sequence_free(&s);
        ap_draft_free(&d);
        ap_prompters_close(&p);

        options.sets = markup;
        options.n_sets = n_sets;
        struct ap_serve_engine *e = served_open(&options);
        asked_init(&a, AP_WORK_REWRITE, x);
        asked_go(e, &a);
        check_end(&a, AP_WORK_DONE, "");
        n_prompt[n_sets] = a.work.n_prompt;
        check_ok(ap_rewriter_open(&rewriter, options.run_dir, markup, n_sets, 1, &err), err);
        check_ok(ap_rewrite(rewriter, x, &(struct ap_rewrite_options){0}, &made, &err), err);
        assert_string_equal(made.text, a.work.text);
        ap_free(made.text);
        ap_rewriter_close(rewriter);
        asked_free(&a);
        e->close(e->self);
    }
    assert_true(n_prompt[0] > n_prompt[1]); /* the spelling takes several tokens */
}

/* -- answers and scores -- */

static void check_answer(struct ap_serve_engine *e, struct ap_prompters *p, struct asked *a)
{
    struct ap_error err;
    struct ap_lm *lm;
    struct ap_target target;
    struct ap_answer want;
    const struct ap_work *w = &a->work;
    const struct ap_target_settings *t = &p->past.run.s->target;
    struct ap_target_options options = {
        .max_new_tokens = w->max_new_tokens ? w->max_new_tokens : t->max_new_tokens,
        .sampling = {w->temperature, w->top_k, w->top_p, w->min_p, w->repetition_penalty},
        .stop = w->stop,
        .n_stop = w->n_stop,
        .n_slot = 1,
        .batch_tokens = 64};
    struct ap_target_request request = {.context = w->messages,
                                        .n_context = w->n_message - 1,
                                        .prompt = w->messages[w->n_message - 1].content,
                                        .stream = w->stream};
    check_ok(ap_run_lm(&p->past.run, t->model, &lm, &err), err);
    check_ok(ap_target_local(&target, lm, &(struct ap_role){lm->weights, NULL}, &options, &err),
             err);
    check_ok(target.answer(target.self, &request, 1, 1, &want, &err), err);
    asked_go(e, a);
    check_end(a, AP_WORK_DONE, "");
    assert_string_equal(w->text, want.text);
    assert_int_equal(w->n_token, want.n_token);
    assert_int_equal(w->text_ended, want.ended);
    assert_string_equal(a->grown.data ? a->grown.data : "", w->grew ? want.text : "");
    if (target.logp && w->temperature == 1) {
        double logp = 0, sum;
        for (int i = 0; i < w->n_token; i++)
            logp += (double)w->logp[i];
        check_ok(target.logp(target.self, &request, &want, 1, &sum, &err), err);
        assert_true(fabs(logp - sum) < 1e-4 * (1 + fabs(sum)));
    }
    ap_answers_free(&want, 1);
    ap_target_free(&target);
}

static void test_answers_are_the_targets(void **state)
{
    static char *const stop[] = {(char *)"e", (char *)"ox"};
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    struct ap_prompters p;
    struct ap_error err;
    char long_x[2000];
    int n_grown = 0;
    assert_string_equal(e->target, "target");
    assert_int_equal(ap_serve_engine_max_new_tokens(e), 8);
    check_ok(ap_prompters_open(&p, options.run_dir, NULL, 0, 4096, &err), err);
    memset(long_x, 'y', sizeof(long_x) - 1);
    long_x[sizeof(long_x) - 1] = '\0';
    for (int i = 0; i < 24; i++) {
        struct asked a;
        asked_init(&a, AP_WORK_ANSWER, i % 5 == 4 ? long_x : prompts[i % PROMPTS]);
        if (i % 3 == 2) {
            a.work.messages = talk;
            a.work.n_message = TALK;
        }
        a.work.cuts = true;
        a.work.temperature = i % 2;
        a.work.max_new_tokens = i % 4 == 3 ? 5 : 0;
        a.work.repetition_penalty = i % 8 == 5 ? 1.4 : 0;
        a.work.stop = stop;
        a.work.n_stop = i % 6 == 1 ? 2 : 0;
        a.work.grew = i % 4 ? asked_grew : NULL;
        a.work.stream = (struct ap_stream){
            .seed = 9, .stage = 3, .step = 2, .record = i % 7, .sample = (uint32_t)i};
        check_answer(e, &p, &a);
        n_grown += a.n_grown;
        asked_free(&a);
    }
    assert_true(n_grown > 24); /* most came in several pieces */
    struct asked whole;        /* who does not ask for it gets no answer to a part */
    asked_init(&whole, AP_WORK_ANSWER, long_x);
    asked_go(e, &whole);
    check_end(&whole, AP_WORK_FAILED, "the prompt is too long");
    asked_free(&whole);
    ap_prompters_close(&p);
    e->close(e->self);
}

struct scores {
    struct ap_serve_engine *e;
    struct ap_database *db;
    int n;
    double want; /* of the row that is looked at */
    uint64_t record;
    const char *arm;
};

static ap_status find_score(void *context, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *judge, double value)
{
    struct scores *s = context;
    (void)seed;
    if (strcmp(arm, s->arm) == 0 && record == s->record && sample == -1 &&
        strcmp(judge, "reward") == 0)
        s->want = value;
    return AP_OK;
}

static ap_status score_row(void *context, const struct ap_evaluation_record *r)
{
    struct scores *s = context;
    struct asked a;
    struct ap_error err;
    if (r->sample != -1)
        return AP_OK;
    s->want = NAN;
    s->record = r->record;
    s->arm = r->arm;
    check_ok(ap_database_each_score(s->db, find_score, s, &err), err);
    asked_init(&a, AP_WORK_SCORE, r->prompt);
    a.work.answer = r->answer;
    a.work.ended = r->answer_ended;
    asked_go(s->e, &a);
    check_end(&a, AP_WORK_DONE, "");
    assert_true(a.work.score == s->want);
    s->n++;
    asked_free(&a);
    return AP_OK;
}

static void test_a_score_is_the_runs_own(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct scores s = {.e = served_open(&options)};
    struct ap_error err;
    char path[700];
    assert_string_equal(s.e->reward, "reward");
    snprintf(path, sizeof(path), "%s/" SERVED_RUN "/run.db", (const char *)*state);
    check_ok(ap_database_open_read(&s.db, path, &err), err);
    check_ok(ap_database_each_evaluation(s.db, score_row, &s, &err), err);
    assert_true(s.n >= 8);
    ap_database_close(s.db);
    s.e->close(s.e->self);
}

/* -- many at once -- */

enum { THREADS = 8, EACH = 24 };

struct client {
    pthread_t thread;
    struct ap_serve_engine *e;
    int number;
    struct asked asked[EACH];
};

/* Works of all kinds; the same in both rounds. */
static void init_nth(struct asked *a, int n)
{
    static const ap_work_kind kinds[] = {AP_WORK_REWRITE, AP_WORK_ANSWER, AP_WORK_REWRITE,
                                         AP_WORK_SCORE};
    asked_init(a, kinds[n % 4], prompts[n % PROMPTS]);
    if (n % 5 == 0) {
        a->work.messages = talk;
        a->work.n_message = TALK;
    }
    a->work.temperature = n % 3 == 0;
    a->work.repetition_penalty = n % 7 == 0 ? 1.3 : 0;
    a->work.stream = (struct ap_stream){.seed = 4, .record = (uint64_t)n};
    a->work.answer = "A fox.";
    a->work.ended = n % 8 < 4;
    a->work.grew = n % 4 == 1 && n % 3 ? asked_grew : NULL;
}

static void *client_main(void *self)
{
    struct client *c = self;
    for (int i = 0; i < EACH; i++) {
        init_nth(&c->asked[i], c->number * EACH + i);
        asked_submit(c->e, &c->asked[i]);
        if (i % 3 == 2)
            for (int k = i - 2; k <= i; k++)
                asked_wait(&c->asked[k]);
    }
    return NULL;
}

static void check_same_work(const struct ap_work *a, const struct ap_work *b)
{
    assert_int_equal(a->end, AP_WORK_DONE);
    assert_int_equal(b->end, AP_WORK_DONE);
    if (a->kind == AP_WORK_SCORE)
        assert_true(a->score == b->score);
    else
        assert_string_equal(a->text, b->text);
    assert_int_equal(a->n_token, b->n_token);
    assert_int_equal(a->n_prompt, b->n_prompt);
    assert_int_equal(a->text_ended, b->text_ended);
    if (a->kind == AP_WORK_ANSWER)
        assert_memory_equal(a->logp, b->logp, (size_t)a->n_token * sizeof(*a->logp));
}

static void test_many_threads_get_what_one_gets(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct client *clients = ap_calloc(THREADS, sizeof(*clients));
    struct ap_serve_counts counts;
    struct ap_serve_engine *e = served_open(&options);
    for (int i = 0; i < THREADS; i++) {
        clients[i].e = e;
        clients[i].number = i;
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(clients[i].thread, NULL);
    e->counts(e->self, &counts);
    assert_int_equal(counts.n_done, THREADS * EACH / 2);
    assert_int_equal(counts.n_waiting, 0);
    e->close(e->self);

    int64_t n_token = 0;
    options.batch = 1;
    e = served_open(&options);
    for (int i = 0; i < THREADS * EACH; i++) {
        struct asked a;
        init_nth(&a, i);
        asked_go(e, &a);
        check_same_work(&clients[i / EACH].asked[i % EACH].work, &a.work);
        if (a.work.grew) {
            assert_string_equal(a.grown.data ? a.grown.data : "", a.work.text);
            assert_int_equal(a.n_grown, clients[i / EACH].asked[i % EACH].n_grown);
        }
        n_token += a.work.n_token;
        asked_free(&a);
        asked_free(&clients[i / EACH].asked[i % EACH]);
    }
    assert_int_equal(counts.n_token, n_token);
    e->close(e->self);
    ap_free(clients);
}

/* -- what opens -- */

static void test_what_cannot_be_opened(void **state)
{
    const char *folder = *state;
    static const char *const other[] = {"align.kl=0"};
    struct ap_serve_engine_options options = served_options(folder);
    struct ap_error err;
    struct ap_serve_engine *e;
    options.run_dir = folder;
    assert_int_equal(ap_serve_engine_open(&e, &options, &err), AP_NOT_FOUND);
    check_holds(err.text, "is no run directory");
    assert_null(e);
    options = served_options(folder);
    options.sets = other;
    options.n_sets = 1;
    assert_int_equal(ap_serve_engine_open(&e, &options, &err), AP_INVALID);
    check_holds(err.text, "is no key of guard");
    options.n_sets = 0;
    options.queue = 0;
    assert_int_equal(ap_serve_engine_open(&e, &options, &err), AP_INVALID);
    options.queue = 1;
    options.batch = 0;
    assert_int_equal(ap_serve_engine_open(&e, &options, &err), AP_INVALID);
    check_holds(err.text, "batch of 0");

    char from[700], to[700];
    snprintf(from, sizeof(from), "%s/" SERVED_RUN "/reward/normaliser.json", folder);
    snprintf(to, sizeof(to), "%s/elsewhere", folder);
    assert_int_equal(rename(from, to), 0);
    options.batch = 1;
    assert_int_equal(ap_serve_engine_open(&e, &options, &err), AP_NOT_FOUND);
    check_holds(err.text, "normaliser.json is missing");
    assert_int_equal(access(from, F_OK), -1); /* and it is not made here */
    assert_int_equal(rename(to, from), 0);
}

static void test_without_target_and_reward(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct asked a;
    options.local_target = options.with_reward = false;
    struct ap_serve_engine *e = served_open(&options);
    assert_null(e->target);
    assert_null(e->reward);
    assert_int_equal(ap_serve_engine_max_new_tokens(e), 0);
    for (int kind = AP_WORK_ANSWER; kind <= AP_WORK_SCORE; kind++) {
        asked_init(&a, (ap_work_kind)kind, "deer");
        asked_go(e, &a);
        check_end(&a, AP_WORK_FAILED, "was opened without a");
        asked_free(&a);
    }
    e->close(e->self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrites_are_those_of_rewrite),
        cmocka_unit_test(test_context_is_given_as_in_training),
        cmocka_unit_test(test_turns_that_do_not_fit),
        cmocka_unit_test(test_prompts_that_do_not_fit),
        cmocka_unit_test(test_a_special_token_that_is_spelt_stays_text),
        cmocka_unit_test(test_answers_are_the_targets),
        cmocka_unit_test(test_a_score_is_the_runs_own),
        cmocka_unit_test(test_many_threads_get_what_one_gets),
        cmocka_unit_test(test_what_cannot_be_opened),
        cmocka_unit_test(test_without_target_and_reward),
    };
    return cmocka_run_group_tests(tests, served_setup, program_teardown);
}
