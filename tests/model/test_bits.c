/* What must agree to the last bit: batches, their order, threads, prefill, decoding, an adapter
 * that does nothing; and what must not be allocated. */
#include "model/linear.h"
#include "tiny.h"

#define N_SEQ 4

static struct ap_tape *open_tape(const struct ap_config *c, enum ap_tape_kind kind)
{
    struct ap_error err;
    struct ap_tape *t;
    check_ok(ap_tape_open(&t, c, 128, 3, kind, &err), err);
    return t;
}

static void forward(struct ap_tape *t, const struct ap_role *role, const struct ap_rows *rows)
{
    struct ap_error err;
    check_ok(ap_forward(t, role, rows, &err), err);
}

static void check_same(const float *a, const float *b, int n_row, int width)
{
    assert_memory_equal(a, b, (size_t)n_row * (size_t)width * sizeof(float));
}

/* -- composition, order, threads -- */

static void test_batch(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    struct ap_role role = {w, a};
    struct tiny_rows all, turned;
    struct ap_tape *one = open_tape(&c, AP_TAPE_FORWARD), *many = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    tiny_fill(&all, &c, N_SEQ, 1);
    forward(many, &role, &all.rows);
    const float *want = ap_tape_hidden(many);
    turned.start[0] = 0;
    for (int s = 0; s < N_SEQ; s++) {
        int from = all.start[N_SEQ - 1 - s], n = all.start[N_SEQ - s] - from;
        struct ap_rows alone = {all.ids + from, (int32_t[]){0, n}, n, 1, NULL, NULL};
        forward(one, &role, &alone);
        check_same(ap_tape_hidden(one), want + from * c.width, n, c.width);
        memcpy(turned.ids + turned.start[s], all.ids + from, (size_t)n * sizeof(int32_t));
        turned.start[s + 1] = turned.start[s] + n;
    }
    turned.rows = (struct ap_rows){turned.ids, turned.start, all.rows.n_row, N_SEQ, NULL, NULL};
    forward(one, &role, &turned.rows);
    for (int s = 0; s < N_SEQ; s++)
        check_same(ap_tape_hidden(one) + turned.start[s] * c.width,
                   want + all.start[N_SEQ - 1 - s] * c.width, turned.start[s + 1] - turned.start[s],
                   c.width);
    ap_tape_close(one);
    ap_tape_close(many);
    ap_adapter_free(a);
    ap_weights_free(w);
}

/* Large enough that the threads are worth waking. */
static struct ap_config wide_config(void)
{
    struct ap_config c = tiny_config();
    c.width = 96;
    c.head_dim = 32;
    c.n_ffn = 260;
    c.n_vocab = 3001;
    return c;
}

static void fill_gradients(struct ap_tape *t, struct ap_role *role, const struct tiny_rows *r,
                           float *logp, float *entropy)
{
    static int32_t row[128];
    static float dlogp[128], dentropy[128];
    int n = r->rows.n_row;
    for (int i = 0; i < n; i++) {
        row[i] = i;
        dlogp[i] = (float)(i % 5) - 2;
        dentropy[i] = 0.1f * (float)(i % 3);
    }
    ap_params_zero_grad(&role->weights->table);
    if (role->adapter)
        ap_params_zero_grad(&role->adapter->table);
    forward(t, role, &r->rows);
    ap_logp_forward(t, role, row, r->ids, n, 0.8, logp, entropy);
    ap_logp_backward(t, role, row, r->ids, n, 0.8, dlogp, dentropy);
    ap_backward(t, role);
}

static uint64_t table_hash(const struct ap_param_table *t)
{
    uint64_t hash = 0;
    for (int i = 0; i < t->n; i++)
        hash = hash * 31 + ap_hash(t->rows[i].grad, t->rows[i].n * sizeof(float));
    return hash;
}

