/* Chains of policies: ground truth in finite worlds, where the optimum of both passes together is
 * known in closed form, and what is handed from pass to pass. */
#include "align/finite_world.h"
#include "align/loops.h"
#include "align/policy_chain.h"
#include "base/scratch.h"

enum { ARITY = 4, R1 = 4, R2 = 4, X = 2, R = R1 * R2 };

static ap_status (*const loops[])(struct ap_stage *, struct ap_policy *, struct ap_environment *,
                                  const struct ap_rl_settings *,
                                  struct ap_error *) = {ap_rloo, ap_ppo, ap_grpo};

/* A world whose rewrites are pairs (x'₁, x'₂): pass 1 draws the first token, pass 2, which sees x
 * and x'₁, the second. As one table of two tokens it is an ordinary finite world, whose ρ* is
 * known. */
struct two {
    struct world o;
    double rho1[X * R1], rho2[X * R]; /* the references of the passes */
    struct tabular pass[2];
    struct ap_policy_chain *chain;
    struct ap_policy policy;
    struct ap_rl_settings s;
};

static ap_status see_pair(void *self, const struct ap_pass_input *inputs, int n,
                          struct ap_error *err)
{
    struct tabular *p = self;
    (void)err;
    for (int i = 0; i < n; i++) {
        assert_int_equal(inputs[i].n, 1);
        p->seen[i] = inputs[i].prompt % X * R1 + inputs[i].ids[0];
    }
    return AP_OK;
}

static void two_open(struct two *t, int n_frozen, int steps)
{
    struct ap_error err;
    world_random(&t->o, X, R, 6, 0.15, 3);
    t->s = (struct ap_rl_settings){.kl = t->o.w.kl,
                                   .kl_loss = "k2",
                                   .rewrites = 64,
                                   .prompts = X,
                                   .steps = steps,
                                   .epochs = 2,
                                   .minibatches = 1,
                                   .clip = 0.2,
                                   .value_clip = 0.2,
                                   .value_weight = 0.1,
                                   .gamma = 1,
                                   .gae_lambda = 0.95,
                                   .value_lr = 0.02,
                                   .optimiser = {.lr = 0.03,
                                                 .schedule = "cosine",
                                                 .lr_end = 0.01,
                                                 .beta1 = 0.9,
                                                 .beta2 = 0.99,
                                                 .eps = 1e-8}};
    for (int i = 0; i < X * R1; i++) {
        t->rho1[i] = 0;
        for (int k = 0; k < R2; k++)
            t->rho1[i] += t->o.w.rho_sft[i * R2 + k];
        for (int k = 0; k < R2; k++)
            t->rho2[i * R2 + k] = t->o.w.rho_sft[i * R2 + k] / t->rho1[i];
    }
    const struct ap_exact_world first = {.n_prompt = X, .n_rewrite = R1, .rho_sft = t->rho1};
    const struct ap_exact_world second = {.n_prompt = X * R1, .n_rewrite = R2, .rho_sft = t->rho2};
    int64_t n = (int64_t)steps * t->s.epochs;
    tabular_open(&t->pass[0], &first, ARITY, 1, &t->s.optimiser, t->s.value_lr, n, 5);
    tabular_open(&t->pass[1], &second, ARITY, 1, &t->s.optimiser, t->s.value_lr, n, 6);
    t->pass[1].seen = ap_calloc(X * 64, sizeof(int32_t));
    const struct ap_chain_pass passes[] = {
        {.policy = tabular_policy(&t->pass[0])},
        {.policy = tabular_policy(&t->pass[1]), .see = see_pair, .self = &t->pass[1]}};
    check_ok(ap_policy_chain_open(&t->chain, passes, 2, n_frozen, X * 64, &err), err);
    t->policy = ap_policy_chain(t->chain);
}

static void two_close(struct two *t)
{
    ap_policy_chain_close(t->chain);
    ap_free(t->pass[1].seen);
    tabular_close(&t->pass[0]);
    tabular_close(&t->pass[1]);
    world_free(&t->o);
}

