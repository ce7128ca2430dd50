/* AdamW by hand, schedules, clip, the guard against NaN and Inf, exact state in files. */
#include "base/memory.h"
#include "check.h"
#include "train/optimiser.h"

#include "base/file.h"

/* -- two small tables -- */

enum { N = 6, N_BIAS = 3 };

struct model {
    struct ap_param rows[3]; /* a matrix, a bias, a frozen row */
    struct ap_param_table table;
    float matrix[N], bias[N_BIAS], frozen[2], d_matrix[N], d_bias[N_BIAS];
};

static const struct ap_ops *ops(void)
{
    const struct ap_ops *table;
    struct ap_error err;
    check_ok(ap_ops_cpu(&table, &err), err);
    return table;
}

static void model_make(struct model *o)
{
    memset(o, 0, sizeof(*o));
    o->rows[0] = (struct ap_param){.name = "up.weight",
                                   .n_dim = 2,
                                   .shape = {3, 2},
                                   .n = N,
                                   .stored = o->matrix,
                                   .data = o->matrix,
                                   .own = o->matrix,
                                   .grad = o->d_matrix,
                                   .decay = true};
    o->rows[1] = (struct ap_param){.name = "up.bias",
                                   .n_dim = 1,
                                   .shape = {3, 0},
                                   .n = N_BIAS,
                                   .stored = o->bias,
                                   .data = o->bias,
                                   .own = o->bias,
                                   .grad = o->d_bias};
    o->rows[2] = (struct ap_param){.name = "embed.weight",
                                   .n_dim = 1,
                                   .shape = {2, 0},
                                   .n = 2,
                                   .stored = o->frozen,
                                   .data = o->frozen,
                                   .own = o->frozen};
    o->table = (struct ap_param_table){o->rows, 3, AP_F32};
    for (int i = 0; i < N; i++)
        o->matrix[i] = 0.5F - 0.2F * (float)i;
    for (int i = 0; i < N_BIAS; i++)
        o->bias[i] = 0.1F * (float)i;
    o->frozen[1] = 7;
}

/* Gradients that differ from step to step. */
static void model_gradients(struct model *o, int step)
{
    for (int i = 0; i < N; i++)
        o->d_matrix[i] = (float)((i * 5 + step * 3) % 7 - 3) * 0.25F;
    for (int i = 0; i < N_BIAS; i++)
        o->d_bias[i] = (float)((i + step) % 3 - 1) * 0.5F;
}

/* Number i of the matrix, then of the bias. */
static double weight(const struct model *o, int i)
{
    const float *at = i < N ? o->matrix + i : o->bias + (i - N);
    return (double)*at;
}

static double gradient(const struct model *o, int i)
{
    const float *at = i < N ? o->d_matrix + i : o->d_bias + (i - N);
    return (double)*at;
}

static char constant[] = "constant", cosine[] = "cosine", linear[] = "linear";

static struct ap_optimiser_settings plain(void)
{
    return (struct ap_optimiser_settings){.lr = 0.01,
                                          .schedule = constant,
                                          .beta1 = 0.9,
                                          .beta2 = 0.95,
                                          .eps = 1e-8,
                                          .weight_decay = 0.1};
}

static struct ap_optimiser *open_for(struct model *o, const struct ap_optimiser_settings *s)
{
    struct ap_optimiser *optimiser;
    struct ap_error err;
    struct ap_param_table *tables[] = {&o->table};
    check_ok(ap_optimiser_open(&optimiser, ops(), tables, 1, s, 100, &err), err);
    return optimiser;
}

/* -- AdamW -- */

/* In double, from the paper: decoupled decay, bias correction. */
static void adamw_by_hand(double *w, double *m, double *v, double g, int t, double decay)
{
    *w -= 0.01 * decay * *w;
    *m = 0.9 * *m + 0.1 * g;
    *v = 0.95 * *v + 0.05 * g * g;
    *w -= 0.01 * (*m / (1 - pow(0.9, t))) / (sqrt(*v / (1 - pow(0.95, t))) + 1e-8);
}

