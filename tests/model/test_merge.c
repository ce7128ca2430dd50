/* Merged weights: what they compute is what the base computes with its adapter; what is written of
 * them reads back. */
#include "base/scratch.h"
#include "model/merge.h"
#include "model/param.h"
#include "tiny.h"

/* Log-probabilities of each token but a sequence's first, or the scores of a classifier. */
static int compute(struct ap_weights *w, struct ap_adapter *a, float out[128])
{
    struct ap_error err;
    struct ap_tape *tape;
    struct ap_role role = {w, a};
    struct tiny_rows t;
    int32_t row[128], target[128];
    float entropy[128];
    int n = 0;
    bool scalar = w->score >= 0 || (a && a->score >= 0);
    tiny_fill(&t, &w->config, 4, 9);
    for (int s = 0; s < 4; s++)
        for (int r = t.start[s]; r + 1 < t.start[s + 1]; r++) {
            row[n] = r;
            target[n++] = t.ids[r + 1];
        }
    check_ok(ap_tape_open(&tape, &w->config, t.rows.n_row, a ? a->rank : 0, AP_TAPE_FORWARD, &err),
             err);
    check_ok(ap_forward(tape, &role, &t.rows, &err), err);
    if (scalar)
        ap_scalar_forward(tape, &role, row, n, out);
    else
        ap_logp_forward(tape, &role, row, target, n, 1, out, entropy);
    ap_tape_close(tape);
    return n;
}

/* Saved as a folder and loaded again. */
static struct ap_weights *save_and_load(void **state, const struct ap_weights *w,
                                        const struct ap_adapter *a, ap_dtype dtype)
{
    struct ap_error err;
    struct ap_merged m;
    struct ap_weights *loaded;
    check_ok(ap_merged_open(&m, w, a, NULL, &err), err);
    check_ok(ap_merged_save(&m, *state, dtype, &err), err);
    ap_merged_close(&m);
    check_ok(ap_weights_load(&loaded, *state, w->context, AP_F32, &err), err);
    return loaded;
}

static void check_same(void **state, struct ap_weights *w, struct ap_adapter *a)
{
    float want[128], got[128], plain[128];
    struct ap_weights *merged = save_and_load(state, w, a, AP_F32);
    int n = compute(w, a, want);
    double moved = 0;
    assert_int_equal(compute(merged, NULL, got), n);
    if (a->score < 0 && w->score < 0)
        compute(w, NULL, plain);
    for (int i = 0; i < n; i++) {
        check_near(got[i], want[i], 2e-5, 2e-5);
        moved += a->score < 0 && w->score < 0 ? fabs((double)plain[i] - want[i]) : 1;
    }
    assert_true(moved > 1e-2 * n); /* the adapter matters */
    ap_weights_free(merged);
}

static void test_computes_the_same(void **state)
{
    struct ap_config c[] = {tiny_config(), tiny_phi3_config(), tiny_config()};
    c[1].sliding[0] = 3; /* its files know windows in all layers only */
    c[2].tied = true;
    for (size_t i = 0; i < AP_LEN(c); i++)
        for (int head = 0; head < 2; head++) {
            struct ap_weights *w = tiny_weights(&c[i]);
            struct ap_adapter *a = tiny_adapter(w, head, true);
            check_same(state, w, a);
            ap_adapter_free(a);
            ap_weights_free(w);
        }
}

static void test_classifier(void **state)
{
    struct ap_config c = tiny_config();
    c.n_label = 1;
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true), *own = tiny_adapter(w, true, true);
    check_same(state, w, a);
    check_same(state, w, own);
    ap_adapter_free(a);
    ap_adapter_free(own);
    ap_weights_free(w);
}

/* B = 0, or no adapter: the base's own numbers; halves are written as they were. */
static void test_nothing_to_add(void **state)
{
    struct ap_error err;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, false);
    for (int with = 0; with < 2; with++) {
        struct ap_weights *merged = save_and_load(state, w, with ? a : NULL, AP_F32);
        assert_int_equal(merged->table.n, w->table.n);
        for (int i = 0; i < w->table.n; i++) {
            check_ok(ap_param_own(&merged->table.rows[i], &err), err);
            for (size_t k = 0; k < w->table.rows[i].n; k++)
                assert_true(merged->table.rows[i].own[k] == w->table.rows[i].own[k]);
        }
        ap_weights_free(merged);
    }
    ap_adapter_free(a);
    for (ap_dtype dtype = AP_F16; dtype <= AP_BF16; dtype++) {
        struct ap_weights *once = save_and_load(state, w, NULL, dtype), *opened, *twice;
        check_ok(ap_weights_open(&opened, *state, &err), err);
        ap_weights_free(once);
        twice = save_and_load(state, opened, NULL, dtype);
        for (int i = 0; i < opened->table.n; i++) {
            struct ap_param *p = &twice->table.rows[i], *q = &opened->table.rows[i];
            assert_true(p->n_dim == 1 || p->dtype == dtype);
            check_ok(ap_param_own(p, &err), err);
            check_ok(ap_param_own(q, &err), err);
            assert_memory_equal(p->own, q->own, p->n * sizeof(float));
        }
        ap_weights_free(twice);
        ap_weights_free(opened);
    }
    ap_weights_free(w);
}

/* A range of rows is the same as all of them, and heads in GGML's order are the same rows. */
static void test_rows(void **state)
{
    static const int order[] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
    struct ap_error err;
    struct ap_merged m;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    struct ap_adapter *a = tiny_adapter(w, false, true);
    float whole[24 * 16], part[5 * 16];
    (void)state;
    check_ok(ap_merged_open(&m, w, a, NULL, &err), err);
    int row = w->layers[1].map[AP_MAP_Q].weight;
    assert_true(w->table.rows[row].shape[0] == 24 && w->table.rows[row].shape[1] == 16);
    check_ok(ap_merged_read(&m, row, 0, 24, whole, &err), err);
    check_ok(ap_merged_read(&m, row, 7, 5, part, &err), err);
    assert_memory_equal(part, whole + 7 * 16, sizeof(part));
    for (int i = 0; i < 12; i++)
        assert_int_equal(ap_unpaired_row(i, 6), order[i]);
    ap_merged_close(&m);
    ap_adapter_free(a);
    ap_weights_free(w);
}

static void test_refused(void **state)
{
    struct ap_error err;
    struct ap_merged m;
    struct ap_config c = tiny_config();
    struct ap_weights *w = tiny_weights(&c);
    volatile sig_atomic_t stop = 1;
    struct ap_sink sink = {.stop = &stop};
    char *path = scratch_path(state, "model.safetensors");
    w->table.rows[w->head].own[77] = 1e5f;
    check_ok(ap_merged_open(&m, w, NULL, NULL, &err), err);
    assert_int_equal(ap_merged_save(&m, *state, AP_F16, &err), AP_NUMERIC);
    check_holds(err.text, "lm_head.weight: holds a number that is too large for F16");
    assert_false(ap_file_exists(path));
    check_ok(ap_merged_save(&m, *state, AP_BF16, &err), err);
    check_ok(ap_dir_remove(path, &err), err);
    ap_merged_close(&m);
    check_ok(ap_merged_open(&m, w, NULL, &sink, &err), err);
    assert_int_equal(ap_merged_save(&m, *state, AP_F32, &err), AP_INTERRUPTED);
    assert_false(ap_file_exists(path));
    ap_merged_close(&m);
    ap_weights_free(w);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_computes_the_same, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_classifier, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_add, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_rows),
        cmocka_unit_test_setup_teardown(test_refused, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
