/* Samples of the bound through targets: which rows they leave, a prompter that copies, a target
 * that gives no log-probabilities, the target's own against its parts, the table read back. */
#include "align/tiny_lm.h"
#include "eval/bound_pass.h"
#include "eval/bound_told.h"

enum { N_X = 3, N_REWRITE = 2, N_ANSWER = 4, N_SCORED = 2 };

/* A rewriter that writes its prompt back. */
static ap_status copy(void *self, const struct ap_target_request *requests, int n, int n_samples,
                      struct ap_answer *out, struct ap_error *err)
{
    (void)self;
    (void)err;
    for (int i = 0; i < n * n_samples; i++)
        out[i] = (struct ap_answer){.text = ap_strdup(requests[i / n_samples].prompt),
                                    .ended = true,
                                    .ids = ap_calloc(1, sizeof(int32_t)),
                                    .n_token = 1};
    return AP_OK;
}

static ap_status length_of(void *self, const struct ap_scored *items, int n, double *out,
                           struct ap_error *err)
{
    (void)self;
    (void)err;
    for (int i = 0; i < n; i++)
        out[i] = (double)strlen(items[i].y);
    return AP_OK;
}

struct scene {
    struct ap_database *db;
    struct ap_lm *lm;
    struct tiny_prompts prompts;
    struct ap_prompts some;
    struct ap_target rewriter, target;
    struct ap_reward reward;
    struct ap_bound_pass pass;
};

static void open_scene(struct scene *s, void **state)
{
    struct ap_error err;
    *s = (struct scene){.lm = tiny_lm_new(3)};
    char *path = ap_path_join(*state, "run.db");
    check_ok(ap_database_open(&s->db, path, &err), err);
    ap_free(path);
    tiny_prompts_open(&s->prompts, s->lm);
    s->some = (struct ap_prompts){.items = s->prompts.prompts.items, .n = N_X};
    struct ap_role role = {s->lm->weights, NULL};
    struct ap_target_options options = {
        .max_new_tokens = 8, .sampling = {.temperature = 0.7, .top_p = 1}, .n_slot = 3};
    check_ok(ap_target_local(&s->target, s->lm, &role, &options, &err), err);
    s->rewriter = (struct ap_target){NULL, copy, NULL, NULL};
    s->reward = (struct ap_reward){NULL, length_of, NULL, 1, 0, 0};
    s->pass = (struct ap_bound_pass){.policy = "sft",
                                     .rewriter = &s->rewriter,
                                     .target = &s->target,
                                     .bare = &s->target,
                                     .prompts = &s->some,
                                     .rewriter_prompts = &s->some,
                                     .meta_prompt = "{prompt}",
                                     .reward = &s->reward,
                                     .n_rewrite = N_REWRITE,
                                     .n_answer = N_ANSWER,
                                     .n_scored = N_SCORED,
                                     .seed = 5,
                                     .db = s->db};
}

static void close_scene(struct scene *s)
{
    ap_target_free(&s->target);
    ap_database_close(s->db);
    ap_prompts_free(&s->prompts.prompts);
    ap_lm_free(s->lm);
}

static struct ap_bound_read read_all(struct scene *s)
{
    struct ap_bound_read read;
    struct ap_error err;
    check_ok(ap_bound_read(&read, s->db, &err), err);
    return read;
}

/* x' = x: the answers are drawn from what they are weighed by, and TV is 0. */
static void test_a_prompter_that_copies_disturbs_nothing(void **state)
{
    struct scene s;
    struct ap_error err;
    struct ap_bound_told told;
    open_scene(&s, state);
    check_ok(ap_bound_pass(&s.pass, 0, 1, &err), err); /* in two transactions */
    check_ok(ap_bound_pass(&s.pass, 1, N_X - 1, &err), err);
    struct ap_bound_read read = read_all(&s);
    assert_int_equal(read.n_prompt, N_X);
    assert_int_equal(read.n_rewrite, N_REWRITE);
    assert_int_equal(read.n_answer, N_ANSWER);
    assert_int_equal(read.n_scored, N_SCORED);
    for (int i = 0; i < N_X * N_REWRITE * N_SCORED; i++) {
        assert_true(read.logp[i] < 0);
        assert_true(read.logp[i] == read.logq[i]);
    }
    assert_null(read.trained_reward);
    check_ok(ap_bound_tell(&told, &read, 0.5, 100, 1, &err), err);
    assert_true(told.bound.disturbs.value == 0 && told.bound.disturbs.high == 0);
    assert_true(isnan(told.bound.lacks.value) && isnan(told.bound.gain.value));
    assert_int_equal(told.bound.check, AP_BOUND_UNKNOWN);
    ap_bound_read_free(&read);
    close_scene(&s);
}

