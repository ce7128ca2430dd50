/* Works of the engine behind `alignpro serve` that are late, cancelled, refused or caught by the
 * end, guards, the cache, and that no role waits for another. The engine is held where an order
 * matters, so that nothing depends on how fast it is. */
#include "served.h"

#include <pthread.h>

/* A prompt whose answer the target does not end at once. */
static const char long_prompt[] = "about the otter 3";

static void init_long(struct asked *a)
{
    asked_init(a, AP_WORK_ANSWER, long_prompt);
}

static void check_counts(struct ap_serve_engine *e, int64_t n_done, int64_t n_late, int n_waiting)
{
    struct ap_serve_counts c;
    e->counts(e->self, &c);
    assert_int_equal(c.n_done, n_done);
    assert_int_equal(c.n_late, n_late);
    assert_int_equal(c.n_waiting, n_waiting);
}

/* -- late -- */

static void test_a_deadline_that_passed_while_it_waited(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    struct asked late[3], free_of_it;
    struct held held;
    hold_engine(e, &held);
    for (int kind = 0; kind < 3; kind++) {
        asked_init(&late[kind], (ap_work_kind)kind, "deer");
        late[kind].work.answer = "A deer.";
        late[kind].work.deadline = ap_clock_seconds();
        asked_submit(e, &late[kind]);
    }
    asked_init(&free_of_it, AP_WORK_REWRITE, "deer");
    free_of_it.work.deadline = ap_clock_seconds() + 1e6;
    asked_submit(e, &free_of_it);
    check_counts(e, 0, 0, 4);
    release_engine(&held);
    for (int i = 0; i < 3; i++) {
        asked_wait(&late[i]);
        check_end(&late[i], AP_WORK_LATE, "");
        asked_free(&late[i]);
    }
    asked_wait(&free_of_it);
    check_end(&free_of_it, AP_WORK_DONE, "");
    check_counts(e, 1, 1, 0);
    asked_free(&free_of_it);
    e->close(e->self);
}

/* Beside a work of one token, whose end holds the engine until the other's deadline has passed or
 * it was cancelled. */
struct beside {
    struct ap_serve_engine *e;
    struct asked shorter, longer;
    bool cancel;
};

static void meanwhile(struct asked *a)
{
    struct beside *b = a->context;
    if (b->cancel)
        b->e->cancel(b->e->self, &b->longer.work);
    else
        while (ap_clock_seconds() <= b->longer.work.deadline)
            program_sleep(1e-3);
}

static void check_dropped_while_decoded(void **state, bool cancel, ap_work_end end)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    struct beside b = {.e = e, .cancel = cancel};
    struct asked whole, after;
    struct held held;
    init_long(&whole);
    asked_go(e, &whole);
    assert_true(whole.work.n_token > 2);

    hold_engine(e, &held);
    init_long(&b.shorter);
    b.shorter.work.max_new_tokens = 1;
    b.shorter.then = meanwhile;
    b.shorter.context = &b;
    init_long(&b.longer);
    b.longer.work.deadline = cancel ? 0 : ap_clock_seconds() + 0.2;
    asked_submit(e, &b.shorter);
    asked_submit(e, &b.longer);
    release_engine(&held);
    asked_wait(&b.shorter);
    asked_wait(&b.longer);
    check_end(&b.shorter, AP_WORK_DONE, "");
    check_end(&b.longer, end, "");

    init_long(&after); /* nothing of it is left */
    asked_go(e, &after);
    assert_string_equal(after.work.text, whole.work.text);
    e->close(e->self);
    asked_free(&whole);
    asked_free(&b.shorter);
    asked_free(&b.longer);
    asked_free(&after);
}

static void test_a_deadline_that_passed_while_it_was_decoded(void **state)
{
    check_dropped_while_decoded(state, false, AP_WORK_LATE);
}

static void test_cancelled_while_it_was_decoded(void **state)
{
    check_dropped_while_decoded(state, true, AP_WORK_DROPPED);
}

