/* Finite worlds for tests: made at random, or the reference ones of losses.json, each with its
 * closed form. */
#ifndef AP_TESTS_ALIGN_FINITE_WORLD_H
#define AP_TESTS_ALIGN_FINITE_WORLD_H

#include "align/tabular.h"
#include "base/json.h"

/* A world with its closed form; owns its arrays. */
struct world {
    struct ap_exact_world w;
    struct ap_exact_result truth;
    double *numbers;
};

static inline void world_alloc(struct world *o, int X, int R, int Y, double kl, double **prompts,
                               double **rho, double **target, double **bare, double **reward)
{
    size_t x = (size_t)X, xr = x * (size_t)R, xy = x * (size_t)Y, xry = xr * (size_t)Y;
    double *at = o->numbers = tabular_numbers(3 * x + 3 * xr + 2 * xy + xry);
    *prompts = at, at += x;
    *rho = at, at += xr;
    *target = at, at += xry;
    *bare = at, at += xy;
    *reward = at, at += xy;
    o->truth = (struct ap_exact_result){
        .value = at, .rho_star = at + xr, .log_z = at + 2 * xr, .kl_star = at + 2 * xr + x};
    o->w = (struct ap_exact_world){.n_prompt = X,
                                   .n_rewrite = R,
                                   .n_answer = Y,
                                   .kl = kl,
                                   .r_max = 1,
                                   .prompts = *prompts,
                                   .rho_sft = *rho,
                                   .target = *target,
                                   .bare = *bare,
                                   .reward = *reward};
}

static inline void random_simplex(struct ap_random *random, double *p, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += p[i] = exp(ap_random_normal(random));
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

/* Made here, so that a clone alone proves the loops. */
static inline void world_random(struct world *o, int X, int R, int Y, double kl, uint64_t seed)
{
    double *prompts, *rho, *target, *bare, *reward;
    struct ap_random random;
    ap_random_init(&random, &(struct ap_stream){.seed = seed});
    world_alloc(o, X, R, Y, kl, &prompts, &rho, &target, &bare, &reward);
    random_simplex(&random, prompts, X);
    for (int x = 0; x < X; x++) {
        random_simplex(&random, rho + x * R, R);
        random_simplex(&random, bare + x * Y, Y);
        for (int i = 0; i < R; i++)
            random_simplex(&random, target + (x * R + i) * Y, Y);
        for (int y = 0; y < Y; y++)
            reward[x * Y + y] = ap_random_uniform(&random);
    }
    ap_exact_solve(&o->w, &o->truth);
}

static inline size_t flatten(const json_t *value, double *out)
{
    if (!json_is_array(value)) {
        *out = json_number_value(value);
        return 1;
    }
    size_t k, n = 0;
    json_t *part;
    json_array_foreach(value, k, part) n += flatten(part, out + n);
    return n;
}

/* state: the file's path; NULL: the reference folder's. */
static inline json_t *golden_of(void **state, const char *key)
{
    struct ap_error err;
    json_t *root;
    const char *path = *state ? *state : check_golden("losses.json");
    if (!path)
        skip();
    check_ok(ap_json_load(path, 1 << 22, &root, &err), err);
    json_t *all = json_incref(json_object_get(root, key));
    json_decref(root);
    assert_non_null(all);
    return all;
}

static inline double number(const json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

static inline void world_golden(struct world *o, const json_t *g)
{
    double *prompts, *rho, *target, *bare, *reward;
    const json_t *t = json_object_get(g, "target_given_rewrite");
    int X = (int)json_array_size(t), R = (int)json_array_size(json_array_get(t, 0));
    int Y = (int)json_array_size(json_array_get(json_array_get(t, 0), 0));
    world_alloc(o, X, R, Y, number(g, "kl"), &prompts, &rho, &target, &bare, &reward);
    o->w.r_max = number(g, "r_max");
    assert_int_equal(flatten(json_object_get(g, "prompts"), prompts), X);
    assert_int_equal(flatten(json_object_get(g, "rho_sft"), rho), X * R);
    assert_int_equal(flatten(t, target), X * R * Y);
    assert_int_equal(flatten(json_object_get(g, "target_bare"), bare), X * Y);
    assert_int_equal(flatten(json_object_get(g, "reward"), reward), X * Y);
    ap_exact_solve(&o->w, &o->truth);
}

static inline void world_free(struct world *o)
{
    ap_free(o->numbers);
}

#endif
