/* Running arms: what each sends to the target, whose scores count, what run.db then holds, that an
 * arm interrupted half-way leaves nothing. */
#include "eval/arms.h"
#include "eval/noisy.h"

#include "align/tiny_lm.h"

enum { N = 4 };

/* A model that answers in its own words: "TAG k of PROMPT". Sample 2 is the longest. */
struct voice {
    const char *tag;
    bool empty;  /* answers nothing */
    bool broken; /* fails */
    int n_asked;
    char asked[64][96];
    struct ap_stream stream[64];
};

static ap_status speak(void *self, const struct ap_target_request *requests, int n, int n_samples,
                       struct ap_answer *out, struct ap_error *err)
{
    struct voice *v = self;
    if (v->broken)
        return ap_fail(err, AP_IO, "no answer");
    for (int i = 0; i < n; i++) {
        snprintf(v->asked[v->n_asked], sizeof(v->asked[0]), "%s", requests[i].prompt);
        v->stream[v->n_asked++] = requests[i].stream;
        for (int k = 0; k < n_samples; k++) {
            char text[128];
            int sample = k + (int)requests[i].stream.sample;
            snprintf(text, sizeof(text), "%s %d of %.80s%s", v->tag, sample, requests[i].prompt,
                     sample == 2 ? " and more" : "");
            out[i * n_samples + k] = (struct ap_answer){
                .text = ap_strdup(v->empty ? "" : text), .ended = k == 0, .n_token = 3 + k};
        }
    }
    return AP_OK;
}

static ap_status longer_is_better(void *self, const struct ap_scored *items, int n, double *out,
                                  struct ap_error *err)
{
    (void)self;
    (void)err;
    for (int i = 0; i < n; i++)
        out[i] = (double)strlen(items[i].y);
    return AP_OK;
}

struct scene {
    char *folder;
    struct ap_database *db;
    struct ap_lm *lm;
    struct tiny_prompts prompts;
    struct ap_prompts four; /* the first N of them; borrowed */
    struct voice rewriter, answerer;
    struct ap_target rewriter_target, target;
    struct ap_reward reward;
    struct ap_judge judge;
    struct ap_guard_settings guard;
    struct ap_eval_options options;
    struct ap_arm arm;
};

static void open_scene(struct scene *s, void **state)
{
    struct ap_error err;
    *s = (struct scene){.folder = *state, .lm = tiny_lm_new(3)};
    char *path = ap_path_join(s->folder, "run.db");
    check_ok(ap_database_open(&s->db, path, &err), err);
    ap_free(path);
    tiny_prompts_open(&s->prompts, s->lm);
    s->four = (struct ap_prompts){.items = s->prompts.prompts.items, .n = N};
    s->rewriter.tag = "rewrite";
    s->answerer.tag = "answer";
    s->rewriter_target = (struct ap_target){&s->rewriter, speak, NULL, NULL};
    s->target = (struct ap_target){&s->answerer, speak, NULL, NULL};
    s->reward = (struct ap_reward){NULL, longer_is_better, NULL, 2, 1, 0};
    s->judge = (struct ap_judge){"reward", &s->reward};
    s->options = (struct ap_eval_options){.prompts = &s->four,
                                          .judges = &s->judge,
                                          .n_judge = 1,
                                          .guard = &s->guard,
                                          .batch_tokens = 256,
                                          .db = s->db};
    s->arm =
        (struct ap_arm){.name = "bare", .rewriter_prompts = &s->four, .target = &s->target, .n = 1};
}

static void close_scene(struct scene *s)
{
    ap_database_close(s->db);
    ap_prompts_free(&s->prompts.prompts);
    ap_lm_free(s->lm);
}

static void with_rewriter(struct scene *s, const char *name, int n)
{
    s->arm.name = name;
    s->arm.rewriter = &s->rewriter_target;
    s->arm.meta_prompt = "Rewrite: {prompt}";
    s->arm.n = n;
}

