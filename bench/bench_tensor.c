/* The products of the tensor layer against oneDNN and against the machine's own limit, and the
 * other operations by time, in one run. `bench_tensor [THREADS]` prints GFLOP/s, the best of
 * several repetitions. Not a test: nothing here decides. */
#include "base/memory.h"
#include "tensor/cpu/onednn.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Seconds. On one thread its own processor time, so that what else runs on the machine counts less.
 */
static double now(void)
{
    struct timespec t;
    clock_gettime(ap_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A timed piece of work: all that any of them needs. */
struct job {
    const struct ap_ops *ops;
    struct ap_packed *packed;
    struct ap_onednn *onednn;
    float *a, *b, *c, *d, *e, *f, *g, *scratch;
    int32_t *index, *start;
    int m, n, k;
    struct ap_attention_shape shape;
};

typedef void (*job_fn)(struct job *j);

/* Seconds of one call, the best of what fits into a third of a second. */
static double best_time(job_fn fn, struct job *j)
{
    double best = 1e9, end = now() + 0.33;
    int inner = 1;
    fn(j);
    for (double t = now(); now() < end; t = now()) {
        for (int i = 0; i < inner; i++)
            fn(j);
        double one = now() - t;
        best = one / inner < best ? one / inner : best;
        if (one < 1e-4)
            inner *= 2;
    }
    return best;
}

static float *numbers(size_t n)
{
    float *x = ap_calloc(n, sizeof(*x));
    if (!x) {
        fprintf(stderr, "bench_tensor: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-3f - 1.0f;
    return x;
}

/* -- the machine's limit -- */

#define CHAINS 12
#define STEPS 100000
#if defined(__AVX__)
typedef float wide __attribute__((vector_size(32)));
#else
typedef float wide __attribute__((vector_size(16)));
#endif

/* Independent chains of multiply-adds in registers, on every thread. */
static void multiply_add(struct job *j)
{
    int n = ap_threads();
#pragma omp parallel for schedule(static)
    for (int t = 0; t < n; t++) {
        wide acc[CHAINS], x = (wide){0} + j->a[0], y = (wide){0} + j->a[1];
        for (int i = 0; i < CHAINS; i++)
            acc[i] = (wide){0} + (float)i;
        for (int s = 0; s < STEPS; s++) {
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++)
                acc[i] = acc[i] * x + y;
            __asm__ volatile("" : "+x"(x)); /* keep the loop */
        }
        for (int i = 1; i < CHAINS; i++)
            acc[0] += acc[i];
        j->c[t * 64] = acc[0][0];
    }
}

static double peak_gflops(void)
{
    struct job j = {.a = numbers(2), .c = numbers((size_t)ap_threads() * 64)};
    double flop = 2.0 * CHAINS * STEPS * (double)(sizeof(wide) / sizeof(float)) * ap_threads();
    double rate = flop / best_time(multiply_add, &j) * 1e-9;
    ap_free(j.a), ap_free(j.c);
    return rate;
}

/* -- products -- */

static void own_forward(struct job *j)
{
    j->ops->linear(j->c, j->a, j->packed, j->m, false);
}

static void onednn_forward(struct job *j)
{
    ap_onednn_linear(j->c, j->a, j->onednn, j->m, false);
}

static void own_dx(struct job *j)
{
    j->ops->linear_dx(j->a, j->c, j->packed, j->m, false);
}

static void own_dw(struct job *j)
{
    j->ops->linear_dw(j->b, j->c, j->a, j->m, j->n, j->k);
}

static void product_row(const struct ap_ops *own, int m, int n, int k, double peak)
{
    struct job j = {.ops = own, .m = m, .n = n, .k = k};
    double flop = 2.0 * m * n * k * 1e-9;
    j.a = numbers((size_t)m * k);
    j.b = numbers((size_t)n * k);
    j.c = numbers((size_t)m * n);
    j.packed = own->pack_new(n, k, AP_F32);
    j.onednn = ap_onednn_new(n, k);
    if (!j.packed || !j.onednn)
        exit(1);
    own->pack(j.packed, j.b, AP_F32);
    ap_onednn_pack(j.onednn, j.b);
    double forward = flop / best_time(own_forward, &j), peer = flop / best_time(onednn_forward, &j);
    double dx = flop / best_time(own_dx, &j), dw = flop / best_time(own_dw, &j);
    printf("%5d x %4d x %4d   %7.1f  %7.1f   %7.1f  %7.1f   %5.0f%%\n", m, n, k, forward, peer, dx,
           dw, 100.0 * forward / peak);
    own->pack_free(j.packed);
    ap_onednn_free(j.onednn);
    ap_free(j.a), ap_free(j.b), ap_free(j.c);
}

static void products(const struct ap_ops *own)
{
    static const int big[][3] = {{2048, 128, 128}, {2048, 512, 128}, {2048, 344, 128},
                                 {2048, 128, 344}, {2048, 600, 128}, {512, 1536, 576},
                                 {512, 576, 1536}, {2048, 64, 64},   {2048, 8, 128}};
    static const int weights[][2] = {{128, 128}, {344, 128}, {512, 512}, {1536, 576}, {576, 1536}};
    static const int rows[] = {1, 8, 32};
    double peak = peak_gflops();
    printf("products, GFLOP/s, %s, %d threads; baseline vectors' peak %.0f\n", own->name,
           ap_threads(), peak);
    printf("    M x    N x    K      own   oneDNN      dx       dw   of peak\n");
    for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++)
        product_row(own, big[i][0], big[i][1], big[i][2], peak);
    for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++)
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
            product_row(own, rows[r], weights[i][0], weights[i][1], peak);
}

/* -- attention -- */

static void attention_forward(struct job *j)
{
    j->ops->attention(j->d, j->e, j->a, j->b, j->c, j->start, j->n, &j->shape, j->scratch);
}

/* Gradients over the same buffers: f, g and the tail of scratch. */
static void attention_backward(struct job *j)
{
    size_t kv = (size_t)j->m * j->shape.n_kv_head * j->shape.head_dim;
    j->ops->attention_backward(j->f, j->g, j->g + kv, j->a, j->a, j->b, j->c, j->d, j->e, j->start,
                               j->n, &j->shape, j->scratch);
}

static void attention_row(const struct ap_ops *ops, int n_seq, int length, int heads, int kv_heads,
                          int head_dim)
{
    struct job j = {.ops = ops, .m = n_seq * length, .n = n_seq};
    j.shape = (struct ap_attention_shape){heads, kv_heads, head_dim, 0.2f, 0};
    size_t q = (size_t)j.m * heads * head_dim, kv = (size_t)j.m * kv_heads * head_dim;
    j.a = numbers(q), j.b = numbers(kv), j.c = numbers(kv), j.d = numbers(q), j.f = numbers(q);
    j.e = numbers((size_t)j.m * heads), j.g = numbers(2 * kv);
    j.scratch = numbers(ops->attention_scratch(&j.shape, length, ap_threads()));
    j.start = ap_calloc((size_t)n_seq + 1, sizeof(*j.start));
    for (int i = 0; i <= n_seq; i++)
        j.start[i] = i * length;
    double pairs = 0.5 * n_seq * heads * (double)length * (length + 1);
    double forward = best_time(attention_forward, &j), back = best_time(attention_backward, &j);
    printf("%4d x %4d  %d/%d heads of %3d   %8.3f %7.1f   %8.3f %7.1f\n", n_seq, length, heads,
           kv_heads, head_dim, 1e3 * forward, 4e-9 * pairs * head_dim / forward, 1e3 * back,
           10e-9 * pairs * head_dim / back);
    ap_free(j.a), ap_free(j.b), ap_free(j.c), ap_free(j.d), ap_free(j.e), ap_free(j.f);
    ap_free(j.g), ap_free(j.scratch), ap_free(j.start);
}

static void attentions(const struct ap_ops *ops)
{
    printf(
        "attention: sequences x length, ms and GFLOP/s of what is not masked: forward, backward\n");
    attention_row(ops, 64, 20, 8, 4, 8);
    attention_row(ops, 64, 60, 8, 4, 8);
    attention_row(ops, 32, 60, 4, 4, 32);
    attention_row(ops, 32, 120, 4, 2, 32);
    attention_row(ops, 16, 120, 9, 3, 64);
    attention_row(ops, 4, 512, 8, 4, 8);
    attention_row(ops, 4, 512, 9, 3, 64);
}

/* -- the rest: each as it runs in a step of 2048 rows -- */

#define ROWS 2048
#define VOCABULARY 600

static void run_rmsnorm(struct job *j)
{
    j->ops->rmsnorm(j->c, j->d, j->a, j->b, ROWS, 128, 1e-5f);
}

static void run_rmsnorm_backward(struct job *j)
{
    j->ops->rmsnorm_backward(j->c, j->f, j->a, j->e, j->b, j->d, ROWS, 128);
}

static void run_rope(struct job *j)
{
    j->ops->rope(j->a, j->b, j->b, j->index, ROWS, 4, 32, 16, false);
}

static void run_swiglu(struct job *j)
{
    j->ops->swiglu(j->c, j->a, j->e, (size_t)ROWS * 344);
}

static void run_swiglu_backward(struct job *j)
{
    j->ops->swiglu_backward(j->c, j->f, j->g, j->a, j->e, (size_t)ROWS * 344);
}

static void run_logprob(struct job *j)
{
    j->ops->logprob(j->d, j->d + ROWS, j->d + 2 * ROWS, j->a, j->index, ROWS, VOCABULARY, 1.0f);
}

static void run_logprob_backward(struct job *j)
{
    j->ops->logprob_backward(j->c, j->d + 2 * ROWS, j->d + ROWS, j->index, j->d, j->d, ROWS,
                             VOCABULARY, 1.0f);
}

static void run_adamw(struct job *j)
{
    j->ops->adamw(j->c, j->a, j->f, j->g, (size_t)ROWS * 344, 1.0f, 1e-3, 0.9, 0.999, 1e-8, 0.01,
                  7);
}

static void run_sum_squares(struct job *j)
{
    j->d[0] = (float)j->ops->sum_squares(j->a, (size_t)ROWS * 344);
}

static void run_pack(struct job *j)
{
    j->ops->pack(j->packed, j->a, AP_F32);
}

static void others(const struct ap_ops *ops)
{
    static const struct {
        const char *name;
        job_fn fn;
    } rows[] = {
        {"rmsnorm 2048 x 128", run_rmsnorm},
        {"rmsnorm_backward 2048 x 128", run_rmsnorm_backward},
        {"rope 2048 x 4 x 32", run_rope},
        {"swiglu 2048 x 344", run_swiglu},
        {"swiglu_backward 2048 x 344", run_swiglu_backward},
        {"logprob 2048 x 600", run_logprob},
        {"logprob_backward 2048 x 600", run_logprob_backward},
        {"adamw 704k", run_adamw},
        {"sum_squares 704k", run_sum_squares},
        {"pack 576 x 1536", run_pack},
    };
    size_t n = (size_t)ROWS * VOCABULARY;
    struct job j = {.ops = ops, .packed = ops->pack_new(576, 1536, AP_F32)};
    j.a = numbers(n), j.b = numbers((size_t)ROWS * 64), j.c = numbers(n), j.d = numbers(3 * ROWS);
    j.e = numbers(n), j.f = numbers(n), j.g = numbers(n);
    j.index = ap_calloc(ROWS, sizeof(*j.index));
    for (int i = 0; i < ROWS; i++)
        j.index[i] = i % 512;
    printf("others, microseconds\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memset(j.g, 0, n * sizeof(float));
        printf("%-30s %9.1f\n", rows[i].name, 1e6 * best_time(rows[i].fn, &j));
    }
    ops->pack_free(j.packed);
    ap_free(j.a), ap_free(j.b), ap_free(j.c), ap_free(j.d), ap_free(j.e), ap_free(j.f);
    ap_free(j.g), ap_free(j.index);
}

int main(int argc, char **argv)
{
    const struct ap_ops *own;
    struct ap_error err = {0};
    if (ap_ops_cpu(&own, &err) != AP_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    ap_threads_set(argc > 1 ? atoi(argv[1]) : 0);
    products(own);
    attentions(own);
    others(own);
    return 0;
}