static void test_threads(void **state)
{
    struct ap_error err;
    struct ap_config c = wide_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    struct ap_role role = {w, a};
    struct tiny_rows r;
    float logp[2][128], entropy[2][128];
    uint64_t hash[2][2];
    int before = ap_threads_set(4);
    struct ap_tape *t = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    check_ok(ap_weights_set_trainable(w, &err), err);
    check_ok(ap_adapter_set_trainable(a, &err), err);
    tiny_fill(&r, &c, N_SEQ, 1);
    for (int k = 0; k < 2; k++) {
        ap_threads_set(k ? 4 : 1);
        fill_gradients(t, &role, &r, logp[k], entropy[k]);
        hash[k][0] = table_hash(&w->table);
        hash[k][1] = table_hash(&a->table);
    }
    check_same(logp[0], logp[1], r.rows.n_row, 1);
    check_same(entropy[0], entropy[1], r.rows.n_row, 1);
    assert_memory_equal(hash[0], hash[1], sizeof(hash[0]));
    ap_threads_set(64);
    assert_int_equal(ap_forward(t, &role, &r.rows, &err), AP_INVALID);
    check_holds(err.text, "threads");
    ap_threads_set(before);
    ap_tape_close(t);
    ap_adapter_free(a);
    ap_weights_free(w);
}

/* -- decoding -- */

static void decode(struct ap_kv *kv, const struct ap_role *role, const int32_t *ids, int slot,
                   int from, int n)
{
    struct ap_error err;
    int32_t slots[128], pos[128];
    for (int i = 0; i < n; i++) {
        slots[i] = slot;
        pos[i] = from + i;
    }
    check_ok(ap_decode(kv, role, ids + from, slots, pos, n, &err), err);
}

/* log-probabilities from a decode's last row against the training forward's. */
static void check_decoded(struct ap_kv *kv, const struct ap_role *role, int n_row, int32_t target,
                          float want)
{
    static float logits[4096];
    float logp, lse;
    ap_decode_logits(kv, role, (int32_t[]){n_row - 1}, 1, logits);
    role->weights->ops->logprob(&logp, NULL, &lse, logits, &target, 1,
                                role->weights->config.n_vocab, 0.7f);
    check_same(&logp, &want, 1, 1);
}

