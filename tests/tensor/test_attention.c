/* Attention: against double, gradients by finite differences, and the same bits from packed
 * sequences and from the cache. */
#include "fill.h"

struct batch {
    struct ap_attention_shape s;
    int n_seq, n_row, longest;
    int32_t start[8];
    float *q, *k, *v, *out, *lse, *scratch;
};

static struct batch batch_open(int n_head, int n_kv_head, int head_dim, const int *length,
                               int n_seq)
{
    struct batch b = {.s = {n_head, n_kv_head, head_dim, (float)(1.0 / sqrt(head_dim)), 0},
                      .n_seq = n_seq};
    for (int i = 0; i < n_seq; i++) {
        b.start[i + 1] = b.start[i] + length[i];
        b.longest = length[i] > b.longest ? length[i] : b.longest;
    }
    b.n_row = b.start[n_seq];
    size_t q = (size_t)b.n_row * n_head * head_dim, kv = (size_t)b.n_row * n_kv_head * head_dim;
    b.q = made_up(q, 1, 2);
    b.k = made_up(kv, 2, 2);
    b.v = made_up(kv, 3, 1);
    b.out = zeros(q);
    b.lse = zeros((size_t)b.n_row * n_head);
    b.scratch = zeros(test_ops()->attention_scratch(&b.s, b.longest + 16, 3));
    return b;
}

static void batch_close(struct batch *b)
{
    ap_free(b->q), ap_free(b->k), ap_free(b->v), ap_free(b->out), ap_free(b->lse);
    ap_free(b->scratch);
}

/* One head's row i of its sequence, in double. */
static void reference_row(const struct batch *b, int from, int i, int h, double *out, double *lse)
{
    const struct ap_attention_shape *s = &b->s;
    int d = s->head_dim, kv = h / (s->n_head / s->n_kv_head);
    double p[512], most = -INFINITY, sum = 0.0;
    int first = s->window && i + 1 > s->window ? i + 1 - s->window : 0;
    for (int j = first; j <= i; j++) {
        p[j] = 0.0;
        for (int e = 0; e < d; e++)
            p[j] += (double)b->q[((from + i) * s->n_head + h) * d + e] *
                    (double)b->k[((from + j) * s->n_kv_head + kv) * d + e] * (double)s->scale;
        most = p[j] > most ? p[j] : most;
    }
    for (int j = first; j <= i; j++)
        sum += exp(p[j] - most);
    *lse = most + log(sum);
    for (int e = 0; e < d; e++) {
        out[e] = 0.0;
        for (int j = first; j <= i; j++)
            out[e] += exp(p[j] - *lse) * (double)b->v[((from + j) * s->n_kv_head + kv) * d + e];
    }
}

static const struct {
    int n_head, n_kv_head, head_dim, n_seq, length[4], window;
} cases[] = {
    {1, 1, 8, 1, {1}, 0},           {8, 4, 8, 3, {20, 1, 33}, 0}, {4, 4, 16, 2, {16, 17}, 0},
    {6, 2, 20, 2, {7, 40}, 0},      {9, 3, 64, 2, {65, 12}, 0},   {2, 1, 4, 3, {5, 6, 70}, 0},
    {3, 1, 13, 2, {31, 32}, 0},     {8, 1, 32, 2, {18, 50}, 0},   {4, 2, 8, 2, {70, 9}, 1},
    {8, 2, 16, 3, {5, 90, 45}, 16}, {2, 1, 13, 2, {131, 20}, 19}, {3, 3, 8, 2, {65, 33}, 64},
    {1, 1, 20, 1, {200}, 40},       {2, 2, 4, 1, {30}, 30},
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static struct batch case_open(size_t i)
{
    struct batch b = batch_open(cases[i].n_head, cases[i].n_kv_head, cases[i].head_dim,
                                cases[i].length, cases[i].n_seq);
    b.s.window = cases[i].window;
    return b;
}

static void test_against_double(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_CASES; c++) {
        struct batch b = case_open(c);
        double out[64], lse;
        test_ops()->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
        for (int s = 0; s < b.n_seq; s++) {
            for (int i = b.start[s]; i < b.start[s + 1]; i++) {
                for (int h = 0; h < b.s.n_head; h++) {
                    reference_row(&b, b.start[s], i - b.start[s], h, out, &lse);
                    check_near((double)b.lse[i * b.s.n_head + h], lse, 1e-5, 1e-6);
                    check_array(b.out + (i * b.s.n_head + h) * b.s.head_dim, out,
                                (size_t)b.s.head_dim, 2e-6);
                }
            }
        }
        batch_close(&b);
    }
}

/* -- the cache -- */

