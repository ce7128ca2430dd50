/* Cases of reference values (golden/README.md): a folder each, in the shared folder and in
 * tests/golden/models, with config.json, weights, expected.safetensors and expected.json. */
#ifndef AP_TESTS_MODEL_GOLDEN_H
#define AP_TESTS_MODEL_GOLDEN_H

#include "base/json.h"
#include "base/memory.h"
#include "check.h"
#include "model/transformer.h"

#include <dirent.h>

#define GOLDEN_ROWS 4096

struct golden {
    char dir[900], name[64];
    struct ap_safetensors f; /* expected.safetensors */
    json_t *json;            /* expected.json */
    int n_seq, width;        /* B, T of input_ids */
    struct ap_config config;
    /* the packed rows: sequence b's token t is row start[b] + t */
    int32_t ids[GOLDEN_ROWS], start[64];
    int n_row;
};

static inline const void *golden_data(const struct golden *g, const char *name, ap_dtype dtype)
{
    const struct ap_tensor_view *v = ap_safetensors_find(&g->f, name);
    if (!v || v->dtype != dtype) {
        fprintf(stderr, "%s: expected.safetensors has no %s\n", g->dir, name);
        fail();
    }
    return v->data;
}

static inline bool golden_has(const struct golden *g, const char *name)
{
    return ap_safetensors_find(&g->f, name) != NULL;
}

static inline struct ap_rows golden_rows(const struct golden *g)
{
    return (struct ap_rows){g->ids, g->start, g->n_row, g->n_seq, NULL, NULL};
}

static inline char *golden_path(const struct golden *g, const char *file)
{
    char *path = ap_path_join(g->dir, file);
    assert_non_null(path);
    return path;
}

static inline bool golden_file(const struct golden *g, const char *file)
{
    char *path = golden_path(g, file);
    bool there = ap_file_exists(path);
    ap_free(path);
    return there;
}

static inline void golden_pack(struct golden *g)
{
    const struct ap_tensor_view *v = ap_safetensors_find(&g->f, "input_ids");
    const int32_t *ids = golden_data(g, "input_ids", AP_I32);
    const int32_t *mask = golden_data(g, "attention_mask", AP_I32);
    g->n_seq = (int)v->shape[0];
    g->width = (int)v->shape[1];
    for (int b = 0; b < g->n_seq; b++) {
        g->start[b] = g->n_row;
        for (int t = 0; t < g->width; t++)
            if (mask[b * g->width + t])
                g->ids[g->n_row++] = ids[b * g->width + t];
    }
    g->start[g->n_seq] = g->n_row;
}

/* false: no case. */
static inline bool golden_open(struct golden *g, const char *root, const char *name)
{
    struct ap_error err;
    char *path;
    *g = (struct golden){0};
    snprintf(g->dir, sizeof(g->dir), "%s/%s", root, name);
    snprintf(g->name, sizeof(g->name), "%.63s", name);
    if (!golden_file(g, "expected.safetensors") || !golden_file(g, "config.json"))
        return false;
    check_ok(ap_config_read(&g->config, g->dir, &err), err);
    path = golden_path(g, "expected.safetensors");
    check_ok(ap_safetensors_open(&g->f, path, &err), err);
    ap_free(path);
    path = golden_path(g, "expected.json");
    check_ok(ap_json_load(path, 1 << 20, &g->json, &err), err);
    ap_free(path);
    golden_pack(g);
    return true;
}

static inline void golden_close(struct golden *g)
{
    ap_safetensors_close(&g->f);
    json_decref(g->json);
}

/* Runs test on every case of a folder of cases; returns how many there were. */
static inline int golden_each_in(const char *root, void (*test)(struct golden *g))
{
    static struct golden g;
    struct dirent **names = NULL;
    int n = 0, n_names = scandir(root, &names, NULL, alphasort);
    for (int i = 0; i < n_names; i++) {
        if (names[i]->d_name[0] != '.' && golden_open(&g, root, names[i]->d_name)) {
            printf("  case %s/%s\n", root, g.name);
            test(&g);
            golden_close(&g);
            n++;
        }
        free(names[i]);
    }
    free(names);
    return n;
}