static void test_cancelled_while_it_waited(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    struct asked a, b;
    struct held held;
    hold_engine(e, &held);
    asked_init(&a, AP_WORK_REWRITE, "deer");
    asked_init(&b, AP_WORK_REWRITE, "deer");
    asked_submit(e, &a);
    asked_submit(e, &b);
    e->cancel(e->self, &a.work);
    release_engine(&held);
    asked_wait(&a);
    asked_wait(&b);
    check_end(&a, AP_WORK_DROPPED, "");
    check_end(&b, AP_WORK_DONE, "");
    e->cancel(e->self, &b.work); /* it is over: nothing happens */
    check_counts(e, 1, 0, 0);
    asked_free(&a);
    asked_free(&b);
    e->close(e->self);
}

/* -- full, and the end -- */

static void test_a_full_queue(void **state)
{
    enum { QUEUE = 3 };
    struct ap_serve_engine_options options = served_options(*state);
    options.queue = QUEUE;
    struct ap_serve_engine *e = served_open(&options);
    struct asked a[QUEUE], more;
    struct held held;
    for (int round = 0; round < 3; round++) {
        hold_engine(e, &held);
        for (int i = 0; i < QUEUE; i++) {
            asked_init(&a[i], AP_WORK_REWRITE, "goat");
            asked_submit(e, &a[i]);
        }
        asked_init(&more, AP_WORK_REWRITE, "goat");
        assert_false(e->submit(e->self, &more.work));
        assert_int_equal(more.n_done, 0);
        release_engine(&held);
        for (int i = 0; i < QUEUE; i++) {
            asked_wait(&a[i]);
            check_end(&a[i], AP_WORK_DONE, "");
            asked_free(&a[i]);
        }
        asked_free(&more);
    }
    e->close(e->self);
}

/* Each kind has its own queue, and a request's works are taken together: all, over the limit too,
 * or none. */
static void test_queues_of_each_kind(void **state)
{
    enum { QUEUE = 3, MANY = 20 };
    struct ap_serve_engine_options options = served_options(*state);
    options.queue = QUEUE;
    struct ap_serve_engine *e = served_open(&options);
    struct asked answers[MANY], more[2], rewrite;
    struct held held;
    hold_engine(e, &held);
    for (int i = 0; i < MANY; i++) {
        asked_init(&answers[i], AP_WORK_ANSWER, "goat");
        answers[i].work.next = i + 1 < MANY ? &answers[i + 1].work : NULL;
    }
    asked_submit(e, &answers[0]);
    for (int i = 0; i < 2; i++)
        asked_init(&more[i], AP_WORK_ANSWER, "wolf");
    more[0].work.next = &more[1].work;
    assert_false(e->submit(e->self, &more[0].work));
    asked_init(&rewrite, AP_WORK_REWRITE, "deer");
    asked_submit(e, &rewrite);
    release_engine(&held);
    asked_wait(&rewrite);
    check_end(&rewrite, AP_WORK_DONE, "");
    asked_free(&rewrite);
    for (int i = 0; i < MANY; i++) {
        asked_wait(&answers[i]);
        check_end(&answers[i], AP_WORK_DONE, "");
        asked_free(&answers[i]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(more[i].n_done, 0);
        asked_free(&more[i]);
    }
    e->close(e->self);
}

static void *closer(void *engine)
{
    struct ap_serve_engine *e = engine;
    e->close(e->self);
    return NULL;
}

/* What waits is dropped; what is decoded goes on to its end. */
static void test_close_with_works_waiting(void **state)
{
    enum { MOST = 60000 };
    struct ap_serve_engine_options options = served_options(*state);
    options.queue = MOST + 1;
    struct ap_serve_engine *e = served_open(&options);
    struct asked *a = ap_calloc(MOST, sizeof(*a));
    struct held held;
    pthread_t thread;
    int n = 0;
    hold_engine(e, &held);
    assert_int_equal(pthread_create(&thread, NULL, closer, e), 0);
    for (;; n++) { /* until it closes */
        assert_true(n < MOST);
        asked_init(&a[n], AP_WORK_REWRITE, "wolf");
        if (!e->submit(e->self, &a[n].work))
            break;
        program_sleep(1e-3);
    }
    asked_free(&a[n]);
    release_engine(&held);
    pthread_join(thread, NULL);
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].n_done, 1);
        check_end(&a[i], AP_WORK_DROPPED, "");
        asked_free(&a[i]);
    }
    ap_free(a);
}