static struct ap_kv_layer cache_open(const struct batch *b, int n_slot)
{
    int capacity = (b->longest + 15) / 16 * 16;
    size_t n = (size_t)n_slot * b->s.n_kv_head * b->s.head_dim * capacity;
    struct ap_kv_layer c = {zeros(n), zeros(n), b->s.n_kv_head, b->s.head_dim, capacity};
    for (size_t i = 0; i < n; i++) /* what an earlier sequence left must not matter */
        c.k[i] = c.v[i] = NAN;
    return c;
}

static void cache_close(struct ap_kv_layer *c)
{
    ap_free(c->k), ap_free(c->v);
}

/* All rows through the cache, at most `rows` positions of each sequence a call, sequences
 * interleaved. */
static void decode(const struct batch *b, struct ap_kv_layer *c, float *out, int rows)
{
    const struct ap_ops *ops = test_ops();
    int width = b->s.n_head * b->s.head_dim, kv_width = b->s.n_kv_head * b->s.head_dim;
    float *q = zeros((size_t)b->n_row * width), *y = zeros((size_t)b->n_row * width);
    float *k = zeros((size_t)b->n_row * kv_width), *v = zeros((size_t)b->n_row * kv_width);
    int32_t slot[512], pos[512], row[512];
    for (int t = 0; t < b->longest; t += rows) {
        int n = 0;
        for (int s = b->n_seq - 1; s >= 0; s--)
            for (int j = t; j < t + rows && b->start[s] + j < b->start[s + 1]; j++, n++) {
                slot[n] = s + 1;
                pos[n] = j;
                row[n] = b->start[s] + j;
            }
        ops->gather(q, b->q, row, n, width);
        ops->gather(k, b->k, row, n, kv_width);
        ops->gather(v, b->v, row, n, kv_width);
        ops->kv_store(c, k, v, slot, pos, n);
        ops->attention_cached(y, q, c, slot, pos, n, &b->s, b->scratch);
        for (int i = 0; i < n; i++)
            memcpy(out + (size_t)row[i] * width, y + (size_t)i * width,
                   (size_t)width * sizeof(float));
    }
    ap_free(q), ap_free(y), ap_free(k), ap_free(v);
}

static void test_cache_has_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct batch b = case_open(i);
        size_t n = (size_t)b.n_row * b.s.n_head * b.s.head_dim;
        float *out = zeros(n);
        test_ops()->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
        for (int rows = 1; rows < 80; rows = rows * 2 + 3) {
            struct ap_kv_layer c = cache_open(&b, b.n_seq + 1);
            decode(&b, &c, out, rows);
            check_same_bits(out, b.out, n);
            cache_close(&c);
        }
        ap_free(out);
        batch_close(&b);
    }
}

static void test_copy_of_a_slot(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    struct batch b = case_open(1);
    struct ap_kv_layer c = cache_open(&b, 5);
    int width = b.s.n_head * b.s.head_dim;
    float *out = zeros((size_t)b.n_row * width);
    decode(&b, &c, out, 7);
    ops->kv_copy(&c, 3, 0, 33);
    int32_t slot = 0, pos = 32;
    float *y = zeros((size_t)width);
    ops->attention_cached(y, b.q + (size_t)(b.n_row - 1) * width, &c, &slot, &pos, 1, &b.s,
                          b.scratch);
    check_same_bits(y, out + (size_t)(b.n_row - 1) * width, (size_t)width);
    ap_free(y), ap_free(out);
    cache_close(&c);
    batch_close(&b);
}

/* Neither what follows a row nor its neighbours nor the threads reach it. */
static void test_rows_are_exact(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    for (size_t i = 0; i < N_CASES; i++) {
        struct batch b = case_open(i);
        size_t width = (size_t)b.s.n_head * b.s.head_dim;
        float *alone = zeros((size_t)b.n_row * width), *lse = zeros((size_t)b.n_row * b.s.n_head);
        ap_threads_set(2);
        ops->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
        ap_threads_set(1);
        int last = b.n_seq - 1;
        for (int n = 1; n <= b.start[last + 1] - b.start[last]; n += 4) {
            size_t at = (size_t)b.start[last], kv_width = (size_t)b.s.n_kv_head * b.s.head_dim;
            int32_t start[2] = {0, n};
            ops->attention(alone, lse, b.q + at * width, b.k + at * kv_width, b.v + at * kv_width,
                           start, 1, &b.s, b.scratch);
            check_same_bits(alone, b.out + at * width, (size_t)n * width);
            check_same_bits(lse, b.lse + at * (size_t)b.s.n_head, (size_t)n * (size_t)b.s.n_head);
        }
        ap_threads_set(0);
        ap_free(alone), ap_free(lse);
        batch_close(&b);
    }
}