static void check_decoding(struct ap_config c, bool adapted)
{
    struct ap_error err;
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    struct ap_role role = {w, adapted ? a : NULL};
    struct tiny_rows r;
    struct ap_tape *t = open_tape(&c, AP_TAPE_FORWARD);
    struct ap_kv *kv;
    int32_t row[128];
    float logp[128];
    tiny_fill(&r, &c, N_SEQ, 9);
    check_ok(ap_kv_open(&kv, &c, 3, 40, 20, 3, &err), err);
    forward(t, &role, &r.rows);
    for (int i = 0; i < r.rows.n_row; i++)
        row[i] = i;
    ap_logp_forward(t, &role, row, r.ids, r.rows.n_row, 0.7, logp, NULL);
    for (int s = 1; s < N_SEQ; s++) {
        const int32_t *ids = r.ids + r.start[s];
        const float *want = logp + r.start[s];
        int n = r.start[s + 1] - r.start[s], half = n / 2;
        decode(kv, &role, ids, 0, 0, n); /* all at once */
        check_decoded(kv, &role, n, ids[n - 1], want[n - 1]);
        decode(kv, &role, ids, 1, 0, half); /* half, then one by one in a copied slot */
        check_decoded(kv, &role, half, ids[half - 1], want[half - 1]);
        ap_kv_copy(kv, 1, 2, half);
        for (int i = half; i < n; i++) {
            decode(kv, &role, ids, 2, i, 1);
            check_decoded(kv, &role, 1, ids[i], want[i]);
        }
    }
    ap_kv_close(kv);
    ap_tape_close(t);
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void test_decode(void **state)
{
    (void)state;
    check_decoding(tiny_config(), false);
    check_decoding(tiny_config(), true);
    check_decoding(wide_config(), true);
    check_decoding(tiny_phi3_config(), false);
    check_decoding(tiny_phi3_config(), true);
}

/* Rows of several slots in one call, in any order of slots. */
static void test_decode_mixed(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_role role = {w, NULL};
    struct ap_kv *kv;
    const int32_t ids[] = {5, 6, 7, 8}, slot[] = {1, 0, 1, 0}, pos[] = {0, 0, 1, 1};
    float mixed[2 * 41], alone[41];
    (void)state;
    check_ok(ap_kv_open(&kv, &c, 2, 16, 8, 0, &err), err);
    check_ok(ap_decode(kv, &role, ids, slot, pos, 4, &err), err);
    ap_decode_logits(kv, &role, (int32_t[]){2, 3}, 2, mixed);
    for (int s = 0; s < 2; s++) {
        const int32_t own[] = {s ? 6 : 5, s ? 8 : 7};
        decode(kv, &role, own, 0, 0, 2);
        ap_decode_logits(kv, &role, (int32_t[]){1}, 1, alone);
        check_same(mixed + s * c.n_vocab, alone, 1, c.n_vocab);
    }
    ap_kv_close(kv);
    ap_weights_free(w);
}

/* -- adapters that do nothing -- */

static void test_adapter_off(void **state)
{
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *zero = tiny_adapter(w, false, false), *on = tiny_adapter(w, false, true);
    struct ap_role base = {w, NULL}, off = {w, zero}, adapted = {w, on};
    struct tiny_rows r;
    struct ap_tape *t = open_tape(&c, AP_TAPE_FORWARD), *u = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    tiny_fill(&r, &c, N_SEQ, 2);
    forward(t, &base, &r.rows);
    forward(u, &off, &r.rows);
    check_same(ap_tape_hidden(t), ap_tape_hidden(u), r.rows.n_row, c.width);
    forward(u, &adapted, &r.rows);
    assert_memory_not_equal(ap_tape_hidden(t), ap_tape_hidden(u), (size_t)c.width * sizeof(float));
    ap_tape_close(t);
    ap_tape_close(u);
    ap_adapter_free(zero);
    ap_adapter_free(on);
    ap_weights_free(w);
}

/* -- fused weights -- */

/* Rows of a fused module's tensors are those of the modules that other families have, one after
 * another: B by parts, A the same for all. */
static void fuse(struct ap_param *fused, const struct ap_param *parts[], int n, bool shared)
{
    float *at = fused->own;
    for (int k = 0; k < n; k++) {
        memcpy(at, parts[k]->data, parts[k]->n * sizeof(float));
        at += shared ? 0 : parts[k]->n;
    }
    assert_int_equal((size_t)(at - fused->own) + (shared ? fused->n : 0), fused->n);
}

static void fuse_module(const struct ap_role *to, const struct ap_role *from, int layer, int first,
                        int n)
{
    const struct ap_param *w[3], *bias[3], *a[3], *b[3];
    struct ap_linear m = ap_linear_view(to, layer, first);
    for (int k = 0; k < n; k++) {
        struct ap_linear one = ap_linear_view(from, layer, first + k);
        w[k] = one.w;
        bias[k] = one.bias;
        b[k] = one.lora_b;
        a[k] = ap_linear_view(from, layer, first).lora_a;
        memcpy(one.lora_a->own, a[k]->data, a[k]->n * sizeof(float));
    }
    fuse((struct ap_param *)m.w, w, n, false);
    fuse((struct ap_param *)m.bias, bias, n, false);
    fuse((struct ap_param *)m.lora_b, b, n, false);
    fuse((struct ap_param *)m.lora_a, a, n, true);
}

static void copy_same_names(struct ap_param_table *to, const struct ap_param_table *from)
{
    for (int i = 0; i < to->n; i++) {
        struct ap_param *p = ap_params_find(from, to->rows[i].name);
        if (p)
            memcpy(to->rows[i].own, p->data, p->n * sizeof(float));
    }
}

/* Whether a layer's maps are kept apart or fused changes no bit. */
static void test_fused(void **state)
{
    struct ap_config c = tiny_config(), f = tiny_config();
    f.fused = true;
    struct ap_weights *w = tiny_weights(&c), *fused = tiny_weights(&f);
    struct ap_adapter *a = tiny_adapter(w, false, true), *b = tiny_adapter(fused, false, true);
    struct ap_role apart = {w, a}, together = {fused, b};
    struct ap_tape *t = open_tape(&c, AP_TAPE_FORWARD), *u = open_tape(&f, AP_TAPE_FORWARD);
    struct tiny_rows r;
    (void)state;
    copy_same_names(&fused->table, &w->table);
    copy_same_names(&b->table, &a->table);
    for (int l = 0; l < c.n_layer; l++) {
        fuse_module(&together, &apart, l, AP_MAP_Q, 3);
        fuse_module(&together, &apart, l, AP_MAP_GATE, 2);
    }
    ap_params_repack(w->ops, &a->table);
    ap_params_repack(w->ops, &fused->table);
    ap_params_repack(w->ops, &b->table);
    tiny_fill(&r, &c, N_SEQ, 2);
    forward(t, &apart, &r.rows);
    forward(u, &together, &r.rows);
    check_same(ap_tape_hidden(t), ap_tape_hidden(u), r.rows.n_row, c.width);
    ap_tape_close(t);
    ap_tape_close(u);
    ap_adapter_free(a);
    ap_adapter_free(b);
    ap_weights_free(w);
    ap_weights_free(fused);
}

/* -- accumulation, frozen weights, memory -- */

static void test_frozen_base(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    struct ap_role role = {w, a};
    struct tiny_rows r;
    float logp[128], entropy[128];
    struct ap_tape *t = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    tiny_fill(&r, &c, N_SEQ, 4);
    check_ok(ap_adapter_set_trainable(a, &err), err);
    fill_gradients(t, &role, &r, logp, entropy);
    uint64_t frozen = table_hash(&a->table);
    assert_null(w->table.rows[0].grad);
    check_ok(ap_weights_set_trainable(w, &err), err);
    fill_gradients(t, &role, &r, logp, entropy);
    assert_true(table_hash(&a->table) == frozen);
    assert_true(w->table.rows[w->embed].grad[r.ids[0] * c.width] != 0);
    w->trainable = false; /* a role that shares a trained base may leave it alone */
    fill_gradients(t, &role, &r, logp, entropy);
    for (int i = 0; i < w->table.n; i++)
        for (size_t k = 0; k < w->table.rows[i].n; k++)
            assert_true(w->table.rows[i].grad[k] == 0);
    ap_tape_close(t);
    ap_adapter_free(a);
    ap_weights_free(w);
}

/* -- checkpointing -- */

static void check_checkpoint(bool whole)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    c.n_layer = 3;
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    struct ap_role role = {w, a};
    struct tiny_rows r;
    float logp[2][128], entropy[2][128];
    uint64_t hash[2][2] = {{0}};
    struct ap_tape *t[2] = {open_tape(&c, AP_TAPE_BACKWARD), open_tape(&c, AP_TAPE_CHECKPOINT)};
    tiny_fill(&r, &c, N_SEQ, 1);
    check_ok(ap_adapter_set_trainable(a, &err), err);
    if (whole)
        check_ok(ap_weights_set_trainable(w, &err), err);
    for (int k = 0; k < 2; k++) {
        fill_gradients(t[k], &role, &r, logp[k], entropy[k]);
        hash[k][0] = table_hash(&a->table);
        hash[k][1] = whole ? table_hash(&w->table) : 0;
        ap_tape_close(t[k]);
    }
    check_same(logp[0], logp[1], r.rows.n_row, 1);
    assert_memory_equal(hash[0], hash[1], sizeof(hash[0]));
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void test_checkpoint(void **state)
{
    (void)state;
    check_checkpoint(false);
    check_checkpoint(true);
}

/* A layer more costs its input alone; an arena is whole pages. */
static void test_checkpoint_memory(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    size_t bytes[2][2];
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int deep = 0; deep < 2; deep++) {
            c.n_layer = deep ? 40 : 8;
            check_ok(ap_tape_bytes(&bytes[k][deep], &c, 512, 0,
                                   k ? AP_TAPE_CHECKPOINT : AP_TAPE_BACKWARD, &err),
                     err);
        }
    size_t layer = (bytes[0][1] - bytes[0][0]) / 32, kept = (bytes[1][1] - bytes[1][0]) / 32;
    size_t input = 512 * (size_t)c.width * sizeof(float);
    assert_true(kept >= input && kept < input + 512);
    assert_true(layer > 5 * kept);
    assert_true(bytes[1][0] < bytes[0][0]);
}