/* Both folders: the committed one must be there, the reference folder is skipped when absent. */
static inline void golden_each(void (*test)(struct golden *g))
{
    const char *shared = check_golden("models");
    int n = shared ? golden_each_in(shared, test) : 0;
    if (golden_each_in(AP_SOURCE_DIR "/tests/golden/models", test) < 5) {
        fprintf(stderr, "%s/tests/golden/models: fewer than 5 cases\n", AP_SOURCE_DIR);
        fail();
    }
    if (shared && n < 12) {
        fprintf(stderr, "%s: %d cases, expected at least 12\n", shared, n);
        fail();
    }
}

/* -- comparisons -- */

/* ‖got − want‖ / ‖want‖ */
static inline double golden_distance(const float *got, const float *want, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(difference) / (norm > 0 ? sqrt(norm) : 1);
}

/* The case's PREFIX + name, a PEFT name without its own prefix; NULL when there is none. */
static inline const struct ap_tensor_view *golden_view(const struct golden *g, const char *prefix,
                                                       const char *name)
{
    static const char peft[] = "base_model.model.";
    char key[256];
    bool own = strncmp(name, peft, strlen(peft)) != 0;
    snprintf(key, sizeof(key), "%s%s", prefix, own ? name : name + strlen(peft));
    return ap_safetensors_find(&g->f, key);
}

static inline const float *golden_grad(const struct golden *g, const char *prefix, const char *name)
{
    const struct ap_tensor_view *v = golden_view(g, prefix, name);
    if (!v) {
        fprintf(stderr, "%s: expected.safetensors has no %s%s\n", g->dir, prefix, name);
        fail();
        return NULL;
    }
    return v->data;
}

/* Compares a gradient; returns false when the case has none of that name. */
static inline bool golden_check_grad(const struct golden *g, const char *prefix,
                                     const struct ap_param *p)
{
    const struct ap_tensor_view *v = golden_view(g, prefix, p->name);
    if (!v)
        return false;
    assert_int_equal(v->n, p->n);
    double distance = golden_distance(p->grad, v->data, v->n);
    if (!(distance <= 2e-4)) {
        fprintf(stderr, "%s: %s%s is off by %g\n", g->name, prefix, p->name, distance);
        fail();
    }
    return true;
}

/* Every tensor of the case that begins with prefix must have been checked. */
static inline void golden_check_count(const struct golden *g, const char *prefix, int n_checked)
{
    int n = 0;
    for (int i = 0; i < g->f.n; i++)
        n += !strncmp(g->f.views[i].name, prefix, strlen(prefix));
    assert_int_equal(n, n_checked);
}

static inline void golden_check_table(const struct golden *g, const char *prefix,
                                      const struct ap_param_table *t)
{
    int n = 0;
    for (int i = 0; i < t->n; i++)
        n += golden_check_grad(g, prefix, &t->rows[i]);
    golden_check_count(g, prefix, n);
}

static inline double golden_number(const struct golden *g, const char *section, const char *key)
{
    const json_t *o = section ? json_object_get(g->json, section) : g->json;
    const json_t *value = json_object_get(o, key);
    if (!json_is_number(value)) {
        fprintf(stderr, "%s: expected.json has no %s %s\n", g->name, section ? section : "", key);
        fail();
    }
    return json_number_value(value);
}

/* -- a model with its memory -- */

struct bench {
    struct ap_weights *w;
    struct ap_adapter *adapter;
    struct ap_tape *tape;
    struct ap_role role;
};

/* The reference's longrope goes by the longest row of a batch; ours by the context. */
static inline int golden_longest(const struct golden *g)
{
    int longest = 0;
    for (int s = 0; s < g->n_seq; s++)
        if (g->start[s + 1] - g->start[s] > longest)
            longest = g->start[s + 1] - g->start[s];
    return longest;
}

static ap_dtype golden_dtype = AP_F32; /* of the products of what is opened */

