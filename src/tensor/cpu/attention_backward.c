/* Causal attention, backward, over packed sequences: the probabilities are computed again from lse,
 * a block of query rows at a time (as in FlashAttention, Dao et al. 2022). With s = scale·q·k, p =
 * exp(s − lse), δ = dout·out: dv_j = Σ_i p_ij dout_i      ds_ij = scale·p_ij (dout_i·v_j − δ_i)
 * dq_i = Σ_j ds_ij k_j      dk_j = Σ_i ds_ij q_i; p and ds are zero outside a row's window. Entry
 * point: ap_cpu_attention_backward, in cpu.h.
 */
#include "tensor/cpu/attention.h"

#include "tensor/cpu/cpu.h"
#include "tensor/cpu/vmath.h"

#include <omp.h>
#include <string.h>

#define TILE 6

/* One head's view of a sequence: first elements, and the distance between rows. */
struct head {
    float *dq, *dk, *dv;
    const float *dout, *q, *k, *out, *lse;
    size_t q_row, kv_row, lse_row;
    const struct ap_attention_shape *shape;
};

static float dot(const float *a, const float *b, int n)
{
    ap_vf lanes[AP_LANE_VECS] = {{0}};
    for (int i = 0, v = 0; i < n; i += AP_VEC_N, v = (v + 1) % AP_LANE_VECS) {
        if (i + AP_VEC_N <= n)
            lanes[v] += ap_vload(a + i) * ap_vload(b + i);
        else
            lanes[v] += ap_vload_part(a + i, (size_t)(n - i), 0.0f) *
                        ap_vload_part(b + i, (size_t)(n - i), 0.0f);
    }
    return ap_lanes_sum(lanes);
}

/* n vectors of a row: p = q·k becomes e^(scale·p − lse), ds = dout·v becomes scale·p·(ds − δ). */
AP_INLINE void gradient_step(float *p, float *ds, float scale, float lse, float delta, const int n)
{
    ap_vf e[4], g[4];
    AP_EACH(v, n) e[v] = ap_vload(p + v * AP_VEC_N) * scale - lse;
    ap_vexp_each(e, n);
    AP_EACH(v, n) g[v] = ap_vload(ds + v * AP_VEC_N) - delta;
    AP_EACH(v, n) g[v] = g[v] * e[v];
    AP_EACH(v, n) ap_vstore(p + v * AP_VEC_N, e[v]);
    AP_EACH(v, n) ap_vstore(ds + v * AP_VEC_N, g[v] * scale);
}

/* Of positions first … n − 1 that the row sees; the others, up to `padded`, become zero in both. */
static void row_gradient(float *p, float *ds, int first, int n, int padded, float scale, float lse,
                         float delta)
{
    const int wide = 4 * AP_VEC_N;
    int seen = ap_attention_padded(n), j = 0;
    for (; j + wide <= seen; j += wide)
        gradient_step(p + j, ds + j, scale, lse, delta, 4);
    for (; j < seen; j += AP_LANES)
        gradient_step(p + j, ds + j, scale, lse, delta, AP_LANE_VECS);
    for (j = 0; j < first; j++)
        p[j] = ds[j] = 0.0f;
    for (j = n; j < padded; j++)
        p[j] = ds[j] = 0.0f;
}

/* c_j += Σ_r a[r, j] b_r over rows r of the block that see position j. t0: the block's first row.
 */
static void add_columns(float *c, size_t c_row, const float *a, size_t pitch, const float *b,
                        size_t b_row, int t0, int n_row, int head_dim)
{
    if (t0 > 0)
        ap_block_product(c, c_row, a, 1, pitch, b, b_row, AP_PANEL, t0, head_dim, n_row, true);
    for (int r = 0; r < n_row; r += TILE) {
        int n = n_row - r < TILE ? n_row - r : TILE, j = t0 + r;
        ap_block_product(c + (size_t)j * c_row, c_row, a + (size_t)r * pitch + j, 1, pitch,
                         b + (size_t)r * b_row, b_row, AP_PANEL, n, head_dim, n_row - r, true);
    }
}

/* Rows row0, … of the sequence. Positions count from `base`: whole panels before all windows of the
 * block are left out. */