/* A window as long as the sequence is none at all, to the last bit. */
static void test_wide_window(void **state)
{
    (void)state;
    struct batch b = case_open(5);
    size_t n = (size_t)b.n_row * b.s.n_head * b.s.head_dim;
    float *windowed = zeros(n);
    test_ops()->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
    b.s.window = b.longest;
    test_ops()->attention(windowed, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
    check_same_bits(windowed, b.out, n);
    b.s.window = b.longest - 1;
    test_ops()->attention(windowed, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
    assert_memory_not_equal(windowed, b.out, n * sizeof(float));
    ap_free(windowed);
    batch_close(&b);
}

static void test_later_nan_stays_later(void **state)
{
    (void)state;
    struct batch b = case_open(2);
    size_t width = (size_t)b.s.n_head * b.s.head_dim;
    b.v[(size_t)14 * b.s.n_kv_head * b.s.head_dim] = NAN;
    b.k[(size_t)15 * b.s.n_kv_head * b.s.head_dim] = NAN;
    test_ops()->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
    for (size_t i = 0; i < 14 * width; i++)
        assert_true(isfinite(b.out[i]));
    assert_true(isnan(b.out[14 * width]));
    for (size_t i = 16 * width; i < (size_t)b.n_row * width; i++)
        assert_true(isfinite(b.out[i]));
    batch_close(&b);
}

/* -- backward -- */

/* Σ weight·out in double. */
static double objective(const struct batch *b, const float *weight)
{
    double sum = 0.0, out[64], lse;
    for (int s = 0; s < b->n_seq; s++)
        for (int i = b->start[s]; i < b->start[s + 1]; i++)
            for (int h = 0; h < b->s.n_head; h++) {
                reference_row(b, b->start[s], i - b->start[s], h, out, &lse);
                for (int e = 0; e < b->s.head_dim; e++)
                    sum += out[e] * (double)weight[(i * b->s.n_head + h) * b->s.head_dim + e];
            }
    return sum;
}

static void check_gradient(const struct batch *b, float *x, const float *dx, size_t n,
                           const float *weight)
{
    for (size_t i = 0; i < n; i += 1 + n / 9) {
        float keep = x[i];
        x[i] = keep + 0x1p-10f;
        double up = objective(b, weight), high = (double)x[i];
        x[i] = keep - 0x1p-10f;
        double down = objective(b, weight), low = (double)x[i];
        x[i] = keep;
        check_near((double)dx[i], (up - down) / (high - low), 2e-5, 2e-5);
    }
}

static void test_backward(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    for (size_t c = 0; c < N_CASES; c++) {
        struct batch b = case_open(c);
        size_t n = (size_t)b.n_row * b.s.n_head * b.s.head_dim;
        size_t n_kv = (size_t)b.n_row * b.s.n_kv_head * b.s.head_dim;
        float *dout = made_up(n, 9, 1), *dq = made_up(n, 7, 1), *dk = made_up(n_kv, 8, 1);
        float *dv = made_up(n_kv, 9, 1);
        ops->attention(b.out, b.lse, b.q, b.k, b.v, b.start, b.n_seq, &b.s, b.scratch);
        ops->attention_backward(dq, dk, dv, dout, b.q, b.k, b.v, b.out, b.lse, b.start, b.n_seq,
                                &b.s, b.scratch);
        check_gradient(&b, b.q, dq, n, dout);
        check_gradient(&b, b.k, dk, n_kv, dout);
        check_gradient(&b, b.v, dv, n_kv, dout);
        float *dq1 = zeros(n), *dk1 = zeros(n_kv), *dv1 = zeros(n_kv);
        ap_threads_set(1);
        ops->attention_backward(dq1, dk1, dv1, dout, b.q, b.k, b.v, b.out, b.lse, b.start, b.n_seq,
                                &b.s, b.scratch);
        ap_threads_set(0);
        check_same_bits(dq1, dq, n);
        check_same_bits(dk1, dk, n_kv);
        check_same_bits(dv1, dv, n_kv);
        ap_free(dout), ap_free(dq), ap_free(dk), ap_free(dv);
        ap_free(dq1), ap_free(dk1), ap_free(dv1);
        batch_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double), cmocka_unit_test(test_cache_has_the_same_bits),
        cmocka_unit_test(test_copy_of_a_slot), cmocka_unit_test(test_rows_are_exact),
        cmocka_unit_test(test_wide_window),    cmocka_unit_test(test_later_nan_stays_later),
        cmocka_unit_test(test_backward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