/* ρ(x'₁, x'₂ | x) of the chain as it is. */
static void composed(const struct two *t, int x, double *rho)
{
    double first[R1], second[R2];
    tabular_distribution(&t->pass[0], x, first);
    for (int i = 0; i < R1; i++) {
        /* by its own number of the world, whatever it was given last */
        struct tabular plain = t->pass[1];
        plain.seen = NULL;
        tabular_distribution(&plain, x * R1 + i, second);
        for (int k = 0; k < R2; k++)
            rho[i * R2 + k] = first[i] * second[k];
    }
}

static void train(struct two *t, int loop, int n_answers)
{
    struct ap_error err;
    struct tabular_scorer scorer = {&t->o.w, t->o.truth.value, ARITY, n_answers, 5, 0};
    struct ap_environment env = {.self = &scorer, .n_prompt = X, .score = tabular_score};
    struct ap_stage stage = {.name = "align", .seed = 5, .max_bad_steps = 1};
    check_ok(loops[loop](&stage, &t->policy, &env, &t->s, &err), err);
}

/* The optimum of two passes by backward induction: pass 2 tilts by R, pass 1 by log Z₂. It is the
 * optimum of the pair. */
static void test_backward_induction_is_the_optimum_of_the_pair(void **state)
{
    (void)state;
    struct two t;
    two_open(&t, 0, 1);
    for (int x = 0; x < X; x++) {
        double value[R1], second[R], first[R1];
        for (int i = 0; i < R1; i++)
            value[i] =
                t.s.kl * ap_exact_tilt(t.rho2 + x * R + i * R2, t.o.truth.value + x * R + i * R2,
                                       R2, t.s.kl, second + i * R2);
        double log_z = ap_exact_tilt(t.rho1 + x * R1, value, R1, t.s.kl, first);
        check_near(log_z, t.o.truth.log_z[x], 1e-12, 1e-12);
        for (int i = 0; i < R; i++)
            check_near(first[i / R2] * second[i], t.o.truth.rho_star[x * R + i], 1e-12, 1e-12);
    }
    two_close(&t);
}

static double distance(const struct two *t)
{
    double rho[R], worst = 0;
    for (int x = 0; x < X; x++) {
        composed(t, x, rho);
        worst = fmax(worst, ap_exact_kl(t->o.truth.rho_star + x * R, rho, R));
    }
    return worst;
}

static void test_two_passes_learn_the_optimum_jointly(void **state)
{
    (void)state;
    for (int loop = 0; loop < 2; loop++)
        for (int sampled = 0; sampled < 2; sampled++) {
            struct two t;
            two_open(&t, 0, 250);
            double before = distance(&t);
            train(&t, loop, sampled ? 2 : 0);
            double after = distance(&t);
            printf("  %s jointly, %s: KL(rho* || rho) from %.4f to %.5f nats\n",
                   loop ? "ppo " : "rloo", sampled ? "sampled answers" : "exact values", before,
                   after);
            assert_true(after <= (sampled ? 0.02 : 0.001) && after <= before / 10);
            two_close(&t);
        }
}

/* -- in turn -- */

/* What pass 2 wrote to the x'₁ it saw; rows of a group saw the same. */
static ap_status score_second(void *self, int64_t step, struct ap_rollout *r, struct ap_error *err)
{
    struct two *t = self;
    (void)step, (void)err;
    for (int i = 0; i < r->n_row; i++) {
        struct ap_rollout_row *row = &r->rows[i];
        assert_int_equal(row->n, 1);
        row->score = t->o.truth.value[t->pass[1].seen[i / r->n_each] * R2 + r->ids[row->first]];
    }
    return AP_OK;
}

