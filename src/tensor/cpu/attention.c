/* Causal attention, forward: over packed sequences, and over a cache of keys and values. Both go
 * through attend(), so the training forward and decoding give the same bits: a score is one chain
 * over the head's width, the sum of probabilities has sixteen lanes, an output is one chain over
 * positions, and positions past a row's own never enter. Those before a row's window have
 * probability zero; whole panels of them are left out, which changes no bit. Not here: backward
 * (attention_backward.c). Entry points: the ap_cpu_* functions below, in cpu.h. */
#include "tensor/cpu/attention.h"

#include "tensor/cpu/cpu.h"
#include "tensor/cpu/vmath.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#define TILE AP_STAIR_ROWS /* query rows that share what they read of keys and values */

size_t ap_cpu_attention_scratch(const struct ap_attention_shape *s, int longest, int n_thread)
{
    return ap_attention_room_floats(s, ap_attention_pitch(longest)) * (size_t)n_thread;
}

void ap_attention_panels(float *out, const float *x, size_t row, int n, int head_dim)
{
    for (int j0 = 0; j0 < n; j0 += AP_PANEL, out += (size_t)head_dim * AP_PANEL) {
        int some = n - j0 < AP_PANEL ? n - j0 : AP_PANEL;
        for (int j = 0; j < AP_PANEL; j++)
            for (int d = 0; d < head_dim; d++)
                out[d * AP_PANEL + j] = j < some ? x[(size_t)(j0 + j) * row + (size_t)d] : 0.0f;
    }
}

/* x := exp(x − most) over n vectors that are some of the sixteen lanes, in order; adds them to the
 * lanes' sums. */
AP_INLINE void exp_step(float *x, float most, ap_vf sum[AP_LANE_VECS], const int n)
{
    ap_vf e[4];
    AP_EACH(v, n) e[v] = ap_vload(x + v * AP_VEC_N) - most;
    ap_vexp_each(e, n);
    AP_EACH(v, n) ap_vstore(x + v * AP_VEC_N, e[v]);
    AP_EACH(v, n) sum[v % AP_LANE_VECS] += e[v];
}

/* s := scale·s, and −Inf past n up to whole panels, in registers: scalar stores here would stall
 * the loads that follow. Returns the largest. */
