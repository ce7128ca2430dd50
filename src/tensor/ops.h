/* THE table of operations. A backend (cpu/ today) fills it; everything above the tensor layer
 * computes through it. All tensors are dense, row-major f32 unless said; M rows are tokens of a
 * packed batch (sequences one after another, no padding). `+=` marks what accumulates.
 *
 * Exactness on the CPU, relied on above: a row of an output depends only on that row's inputs and
 * the weights (not on M, the other rows, their order or the number of threads), and each element is
 * reduced in one fixed order. So a batch of one, a batch of a hundred, prefill, decode and the
 * training forward give the same bits. Reductions over rows (weight gradients) have a fixed order
 * too.
 *
 * Letters as in docs/notation.md: M rows, N outputs, K inputs, C width, H heads, D head width, V
 * vocabulary. */
#ifndef AP_TENSOR_OPS_H
#define AP_TENSOR_OPS_H

#include "base/error.h"
#include "tensor/dtype.h"

/* A weight [N, K] laid out for its products; filled once for a frozen weight, again after every
 * update of a trained one. It is all that a product needs: what it was filled from may go.
 *
 * Its type is that of the forward product's operands. AP_F32: fused multiply-adds over k. AP_BF16:
 * weights and inputs are rounded to nearest-even bf16, products are summed in f32 in an order that
 * belongs to the processor, and with avx512_bf16 subnormal operands and sums count as zero; a
 * row's bits still depend on that row and the weight alone. Gradients are f32 products in both,
 * with the rounded weight as the operand. */
struct ap_packed;

/* A cache of keys and values of one layer: values v[slot][kv head][capacity][D]; keys
 * k[slot][kv head][capacity/16][D][16], sixteen positions side by side. Both
 * n_slot·n_kv_head·D·capacity floats; positions never stored may hold anything. capacity is a
 * multiple of 16. */
struct ap_kv_layer {
    float *k, *v;
    int n_kv_head, head_dim, capacity;
};

struct ap_attention_shape {
    int n_head, n_kv_head, head_dim; /* n_head is a multiple of n_kv_head */
    float scale;                     /* of the scores, before softmax */
    int window; /* how many positions a row attends to, its own the last of them; 0: all */
};

/* What dropout zeroes: column k of row i goes by sixteen bits, the k%8-th, of Philox4x32-10 with
 * this key at the counter {k/8, pos[i], record[i] xor mix}. */
struct ap_mask {
    uint32_t key[2];
    uint64_t mix;
    const uint64_t *record; /* [n_row] */
    const int32_t *pos;     /* [n_row] */
    uint32_t drop;          /* of 65536; below that */
    float scale;            /* of what stays */
};

/* One caller at a time: operations bring their own threads. None but pack_new allocates through our
 * allocator (oneDNN may, of its own, in linear). */
struct ap_ops {
    const char *name; /* "cpu avx2", "cpu avx512" … */

    /* -- linear: y[M,N] = x[M,K] w[N,K]ᵀ -- */
    /* dtype: AP_F32 or AP_BF16. NULL: out of memory. */
    struct ap_packed *(*pack_new)(int n_out, int n_in, ap_dtype dtype);
    /* Bytes of memory that it takes. */
    size_t (*pack_bytes)(int n_out, int n_in, ap_dtype dtype);
    /* Fill from row-major w[N,K] of type `stored` (AP_F32, AP_F16, AP_BF16), at any address. */
    void (*pack)(struct ap_packed *p, const void *w, ap_dtype stored);
    void (*pack_free)(struct ap_packed *p); /* NULL is fine */
    void (*linear)(float *y, const float *x, const struct ap_packed *w, int n_row, bool accumulate);
    /* dx[M,K] (+)= dy[M,N] w[N,K]: chains of fused multiply-adds over n */
    void (*linear_dx)(float *dx, const float *dy, const struct ap_packed *w, int n_row,
                      bool accumulate);
    /* dw[N,K] += dy[M,N]ᵀ x[M,K] */
    void (*linear_dw)(float *dw, const float *dy, const float *x, int n_row, int n_out, int n_in);
    void (*bias)(float *y, const float *b, int n_row, int n_out);      /* y += b per row */
    void (*bias_db)(float *db, const float *dy, int n_row, int n_out); /* db += Σ rows */