static void test_adamw_by_hand(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    double w[N + N_BIAS], m[N + N_BIAS] = {0}, v[N + N_BIAS] = {0};
    model_make(&o);
    struct ap_optimiser *optimiser = open_for(&o, &s);
    for (int i = 0; i < N + N_BIAS; i++)
        w[i] = weight(&o, i);
    for (int t = 1; t <= 5; t++) {
        double sum = 0;
        model_gradients(&o, t);
        for (int i = 0; i < N + N_BIAS; i++) {
            double g = gradient(&o, i);
            sum += g * g;
            adamw_by_hand(&w[i], &m[i], &v[i], g, t, i < N ? 0.1 : 0); /* no decay on the bias */
        }
        ap_optimiser_step(optimiser, t - 1, &u);
        assert_false(u.skipped);
        check_near(u.grad_norm, sqrt(sum), 0, 1e-6);
        check_near(u.lr, 0.01, 0, 0);
        for (int i = 0; i < N + N_BIAS; i++)
            check_near(weight(&o, i), w[i], 1e-7, 2e-6);
        for (int i = 0; i < N + N_BIAS; i++)
            assert_true(gradient(&o, i) == 0);
    }
    assert_true(o.frozen[0] == 0 && o.frozen[1] == 7);
    ap_optimiser_close(optimiser);
}

static void test_the_global_norm_is_clipped(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    model_make(&o);
    s.clip = 1, s.eps = 1, s.weight_decay = 0; /* with eps 1 the size of a gradient shows */
    struct ap_optimiser *optimiser = open_for(&o, &s);
    float before = o.matrix[0], bias = o.bias[2];
    o.d_matrix[0] = 3, o.d_bias[2] = -4; /* over both rows: 5 */
    ap_optimiser_step(optimiser, 0, &u);
    check_near(u.grad_norm, 5, 1e-6, 0);
    check_near((double)(o.matrix[0] - before), -0.01 * 0.6 / 1.6, 1e-7, 0);
    check_near((double)(o.bias[2] - bias), 0.01 * 0.8 / 1.8, 1e-7, 0);
    ap_optimiser_close(optimiser);

    model_make(&o); /* a norm below the clip is left alone */
    optimiser = open_for(&o, &s);
    o.d_matrix[0] = 0.5F;
    ap_optimiser_step(optimiser, 0, &u);
    check_near((double)(o.matrix[0] - before), -0.01 * 0.5 / 1.5, 1e-7, 0);
    ap_optimiser_close(optimiser);
}

/* -- the guard -- */

static void check_skipped(float bad)
{
    struct model o, untouched, clean;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    char name[AP_NAME_MAX];
    model_make(&o);
    model_make(&untouched);
    model_make(&clean);
    struct ap_optimiser *a = open_for(&o, &s), *b = open_for(&clean, &s);
    model_gradients(&o, 1);
    assert_true(ap_optimiser_finite(a, name));
    o.d_bias[1] = bad;
    assert_false(ap_optimiser_finite(a, name));
    assert_string_equal(name, "up.bias");
    ap_optimiser_step(a, 0, &u);
    assert_true(u.skipped);
    assert_string_equal(u.bad, "up.bias");
    assert_memory_equal(o.matrix, untouched.matrix, sizeof(o.matrix));
    assert_memory_equal(o.bias, untouched.bias, sizeof(o.bias));
    for (int i = 0; i < N_BIAS; i++)
        assert_true(o.d_bias[i] == 0);
    for (int step = 1; step < 4; step++) { /* and leaves no trace: as if it had not been */
        model_gradients(&o, step);
        model_gradients(&clean, step);
        ap_optimiser_step(a, step, &u);
        assert_false(u.skipped);
        assert_string_equal(u.bad, "");
        ap_optimiser_step(b, step, &u);
    }
    assert_memory_equal(o.matrix, clean.matrix, sizeof(o.matrix));
    ap_optimiser_close(a);
    ap_optimiser_close(b);
}

static void test_a_gradient_that_is_not_finite_is_skipped_by_name(void **state)
{
    (void)state;
    check_skipped(NAN);
    check_skipped(INFINITY);
    check_skipped(-INFINITY);
}

static void test_a_large_gradient_is_not_mistaken_for_infinity(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    model_make(&o);
    s.clip = 1;
    struct ap_optimiser *optimiser = open_for(&o, &s);
    for (int i = 0; i < N; i++)
        o.d_matrix[i] = 3e38F; /* its square is far beyond f32 */
    ap_optimiser_step(optimiser, 0, &u);
    assert_false(u.skipped);
    check_near(u.grad_norm, 3e38 * sqrt(6), 0, 1e-6);
    for (int i = 0; i < N; i++)
        assert_true(isfinite(o.matrix[i]));
    ap_optimiser_close(optimiser);
}

/* -- what is used after the update -- */