struct at_close {
    struct ap_serve_engine *e;
    struct asked begun, taken[32];
    int n_taken;
    pthread_t thread;
};

/* On the engine's thread, while `begun` is decoded: returns once another thread closes the engine,
 * which is seen by what it refuses. */
static void close_meanwhile(struct asked *a)
{
    struct at_close *c = a->context;
    pthread_create(&c->thread, NULL, closer, c->e);
    for (bool taken = true; taken;) {
        struct ap_serve_counts counts;
        program_sleep(1e-3);
        asked_init(&c->taken[c->n_taken], AP_WORK_REWRITE, "wolf");
        taken = c->e->submit(c->e->self, &c->taken[c->n_taken].work);
        c->n_taken += taken && c->n_taken < 31;
        c->e->counts(c->e->self, &counts);
        if (!taken && counts.n_waiting >= 31)
            taken = true; /* it is full, and does not close yet */
    }
}

static void test_what_is_decoded_at_the_end_is_finished(void **state)
{
    struct ap_serve_engine_options options = served_options(*state);
    options.queue = 31;
    struct at_close c = {.e = served_open(&options)};
    struct asked shorter;
    struct held held;
    hold_engine(c.e, &held);
    init_long(&shorter);
    shorter.work.max_new_tokens = 1;
    shorter.then = close_meanwhile;
    shorter.context = &c;
    init_long(&c.begun);
    asked_submit(c.e, &shorter);
    asked_submit(c.e, &c.begun);
    release_engine(&held);
    asked_wait(&shorter);
    pthread_join(c.thread, NULL);
    assert_int_equal(c.begun.n_done, 1);
    check_end(&c.begun, AP_WORK_DONE, "");
    assert_true(c.begun.work.n_token > 2);
    for (int i = 0; i < c.n_taken; i++) {
        assert_int_equal(c.taken[i].n_done, 1);
        check_end(&c.taken[i], AP_WORK_DROPPED, "");
        asked_free(&c.taken[i]);
    }
    asked_free(&shorter);
    asked_free(&c.begun);
}

/* -- roles side by side -- */

/* A batch of one: answers that stand before a rewrite do not all come before it, nor rewrites
 * before an answer. */
static void test_no_role_waits_for_another(void **state)
{
    enum { BEFORE = 12 };
    struct ap_serve_engine_options options = served_options(*state);
    const ap_work_kind kinds[] = {AP_WORK_REWRITE, AP_WORK_ANSWER};
    options.batch = 1;
    for (int before = 0; before < 2; before++)
        for (int after = 0; after < 2; after++) {
            struct ap_serve_engine *e = served_open(&options);
            struct asked a[BEFORE + 1];
            struct held held;
            atomic_int clock = 0;
            if (before == after) {
                e->close(e->self);
                continue;
            }
            hold_engine(e, &held);
            for (int i = 0; i <= BEFORE; i++) {
                asked_init(&a[i], kinds[i < BEFORE ? before : after], long_prompt);
                a[i].clock = &clock;
                asked_submit(e, &a[i]);
            }
            release_engine(&held);
            for (int i = 0; i <= BEFORE; i++) {
                asked_wait(&a[i]);
                check_end(&a[i], AP_WORK_DONE, "");
                asked_free(&a[i]);
            }
            assert_in_range(a[BEFORE].order, 1, BEFORE / 2);
            e->close(e->self);
        }
}

/* A reward that takes its time: its thread stands still in the first score. At the end what waits
 * for it is dropped. */
