/* Requests that come while others are decoded: each gives what it gives alone, whatever stands
 * beside it; what is dropped or fails makes room and disturbs nobody. */
#include "check.h"

#include "gen/tiny.h"

enum { WORKS = 12, NEW = 14, LONGEST = 40 };

struct job {
    struct ap_gen_work work;
    int32_t prompt[LONGEST];
    int arrives;    /* the step from which on it is there */
    int dropped_at; /* the step before which it is dropped; 0: never */
    bool begun, over;
    int n_failed;
    ap_status why;
    struct ap_buffer grown; /* its first sample's text, as far as it was told */
    int n_grown;
};

struct crowd {
    struct job jobs[WORKS];
    int n, step;
    struct tiny_result *result;
    int n_drop_calls;
};

static bool crowd_next(void *self, struct ap_gen_work *out)
{
    struct crowd *c = self;
    for (int i = 0; i < c->n; i++) {
        struct job *job = &c->jobs[i];
        if (job->begun || job->arrives > c->step)
            continue;
        job->begun = true;
        *out = job->work;
        out->tag = job;
        return true;
    }
    return false;
}

static bool crowd_drop(void *self, void *tag)
{
    struct crowd *c = self;
    struct job *job = tag;
    assert_false(job->over);
    c->n_drop_calls++;
    job->over = job->dropped_at > 0 && c->step >= job->dropped_at;
    return job->over;
}

static ap_status crowd_done(void *self, void *tag, int sample, const struct ap_generated *g)
{
    struct crowd *c = self;
    struct job *job = tag;
    assert_false(job->over);
    return tiny_take(c->result, (int)(job - c->jobs), sample, g);
}

static void crowd_failed(void *self, void *tag, const struct ap_error *why)
{
    struct job *job = tag;
    (void)self;
    job->over = true;
    job->n_failed++;
    job->why = why->status;
}

/* What is told begins with what was told before. */
static void crowd_grew(void *self, void *tag, int sample, const char *text, size_t n)
{
    struct job *job = tag;
    struct ap_error err;
    (void)self;
    assert_true(job->work.text_wanted && !job->over);
    if (sample > 0)
        return;
    assert_true(n > job->grown.len);
    if (job->grown.len > 0)
        assert_memory_equal(text, job->grown.data, job->grown.len);
    check_ok(ap_buffer_append(&job->grown, text + job->grown.len, n - job->grown.len, &err), err);
    job->n_grown++;
}

static const struct ap_gen_feed crowd_feed = {NULL,       crowd_next,   crowd_drop,
                                              crowd_done, crowd_failed, crowd_grew};

static char *stop_strings[] = {(char *)"e", (char *)"th"};

/* Sampling of every kind, in no order of temperatures; some with stop strings. */
static void crowd_make(struct crowd *c, int n_samples)
{
    static const struct ap_sampling kinds[] = {
        {0, 0, 1, 0, 0}, {1, 0, 1, 0, 0},     {0.7, 0, 1, 0, 1.5}, {1, 20, 1, 0, 0},
        {0, 0, 1, 0, 2}, {1.3, 0, 0.9, 0, 0}, {1, 0, 1, 0.05, 0}};
    *c = (struct crowd){.n = WORKS, .result = tiny_result_new(WORKS, n_samples, NEW)};
    for (int i = 0; i < WORKS; i++) {
        struct job *job = &c->jobs[i];
        int n;
        tiny_prompt(job->prompt, &n, LONGEST, (uint64_t)i);
        job->work = (struct ap_gen_work){
            .request = {job->prompt, n, n_samples, 3 + i % (NEW - 2), {.record = (uint64_t)i}},
            .sampling = kinds[i % (int)AP_LEN(kinds)],
            .stop = stop_strings,
            .n_stop = i % 4 == 3 ? 2 : 0};
        job->arrives = i / 2 * 3 % 11;
    }
}

struct fixture {
    struct ap_weights *weights;
    struct ap_tokenizer *tokenizer;
};

static struct ap_generator *open_generator(const struct fixture *f, int n_slot)
{
    return tiny_generator(
        &(struct ap_generator_options){.n_slot = n_slot, .context = 64, .tokenizer = f->tokenizer});
}

/* Until nothing is at work and nobody is to come. */
static ap_status crowd_run(struct crowd *c, struct ap_generator *g, const struct fixture *f,
                           struct ap_error *err)
{
    struct ap_gen_feed feed = crowd_feed;
    struct ap_role role = {f->weights, NULL};
    bool busy = true;
    ap_status status = AP_OK;
    feed.self = c;
    for (; status == AP_OK && (busy || c->step < 40); c->step++)
        status = ap_generate_step(g, &role, &feed, &busy, err);
    return status;
}

