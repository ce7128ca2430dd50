/* The CPU's operations as functions, one family a file; contracts in tensor/ops.h. Only table.c
 * reads all of it. */
#ifndef AP_TENSOR_CPU_CPU_H
#define AP_TENSOR_CPU_CPU_H

#include "tensor/ops.h"

/* norm.c */
void ap_cpu_rmsnorm(float *y, float *rstd, const float *x, const float *w, int n_row, int width,
                    float eps);
void ap_cpu_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                             const float *rstd, int n_row, int width);
void ap_cpu_bias(float *y, const float *b, int n_row, int n_out);
void ap_cpu_bias_db(float *db, const float *dy, int n_row, int n_out);
/* embed.c */
void ap_cpu_embed(float *y, const void *table, ap_dtype stored, const int32_t *ids, int n_row,
                  int width);
void ap_cpu_embed_backward(float *dtable, const float *dy, const int32_t *ids, int n_row,
                           int width);
void ap_cpu_gather(float *y, const float *x, const int32_t *row, int n, int width);
void ap_cpu_scatter_add(float *x, const float *y, const int32_t *row, int n, int width);
/* rope.c */
void ap_cpu_rope(float *x, const float *cos_table, const float *sin_table, const int32_t *pos,
                 int n_row, int n_head, int head_dim, int n_freq, bool inverse);
/* swiglu.c */
void ap_cpu_swiglu(float *h, const float *gate, const float *up, size_t n);
void ap_cpu_swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate,
                            const float *up, size_t n);
/* attention.c */
size_t ap_cpu_attention_scratch(const struct ap_attention_shape *s, int longest, int n_thread);
void ap_cpu_attention(float *out, float *lse, const float *q, const float *k, const float *v,
                      const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                      float *scratch);
void ap_cpu_kv_store(struct ap_kv_layer *cache, const float *k, const float *v, const int32_t *slot,
                     const int32_t *pos, int n_row);
void ap_cpu_attention_cached(float *out, const float *q, const struct ap_kv_layer *cache,
                             const int32_t *slot, const int32_t *pos, int n_row,
                             const struct ap_attention_shape *s, float *scratch);
void ap_cpu_kv_copy(struct ap_kv_layer *cache, int from, int to, int n);
/* attention_backward.c */
void ap_cpu_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *q,
                               const float *k, const float *v, const float *out, const float *lse,
                               const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                               float *scratch);
/* vocabulary.c */
void ap_cpu_logprob(float *logp, float *entropy, float *lse, const float *logits,
                    const int32_t *target, int n_row, int n_vocab, float temperature);
void ap_cpu_logprob_backward(float *logits, const float *lse, const float *entropy,
                             const int32_t *target, const float *dlogp, const float *dentropy,
                             int n_row, int n_vocab, float temperature);
/* dropout.c */
void ap_cpu_dropout(float *y, const float *x, const struct ap_mask *m, int n_row, int width,
                    bool accumulate);
/* flat.c */
void ap_cpu_add(float *y, const float *x, size_t n);
void ap_cpu_scale(float *x, float a, size_t n);
double ap_cpu_sum_squares(const float *x, size_t n);
/* adamw.c */
void ap_cpu_adamw(float *w, const float *g, float *m, float *v, size_t n, float g_scale, double lr,
                  double beta1, double beta2, double eps, double decay, int64_t step);

#endif