static void run(struct scene *s, int64_t seed)
{
    struct ap_error err;
    check_ok(ap_eval_arm(&s->options, &s->arm, seed, &err), err);
}

/* -- what run.db holds -- */

struct row {
    char arm[32], prompt[64], rewrite[96], answer[128];
    int64_t seed;
    uint64_t record;
    int sample, n_rewrite, n_answer;
    bool has_rewrite, rewrite_ended, answer_ended;
    double kl;
};

struct rows {
    struct row row[64];
    int n;
};

static ap_status take_row(void *context, const struct ap_evaluation_record *e)
{
    struct rows *rows = context;
    struct row *r = &rows->row[rows->n++];
    assert_in_range(rows->n, 1, 64);
    *r = (struct row){.seed = e->seed,
                      .record = e->record,
                      .sample = e->sample,
                      .n_rewrite = e->n_rewrite_tokens,
                      .n_answer = e->n_answer_tokens,
                      .has_rewrite = e->rewrite != NULL,
                      .rewrite_ended = e->rewrite_ended,
                      .answer_ended = e->answer_ended,
                      .kl = e->kl};
    snprintf(r->arm, sizeof(r->arm), "%s", e->arm);
    snprintf(r->prompt, sizeof(r->prompt), "%s", e->prompt);
    snprintf(r->rewrite, sizeof(r->rewrite), "%s", e->rewrite ? e->rewrite : "");
    snprintf(r->answer, sizeof(r->answer), "%s", e->answer);
    return AP_OK;
}

static struct rows rows_of(struct scene *s)
{
    struct rows rows = {.n = 0};
    struct ap_error err;
    check_ok(ap_database_each_evaluation(s->db, take_row, &rows, &err), err);
    return rows;
}

struct scores {
    double value[64];
    int sample[64], n;
};

static ap_status take_score(void *context, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *judge, double value)
{
    struct scores *s = context;
    (void)arm;
    (void)seed;
    (void)record;
    assert_string_equal(judge, "reward");
    s->sample[s->n] = sample;
    s->value[s->n++] = value;
    return AP_OK;
}

static struct scores scores_of(struct scene *s)
{
    struct scores scores = {.n = 0};
    struct ap_error err;
    check_ok(ap_database_each_score(s->db, take_score, &scores, &err), err);
    return scores;
}

/* "ARM SEED RECORD SAMPLE GUARD" a line. */
static ap_status take_guard(void *context, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *guard)
{
    return ap_buffer_printf(context, NULL, "%s %d %d %d %s\n", arm, (int)seed, (int)record, sample,
                            guard);
}

static void check_guards(struct scene *s, const char *guard)
{
    struct ap_buffer got = {0}, expected = {0};
    struct ap_error err;
    check_ok(ap_buffer_puts(&got, "", &err), err);
    check_ok(ap_buffer_puts(&expected, "", &err), err);
    check_ok(ap_database_each_guard(s->db, take_guard, &got, &err), err);
    for (int i = 0; i < N && guard; i++)
        check_ok(ap_buffer_printf(&expected, &err, "%s 7 %d -1 %s\n", s->arm.name,
                                  (int)s->four.items[i].record, guard),
                 err);
    assert_string_equal(got.data, expected.data);
    ap_buffer_free(&got);
    ap_buffer_free(&expected);
}

/* -- the arms -- */

static void test_bare_sends_the_prompt_as_it_is(void **state)
{
    struct scene s;
    open_scene(&s, state);
    run(&s, 7);
    struct rows rows = rows_of(&s);
    struct scores scores = scores_of(&s);
    assert_int_equal(rows.n, N);
    assert_int_equal(scores.n, N);
    assert_int_equal(s.rewriter.n_asked, 0);
    for (int i = 0; i < N; i++) {
        const struct row *r = &rows.row[i];
        assert_string_equal(s.answerer.asked[i], s.four.items[i].x);
        assert_string_equal(r->prompt, s.four.items[i].x);
        assert_int_equal(r->record, s.four.items[i].record);
        assert_int_equal(r->seed, 7);
        assert_int_equal(r->sample, -1);
        assert_false(r->has_rewrite);
        assert_int_equal(r->n_answer, 3);
        assert_true(isnan(r->kl));
        check_near(scores.value[i], 2 * (double)strlen(r->answer) + 1, 1e-9, 0); /* normalised */
    }
    close_scene(&s);
}

