/* Intuitive fine-tuning against the reference cases, losses and every gradient, math.md (21): the
 * passes of ift.c on a model's own. Skipped where the reference folder is absent. */
#include "align/loss.h"
#include "model/golden.h"

static int n_case;

/* math.md (21). The first pass's guesses take part in the second's inputs; the frozen copy is the
 * model as it stands. */
static void case_ift(struct golden *g)
{
    static struct labelled l;
    static int32_t best[GOLDEN_ROWS], guess[GOLDEN_ROWS];
    struct ap_error err;
    double loss = 0;
    if (!json_object_get(g->json, "ift"))
        return;
    n_case++;
    struct bench b = bench_open(g, "", NULL);
    check_ok(ap_weights_set_trainable(b.w, &err), err);
    labelled_find(&l, g, 0, g->n_seq - 1);
    labelled_forward(&l, &b, g);
    ap_greedy_forward(b.tape, &b.role, l.row, l.n, best);
    assert_in_range(g->n_row, 1, GOLDEN_ROWS);
    for (int i = 0; i < g->n_row; i++)
        guess[i] = -1;
    for (int i = 0; i < l.n; i++)
        guess[l.row[i] + 1] = best[i];
    struct ap_mix mix = {guess, b.w, (float)golden_number(g, "ift", "eta")};
    struct ap_rows rows = golden_rows(g);
    rows.mix = &mix;
    check_ok(ap_forward(b.tape, &b.role, &rows, &err), err);
    ap_logp_forward(b.tape, &b.role, l.row, l.target, l.n, 1, l.logp, NULL);
    for (int s = 0, i = 0; s < g->n_seq; s++) {
        double logp[GOLDEN_ROWS], dlogp[GOLDEN_ROWS];
        int n = 0;
        for (; i + n < l.n && l.row[i + n] < g->start[s + 1]; n++)
            logp[n] = l.logp[i + n];
        double row = ap_loss_ift(logp, n, golden_number(g, "ift", "decay"), g->n_seq, dlogp);
        const json_t *want = json_object_get(json_object_get(g->json, "ift"), "loss_per_row");
        check_near(row * g->n_seq, json_number_value(json_array_get(want, (size_t)s)), 0, 1e-6);
        loss += row;
        for (int t = 0; t < n; t++)
            l.dlogp[i++] = (float)dlogp[t];
    }
    check_near(loss, golden_number(g, "ift", "loss"), 0, 1e-6);
    labelled_backward(&l, &b);
    golden_check_table(g, "ift.grad.", &b.w->table);
    printf("    ift\n");
    bench_close(&b);
}

static void test_ift(void **state)
{
    (void)state;
    golden_each(case_ift);
    if (n_case == 0)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ift)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