/* Each work in a generator of its own, by ap_generate. */
static struct tiny_result *alone(const struct crowd *c, const struct fixture *f, int n_samples)
{
    struct ap_error err;
    struct ap_role role = {f->weights, NULL};
    struct tiny_result *all = tiny_result_new(WORKS, n_samples, NEW);
    for (int i = 0; i < WORKS; i++) {
        const struct ap_gen_work *w = &c->jobs[i].work;
        struct tiny_result one = *all;
        struct ap_generator *g =
            tiny_generator(&(struct ap_generator_options){.n_slot = 1,
                                                          .context = 64,
                                                          .tokenizer = f->tokenizer,
                                                          .stop = w->stop,
                                                          .n_stop = w->n_stop});
        one.cells += i * n_samples;
        one.n_requests = 1;
        check_ok(ap_generate(g, &role, &w->sampling, &w->request, 1, tiny_take, &one, &err), err);
        ap_generator_close(g);
    }
    return all;
}

static void test_each_is_as_if_alone(void **state)
{
    struct fixture *f = *state;
    const int slots[] = {1, 3, 5, 16}, samples[] = {1, 3};
    for (size_t k = 0; k < AP_LEN(slots) * AP_LEN(samples); k++) {
        struct crowd *c = ap_calloc(1, sizeof(*c));
        struct ap_error err;
        const int n_samples = samples[k % 2];
        struct ap_generator *g = open_generator(f, slots[k / 2]);
        crowd_make(c, n_samples);
        struct tiny_result *want = alone(c, f, n_samples);
        check_ok(crowd_run(c, g, f, &err), err);
        int n_string = 0;
        for (int i = 0; i < WORKS * n_samples; i++) {
            tiny_same_cell(&c->result->cells[i], &want->cells[i]);
            n_string += want->cells[i].stop == AP_STOP_STRING;
        }
        assert_true(n_string > 0);
        assert_true(c->n_drop_calls > 0);
        ap_generator_close(g);
        tiny_result_free(want);
        tiny_result_free(c->result);
        ap_free(c);
    }
}

/* What a sample's text is: without its end token and what its stop string cut off. */
static char *text_of(const struct fixture *f, const struct tiny_cell *cell, size_t *n)
{
    struct ap_error err;
    char *text;
    size_t n_id = (size_t)cell->n - (cell->stop == AP_STOP_END);
    check_ok(ap_tokenizer_decode(f->tokenizer, cell->ids, n_id, true, &text, n, &err), err);
    if (cell->stop == AP_STOP_STRING && cell->n_text < *n)
        *n = cell->n_text;
    return text;
}

static void test_text_that_is_told_stays(void **state)
{
    struct fixture *f = *state;
    struct crowd *c = ap_calloc(1, sizeof(*c));
    struct ap_error err;
    struct ap_generator *g = open_generator(f, 3);
    int n_grown = 0;
    crowd_make(c, 2);
    struct tiny_result *want = alone(c, f, 2);
    for (int i = 0; i < WORKS; i++)
        c->jobs[i].work.text_wanted = i % 3 != 2;
    check_ok(crowd_run(c, g, f, &err), err);
    for (int i = 0; i < WORKS; i++) {
        struct job *job = &c->jobs[i];
        size_t n;
        char *text = text_of(f, &c->result->cells[2 * i], &n);
        tiny_same_cell(&c->result->cells[2 * i], &want->cells[2 * i]);
        assert_true(job->grown.len <= n);
        if (job->grown.len > 0)
            assert_memory_equal(job->grown.data, text, job->grown.len);
        n_grown += job->n_grown;
        ap_text_free(text);
        ap_buffer_free(&job->grown);
    }
    assert_true(n_grown > WORKS);
    ap_generator_close(g);
    tiny_result_free(want);
    tiny_result_free(c->result);
    ap_free(c);
}

/* Some while they are read, some while they are decoded, some of whose samples have not begun. */
static void test_dropped_works_make_room(void **state)
{
    struct fixture *f = *state;
    const int samples[] = {1, 3};
    for (size_t k = 0; k < AP_LEN(samples); k++) {
        struct crowd *c = ap_calloc(1, sizeof(*c));
        struct ap_error err;
        struct ap_generator *g = open_generator(f, 2);
        crowd_make(c, samples[k]);
        struct tiny_result *want = alone(c, f, samples[k]);
        for (int i = 0; i < WORKS; i += 3)
            c->jobs[i].dropped_at = 1 + i % 4;
        check_ok(crowd_run(c, g, f, &err), err);
        int n_dropped = 0;
        for (int i = 0; i < WORKS * samples[k]; i++)
            if (c->jobs[i / samples[k]].over)
                n_dropped += c->result->cells[i].n_calls == 0;
            else
                tiny_same_cell(&c->result->cells[i], &want->cells[i]);
        assert_true(n_dropped > 0);
        ap_generator_close(g);
        tiny_result_free(want);
        tiny_result_free(c->result);
        ap_free(c);
    }
}