static void test_packed_weights_follow(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    const float x[] = {1, 2};
    float y[3];
    model_make(&o);
    struct ap_packed *packed = ops()->pack_new(3, 2, AP_F32);
    assert_non_null(packed);
    o.rows[0].part[0] = (struct ap_part){0, 3, packed};
    o.rows[0].n_part = 1;
    ops()->pack(packed, o.matrix, AP_F32);
    struct ap_optimiser *optimiser = open_for(&o, &s);
    model_gradients(&o, 1);
    ap_optimiser_step(optimiser, 0, &u);
    ops()->linear(y, x, packed, 1, false);
    for (int i = 0; i < 3; i++)
        check_near((double)y[i], (double)(o.matrix[2 * i] + 2 * o.matrix[2 * i + 1]), 1e-6, 0);
    ap_optimiser_close(optimiser);
    ops()->pack_free(packed);
}

static void test_a_step_allocates_nothing(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_update u;
    model_make(&o);
    struct ap_optimiser *optimiser = open_for(&o, &s);
    uint64_t before = ap_memory_n_allocations();
    for (int step = 0; step < 3; step++) {
        model_gradients(&o, step);
        ap_optimiser_step(optimiser, step, &u);
    }
    assert_int_equal(ap_memory_n_allocations(), before);
    ap_optimiser_close(optimiser);
}

static void test_nothing_to_train_is_refused(void **state)
{
    (void)state;
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_optimiser *optimiser;
    struct ap_error err;
    struct ap_param_table *tables[] = {&o.table};
    model_make(&o);
    o.rows[0].grad = o.rows[1].grad = NULL;
    assert_int_equal(ap_optimiser_open(&optimiser, ops(), tables, 1, &s, 9, &err), AP_INVALID);
    check_holds(err.text, "no tensor is trainable");
    assert_null(optimiser);
    ap_optimiser_close(NULL);
}

/* -- schedules -- */

static double lr_at(char *schedule, double warmup, double end, int64_t step)
{
    struct ap_optimiser_settings s = plain();
    s.schedule = schedule, s.warmup = warmup, s.lr_end = end;
    return ap_schedule_lr(&s, step, 11) / s.lr;
}

static void test_schedules(void **state)
{
    (void)state;
    for (int step = 0; step < 11; step++) {
        check_near(lr_at(constant, 0, 0.5, step), 1, 1e-15, 0);
        check_near(lr_at(linear, 0, 0, step), 1 - step / 10.0, 1e-15, 0);
        check_near(lr_at(linear, 0, 0.5, step), 1 - step / 20.0, 1e-15, 0);
        check_near(lr_at(cosine, 0, 0, step), (1 + cos(M_PI * step / 10.0)) / 2, 1e-15, 0);
    }
    check_near(lr_at(cosine, 0, 0.1, 5), 0.55, 1e-15, 0); /* half-way */
    check_near(lr_at(cosine, 0, 0.1, 10), 0.1, 1e-15, 0);
    /* 0.45 · 11 steps round to 5 of warm-up; 5 … 10 are the schedule */
    for (int step = 0; step < 5; step++)
        check_near(lr_at(linear, 0.45, 0, step), (step + 1) / 5.0, 1e-15, 0);
    for (int step = 5; step < 11; step++)
        check_near(lr_at(linear, 0.45, 0, step), 1 - (step - 5) / 5.0, 1e-15, 0);
    check_near(lr_at(cosine, 1, 0, 10), 1, 1e-15, 0);     /* warm-up alone */
    check_near(lr_at(cosine, 0, 0.2, 50), 0.2, 1e-15, 0); /* past the end */
    struct ap_optimiser_settings s = plain();
    s.schedule = linear;
    check_near(ap_schedule_lr(&s, 0, 1), s.lr, 0, 0); /* a schedule of one step */
}

/* -- files -- */

static int make_root(void **state)
{
    char path[] = "/tmp/alignpro-test-XXXXXX";
    *state = mkdtemp(path) ? ap_strdup(path) : NULL;
    return *state ? 0 : -1;
}

static int remove_root(void **state)
{
    ap_status status = ap_dir_remove(*state, NULL);
    ap_free(*state);
    return status == AP_OK ? 0 : -1;
}

static void run_steps(struct model *o, struct ap_optimiser *optimiser, int from, int to)
{
    struct ap_update u;
    for (int step = from; step < to; step++) {
        model_gradients(o, step);
        ap_optimiser_step(optimiser, step, &u);
    }
}