static void test_the_second_pass_learns_its_optimum_in_turn(void **state)
{
    (void)state;
    for (int loop = 0; loop < 2; loop++) {
        struct two t;
        struct ap_error err;
        double worst = 0, gain = 0, begun[X * R1];
        two_open(&t, 1, 400);
        memcpy(begun, t.pass[0].logits.x, sizeof(begun));
        struct ap_environment env = {.self = &t, .n_prompt = X, .score = score_second};
        struct ap_stage stage = {.name = "align-2", .seed = 5, .max_bad_steps = 1};
        check_ok(loops[loop](&stage, &t.policy, &env, &t.s, &err), err);
        assert_memory_equal(begun, t.pass[0].logits.x, sizeof(begun)); /* frozen */
        t.pass[1].seen[0] = 0;
        for (int i = 0; i < X * R1; i++) { /* of every x'₁ its own optimum */
            double star[R2], rho[R2];
            const double *value = t.o.truth.value + i * R2;
            double log_z = ap_exact_tilt(t.rho2 + i * R2, value, R2, t.s.kl, star);
            t.pass[1].seen[0] = i;
            tabular_distribution(&t.pass[1], 0, rho);
            worst = fmax(worst, ap_exact_kl(star, rho, R2));
            gain += t.o.w.prompts[i / R1] * t.rho1[i] * t.s.kl * log_z;
        }
        printf("  %s in turn: KL(rho2* || rho2) %.5f nats; the pair's optimum %.4f, this one's "
               "%.4f, without training %.4f\n",
               loop ? "ppo " : "rloo", worst, t.o.truth.j_star, gain, t.o.truth.mean_reward_sft);
        assert_true(worst <= 0.001);
        assert_true(gain > t.o.truth.mean_reward_sft && gain < t.o.truth.j_star);
        two_close(&t);
    }
}

/* -- the gradient -- */

/* Every pair once, in the place of samples. */
static ap_status enumerate(void *self, const int32_t *prompts, int n, int n_each, int64_t step,
                           struct ap_rollout *r, struct ap_error *err)
{
    struct tabular *p = self;
    ap_status status = AP_OK;
    (void)step;
    ap_rollout_clear(r);
    for (int i = 0; i < n * n_each && status == AP_OK; i++) {
        int32_t id = p->seen ? i % R2 : i % R / R2;
        status = ap_rollout_add(r, prompts[i / n_each], (uint64_t)prompts[i / n_each], i % n_each,
                                &id, 1, true, NULL, err);
    }
    return status;
}

/* Σ_x E[R] − λ KL of the chain against its reference, the sum over both passes. */
static double objective(const struct two *t)
{
    double rho[R], sum = 0;
    for (int x = 0; x < X; x++) {
        composed(t, x, rho);
        sum += ap_exact_mean(rho, t->o.truth.value + x * R, R) -
               t->s.kl * ap_exact_kl(rho, t->o.w.rho_sft + x * R, R);
    }
    return sum;
}

static void check_gradient(struct two *t, struct tabular *p)
{
    const double h = 1e-5;
    for (size_t i = 0; i < p->logits.n; i++) {
        double x = p->logits.x[i], j[2];
        for (int side = 0; side < 2; side++) {
            p->logits.x[i] = x + (side ? h : -h);
            tabular_refresh(p);
            j[side] = objective(t);
        }
        p->logits.x[i] = x;
        tabular_refresh(p);
        check_near(p->logits.g[i], (j[1] - j[0]) / (2 * h), 1e-9, 1e-6);
    }
}