    /* -- rows -- */
    /* y[i] = row ids[i] of a table [V,C]: row-major of type `stored`, at any address; or packed */
    void (*embed)(float *y, const void *table, ap_dtype stored, const int32_t *ids, int n_row,
                  int width);
    void (*embed_packed)(float *y, const struct ap_packed *table, const int32_t *ids, int n_row);
    void (*embed_backward)(float *dtable, const float *dy, const int32_t *ids, int n_row,
                           int width); /* += */
    void (*gather)(float *y, const float *x, const int32_t *row, int n,
                   int width); /* y[i] = x[row[i]] */
    void (*scatter_add)(float *x, const float *y, const int32_t *row, int n,
                        int width); /* x[row[i]] += y[i], rows distinct or in order */
    /* y = x·rstd·w, rstd[M] saved for backward (may be NULL) */
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w, int n_row, int width,
                    float eps);
    /* dx +=; dw += (NULL: skip) */
    void (*rmsnorm_backward)(float *dx, float *dw, const float *dy, const float *x, const float *w,
                             const float *rstd, int n_row, int width);
    /* In place on x[M, H·D]: rotates the first 2·n_freq of each head's D by pos, pairs (i, i +
     * n_freq) as in Hugging Face. cos_table, sin_table [positions, n_freq]. inverse: the backward
     * pass. */
    void (*rope)(float *x, const float *cos_table, const float *sin_table, const int32_t *pos,
                 int n_row, int n_head, int head_dim, int n_freq, bool inverse);
    /* h = silu(gate)·up */
    void (*swiglu)(float *h, const float *gate, const float *up, size_t n);
    /* dgate =, dup =; dh may alias neither */
    void (*swiglu_backward)(float *dgate, float *dup, const float *dh, const float *gate,
                            const float *up, size_t n);

    /* -- causal attention over packed sequences: start[n_seq+1] row offsets; q, out [M,H·D]; k, v
     * [M,Hkv·D]; lse[M,H] saved. -- */
    /* Floats of scratch for all three calls below. longest: the longest sequence, or the cache's
     * capacity, that will come; n_thread: the most that ap_threads() will say. */
    size_t (*attention_scratch)(const struct ap_attention_shape *s, int longest, int n_thread);
    void (*attention)(float *out, float *lse, const float *q, const float *k, const float *v,
                      const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                      float *scratch);
    /* dq =, dk =, dv = */
    void (*attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *q,
                               const float *k, const float *v, const float *out, const float *lse,
                               const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                               float *scratch);
    /* Put k, v [M,Hkv·D] of rows at (slot, pos) into the cache. */
    void (*kv_store)(struct ap_kv_layer *cache, const float *k, const float *v, const int32_t *slot,
                     const int32_t *pos, int n_row);
    /* Row i attends to cached positions up to pos[i] of slot[i]; the same bits as `attention`. */
    void (*attention_cached)(float *out, const float *q, const struct ap_kv_layer *cache,
                             const int32_t *slot, const int32_t *pos, int n_row,
                             const struct ap_attention_shape *s, float *scratch);
    /* Copy positions 0 … n−1 of a slot to another slot. */
    void (*kv_copy)(struct ap_kv_layer *cache, int from, int to, int n);

    /* -- the vocabulary, on logits[M,V]; p = softmax(logits / temperature) -- */
    /* logp[i] = log p(target[i]); entropy (NULL: skip) in nats; lse[i] =
     * logsumexp(logits/temperature) */
    void (*logprob)(float *logp, float *entropy, float *lse, const float *logits,
                    const int32_t *target, int n_row, int n_vocab, float temperature);
    /* logits ← d L/d logits, given dlogp[M] and dentropy[M] (NULL: none) */
    void (*logprob_backward)(float *logits, const float *lse, const float *entropy,
                             const int32_t *target, const float *dlogp, const float *dentropy,
                             int n_row, int n_vocab, float temperature);

    /* y (+)= x, an element zero with probability drop/65536, else times scale. y = x is fine. */
    void (*dropout)(float *y, const float *x, const struct ap_mask *mask, int n_row, int width,
                    bool accumulate);

    /* -- flat arrays -- */
    void (*add)(float *y, const float *x, size_t n); /* y += x */
    void (*scale)(float *x, float a, size_t n);      /* x *= a */
    double (*sum_squares)(const float *x, size_t n); /* fixed order; NaN and Inf come through */
    /* AdamW (Loshchilov & Hutter), torch's order of operations: w ← w(1 − lr·decay) −
     * lr·m̂/(√v̂ + eps). g is multiplied by g_scale first (clipping). step counts from 1. */
    void (*adamw)(float *w, const float *g, float *m, float *v, size_t n, float g_scale, double lr,
                  double beta1, double beta2, double eps, double decay, int64_t step);
};

/* The CPU's table, chosen once by what the processor has; constant. AP_UNSUPPORTED on x86-64
 * without AVX2 and FMA. ALIGNPRO_MATMUL=onednn in the environment has oneDNN do the forward
 * products in f32, beside which ours are measured; a row's bits may then depend on the others. */
ap_status ap_ops_cpu(const struct ap_ops **out, struct ap_error *err);

/* Threads that operations use from now on (OpenMP); 0: as many as there are processors. Returns the
 * number. */
int ap_threads_set(int n);
int ap_threads(void);

#endif