static void test_steps_allocate_nothing(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, true, true);
    struct ap_role role = {w, a};
    struct tiny_rows r;
    struct ap_kv *kv;
    float logp[128], entropy[128], value[2], logits[2 * 41];
    struct ap_tape *t = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    tiny_fill(&r, &c, N_SEQ, 4);
    check_ok(ap_weights_set_trainable(w, &err), err);
    check_ok(ap_adapter_set_trainable(a, &err), err);
    check_ok(ap_kv_open(&kv, &c, 2, 32, 8, 3, &err), err);
    uint64_t before = ap_memory_n_allocations();
    fill_gradients(t, &role, &r, logp, entropy);
    ap_scalar_forward(t, &role, (int32_t[]){0, 3}, 2, value);
    ap_scalar_backward(t, &role, (int32_t[]){0, 3}, 2, value);
    ap_backward(t, &role);
    decode(kv, &role, r.ids, 0, 0, 8);
    ap_decode_logits(kv, &role, (int32_t[]){0, 7}, 2, logits);
    ap_kv_copy(kv, 0, 1, 8);
    assert_true(ap_memory_n_allocations() == before);
    ap_kv_close(kv);
    ap_tape_close(t);
    ap_adapter_free(a);
    ap_weights_free(w);
}

/* A vocabulary so large that the head works in blocks of few rows. */
static void test_blocks_of_logits(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    c.n_vocab = 300001;
    c.width = 8;
    struct ap_weights *w = tiny_weights(&c);
    struct ap_role role = {w, NULL};
    struct tiny_rows r;
    int32_t row[128];
    float all[128], one[128], entropy[128], dlogp[128];
    struct ap_tape *t = open_tape(&c, AP_TAPE_BACKWARD);
    (void)state;
    tiny_fill(&r, &c, 3, 4);
    check_ok(ap_weights_set_trainable(w, &err), err);
    forward(t, &role, &r.rows);
    for (int i = 0; i < r.rows.n_row; i++) {
        row[i] = i;
        dlogp[i] = 1;
    }
    ap_logp_forward(t, &role, row, r.ids, r.rows.n_row, 1, all, entropy);
    for (int i = 0; i < r.rows.n_row; i++)
        ap_logp_forward(t, &role, row + i, r.ids + i, 1, 1, one + i, NULL);
    check_same(all, one, r.rows.n_row, 1);
    /* over a token's column the gradients of logits sum to zero, so those of an untied head do */
    ap_logp_backward(t, &role, row, r.ids, r.rows.n_row, 1, dlogp, NULL);
    const float *dw = w->table.rows[w->head].grad;
    for (int k = 0; k < c.width; k++) {
        double sum = 0, size = 0;
        for (int v = 0; v < c.n_vocab; v++) {
            sum += dw[(size_t)v * (size_t)c.width + (size_t)k];
            size += fabs((double)dw[(size_t)v * (size_t)c.width + (size_t)k]);
        }
        assert_true(size > 0);
        check_near(sum, 0, 1e-4 * size, 0);
    }
    ap_tape_close(t);
    ap_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_checkpoint_memory),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_mixed),
        cmocka_unit_test(test_adapter_off),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_frozen_base),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_blocks_of_logits),
    };
    int failed = cmocka_run_group_tests_name("f32", tests, NULL, NULL);
    tiny_dtype = AP_BF16;
    return failed + cmocka_run_group_tests_name("bf16", tests, NULL, NULL);
}