static float scale_row(float *s, int n, float scale)
{
    static const int32_t index[AP_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ap_vf top[AP_LANE_VECS], x;
    int i = 0, left = n % AP_LANES;
    AP_EACH(v, AP_LANE_VECS) top[v] = ap_vsplat(-INFINITY);
    for (; i + AP_LANES <= n; i += AP_LANES) {
        AP_EACH(v, AP_LANE_VECS)
        {
            x = ap_vload(s + i + v * AP_VEC_N) * scale;
            ap_vstore(s + i + v * AP_VEC_N, x);
            top[v] = ap_vmax(x, top[v]);
        }
    }
    if (left) {
        AP_EACH(v, AP_LANE_VECS)
        {
            ap_vi here = *(const ap_vi_any *)(index + v * AP_VEC_N) < left;
            x = ap_vload(s + i + v * AP_VEC_N) * scale;
            x = ap_vselect(here, x, ap_vsplat(-INFINITY));
            ap_vstore(s + i + v * AP_VEC_N, x);
            top[v] = ap_vmax(x, top[v]);
        }
    }
    return ap_lanes_max(top);
}

/* s := e^(s − most); returns Σ. */
static float exp_row(float *s, int padded, float most)
{
    const int wide = 4 * AP_VEC_N;
    ap_vf sum[AP_LANE_VECS] = {{0}};
    int j = 0;
    for (; j + wide <= padded; j += wide)
        exp_step(s + j, most, sum, 4);
    for (; j < padded; j += AP_LANES)
        exp_step(s + j, most, sum, AP_LANE_VECS);
    return ap_lanes_sum(sum);
}

static void scale_output(float *out, float a, int n)
{
    int i = 0;
    for (; i + AP_VEC_N <= n; i += AP_VEC_N)
        ap_vstore(out + i, ap_vload(out + i) * a);
    for (; i < n; i++)
        out[i] *= a;
}

/* Query rows that read the same keys and values. Row r sees n + step·r positions, of them those in
 * its window. */
struct queries {
    float *out, *lse; /* lse may be NULL */
    const float *q;
    size_t row, lse_row; /* between rows of q and out; of lse */
    int n_row, n, step;  /* step 0 or 1 */
};

/* What all rows of a tile may leave out: whole panels before the first one's window. */
static int skipped(const struct queries *a, const struct ap_attention_shape *s)
{
    return ap_attention_first(s, a->n) / AP_PANEL * AP_PANEL;
}

/* Scores before the rows' windows, of those that were computed from position `base` on. */
static void hide_front(const struct queries *a, const struct ap_attention_shape *s, int base,
                       float *p, size_t pitch)
{
    for (int r = 0; r < a->n_row; r++)
        for (int j = ap_attention_first(s, base + a->n + a->step * r) - base; j > 0; j--)
            p[(size_t)r * pitch + (size_t)j - 1] = -INFINITY;
}

/* kt: keys as panels of sixteen positions; v: rows v_row apart; p: [TILE, pitch]. */
static void attend(const struct queries *all, const float *kt, const float *v, size_t v_row,
                   const struct ap_attention_shape *s, float *p, size_t pitch)
{
    float most[TILE], total[TILE];
    struct queries tile = *all, *a = &tile;
    int base = skipped(a, s), head_dim = s->head_dim;
    kt += (size_t)base * (size_t)head_dim;
    v += (size_t)base * v_row;
    a->n -= base;
    int longest = a->n + a->step * (a->n_row - 1);
    ap_block_product(p, pitch, a->q, a->row, 1, kt, AP_PANEL, (size_t)head_dim * AP_PANEL, a->n_row,
                     ap_attention_padded(longest), head_dim, false);
    if (s->window)
        hide_front(a, s, base, p, pitch);
    for (int r = 0; r < a->n_row; r++)
        most[r] = scale_row(p + (size_t)r * pitch, a->n + a->step * r, s->scale);
    for (int r = 0; r < a->n_row; r++)
        total[r] = exp_row(p + (size_t)r * pitch, ap_attention_padded(a->n + a->step * r), most[r]);
    for (int r = 0; a->lse && r < a->n_row; r++)
        a->lse[(size_t)r * a->lse_row] = most[r] + logf(total[r]);
    if (a->step)
        ap_stair_product(a->out, a->row, p, pitch, v, v_row, a->n_row, head_dim, a->n);
    else
        ap_block_product(a->out, a->row, p, pitch, 1, v, v_row, AP_PANEL, a->n_row, head_dim, a->n,
                         false);
    for (int r = 0; r < a->n_row; r++)
        scale_output(a->out + (size_t)r * a->row, 1.0f / total[r], head_dim);
}

/* -- packed sequences -- */

struct packed_rows {
    float *out, *lse;
    const float *q, *k, *v;
    const struct ap_attention_shape *s;
};

/* The query heads of one key head over one sequence: rows from, … to − 1. */
static void attend_sequence(const struct packed_rows *a, int from, int to, int kv_head,
                            const struct ap_attention_room *room)
{
    const struct ap_attention_shape *s = a->s;
    size_t d = s->head_dim, q_row = d * s->n_head, kv_row = d * s->n_kv_head;
    size_t kv_at = (size_t)from * kv_row + d * kv_head;
    int group = s->n_head / s->n_kv_head;
    ap_attention_panels(room->kt, a->k + kv_at, kv_row, to - from, s->head_dim);
    for (int h = kv_head * group; h < (kv_head + 1) * group; h++) {
        for (int i = from; i < to; i += TILE) {
            size_t at = (size_t)i * q_row + (size_t)h * d;
            struct queries tile = {
                .out = a->out + at,
                .lse = a->lse ? a->lse + (size_t)i * s->n_head + h : NULL,
                .q = a->q + at,
                .row = q_row,
                .lse_row = s->n_head,
                .n_row = to - i < TILE ? to - i : TILE,
                .n = i - from + 1,
                .step = 1,
            };
            attend(&tile, room->kt, a->v + kv_at, kv_row, s, room->p, room->pitch);
        }
    }
}

void ap_cpu_attention(float *out, float *lse, const float *q, const float *k, const float *v,
                      const int32_t *start, int n_seq, const struct ap_attention_shape *s,
                      float *scratch)
{
    const struct packed_rows a = {out, lse, q, k, v, s};
    int longest = ap_attention_longest(start, n_seq), n_task = n_seq * s->n_kv_head;
    size_t pitch = ap_attention_pitch(longest);
    bool parallel = ap_attention_worth_threads(s, start[n_seq] - start[0], longest);
    assert(s->scale > 0.0f);
#pragma omp parallel for schedule(dynamic) if (parallel)
    for (int task = 0; task < n_task; task++) {
        struct ap_attention_room room =
            ap_attention_room_of(s, pitch, scratch, omp_get_thread_num());
        int seq = task / s->n_kv_head;
        attend_sequence(&a, start[seq], start[seq + 1], task % s->n_kv_head, &room);
    }
}

/* -- the cache -- */

/* Where a slot's keys, and as far its values, of one head begin. */
static size_t head_at(const struct ap_kv_layer *c, int slot, int head)
{
    return ((size_t)slot * c->n_kv_head + head) * (size_t)c->head_dim * c->capacity;
}

/* A position's first key element; the others follow AP_PANEL apart. */
static size_t key_at(const struct ap_kv_layer *c, int pos)
{
    return (size_t)(pos / AP_PANEL) * c->head_dim * AP_PANEL + (size_t)(pos % AP_PANEL);
}

static void store_head(struct ap_kv_layer *c, const float *k, const float *v, int slot, int pos,
                       int head)
{
    size_t base = head_at(c, slot, head), d = c->head_dim;
    float *to = c->k + base + key_at(c, pos);
    for (size_t i = 0; i < d; i++)
        to[i * AP_PANEL] = k[i];
    memcpy(c->v + base + (size_t)pos * d, v, d * sizeof(float));
}

void ap_cpu_kv_store(struct ap_kv_layer *cache, const float *k, const float *v, const int32_t *slot,
                     const int32_t *pos, int n_row)
{
    size_t d = cache->head_dim, row = d * cache->n_kv_head;
    for (int i = 0; i < n_row; i++) {
        assert(pos[i] >= 0 && pos[i] < cache->capacity);
        for (int h = 0; h < cache->n_kv_head; h++)
            store_head(cache, k + (size_t)i * row + (size_t)h * d,
                       v + (size_t)i * row + (size_t)h * d, slot[i], pos[i], h);
    }
}

void ap_cpu_kv_copy(struct ap_kv_layer *cache, int from, int to, int n)
{
    size_t d = cache->head_dim, whole = (size_t)n / AP_PANEL * AP_PANEL, rest = (size_t)n - whole;
    assert(n >= 0 && n <= cache->capacity);
    if (from == to)
        return;
    for (int h = 0; h < cache->n_kv_head; h++) {
        size_t a = head_at(cache, from, h), b = head_at(cache, to, h);
        memcpy(cache->k + b, cache->k + a, whole * d * sizeof(float));
        for (size_t i = 0; i < d && rest; i++) /* only its own columns of the last panel */
            memcpy(cache->k + b + (whole * d) + i * AP_PANEL,
                   cache->k + a + (whole * d) + i * AP_PANEL, rest * sizeof(float));
        memcpy(cache->v + b, cache->v + a, (size_t)n * d * sizeof(float));
    }
}

/* Rows of one slot at ascending positions (a prefill) are taken TILE at a time: how many from row
 * i; 0 when an earlier row's tile has it. */
static int tile_rows(const int32_t *slot, const int32_t *pos, int n_row, int i)
{
    int n = 1;
    if (i > 0 && slot[i] == slot[i - 1] && pos[i] == pos[i - 1] + 1 && pos[i] % TILE != 0)
        return 0;
    while (i + n < n_row && slot[i + n] == slot[i] && pos[i + n] == pos[i] + n &&
           pos[i + n] % TILE != 0)
        n++;
    return n;
}

struct cached_rows {
    float *out;
    const float *q;
    const struct ap_kv_layer *cache;
    const struct ap_attention_shape *s;
};

/* A tile of rows, or one row: then the heads that share a key head are the tile's rows. */
static void attend_cached(const struct cached_rows *a, int row, int n_row, int slot, int pos,
                          int kv_head, float *p, size_t pitch)
{
    const struct ap_attention_shape *s = a->s;
    const struct ap_kv_layer *c = a->cache;
    size_t d = s->head_dim, base = head_at(c, slot, kv_head);
    int group = s->n_head / s->n_kv_head, first = kv_head * group;
    int heads = n_row > 1 ? 1 : TILE;
    for (int h = first; h < first + group; h += heads) {
        size_t at = ((size_t)row * s->n_head + h) * d;
        int left = first + group - h;
        struct queries tile = {
            .out = a->out + at,
            .q = a->q + at,
            .row = n_row > 1 ? d * s->n_head : d,
            .n_row = n_row > 1     ? n_row
                     : left < TILE ? left
                                   : TILE,
            .n = pos + 1,
            .step = n_row > 1,
        };
        attend(&tile, c->k + base, c->v + base, d, s, p, pitch);
    }
}

void ap_cpu_attention_cached(float *out, const float *q, const struct ap_kv_layer *cache,
                             const int32_t *slot, const int32_t *pos, int n_row,
                             const struct ap_attention_shape *s, float *scratch)
{
    const struct cached_rows a = {out, q, cache, s};
    int n_task = n_row * s->n_kv_head, longest = 0;
    size_t pitch = ap_attention_pitch(cache->capacity);
    assert(cache->capacity % AP_PANEL == 0 && cache->n_kv_head == s->n_kv_head &&
           cache->head_dim == s->head_dim);
    for (int i = 0; i < n_row; i++) {
        assert(pos[i] >= 0 && pos[i] < cache->capacity);
        longest = pos[i] + 1 > longest ? pos[i] + 1 : longest;
    }
    bool parallel = ap_attention_worth_threads(s, n_row, longest);
#pragma omp parallel for schedule(dynamic) if (parallel)
    for (int task = 0; task < n_task; task++) {
        int i = task / s->n_kv_head, n = tile_rows(slot, pos, n_row, i);
        if (n == 0)
            continue;
        struct ap_attention_room room =
            ap_attention_room_of(s, pitch, scratch, omp_get_thread_num());
        attend_cached(&a, i, n, slot[i], pos[i], task % s->n_kv_head, room.p, pitch);
    }
}