static void test_one_that_fails_is_told_alone(void **state)
{
    struct fixture *f = *state;
    struct crowd *c = ap_calloc(1, sizeof(*c));
    struct ap_error err;
    struct ap_generator *g = open_generator(f, 2);
    crowd_make(c, 1);
    struct tiny_result *want = alone(c, f, 1);
    c->jobs[0].work.request.n_prompt = 64;
    c->jobs[4].work.sampling.top_p = 7;
    c->jobs[7].work.stop = (char *[]){(char *)""};
    c->jobs[7].work.n_stop = 1;
    check_ok(crowd_run(c, g, f, &err), err);
    for (int i = 0; i < WORKS; i++) {
        bool bad = i == 0 || i == 4 || i == 7;
        assert_int_equal(c->jobs[i].n_failed, bad);
        if (!bad)
            tiny_same_cell(&c->result->cells[i], &want->cells[i]);
    }
    assert_int_equal(c->jobs[0].why, AP_LIMIT);
    assert_int_equal(c->jobs[4].why, AP_INVALID);

    struct ap_gen_feed feed = crowd_feed; /* nobody to tell: the step fails, and nothing is left */
    struct ap_role role = {f->weights, NULL};
    bool busy;
    feed.self = c;
    feed.failed = NULL;
    c->jobs[1].begun = c->jobs[0].begun = false;
    assert_int_equal(ap_generate_step(g, &role, &feed, &busy, &err), AP_LIMIT);
    check_holds(err.text, "64 tokens");
    c->jobs[1].begun = true;
    check_ok(ap_generate_step(g, &role, &feed, &busy, &err), err);
    assert_false(busy);
    ap_generator_close(g);
    tiny_result_free(want);
    tiny_result_free(c->result);
    ap_free(c);
}

/* Weights that are finite for most tokens: the embedding of one id is not. */
static void test_logits_that_are_not_finite_fail_one(void **state)
{
    struct fixture f = *(struct fixture *)*state;
    struct crowd *c = ap_calloc(1, sizeof(*c));
    struct ap_error err;
    f.weights = tiny_weights(5);
    struct ap_generator *g = open_generator(&f, 3);
    crowd_make(c, 1);
    for (int i = 0; i < WORKS; i++) /* its rows are read from the prompt only */
        c->jobs[i].work.sampling = (struct ap_sampling){0, 0, 1, 0, 0};
    struct tiny_result *want = alone(c, &f, 1);
    const int32_t broken = 271;
    for (int i = 0; i < f.weights->table.n; i++)
        if (strstr(f.weights->table.rows[i].name, "embed_tokens"))
            for (int k = 0; k < tiny_config.width; k++)
                f.weights->table.rows[i].own[broken * tiny_config.width + k] = NAN;
    c->jobs[2].prompt[c->jobs[2].work.request.n_prompt - 1] = broken;
    c->jobs[2].work.request.max_new_tokens = 1; /* the token that fails would be its last */
    check_ok(crowd_run(c, g, &f, &err), err);
    int n_same = 0;
    for (int i = 0; i < WORKS; i++) {
        const struct job *job = &c->jobs[i];
        if (job->n_failed) {
            assert_int_equal(job->why, AP_NUMERIC);
            continue;
        }
        tiny_same_cell(&c->result->cells[i], &want->cells[i]);
        n_same++;
    }
    assert_int_equal(c->jobs[2].n_failed, 1);
    assert_true(n_same > WORKS / 2);
    ap_generator_close(g);
    ap_weights_free(f.weights);
    tiny_result_free(want);
    tiny_result_free(c->result);
    ap_free(c);
}

static void test_steps_allocate_nothing(void **state)
{
    struct fixture *f = *state;
    struct crowd *c = ap_calloc(1, sizeof(*c));
    struct ap_error err;
    struct ap_generator *g = open_generator(f, 3);
    crowd_make(c, 2);
    for (int i = 0; i < WORKS; i++)
        c->jobs[i].work.n_stop = 0;
    c->jobs[3].dropped_at = 4;
    uint64_t before = ap_memory_n_allocations();
    check_ok(crowd_run(c, g, f, &err), err);
    assert_int_equal(ap_memory_n_allocations(), before);
    ap_generator_close(g);
    tiny_result_free(c->result);
    ap_free(c);
}

static void test_stop_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct crowd *c = ap_calloc(1, sizeof(*c));
    struct ap_error err;
    struct ap_role role = {f->weights, NULL};
    struct ap_generator *g = open_generator(f, 3);
    bool busy;
    struct ap_gen_feed feed = crowd_feed;
    crowd_make(c, 2);
    feed.self = c;
    check_ok(ap_generate_step(g, &role, &feed, &busy, &err), err);
    assert_true(busy);
    ap_generator_stop(g);
    c->n = 0;
    check_ok(ap_generate_step(g, &role, &feed, &busy, &err), err);
    assert_false(busy);
    ap_generator_close(g);
    tiny_result_free(c->result);
    ap_free(c);
}

static int setup(void **state)
{
    static struct fixture f;
    struct ap_error err;
    f.weights = tiny_weights(5);
    check_ok(ap_tokenizer_open(&f.tokenizer, AP_SOURCE_DIR "/examples/demo", &err), err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ap_weights_free(f->weights);
    ap_tokenizer_close(f->tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_as_if_alone),
        cmocka_unit_test(test_text_that_is_told_stays),
        cmocka_unit_test(test_dropped_works_make_room),
        cmocka_unit_test(test_one_that_fails_is_told_alone),
        cmocka_unit_test(test_logits_that_are_not_finite_fail_one),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_stop_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