/* As one over a wire may be: the rest of the bound stands, and what is missing has its reason. */
static void test_a_target_without_log_probabilities(void **state)
{
    struct scene s;
    struct ap_error err;
    struct ap_bound_told told;
    struct ap_buffer text = {0};
    open_scene(&s, state);
    s.target.logp = NULL;
    check_ok(ap_bound_pass(&s.pass, 0, N_X, &err), err);
    s.pass.policy = "rlhf";
    s.pass.rewriter = NULL;
    s.pass.n_rewrite = 1;
    check_ok(ap_bound_pass(&s.pass, 0, N_X, &err), err);
    struct ap_bound_read read = read_all(&s);
    assert_true(read.n_scored == 0 && read.n_star == 0 && !read.logp && !read.star_logp);
    assert_non_null(read.star_reward);
    check_ok(ap_bound_tell(&told, &read, 0.5, 100, 1, &err), err);
    assert_true(isnan(told.bound.disturbs.value) && isnan(told.bound.lacks.value));
    assert_false(isnan(told.bound.lower.value) || isnan(told.bound.plug_in.value));
    told.no_trained = "the recipe has no align section";
    told.no_lacks = told.no_disturbs = "this target gives no log-probabilities";
    check_ok(ap_bound_sentences(&told, &text, &err), err);
    check_holds(text.data, "What rewriting disturbs: not available: this target gives no log-prob");
    check_holds(text.data, "The trained prompter: not available: the recipe has no align section");
    check_holds(text.data, "prompting can reach between");
    ap_buffer_free(&text);
    ap_bound_read_free(&read);
    close_scene(&s);
}

/* The whole answer's log-probability is that of its first tokens and of the rest behind them. */
static void test_log_probabilities_of_whole_answers_add_up(void **state)
{
    struct scene s;
    struct ap_error err;
    struct ap_answer answer = {0};
    open_scene(&s, state);
    struct ap_target_request x = {.prompt = "a fox", .stream = {.seed = 2, .stage = 1}};
    check_ok(s.target.answer(s.target.self, &x, 1, 1, &answer, &err), err);
    assert_true(answer.n_token >= 2);
    struct ap_target_request both[2] = {x, x};
    struct ap_answer parts[2] = {answer, answer};
    parts[1].n_token--;
    double logp[2], alone;
    check_ok(s.target.logp(s.target.self, both, parts, 2, logp, &err), err);
    check_ok(s.target.logp(s.target.self, &x, &answer, 1, &alone, &err), err);
    check_near(logp[0], alone, 1e-4, 1e-5);
    assert_true(logp[0] < logp[1] && logp[1] < 0);
    ap_answers_free(&answer, 1);
    close_scene(&s);
}

static void test_what_shapes_a_distribution_has_no_log_probabilities(void **state)
{
    static const struct ap_sampling plain = {.temperature = 0.7, .top_p = 1};
    (void)state;
    assert_null(ap_sampling_shapes(&plain));
    for (int i = 0; i < 5; i++) {
        struct ap_sampling s = plain;
        static const char *const named[] = {"temperature", "top_k", "top_p", "min_p",
                                            "repetition_penalty"};
        s.temperature = i == 0 ? 0 : s.temperature;
        s.top_k = i == 1 ? 3 : 0;
        s.top_p = i == 2 ? 0.9 : 1;
        s.min_p = i == 3 ? 0.1 : 0;
        s.repetition_penalty = i == 4 ? 1.2 : 1;
        check_holds(ap_sampling_shapes(&s), named[i]);
    }
}

/* Without samples, and with rows missing from the middle of a prompt's. */
static void test_tables_that_are_refused(void **state)
{
    struct scene s;
    struct ap_error err;
    struct ap_bound_read read;
    open_scene(&s, state);
    assert_int_equal(ap_bound_read(&read, s.db, &err), AP_NOT_FOUND);
    check_holds(err.text, "`alignpro bound RECIPE` makes them");
    check_ok(ap_bound_pass(&s.pass, 0, N_X, &err), err);
    struct ap_bound_record more = {.policy = "sft", .record = s.some.items[0].record, .rewrite = 7};
    check_ok(ap_database_bound(s.db, &more, &err), err);
    assert_int_equal(ap_bound_read(&read, s.db, &err), AP_FORMAT);
    check_holds(err.text, "gaps in the samples of sft");
    close_scene(&s);
}

#define WITH_FOLDER(test)                                                                          \
    cmocka_unit_test_setup_teardown(test, tiny_folder_make, tiny_folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_a_prompter_that_copies_disturbs_nothing),
        WITH_FOLDER(test_a_target_without_log_probabilities),
        WITH_FOLDER(test_log_probabilities_of_whole_answers_add_up),
        cmocka_unit_test(test_what_shapes_a_distribution_has_no_log_probabilities),
        WITH_FOLDER(test_tables_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