static void test_the_joint_gradient_is_that_of_the_objective(void **state)
{
    (void)state;
    struct two t;
    struct ap_error err;
    struct ap_rollout r;
    struct ap_random random;
    int32_t rows[X * R], prompts[X] = {0, 1};
    two_open(&t, 0, 1);
    ap_random_init(&random, &(struct ap_stream){.seed = 9});
    for (int k = 0; k < 2; k++) { /* away from the reference, where the KL has a gradient */
        for (size_t i = 0; i < t.pass[k].logits.n; i++)
            t.pass[k].logits.x[i] += 0.5 * ap_random_normal(&random);
        tabular_refresh(&t.pass[k]);
    }
    struct ap_chain_pass passes[] = {
        {.policy = tabular_policy(&t.pass[0])},
        {.policy = tabular_policy(&t.pass[1]), .see = see_pair, .self = &t.pass[1]}};
    passes[0].policy.sample = passes[1].policy.sample = enumerate;
    ap_policy_chain_close(t.chain);
    check_ok(ap_policy_chain_open(&t.chain, passes, 2, 0, X * 64, &err), err);
    t.policy = ap_policy_chain(t.chain);
    check_ok(ap_rollout_init(&r, X * R, X * R * 2, &err), err);
    check_ok(t.policy.sample(t.policy.self, prompts, X, R, 0, &r, &err), err);
    assert_int_equal(r.n_row, X * R);
    assert_int_equal(t.policy.max_tokens, 2);
    for (int i = 0; i < X * R; i++)
        rows[i] = i;
    check_ok(t.policy.forward(t.policy.self, AP_POLICY, &r, rows, r.n_row, r.logp, NULL, &err),
             err);
    check_ok(
        t.policy.forward(t.policy.self, AP_REFERENCE, &r, rows, r.n_row, r.logp_ref, NULL, &err),
        err);
    for (int i = 0; i < r.n_row; i++) {
        const struct ap_rollout_row *row = &r.rows[i];
        const size_t a = row->first, b = row->first + 1;
        assert_int_equal(row->n, 2);
        assert_int_equal(r.ids[a] * R2 + r.ids[b], i % R); /* every pair once */
        double logp = r.logp[a] + r.logp[b], ref = r.logp_ref[a] + r.logp_ref[b];
        check_near(ref, log(t.o.w.rho_sft[i]), 1e-12, 1e-12);
        r.dlogp[a] = r.dlogp[b] = exp(logp) * (t.o.truth.value[i] - t.s.kl * (logp - ref));
    }
    check_ok(t.policy.backward(t.policy.self, &r, rows, r.n_row, r.dlogp, NULL, &err), err);
    check_gradient(&t, &t.pass[0]);
    check_gradient(&t, &t.pass[1]);
    ap_rollout_free(&r);
    two_close(&t);
}

/* -- a chain of one -- */

static void test_a_chain_of_one_is_its_policy_bit_for_bit(void **state)
{
    (void)state;
    for (size_t loop = 0; loop < AP_LEN(loops); loop++) {
        struct two t;
        struct tabular tables[2];
        struct ap_error err;
        two_open(&t, 0, 20);
        for (int chained = 0; chained < 2; chained++) {
            struct ap_policy_chain *chain = NULL;
            tabular_open(&tables[chained], &t.o.w, ARITY, 2, &t.s.optimiser, t.s.value_lr, 40, 5);
            tables[chained].micro = 7;
            struct ap_chain_pass pass = {.policy = tabular_policy(&tables[chained])};
            struct tabular_scorer scorer = {&t.o.w, t.o.truth.value, ARITY, 0, 5, 0};
            struct ap_environment env = {.self = &scorer, .n_prompt = X, .score = tabular_score};
            struct ap_stage stage = {.name = "align", .seed = 5, .max_bad_steps = 1};
            check_ok(ap_policy_chain_open(&chain, &pass, 1, 0, X * 64, &err), err);
            struct ap_policy policy = chained ? ap_policy_chain(chain) : pass.policy;
            assert_int_equal(policy.max_tokens, pass.policy.max_tokens);
            check_ok(loops[loop](&stage, &policy, &env, &t.s, &err), err);
            ap_policy_chain_close(chain);
        }
        size_t n = tables[0].logits.n * sizeof(double);
        assert_memory_equal(tables[0].logits.x, tables[1].logits.x, n);
        assert_memory_equal(tables[0].values.x, tables[1].values.x, tables[0].values.n * 8);
        assert_memory_not_equal(tables[0].logits.x, tables[0].ref, n); /* it did learn */
        tabular_close(&tables[0]);
        tabular_close(&tables[1]);
        two_close(&t);
    }
}