static void test_a_rewriter_sees_the_meta_prompt_and_the_target_the_rewrite(void **state)
{
    struct scene s;
    char expected[160];
    open_scene(&s, state);
    with_rewriter(&s, "align", 1);
    run(&s, 7);
    struct rows rows = rows_of(&s);
    for (int i = 0; i < N; i++) {
        snprintf(expected, sizeof(expected), "Rewrite: %s", s.four.items[i].x);
        assert_string_equal(s.rewriter.asked[i], expected);
        assert_string_equal(s.answerer.asked[i], rows.row[i].rewrite);
        check_holds(rows.row[i].rewrite, "rewrite 0 of Rewrite: ");
        check_holds(rows.row[i].answer, "answer 0 of rewrite 0 of ");
        assert_true(rows.row[i].rewrite_ended);
    }
    close_scene(&s);
}

static void test_an_empty_rewrite_sends_the_prompt(void **state)
{
    struct scene s;
    open_scene(&s, state);
    with_rewriter(&s, "align", 1);
    s.rewriter.empty = true;
    run(&s, 7);
    struct rows rows = rows_of(&s);
    for (int i = 0; i < N; i++) {
        assert_string_equal(s.answerer.asked[i], s.four.items[i].x);
        assert_true(rows.row[i].has_rewrite);
        assert_string_equal(rows.row[i].rewrite, "");
    }
    check_guards(&s, "empty");
    s.rewriter.empty = false; /* a new evaluation drops the old guards */
    run(&s, 7);
    check_guards(&s, NULL);
    close_scene(&s);
}

/* The arm is asked what the noise made, the judge what was meant. */
static ap_status length_of_the_prompt(void *self, const struct ap_scored *items, int n, double *out,
                                      struct ap_error *err)
{
    (void)self;
    (void)err;
    for (int i = 0; i < n; i++)
        out[i] = (double)strlen(items[i].x);
    return AP_OK;
}

static void test_noise_is_seen_by_the_arm_and_not_by_the_judge(void **state)
{
    struct scene s;
    struct ap_error err;
    char **noisy, expected[160];
    open_scene(&s, state);
    s.reward = (struct ap_reward){NULL, length_of_the_prompt, NULL, 1, 0, 0};
    check_ok(ap_noisy_texts(&noisy, &s.four, 1, 7, &err), err);
    s.options.noisy = noisy;
    run(&s, 7);
    with_rewriter(&s, "align", 1);
    run(&s, 7);
    s.rewriter.empty = true;
    run(&s, 8);
    struct scores scores = scores_of(&s);
    struct rows rows = rows_of(&s);
    for (int i = 0; i < N; i++) {
        const char *x = s.four.items[i].x;
        assert_string_not_equal(noisy[i], x);
        assert_string_equal(s.answerer.asked[i], noisy[i]);
        assert_string_equal(s.answerer.asked[2 * N + i], noisy[i]); /* for want of a rewrite */
        snprintf(expected, sizeof(expected), "Rewrite: %s", noisy[i]);
        assert_string_equal(s.rewriter.asked[i], expected);
        assert_true(strncmp(rows.row[i].prompt, noisy[i], sizeof(rows.row[i].prompt) - 1) == 0);
        check_near(scores.value[i], (double)strlen(x), 1e-9, 0);
    }
    ap_noisy_texts_free(noisy, N);
    assert_string_equal(ap_noisy_name("align", 0).text, "align");
    assert_string_equal(ap_noisy_name("best-of-n", 0.05).text, "best-of-n@0.05");
    assert_string_equal(ap_noisy_name("bare", 0.1 + 0.2).text, "bare@0.30000000000000004");
    close_scene(&s);
}

