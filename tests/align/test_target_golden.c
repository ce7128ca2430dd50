/* What trains the target on examples against the reference cases, losses and every gradient: the
 * passes of dpo.c, math.md (20), and of ift.c, (21), on a model's own. Skipped where the reference
 * folder is absent. */
#include "align/loss.h"
#include "model/golden.h"

static int n_case;

/* Σ logp of a sequence's labelled tokens against the case's list. */
static double sequence_logp(const struct labelled *l, const struct golden *g, int seq,
                            const char *key)
{
    const json_t *list = json_object_get(json_object_get(g->json, "dpo"), key);
    double sum = 0;
    for (int i = 0; i < l->n; i++)
        sum += l->seq[i] == seq ? l->logp[i] : 0;
    check_near(sum, json_number_value(json_array_get(list, (size_t)seq)), 0, 2e-6);
    return sum;
}

/* Chosen row 0, rejected row 1; the reference is the model without its adapter. */
static void case_dpo(struct golden *g)
{
    static struct labelled l;
    struct ap_error err;
    double chosen, rejected, chosen_ref, rejected_ref, dchosen, drejected;
    if (!json_object_get(g->json, "dpo"))
        return;
    n_case++;
    struct bench b = bench_open(g, "", "adapter");
    struct ap_role role = b.role;
    check_ok(ap_adapter_set_trainable(b.adapter, &err), err);
    labelled_find(&l, g, 0, 1);
    b.role.adapter = NULL;
    labelled_forward(&l, &b, g);
    chosen_ref = sequence_logp(&l, g, 0, "reference_logp");
    rejected_ref = sequence_logp(&l, g, 1, "reference_logp");
    b.role = role;
    labelled_forward(&l, &b, g);
    chosen = sequence_logp(&l, g, 0, "policy_logp");
    rejected = sequence_logp(&l, g, 1, "policy_logp");
    const struct ap_dpo_pairs pair = {&chosen, &rejected, &chosen_ref, &rejected_ref};
    const struct ap_dpo_weights weights = {.beta = golden_number(g, "dpo", "beta")};
    double loss = ap_loss_dpo(&pair, 1, 1, 1, &weights, &dchosen, &drejected);
    check_near(loss, golden_number(g, "dpo", "loss"), 1e-6, 1e-5);
    for (int i = 0; i < l.n; i++)
        l.dlogp[i] = (float)(l.seq[i] == 0 ? dchosen : drejected);
    labelled_backward(&l, &b);
    golden_check_table(g, "dpo.lora.grad.", &b.adapter->table);
    bench_close(&b);
}

static void test_dpo(void **state)
{
    (void)state;
    n_case = 0;
    golden_each(case_dpo);
    if (n_case == 0)
        skip();
}

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
    n_case = 0;
    golden_each(case_ift);
    if (n_case == 0)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dpo), cmocka_unit_test(test_ift)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