/* -- steps that fail, checkpoints -- */

static void test_a_bad_gradient_of_one_pass_moves_none(void **state)
{
    (void)state;
    struct two t;
    struct ap_policy_update u;
    double begun[X * R];
    two_open(&t, 0, 10);
    memcpy(begun, t.pass[1].logits.x, sizeof(begun));
    t.pass[0].logits.g[0] = NAN;
    t.pass[1].logits.g[0] = 1;
    t.policy.update(t.policy.self, 0, &u);
    assert_true(u.skipped);
    assert_string_equal(u.bad, "table.logits");
    assert_memory_equal(begun, t.pass[1].logits.x, sizeof(begun));
    check_near(t.pass[1].logits.g[0], 0, 0, 0); /* and the gradient is gone */
    t.pass[0].logits.g[0] = 3;
    t.pass[1].logits.g[0] = 4;
    t.policy.update(t.policy.self, 1, &u);
    assert_false(u.skipped);
    check_near(u.grad_norm, 5, 1e-12, 0);
    assert_memory_not_equal(begun, t.pass[1].logits.x, sizeof(begun));
    two_close(&t);
}

static void test_checkpoints_hold_every_pass(void **state)
{
    struct two a, b;
    struct ap_error err;
    char *folder = scratch_path(state, "chain");
    check_ok(ap_dir_make(folder, &err), err);
    two_open(&a, 0, 5);
    train(&a, 0, 0);
    check_ok(a.policy.save(a.policy.self, folder, &err), err);
    two_open(&b, 0, 5);
    check_ok(b.policy.load(b.policy.self, folder, &err), err);
    for (int k = 0; k < 2; k++)
        assert_memory_equal(a.pass[k].logits.x, b.pass[k].logits.x, a.pass[k].logits.n * 8);
    two_close(&a);
    two_close(&b);
    ap_free(folder);
}

/* -- what is handed on -- */

struct writer { /* a pass that writes fixed texts, row by row */
    const char *const *texts;
    int n_seen, sample[4];
    const char *seen[4];
};

static ap_status write_texts(void *self, const int32_t *prompts, int n, int n_each, int64_t step,
                             struct ap_rollout *r, struct ap_error *err)
{
    struct writer *w = self;
    ap_status status = AP_OK;
    (void)step;
    ap_rollout_clear(r);
    for (int i = 0; i < n * n_each && status == AP_OK; i++) {
        bool endless = strchr(w->texts[i], '~') != NULL;
        status =
            ap_rollout_add(r, prompts[i / n_each], 70 + (uint64_t)prompts[i / n_each], i % n_each,
                           (int32_t[]){i, 9}, 1 + i % 2, !endless, ap_strdup(w->texts[i]), err);
    }
    return status;
}

static ap_status see_texts(void *self, const struct ap_pass_input *inputs, int n,
                           struct ap_error *err)
{
    struct writer *w = self;
    (void)err;
    w->n_seen = n;
    for (int i = 0; i < n; i++) {
        w->seen[i] = inputs[i].text;
        w->sample[i] = inputs[i].sample;
        assert_int_equal(inputs[i].record, 70 + inputs[i].prompt);
    }
    return AP_OK;
}

static void write_chain(struct writer *first, struct writer *second, int n_frozen,
                        struct ap_rollout *r)
{
    struct ap_error err;
    struct ap_policy_chain *chain;
    const struct ap_chain_pass passes[] = {
        {.policy = {.self = first, .sample = write_texts, .max_tokens = 2}},
        {.policy = {.self = second, .sample = write_texts, .max_tokens = 2},
         .see = see_texts,
         .self = second}};
    const int32_t prompts[] = {3, 1};
    check_ok(ap_policy_chain_open(&chain, passes, 2, n_frozen, 4, &err), err);
    struct ap_policy policy = ap_policy_chain(chain);
    check_ok(ap_rollout_init(r, 4, 16, &err), err);
    check_ok(policy.sample(policy.self, prompts, 2, 2, 0, r, &err), err);
    assert_int_equal(r->n_row, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r->rows[i].prompt, i < 2 ? 3 : 1);
        assert_int_equal(r->rows[i].record, i < 2 ? 73 : 71);
        assert_int_equal(r->rows[i].sample, i % 2);
    }
    ap_policy_chain_close(chain);
}