/* The rewrite is kept as it was written, x is sent. */
static void test_a_guard_sends_the_prompt(void **state)
{
    struct scene s;
    open_scene(&s, state);
    with_rewriter(&s, "align", 1);
    s.guard.max_length = 8;
    run(&s, 7);
    struct rows rows = rows_of(&s);
    for (int i = 0; i < N; i++) {
        assert_string_equal(s.answerer.asked[i], s.four.items[i].x);
        check_holds(rows.row[i].rewrite, "rewrite 0 of Rewrite: ");
        check_holds(rows.row[i].answer, "answer 0 of ");
    }
    check_guards(&s, "length");
    close_scene(&s);
}

/* Sample 2's rewrite is the longest, and so is its answer: it must be the one that counts. */
static void test_best_of_n_counts_the_best_and_keeps_the_others(void **state)
{
    struct scene s;
    int n_best = 0;
    open_scene(&s, state);
    with_rewriter(&s, "best-of-n", 4);
    run(&s, 7);
    struct rows rows = rows_of(&s);
    struct scores scores = scores_of(&s);
    assert_int_equal(rows.n, 4 * N);
    assert_int_equal(scores.n, 4 * N);
    for (int i = 0; i < rows.n; i++) {
        const struct row *r = &rows.row[i];
        assert_int_equal(r->sample, scores.sample[i]);
        if (r->sample == -1) {
            n_best++;
            check_holds(r->rewrite, "rewrite 2 of");
            check_holds(r->rewrite, "and more");
        } else
            assert_true(r->sample == 0 || r->sample == 1 || r->sample == 3);
    }
    assert_int_equal(n_best, N);
    close_scene(&s);
}

/* Without a rewriter it is the answers that are tried, each to the prompt itself. */
static void test_best_of_n_answers_asks_the_bare_prompt_again_and_again(void **state)
{
    struct scene s;
    int n_best = 0;
    open_scene(&s, state);
    s.arm.name = "best-of-n-answers";
    s.arm.n = 4;
    run(&s, 7);
    struct rows rows = rows_of(&s);
    assert_int_equal(rows.n, 4 * N);
    assert_int_equal(s.rewriter.n_asked, 0);
    assert_int_equal(s.answerer.n_asked, 4 * N);
    for (int i = 0; i < rows.n; i++) {
        assert_string_equal(s.answerer.asked[i], s.four.items[i / 4].x);
        assert_int_equal(s.answerer.stream[i].sample, i % 4);
        assert_false(rows.row[i].has_rewrite);
        if (rows.row[i].sample == -1) {
            n_best++;
            check_holds(rows.row[i].answer, "answer 2 of");
        }
    }
    assert_int_equal(n_best, N);
    close_scene(&s);
}

static void test_all_arms_share_their_streams(void **state)
{
    struct scene s;
    open_scene(&s, state);
    run(&s, 7);
    with_rewriter(&s, "sft", 1);
    run(&s, 7);
    with_rewriter(&s, "align", 1);
    run(&s, 7);
    with_rewriter(&s, "align", 1);
    run(&s, 8);
    for (int i = 0; i < N; i++) {
        const struct ap_stream *bare = &s.answerer.stream[i];
        assert_memory_equal(bare, &s.answerer.stream[N + i], sizeof(*bare));
        assert_memory_equal(bare, &s.answerer.stream[2 * N + i], sizeof(*bare));
        assert_memory_equal(&s.rewriter.stream[i], &s.rewriter.stream[N + i], sizeof(*bare));
        assert_int_not_equal(bare->stage, s.rewriter.stream[i].stage);
        assert_int_equal(bare->seed, 7);
        assert_int_equal(s.answerer.stream[3 * N + i].seed, 8);
        assert_int_equal(bare->record, s.four.items[i].record);
    }
    close_scene(&s);
}

