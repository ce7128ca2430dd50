/* What the page needs of run.db beside the statistics: curves, scores, and the examples' texts.
 * Entry points: ap_curves_read, ap_answers_read. */
#include "base/memory.h"
#include "eval/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX ((size_t)1 << 24)

/* Room for one more element behind *cap; false when memory or the ceiling is reached. */
static bool more(void **items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    size_t grown = *cap ? 2 * *cap : 256;
    void *p = grown <= ROWS_MAX ? ap_realloc(*items, *cap, grown, size) : NULL;
    if (!p)
        return false;
    *items = p;
    *cap = grown;
    return true;
}

static ap_status too_much(struct ap_error *err, const char *what)
{
    return ap_fail(err, AP_MEMORY, "run.db: out of memory for its %s (at most %zu rows); free some",
                   what, ROWS_MAX);
}

/* ---- curves ---- */

const struct ap_curve *ap_curves_find(const struct ap_curves *c, const char *stage,
                                      const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->items[i].stage, stage) == 0 && strcmp(c->items[i].name, name) == 0)
            return &c->items[i];
    return NULL;
}

struct curves_reader {
    struct ap_curves *out;
    struct ap_error *err;
};

static bool is_monitor(const char *name)
{
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        if (strcmp(name, ap_monitor_name((ap_monitor)k)) == 0)
            return true;
    return false;
}

/* Reward, KL, an adapted λ, validations and monitors of reinforcement learning, the loss of the
 * stages that learn from examples. */
static bool is_shown(const char *stage, const char *name)
{
    bool is_rl = strncmp(stage, "align", strlen("align")) == 0 || strcmp(stage, "rlhf") == 0;
    if (strcmp(name, "loss") == 0)
        return !is_rl;
    if (strlen(name) >= sizeof(((struct ap_curve *)0)->name))
        return false;
    return is_rl &&
           (strcmp(name, "reward") == 0 || strcmp(name, "kl") == 0 || strcmp(name, "lambda") == 0 ||
            strncmp(name, AP_VALID_PREFIX, strlen(AP_VALID_PREFIX)) == 0 || is_monitor(name));
}

static struct ap_curve *curve_for(struct ap_curves *c, const char *stage, const char *name)
{
    struct ap_curve *found = (struct ap_curve *)ap_curves_find(c, stage, name);
    if (found)
        return found;
    if (!more((void **)&c->items, c->n, &c->cap, sizeof(*c->items)))
        return NULL;
    found = &c->items[c->n++];
    strcpy(found->stage, stage);
    strcpy(found->name, name);
    return found;
}

static ap_status on_metric(void *context, const char *stage, int64_t step, const char *name,
                           double value)
{
    struct curves_reader *r = context;
    if (!is_shown(stage, name) || strlen(stage) >= sizeof(r->out->items->stage) || !isfinite(value))
        return AP_OK;
    struct ap_curve *c = curve_for(r->out, stage, name);
    size_t cap = c ? c->cap : 0;
    if (!c || !more((void **)&c->step, c->n, &cap, sizeof(double)) ||
        !more((void **)&c->value, c->n, &c->cap, sizeof(double)))
        return too_much(r->err, "metrics");
    c->step[c->n] = (double)step;
    c->value[c->n++] = value;
    return AP_OK;
}

ap_status ap_curves_read(struct ap_curves *out, struct ap_database *db, struct ap_error *err)
{
    struct curves_reader r = {.out = out, .err = err};
    return ap_database_each_metric(db, on_metric, &r, err);
}

void ap_curves_free(struct ap_curves *c)
{
    for (size_t i = 0; i < c->n; i++) {
        ap_free(c->items[i].step);
        ap_free(c->items[i].value);
    }
    ap_free(c->items);
    *c = (struct ap_curves){0};
}

/* ---- scores, and the prompts on which two arms differ most ---- */

/* A score of one of the two arms that examples show. */
struct side {
    int64_t seed;
    uint64_t record;
    int which; /* 0 left, 1 right */
    double scores[AP_JUDGES_MAX];
};

struct pair {
    uint64_t record;
    double difference;
    const struct side *sides; /* two */
};

struct answers_reader {
    struct ap_answers_read *out;
    const struct ap_evaluation *e;
    int arms[2];
    struct side *sides;
    size_t n, cap;
    struct ap_error *err;
};

/* Rows come by (arm, seed, record, sample, judge): the judges of an answer come together. */
static bool add_side(struct answers_reader *r, int which, int64_t seed, uint64_t record, int judge,
                     double value)
{
    struct side *last = r->n > 0 ? &r->sides[r->n - 1] : NULL;
    if (!last || last->which != which || last->seed != seed || last->record != record) {
        if (!more((void **)&r->sides, r->n, &r->cap, sizeof(*r->sides)))
            return false;
        last = &r->sides[r->n++];
        *last = (struct side){.seed = seed, .record = record, .which = which};
        for (int j = 0; j < AP_JUDGES_MAX; j++)
            last->scores[j] = NAN;
    }
    last->scores[judge] = value;
    return true;
}