static void test_saved_state_goes_on_bit_for_bit(void **state)
{
    struct model whole, part;
    struct ap_optimiser_settings s = plain();
    struct ap_error err;
    s.schedule = cosine;
    model_make(&whole);
    struct ap_optimiser *a = open_for(&whole, &s);
    run_steps(&whole, a, 0, 3);
    check_ok(ap_optimiser_save(a, *state, "optimiser", &err), err);
    model_make(&part);
    memcpy(part.matrix, whole.matrix, sizeof(part.matrix));
    memcpy(part.bias, whole.bias, sizeof(part.bias));
    struct ap_optimiser *b = open_for(&part, &s);
    check_ok(ap_optimiser_load(b, *state, "optimiser", &err), err);
    run_steps(&whole, a, 3, 9);
    run_steps(&part, b, 3, 9);
    assert_memory_equal(part.matrix, whole.matrix, sizeof(part.matrix));
    assert_memory_equal(part.bias, whole.bias, sizeof(part.bias));
    ap_optimiser_close(a);
    ap_optimiser_close(b);
}

static void check_load_refused(struct model *o, const char *root, const char *part)
{
    struct ap_optimiser_settings s = plain();
    struct ap_error err;
    struct ap_optimiser *optimiser = open_for(o, &s);
    assert_int_equal(ap_optimiser_load(optimiser, root, "optimiser", &err), AP_FORMAT);
    check_holds(err.text, "optimiser.safetensors");
    check_holds(err.text, part);
    ap_optimiser_close(optimiser);
}

static void test_the_state_of_another_model_is_refused(void **state)
{
    struct model o;
    struct ap_optimiser_settings s = plain();
    struct ap_error err;
    model_make(&o);
    struct ap_optimiser *optimiser = open_for(&o, &s);
    check_ok(ap_optimiser_save(optimiser, *state, "optimiser", &err), err);
    assert_int_equal(ap_optimiser_load(optimiser, *state, "other", &err), AP_NOT_FOUND);
    ap_optimiser_close(optimiser);
    o.rows[0].shape[0] = 2, o.rows[0].shape[1] = 3;
    check_load_refused(&o, *state, "0.m.up.weight is of another dtype or shape");
    model_make(&o);
    snprintf(o.rows[1].name, AP_NAME_MAX, "down.bias");
    check_load_refused(&o, *state, "0.m.down.bias is missing");
    model_make(&o);
    o.rows[1].grad = NULL;
    check_load_refused(&o, *state, "5 tensors, expected 3");
}

static void test_two_tables_of_the_same_names(void **state)
{
    struct model policy, critic, after[2];
    struct ap_optimiser_settings s = plain();
    struct ap_error err;
    struct ap_update u;
    model_make(&policy), model_make(&critic);
    struct ap_param_table *both[] = {&policy.table, &critic.table};
    for (int turn = 0; turn < 2; turn++) { /* the second goes on from what the first saved */
        struct ap_optimiser *optimiser;
        check_ok(ap_optimiser_open(&optimiser, ops(), both, 2, &s, 9, &err), err);
        if (turn == 0) {
            model_gradients(&policy, 1);
            model_gradients(&critic, 2);
            ap_optimiser_step(optimiser, 0, &u);
            check_ok(ap_optimiser_save(optimiser, *state, "optimiser", &err), err);
            after[0] = critic; /* the numbers before the step that both turns make */
        } else {
            check_ok(ap_optimiser_load(optimiser, *state, "optimiser", &err), err);
            memcpy(critic.matrix, after[0].matrix, sizeof(critic.matrix));
        }
        model_gradients(&critic, 3);
        ap_optimiser_step(optimiser, 1, &u);
        ap_optimiser_close(optimiser);
        if (turn == 0)
            after[1] = critic;
    }
    assert_memory_equal(critic.matrix, after[1].matrix, sizeof(critic.matrix));
    assert_memory_not_equal(policy.matrix, critic.matrix, sizeof(policy.matrix));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw_by_hand),
        cmocka_unit_test(test_the_global_norm_is_clipped),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_skipped_by_name),
        cmocka_unit_test(test_a_large_gradient_is_not_mistaken_for_infinity),
        cmocka_unit_test(test_packed_weights_follow),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_nothing_to_train_is_refused),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test_setup_teardown(test_saved_state_goes_on_bit_for_bit, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_the_state_of_another_model_is_refused, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_two_tables_of_the_same_names, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