static void test_an_arm_that_fails_leaves_no_rows_and_one_run_again_no_old_ones(void **state)
{
    struct scene s;
    struct ap_error err;
    open_scene(&s, state);
    s.answerer.broken = true;
    assert_int_equal(ap_eval_arm(&s.options, &s.arm, 7, &err), AP_IO);
    assert_int_equal(rows_of(&s).n, 0);
    s.answerer.broken = false;
    run(&s, 7);
    s.answerer.tag = "second";
    run(&s, 7);
    run(&s, 8);
    struct rows rows = rows_of(&s);
    assert_int_equal(rows.n, 2 * N);
    for (int i = 0; i < rows.n; i++)
        check_holds(rows.row[i].answer, "second");
    assert_int_equal(scores_of(&s).n, 2 * N);
    close_scene(&s);
}

/* -- judges -- */

static void test_the_world_needs_its_own_prompts(void **state)
{
    struct scene s;
    struct ap_error err;
    open_scene(&s, state);
    s.judge = (struct ap_judge){"world", NULL};
    assert_int_equal(ap_eval_arm(&s.options, &s.arm, 7, &err), AP_INVALID);
    check_holds(err.text, "eval.judges: world");
    check_holds(err.text, "has no meta");
    assert_int_equal(rows_of(&s).n, 0);
    close_scene(&s);
}

/* -- KL, with real models -- */

static void test_kl_of_what_was_written(void **state)
{
    struct scene s;
    struct ap_error err;
    struct ap_target local;
    open_scene(&s, state);
    struct ap_adapter *adapter = tiny_adapter(s.lm, false, true, 6);
    struct ap_role policy = {s.lm->weights, adapter}, base = {s.lm->weights, NULL};
    struct ap_target_options options = {
        .max_new_tokens = 8, .sampling = {.temperature = 1, .top_p = 1}, .n_slot = 3};
    check_ok(ap_target_local(&local, s.lm, &policy, &options, &err), err);
    with_rewriter(&s, "align", 1);
    s.arm.rewriter = &local;
    s.arm.meta_prompt = "{prompt}";
    s.arm.kl_policy = policy;
    s.arm.kl_reference = base;
    s.arm.kl_temperature = 1;
    run(&s, 7);
    s.arm.name = "sft"; /* its own reference */
    s.arm.kl_reference = policy;
    run(&s, 7);
    s.arm.name = "rlhf"; /* no rewriter: of the answers */
    s.arm.rewriter = NULL;
    s.arm.target = &local;
    s.arm.kl_reference = base;
    run(&s, 7);
    struct rows rows = rows_of(&s);
    assert_int_equal(rows.n, 3 * N);
    for (int i = 0; i < rows.n; i++) {
        const struct row *r = &rows.row[i];
        if (strcmp(r->arm, "sft") == 0)
            assert_true(r->kl == 0);
        else
            assert_true(r->kl > 1e-3);
        assert_in_range(strcmp(r->arm, "rlhf") ? r->n_rewrite : r->n_answer, 1, 8);
    }
    ap_target_free(&local);
    ap_adapter_free(adapter);
    close_scene(&s);
}

#define WITH_FOLDER(test)                                                                          \
    cmocka_unit_test_setup_teardown(test, tiny_folder_make, tiny_folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_bare_sends_the_prompt_as_it_is),
        WITH_FOLDER(test_a_rewriter_sees_the_meta_prompt_and_the_target_the_rewrite),
        WITH_FOLDER(test_an_empty_rewrite_sends_the_prompt),
        WITH_FOLDER(test_noise_is_seen_by_the_arm_and_not_by_the_judge),
        WITH_FOLDER(test_a_guard_sends_the_prompt),
        WITH_FOLDER(test_best_of_n_counts_the_best_and_keeps_the_others),
        WITH_FOLDER(test_best_of_n_answers_asks_the_bare_prompt_again_and_again),
        WITH_FOLDER(test_all_arms_share_their_streams),
        WITH_FOLDER(test_an_arm_that_fails_leaves_no_rows_and_one_run_again_no_old_ones),
        WITH_FOLDER(test_the_world_needs_its_own_prompts),
        WITH_FOLDER(test_kl_of_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