static inline struct bench bench_open_for(const struct golden *g, const char *weights,
                                          const char *adapter, int context)
{
    struct bench b = {0};
    struct ap_error err;
    char *path = golden_path(g, weights);
    check_ok(ap_weights_load(&b.w, path, context, golden_dtype, &err), err);
    ap_free(path);
    if (adapter) {
        path = golden_path(g, adapter);
        check_ok(ap_adapter_load(&b.adapter, b.w, path, &err), err);
        ap_free(path);
    }
    b.role = (struct ap_role){b.w, b.adapter};
    check_ok(ap_tape_open(&b.tape, &b.w->config, g->n_row, b.adapter ? b.adapter->rank : 0,
                          AP_TAPE_BACKWARD, &err),
             err);
    return b;
}

static inline struct bench bench_open(const struct golden *g, const char *weights,
                                      const char *adapter)
{
    return bench_open_for(g, weights, adapter, golden_longest(g));
}

static inline void bench_close(struct bench *b)
{
    ap_tape_close(b->tape);
    ap_adapter_free(b->adapter);
    ap_weights_free(b->w);
}

static inline void bench_forward(struct bench *b, const struct golden *g)
{
    struct ap_error err;
    struct ap_rows rows = golden_rows(g);
    check_ok(ap_forward(b->tape, &b->role, &rows, &err), err);
}

/* logits[n_row, V] of the last forward; free with ap_free. */
static inline float *golden_logits(const struct bench *b, int n_row)
{
    const struct ap_param_table *t = &b->w->table;
    const struct ap_param *head = &t->rows[b->w->head >= 0 ? b->w->head : b->w->embed];
    float *logits = ap_calloc((size_t)n_row * (size_t)b->w->config.n_vocab, sizeof(float));
    assert_non_null(logits);
    b->w->ops->linear(logits, ap_tape_hidden(b->tape), head->part[0].packed, n_row, false);
    return logits;
}

static inline double golden_largest(const float *x, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

/* The largest difference from the case's logits of that name, each relative to the largest logit of
 * its position. */
static inline double golden_logits_distance(const struct golden *g, const float *logits,
                                            const char *key)
{
    const float *want = golden_data(g, key, AP_F32);
    int n_vocab = g->config.n_vocab;
    double worst = 0;
    for (int b = 0; b < g->n_seq; b++)
        for (int t = 0; t < g->start[b + 1] - g->start[b]; t++) {
            const float *x = logits + (size_t)(g->start[b] + t) * (size_t)n_vocab;
            const float *y = want + (size_t)(b * g->width + t) * (size_t)n_vocab;
            double scale = golden_largest(y, n_vocab);
            for (int k = 0; k < n_vocab; k++)
                worst = fmax(worst, fabs((double)x[k] - y[k]) / scale);
        }
    return worst;
}

/* Rows that predict a labelled token, of sequences first … last. */
struct labelled {
    int32_t row[GOLDEN_ROWS], target[GOLDEN_ROWS];
    int seq[GOLDEN_ROWS], n;
    float logp[GOLDEN_ROWS], entropy[GOLDEN_ROWS], dlogp[GOLDEN_ROWS];
};

static inline void labelled_find(struct labelled *l, const struct golden *g, int first, int last)
{
    const int32_t *labels = golden_data(g, "labels", AP_I32);
    l->n = 0;
    for (int b = first; b <= last; b++)
        for (int t = 1; t < g->start[b + 1] - g->start[b]; t++)
            if (labels[b * g->width + t] >= 0) {
                l->row[l->n] = g->start[b] + t - 1;
                l->seq[l->n] = b;
                l->target[l->n++] = labels[b * g->width + t];
            }
}

/* −(1/N) Σ logp; its gradient goes to dlogp. */
static inline double labelled_loss(struct labelled *l)
{
    double sum = 0;
    for (int i = 0; i < l->n; i++) {
        sum -= l->logp[i];
        l->dlogp[i] = -1.0f / (float)l->n;
    }
    return sum / l->n;
}

static inline void labelled_forward(struct labelled *l, struct bench *b, const struct golden *g)
{
    bench_forward(b, g);
    ap_logp_forward(b->tape, &b->role, l->row, l->target, l->n, 1, l->logp, NULL);
}

static inline void labelled_backward(struct labelled *l, struct bench *b)
{
    ap_logp_backward(b->tape, &b->role, l->row, l->target, l->n, 1, l->dlogp, NULL);
    ap_backward(b->tape, &b->role);
}

#endif