static void test_a_score_holds_nothing_up(void **state)
{
    enum { SCORES = 40 };
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    struct asked scores[SCORES], other, refused;
    struct held h;
    pthread_t thread;
    bool taken;
    for (int i = 0; i < SCORES; i++) {
        asked_init(&scores[i], AP_WORK_SCORE, "wolf");
        scores[i].work.answer = "A wolf.";
    }
    sem_init(&h.holds, 0, 0);
    sem_init(&h.goes, 0, 0);
    scores[0].then = hold_then;
    scores[0].context = &h;
    asked_submit(e, &scores[0]);
    while (sem_wait(&h.holds) != 0)
        ;
    for (int i = 1; i < SCORES; i++)
        asked_submit(e, &scores[i]);
    for (int k = 0; k < 2; k++) {
        asked_init(&other, k ? AP_WORK_REWRITE : AP_WORK_ANSWER, "wolf");
        asked_go(e, &other);
        check_end(&other, AP_WORK_DONE, "");
        asked_free(&other);
    }
    assert_int_equal(pthread_create(&thread, NULL, closer, e), 0);
    do {
        asked_init(&refused, AP_WORK_REWRITE, " "); /* over at once */
        if ((taken = e->submit(e->self, &refused.work)))
            asked_wait(&refused);
        asked_free(&refused);
    } while (taken);
    sem_post(&h.goes);
    pthread_join(thread, NULL);
    for (int i = 0; i < SCORES; i++) {
        asked_wait(&scores[i]);
        check_end(&scores[i], i ? AP_WORK_DROPPED : AP_WORK_DONE, "");
        asked_free(&scores[i]);
    }
    sem_destroy(&h.holds);
    sem_destroy(&h.goes);
}

/* -- what is asked for wrongly -- */

static void test_conversations_that_cannot_be_rewritten(void **state)
{
    static const struct ap_message by_another[] = {{"user", "deer"}, {"assistant", "A deer."}};
    static const struct ap_message of_a_tool[] = {{"tool", "deer"}, {"user", "deer"}};
    static const struct ap_message by_nobody[] = {{"user", ""}};
    static const struct {
        const struct ap_message *messages;
        size_t n;
        const char *why;
    } wrong[] = {{by_another, 0, "nothing"},
                 {by_another, 2, "another's message"},
                 {of_a_tool, 2, "tool"},
                 {by_nobody, 1, "empty"}};
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_engine *e = served_open(&options);
    for (size_t i = 0; i < AP_LEN(wrong); i++) {
        struct asked a;
        struct ap_serve_counts c;
        asked_init(&a, AP_WORK_REWRITE, "");
        a.work.messages = wrong[i].messages;
        a.work.n_message = wrong[i].n;
        asked_go(e, &a);
        check_end(&a, AP_WORK_FAILED, wrong[i].why);
        e->counts(e->self, &c);
        assert_int_equal(c.n_failed, i + 1);
        asked_free(&a);
    }
    struct asked a;
    asked_init(&a, AP_WORK_ANSWER, "deer"); /* one bad request fails alone */
    a.work.top_p = 3;
    asked_go(e, &a);
    check_end(&a, AP_WORK_FAILED, "top_p");
    asked_free(&a);
    e->close(e->self);
}

static void test_a_guard_gives_x_back(void **state)
{
    static const char *const sets[] = {"guard.max_length=1"};
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_counts c;
    options.sets = sets;
    options.n_sets = 1;
    options.cache_bytes = 1 << 16;
    struct ap_serve_engine *e = served_open(&options);
    for (int i = 0; i < 2; i++) {
        struct asked a;
        asked_init(&a, AP_WORK_REWRITE, "about the fox 7");
        asked_go(e, &a);
        check_end(&a, AP_WORK_DONE, "the rewrite has");
        assert_string_equal(a.work.guard, "length");
        assert_string_equal(a.work.text, "about the fox 7");
        assert_int_equal(a.work.cached, i == 1);
        asked_free(&a);
    }
    e->counts(e->self, &c);
    assert_int_equal(c.n_guarded, 2);
    assert_int_equal(c.n_done, 2);
    e->close(e->self);
}

/* -- the cache -- */