/* Jointly: every row has an x'₁ of its own. A pass that wrote nothing hands on what it was given,
 * and every fault counts. */
static void test_each_row_is_handed_its_own_text(void **state)
{
    (void)state;
    struct writer first = {.texts = (const char *const[]){"a", "", "c~", ""}};
    struct writer second = {.texts = (const char *const[]){"A", "B", "", ""}};
    static const char *const text[] = {"A", "B", "c~", ""};
    static const int fault[] = {0, 1, 2, 2};
    struct ap_rollout r;
    write_chain(&first, &second, 0, &r);
    assert_int_equal(second.n_seen, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(r.rows[i].text, text[i]);
        assert_int_equal(r.rows[i].n_fault, fault[i]);
        assert_int_equal(r.rows[i].ended, i != 2);
        assert_int_equal(second.sample[i], i % 2);
        assert_int_equal(r.rows[i].n, 2 * (1 + i % 2));
        assert_int_equal(r.ids[r.rows[i].first], i);
        assert_int_equal(r.ids[r.rows[i].first + 1 + (size_t)(i % 2)], i);
    }
    assert_null(second.seen[1]); /* nothing was written: x */
    assert_null(second.seen[3]);
    ap_rollout_free(&r);
}

/* In turn: a group shares one x'₁, and the frozen pass's faults are none of the trained one's. */
static void test_a_group_shares_what_a_frozen_pass_wrote(void **state)
{
    (void)state;
    struct writer first = {.texts = (const char *const[]){"a~", ""}};
    struct writer second = {.texts = (const char *const[]){"A", "", "C", ""}};
    static const char *const text[] = {"A", "a~", "C", ""};
    struct ap_rollout r;
    write_chain(&first, &second, 1, &r);
    assert_int_equal(second.n_seen, 2);
    assert_null(second.seen[1]);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(r.rows[i].text, text[i]);
        assert_int_equal(r.rows[i].n_fault, i % 2);
        assert_true(r.rows[i].ended);
        assert_int_equal(r.rows[i].n, 1 + i % 2);
    }
    ap_rollout_free(&r);
}

static void test_what_is_no_chain_is_refused(void **state)
{
    (void)state;
    struct writer w = {0};
    struct ap_policy_chain *chain;
    struct ap_error err;
    const struct ap_chain_pass passes[9] = {
        {.policy = {.self = &w, .sample = write_texts, .max_tokens = 2}}};
    assert_int_equal(ap_policy_chain_open(&chain, passes, 1, 1, 4, &err), AP_INVALID);
    assert_int_equal(ap_policy_chain_open(&chain, passes, 9, 0, 4, &err), AP_INVALID);
    assert_int_equal(ap_policy_chain_open(&chain, passes, 1, 0, 0, &err), AP_INVALID);
    assert_null(chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backward_induction_is_the_optimum_of_the_pair),
        cmocka_unit_test(test_two_passes_learn_the_optimum_jointly),
        cmocka_unit_test(test_the_second_pass_learns_its_optimum_in_turn),
        cmocka_unit_test(test_the_joint_gradient_is_that_of_the_objective),
        cmocka_unit_test(test_a_chain_of_one_is_its_policy_bit_for_bit),
        cmocka_unit_test(test_a_bad_gradient_of_one_pass_moves_none),
        cmocka_unit_test_setup_teardown(test_checkpoints_hold_every_pass, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(test_each_row_is_handed_its_own_text),
        cmocka_unit_test(test_a_group_shares_what_a_frozen_pass_wrote),
        cmocka_unit_test(test_what_is_no_chain_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