static ap_status on_score(void *context, const char *arm, int64_t seed, uint64_t record, int sample,
                          const char *judge, double value)
{
    struct answers_reader *r = context;
    int a = ap_arm_find(r->e, arm), j = ap_judge_find(r->e, judge);
    if (a < 0 || j < 0 || sample != -1 || !isfinite(value))
        return AP_OK;
    struct ap_scores *s = &r->out->scores[j][a];
    if (!more((void **)&s->values, s->n, &s->cap, sizeof(double)))
        return too_much(r->err, "scores");
    s->values[s->n++] = value;
    for (int which = 0; which < 2; which++)
        if (a == r->arms[which] && !add_side(r, which, seed, record, j, value))
            return too_much(r->err, "scores");
    return AP_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct side *a = left, *b = right;
    if (a->seed != b->seed)
        return a->seed < b->seed ? -1 : 1;
    if (a->record != b->record)
        return a->record < b->record ? -1 : 1;
    return a->which - b->which;
}

static int best_first(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    if (a->difference != b->difference)
        return a->difference > b->difference ? -1 : 1;
    return a->record < b->record ? -1 : a->record > b->record;
}

/* Pairs of the smallest seed that has any. */
static size_t find_pairs(struct answers_reader *r, struct pair *pairs)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < r->n; i++) {
        const struct side *a = &r->sides[i], *b = a + 1;
        if (a->seed != b->seed || a->record != b->record || !isfinite(a->scores[0]) ||
            !isfinite(b->scores[0]))
            continue;
        if (n > 0 && a->seed != r->out->seed)
            break;
        r->out->seed = a->seed;
        pairs[n++] = (struct pair){a->record, b->scores[0] - a->scores[0], a};
    }
    return n;
}

static void take_example(struct ap_example *x, const struct pair *pair)
{
    x->record = pair->record;
    x->difference = pair->difference;
    for (int j = 0; j < AP_JUDGES_MAX; j++)
        for (int which = 0; which < 2; which++)
            x->scores[j][which] = pair->sides[which].scores[j];
}

static ap_status choose_examples(struct answers_reader *r)
{
    struct ap_answers_read *out = r->out;
    struct pair *pairs = ap_calloc(r->n, sizeof(*pairs));
    if (!pairs)
        return too_much(r->err, "scores");
    if (r->n > 0)
        qsort(r->sides, r->n, sizeof(*r->sides), by_place);
    size_t n = find_pairs(r, pairs), half = AP_EXAMPLES_MAX / 2;
    qsort(pairs, n, sizeof(*pairs), best_first);
    out->n_best = (int)((n + 1) / 2 < half ? (n + 1) / 2 : half);
    out->n_worst = (int)(n / 2 < half ? n / 2 : half);
    for (int i = 0; i < out->n_best; i++)
        take_example(&out->examples[i], &pairs[i]);
    for (int i = 0; i < out->n_worst; i++)
        take_example(&out->examples[out->n_best + i], &pairs[n - 1 - (size_t)i]);
    ap_free(pairs);
    return AP_OK;
}

static bool take_text(char **to, const char *text)
{
    if (*to || !text)
        return true;
    *to = ap_strdup(text);
    return *to;
}

static ap_status on_answer(void *context, const struct ap_evaluation_record *e)
{
    struct answers_reader *r = context;
    int a = ap_arm_find(r->e, e->arm);
    if (e->sample != -1 || e->seed != r->out->seed || a < 0 || (a != r->arms[0] && a != r->arms[1]))
        return AP_OK;
    int which = a == r->arms[1];
    for (int i = 0; i < r->out->n_best + r->out->n_worst; i++) {
        struct ap_example *x = &r->out->examples[i];
        if (x->record == e->record &&
            (!take_text(&x->prompt, e->prompt) || !take_text(&x->answers[which], e->answer) ||
             (which == 1 && !take_text(&x->rewrite, e->rewrite))))
            return too_much(r->err, "answers");
    }
    return AP_OK;
}

ap_status ap_answers_read(struct ap_answers_read *out, struct ap_database *db,
                          const struct ap_evaluation *e, int left, int right, struct ap_error *err)
{
    ap_status status;
    struct answers_reader r = {.out = out, .e = e, .arms = {left, right}, .err = err};
    AP_TRY(ap_database_each_score(db, on_score, &r, err));
    AP_TRY(choose_examples(&r));
    if (out->n_best > 0)
        AP_TRY(ap_database_each_evaluation(db, on_answer, &r, err));
out:
    ap_free(r.sides);
    return status;
}

void ap_answers_read_free(struct ap_answers_read *r)
{
    for (int j = 0; j < AP_JUDGES_MAX; j++)
        for (int a = 0; a < AP_ARMS_MAX; a++)
            ap_free(r->scores[j][a].values);
    for (int i = 0; i < AP_EXAMPLES_MAX; i++) {
        ap_free(r->examples[i].prompt);
        ap_free(r->examples[i].rewrite);
        ap_free(r->examples[i].answers[0]);
        ap_free(r->examples[i].answers[1]);
    }
    *r = (struct ap_answers_read){0};
}