static bool ask_cached(struct ap_serve_engine *e, const struct ap_message *messages, size_t n,
                       double temperature, char **text)
{
    struct asked a;
    asked_init(&a, AP_WORK_REWRITE, "");
    a.work.messages = messages;
    a.work.n_message = n;
    a.work.temperature = temperature;
    asked_go(e, &a);
    check_end(&a, AP_WORK_DONE, "");
    bool cached = a.work.cached;
    assert_int_equal(a.work.n_token == 0, cached);
    if (text && *text)
        assert_string_equal(*text, a.work.text);
    if (text && !*text)
        *text = ap_strdup(a.work.text);
    asked_free(&a);
    return cached;
}

static void test_the_cache_knows_whole_conversations(void **state)
{
    static const struct ap_message talk[] = {
        {"user", "about the duck 1"}, {"assistant", "A duck."}, {"user", "deer"}};
    struct ap_serve_engine_options options = served_options(*state);
    char *text = NULL, *alone = NULL;
    options.cache_bytes = 1 << 16;
    struct ap_serve_engine *e = served_open(&options);
    assert_false(ask_cached(e, talk, 3, 0, &text));
    assert_true(ask_cached(e, talk, 3, 0, &text));
    assert_false(ask_cached(e, talk + 2, 1, 0, &alone));
    assert_true(ask_cached(e, talk + 2, 1, 0, &alone));
    assert_false(ask_cached(e, talk, 3, 1, NULL)); /* drawn by chance: made, and not kept */
    assert_false(ask_cached(e, talk, 3, 1, NULL));
    assert_true(ask_cached(e, talk, 3, 0, &text));
    struct ap_serve_counts c;
    e->counts(e->self, &c);
    assert_int_equal(c.n_cache, 2);
    assert_int_equal(c.n_cached, 3);
    assert_int_equal(c.n_done, 7);
    e->close(e->self);
    ap_free(text);
    ap_free(alone);
}

static void test_the_cache_keeps_to_its_limit(void **state)
{
    enum { LIMIT = 4096, ASKED = 40 };
    struct ap_serve_engine_options options = served_options(*state);
    struct ap_serve_counts c;
    char x[ASKED][32];
    options.cache_bytes = LIMIT;
    struct ap_serve_engine *e = served_open(&options);
    for (int i = 0; i < ASKED; i++) {
        snprintf(x[i], sizeof(x[i]), "about the fox %d", i);
        assert_false(ask_cached(e, &(struct ap_message){"user", x[i]}, 1, 0, NULL));
        e->counts(e->self, &c);
        assert_in_range(c.cache_bytes, 1, LIMIT);
        assert_in_range(c.n_cache, 1, i + 1);
    }
    assert_in_range(c.n_cache, 2, ASKED / 2);
    assert_true(ask_cached(e, &(struct ap_message){"user", x[ASKED - 1]}, 1, 0, NULL));
    assert_false(ask_cached(e, &(struct ap_message){"user", x[0]}, 1, 0, NULL));
    e->close(e->self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_deadline_that_passed_while_it_waited),
        cmocka_unit_test(test_a_deadline_that_passed_while_it_was_decoded),
        cmocka_unit_test(test_cancelled_while_it_was_decoded),
        cmocka_unit_test(test_cancelled_while_it_waited),
        cmocka_unit_test(test_a_full_queue),
        cmocka_unit_test(test_queues_of_each_kind),
        cmocka_unit_test(test_close_with_works_waiting),
        cmocka_unit_test(test_what_is_decoded_at_the_end_is_finished),
        cmocka_unit_test(test_no_role_waits_for_another),
        cmocka_unit_test(test_a_score_holds_nothing_up),
        cmocka_unit_test(test_conversations_that_cannot_be_rewritten),
        cmocka_unit_test(test_a_guard_gives_x_back),
        cmocka_unit_test(test_the_cache_knows_whole_conversations),
        cmocka_unit_test(test_the_cache_keeps_to_its_limit),
    };
    return cmocka_run_group_tests(tests, served_setup, program_teardown);
}