static void backward_block(const struct head *a, const struct ap_attention_room *room, int row0,
                           int n_row)
{
    const struct ap_attention_shape *s = a->shape;
    int base = ap_attention_first(s, row0 + 1) / AP_PANEL * AP_PANEL, t0 = row0 - base;
    int padded = ap_attention_padded(t0 + n_row), d = s->head_dim;
    size_t pitch = room->pitch, at = (size_t)row0 * a->q_row, kv = (size_t)base * a->kv_row;
    size_t panel = (size_t)d * AP_PANEL, front = (size_t)base * (size_t)d;
    const float *q = a->q + at, *dout = a->dout + at, *out = a->out + at;
    ap_block_product(room->p, pitch, q, a->q_row, 1, room->kt + front, AP_PANEL, panel, n_row,
                     padded, d, false);
    ap_block_product(room->ds, pitch, dout, a->q_row, 1, room->vt + front, AP_PANEL, panel, n_row,
                     padded, d, false);
    for (int r = 0; r < n_row; r++) {
        size_t row = (size_t)r * a->q_row;
        row_gradient(room->p + (size_t)r * pitch, room->ds + (size_t)r * pitch,
                     ap_attention_first(s, row0 + r + 1) - base, t0 + r + 1, padded, s->scale,
                     a->lse[(size_t)(row0 + r) * a->lse_row], dot(dout + row, out + row, d));
    }
    for (int r = 0; r < n_row; r += TILE) {
        int n = n_row - r < TILE ? n_row - r : TILE;
        ap_block_product(a->dq + at + (size_t)r * a->q_row, a->q_row, room->ds + (size_t)r * pitch,
                         pitch, 1, a->k + kv, a->kv_row, AP_PANEL, n, d, t0 + r + n, false);
    }
    add_columns(a->dv + kv, a->kv_row, room->p, pitch, dout, a->q_row, t0, n_row, d);
    add_columns(a->dk + kv, a->kv_row, room->ds, pitch, q, a->q_row, t0, n_row, d);
}

static void backward_head(const struct head *a, const struct ap_attention_room *room, int n)
{
    for (int t = 0; t < n; t += AP_QUERY_BLOCK)
        backward_block(a, room, t, n - t < AP_QUERY_BLOCK ? n - t : AP_QUERY_BLOCK);
}

void ap_cpu_attention_backward(float *dq, float *dk, float *dv, const float *dout, const float *q,
                               const float *k, const float *v, const float *out, const float *lse,
                               const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                               float *scratch)
{
    int longest = ap_attention_longest(start, n_seq), n_task = n_seq * s->n_kv_head;
    int group = s->n_head / s->n_kv_head;
    size_t pitch = ap_attention_pitch(longest), d = s->head_dim;
    size_t q_row = d * s->n_head, kv_row = d * s->n_kv_head;
    bool parallel = ap_attention_worth_threads(s, start[n_seq] - start[0], longest);
#pragma omp parallel for schedule(dynamic) if (parallel)
    for (int task = 0; task < n_task; task++) {
        struct ap_attention_room room =
            ap_attention_room_of(s, pitch, scratch, omp_get_thread_num());
        int from = start[task / s->n_kv_head], n = start[task / s->n_kv_head + 1] - from;
        int kv_head = task % s->n_kv_head;
        size_t kv = (size_t)from * kv_row + d * kv_head;
        ap_attention_panels(room.kt, k + kv, kv_row, n, s->head_dim);
        ap_attention_panels(room.vt, v + kv, kv_row, n, s->head_dim);
        for (int i = 0; i < n; i++) {
            memset(dk + kv + (size_t)i * kv_row, 0, d * sizeof(float));
            memset(dv + kv + (size_t)i * kv_row, 0, d * sizeof(float));
        }
        for (int h = kv_head * group; h < (kv_head + 1) * group; h++) {
            size_t at = (size_t)from * q_row + d * h;
            struct head head = {
                .dq = dq + at,
                .dk = dk + kv,
                .dv = dv + kv,
                .dout = dout + at,
                .q = q + at,
                .k = k + kv,
                .out = out + at,
                .lse = lse + (size_t)from * s->n_head + h,
                .q_row = q_row,
                .kv_row = kv_row,
                .lse_row = s->n_head,
                .shape = s,
            };
            backward_head(&head, &room, n);
        }
    }
}
