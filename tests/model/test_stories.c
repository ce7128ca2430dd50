/* A real trained model, stories260K: log-probabilities of real stories, the gradient of every
 * tensor, the first logits of llama2.c's own test. */
#include "golden.h"

#define DIR_ "models/stories260K-hf"
#define N_STORY 40
#define STORY_MAX 256

struct stories {
    struct golden g; /* of the expected files; ids are packed below */
    struct bench b;
    int32_t ids[N_STORY * STORY_MAX], start[N_STORY + 1];
    int n_row;
};

static void pack_story(struct stories *s, const json_t *ids, int row, size_t most)
{
    size_t n = json_array_size(ids);
    assert_true(n > 1 && n <= STORY_MAX);
    s->start[row] = s->n_row;
    for (size_t t = 0; t < n && t < most; t++)
        s->ids[s->n_row++] = (int32_t)json_integer_value(json_array_get(ids, t));
    s->start[row + 1] = s->n_row;
}

static struct stories *stories_open(int first, int n, size_t most)
{
    static struct stories s;
    struct ap_error err;
    const char *model = check_data(DIR_), *expected = check_golden("stories260K/expected.json");
    const char *tensors = check_golden("stories260K/expected.safetensors");
    if (!model || !expected || !tensors)
        skip();
    s = (struct stories){0};
    check_ok(ap_json_load(expected, 1 << 22, &s.g.json, &err), err);
    check_ok(ap_safetensors_open(&s.g.f, tensors, &err), err);
    check_ok(ap_weights_load(&s.b.w, model, 0, AP_F32, &err), err);
    snprintf(s.g.name, sizeof(s.g.name), "stories260K");
    s.b.role.weights = s.b.w;
    const json_t *rows = json_object_get(s.g.json, "rows");
    assert_int_equal(json_array_size(rows), N_STORY);
    for (int i = 0; i < n; i++)
        pack_story(&s, json_object_get(json_array_get(rows, (size_t)(first + i)), "ids"), i, most);
    check_ok(ap_tape_open(&s.b.tape, &s.b.w->config, s.n_row, 0, AP_TAPE_BACKWARD, &err), err);
    struct ap_rows packed = {s.ids, s.start, s.n_row, n, NULL, NULL};
    check_ok(ap_forward(s.b.tape, &s.b.role, &packed, &err), err);
    return &s;
}

static void stories_close(struct stories *s)
{
    bench_close(&s->b);
    golden_close(&s->g);
}

/* Every token but a story's first. */
static void predict_all(const struct stories *s, int n_seq, struct labelled *l)
{
    l->n = 0;
    for (int i = 0; i < n_seq; i++)
        for (int32_t t = s->start[i]; t + 1 < s->start[i + 1]; t++) {
            l->row[l->n] = t;
            l->seq[l->n] = i;
            l->target[l->n++] = s->ids[t + 1];
        }
}

static void test_logp(void **state)
{
    static struct labelled l;
    double sum[N_STORY] = {0}, total = 0;
    int n_token = 0;
    struct stories *s;
    (void)state;
    for (int first = 0; first < N_STORY; first += 10) {
        s = stories_open(first, 10, STORY_MAX);
        predict_all(s, 10, &l);
        ap_logp_forward(s->b.tape, &s->b.role, l.row, l.target, l.n, 1, l.logp, NULL);
        const float *want = NULL;
        for (int i = 0, at = 0; i < l.n; i++, at++) {
            char key[16];
            if (!i || l.seq[i] != l.seq[i - 1])
                at = 0;
            snprintf(key, sizeof(key), "logp.%d", first + l.seq[i]);
            if (!at)
                want = first + l.seq[i] < 8 ? golden_data(&s->g, key, AP_F32) : NULL;
            if (want)
                check_near(l.logp[i], want[at], 2e-5, 2e-5);
            sum[first + l.seq[i]] += l.logp[i];
        }
        n_token += l.n;
        const json_t *rows = json_object_get(s->g.json, "rows");
        for (int i = first; i < first + 10; i++)
            check_near(
                sum[i],
                json_number_value(json_object_get(json_array_get(rows, (size_t)i), "sum_logp")), 0,
                5e-6);
        if (first + 10 == N_STORY) {
            for (int i = 0; i < N_STORY; i++)
                total -= sum[i];
            assert_int_equal(n_token, golden_number(&s->g, NULL, "tokens"));
            check_near(total / n_token, golden_number(&s->g, NULL, "mean_nll"), 0, 1e-6);
        }
        stories_close(s);
    }
}

static void test_gradients(void **state)
{
    static struct labelled l;
    struct ap_error err;
    (void)state;
    struct stories *s = stories_open(0, 8, 128);
    check_ok(ap_weights_set_trainable(s->b.w, &err), err);
    predict_all(s, 8, &l);
    ap_logp_forward(s->b.tape, &s->b.role, l.row, l.target, l.n, 1, l.logp, NULL);
    check_near(labelled_loss(&l), golden_number(&s->g, NULL, "batch_loss"), 0, 1e-6);
    labelled_backward(&l, &s->b);
    golden_check_table(&s->g, "grad.", &s->b.w->table);
    stories_close(s);
}

/* golden_greedy.json: the logits of the first eight positions in float64. */
static void test_first_logits(void **state)
{
    struct ap_error err;
    struct ap_weights *w;
    struct ap_kv *kv;
    json_t *o;
    const char *model = check_data(DIR_), *file = check_data(DIR_ "/golden_greedy.json");
    static float logits[8 * 512];
    int32_t ids[8], slot[8] = {0}, pos[8], row[8];
    (void)state;
    if (!model || !file)
        skip();
    check_ok(ap_json_load(file, 1 << 22, &o, &err), err);
    check_ok(ap_weights_load(&w, model, 0, AP_F32, &err), err);
    check_ok(ap_kv_open(&kv, &w->config, 1, 64, 8, 0, &err), err);
    for (int i = 0; i < 8; i++) {
        ids[i] =
            (int32_t)json_integer_value(json_array_get(json_object_get(o, "input_ids"), (size_t)i));
        pos[i] = row[i] = i;
    }
    struct ap_role role = {w, NULL};
    check_ok(ap_decode(kv, &role, ids, slot, pos, 8, &err), err);
    ap_decode_logits(kv, &role, row, 8, logits);
    for (size_t i = 0; i < 8; i++) {
        const json_t *want = json_array_get(json_object_get(o, "logits_first8"), i);
        double most = 0;
        assert_int_equal(json_array_size(want), 512);
        for (size_t k = 0; k < 512; k++)
            most = fmax(most, fabs(json_number_value(json_array_get(want, k))));
        for (size_t k = 0; k < 512; k++)
            check_near(logits[i * 512 + k], json_number_value(json_array_get(want, k)), 2e-5 * most,
                       0);
    }
    ap_kv_close(kv);
    ap_weights_free(w);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logp),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_first_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
