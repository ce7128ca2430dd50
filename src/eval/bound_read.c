/* Rows of run.db's table bounds as the arrays of bound.h. Entry point: ap_bound_read. */
#include "eval/bound_told.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum policy { SFT, ALIGN, RLHF, N_POLICY };
static const char *const names[N_POLICY] = {"sft", "align", "rlhf"};

struct row {
    int64_t record;
    int rewrite, answer;
    double reward, kl, logp, logq;
    bool ended;
};

/* Rows of one policy, by record, rewrite, answer: n_x prompts of `per` rows. */
struct rows {
    struct row *items;
    size_t n, cap, per, n_x;
    int n_rewrite, n_answer;
};

struct table {
    struct rows of[N_POLICY];
    struct ap_error *err;
};

static ap_status take(void *context, const struct ap_bound_record *r)
{
    struct table *t = context;
    int p = 0;
    while (p < N_POLICY && strcmp(names[p], r->policy) != 0)
        p++;
    if (p == N_POLICY)
        return AP_OK; /* a later version's */
    struct rows *rows = &t->of[p];
    if (rows->n == rows->cap) {
        size_t cap = rows->cap ? 2 * rows->cap : 1024;
        struct row *items = ap_realloc(rows->items, rows->cap, cap, sizeof(*items));
        if (!items)
            return ap_fail(t->err, AP_MEMORY, "bound: out of memory for %zu samples", cap);
        rows->items = items;
        rows->cap = cap;
    }
    rows->items[rows->n++] = (struct row){
        (int64_t)r->record, r->rewrite, r->answer, r->reward, r->kl, r->logp, r->logq, r->ended};
    return AP_OK;
}

/* Every prompt has the same n × K rows, in their order. */
static ap_status shape(struct rows *rows, const char *name, struct ap_error *err)
{
    const struct row *r = rows->items;
    while (rows->per < rows->n && r[rows->per].record == r[0].record)
        rows->per++;
    if (rows->per == 0)
        return AP_OK;
    rows->n_rewrite = r[rows->per - 1].rewrite + 1;
    rows->n_answer = r[rows->per - 1].answer + 1;
    rows->n_x = rows->n / rows->per;
    bool whole = rows->n % rows->per == 0 && rows->n_rewrite > 0 && rows->n_answer > 0 &&
                 (size_t)rows->n_rewrite * (size_t)rows->n_answer == rows->per;
    for (size_t i = 0; whole && i < rows->n; i++) {
        size_t at = i % rows->per;
        whole = r[i].record == r[i - at].record &&
                (size_t)r[i].rewrite == at / (size_t)rows->n_answer &&
                (size_t)r[i].answer == at % (size_t)rows->n_answer;
    }
    return whole ? AP_OK
                 : ap_fail(err, AP_FORMAT,
                           "run.db: bounds has gaps in the samples of %s; `alignpro bound RECIPE "
                           "--set bound.seed=N` with another seed makes them anew",
                           name);
}

/* The prompt's rows; NULL: it has none. *at moves on: records rise. */
static const struct row *find(const struct rows *rows, int64_t record, size_t *at)
{
    while (*at < rows->n_x && rows->items[*at * rows->per].record < record)
        ++*at;
    const struct row *r = *at < rows->n_x ? &rows->items[*at * rows->per] : NULL;
    return r && r->record == record ? r : NULL;
}

static bool is_scored(const struct row *r)
{
    return !isnan(r->logp) && !isnan(r->logq);
}

/* Answers of the first rewrite with log-probabilities. */
static int scored_of(const struct rows *rows)
{
    int n = 0;
    while (n < rows->n_answer && is_scored(&rows->items[n]))
        n++;
    return n;
}

static double mean_of(const struct rows *rows, const struct row *r, size_t member)
{
    double sum = 0;
    for (size_t i = 0; i < rows->per; i++)
        sum += *(const double *)((const char *)&r[i] + member);
    return sum / (double)rows->per;
}

/* The scored answers of every rewrite, one after another. */
static void put_pairs(const struct rows *rows, const struct row *r, int n_scored, double *logp,
                      double *logq)
{
    for (size_t i = 0; i < rows->per; i++)
        if (r[i].answer < n_scored) {
            *logp++ = r[i].logp;
            *logq++ = r[i].logq;
        }
}

static ap_status allocate(struct ap_bound_read *out, const struct table *t, struct ap_error *err)
{
    const struct rows *sft = &t->of[SFT], *star = &t->of[RLHF];
    const size_t X = sft->n_x;
    const size_t n_pair = (size_t)out->n_rewrite * (size_t)out->n_scored;
    bool ok = (out->record = ap_calloc(X, sizeof(*out->record))) &&
              (out->reward = ap_calloc(X * sft->per, sizeof(double)));
    if (ok && t->of[ALIGN].n > 0)
        ok = (out->trained_reward = ap_calloc(X, sizeof(double))) &&
             (out->trained_kl = ap_calloc(X, sizeof(double)));
    if (ok && star->n > 0)
        ok = (out->star_reward = ap_calloc(X, sizeof(double))) != NULL;
    if (ok && n_pair > 0)
        ok = (out->logp = ap_calloc(X * n_pair, sizeof(double))) &&
             (out->logq = ap_calloc(X * n_pair, sizeof(double)));
    if (ok && out->n_star > 0)
        ok = (out->star_logp = ap_calloc(X * (size_t)out->n_star, sizeof(double))) &&
             (out->star_logq = ap_calloc(X * (size_t)out->n_star, sizeof(double)));
    return ok ? AP_OK : ap_fail(err, AP_MEMORY, "bound: out of memory for %zu samples", sft->n);
}

static void fill(struct ap_bound_read *out, const struct table *t)
{
    const struct rows *sft = &t->of[SFT], *align = &t->of[ALIGN], *star = &t->of[RLHF];
    const size_t n_pair = (size_t)out->n_rewrite * (size_t)out->n_scored;
    size_t at_align = 0, at_star = 0;
    for (size_t i = 0; i < sft->n_x; i++) {
        const struct row *r = &sft->items[i * sft->per];
        const struct row *a = find(align, r->record, &at_align),
                         *s = find(star, r->record, &at_star);
        const size_t x = (size_t)out->n_prompt;
        if ((align->n > 0 && !a) || (star->n > 0 && !s))
            continue;
        out->record[x] = (uint64_t)r->record;
        for (size_t k = 0; k < sft->per; k++)
            out->reward[x * sft->per + k] = r[k].reward;
        if (a) {
            out->trained_reward[x] = mean_of(align, a, offsetof(struct row, reward));
            out->trained_kl[x] = mean_of(align, a, offsetof(struct row, kl));
        }
        if (s)
            out->star_reward[x] = mean_of(star, s, offsetof(struct row, reward));
        if (out->logp)
            put_pairs(sft, r, out->n_scored, out->logp + x * n_pair, out->logq + x * n_pair);
        if (out->star_logp)
            put_pairs(star, s, out->n_star, out->star_logp + x * (size_t)out->n_star,
                      out->star_logq + x * (size_t)out->n_star);
        out->n_prompt++;
    }
}

/* Over every answer of every policy. */
static void look_at_all(struct ap_bound_read *out, const struct table *t)
{
    double low = INFINITY, high = -INFINITY;
    size_t n = 0, n_ended = 0;
    for (int p = 0; p < N_POLICY; p++)
        for (size_t i = 0; i < t->of[p].n; i++, n++) {
            low = fmin(low, t->of[p].items[i].reward);
            high = fmax(high, t->of[p].items[i].reward);
            n_ended += t->of[p].items[i].ended;
        }
    out->r_max = high - low;
    out->ended = (double)n_ended / (double)n;
}

ap_status ap_bound_read(struct ap_bound_read *out, struct ap_database *db, struct ap_error *err)
{
    ap_status status;
    struct table t = {.err = err};
    *out = (struct ap_bound_read){0};
    AP_TRY(ap_database_each_bound(db, take, &t, err));
    for (int p = 0; p < N_POLICY; p++)
        AP_TRY(shape(&t.of[p], names[p], err));
    if (t.of[SFT].n == 0) {
        status = ap_fail(err, AP_NOT_FOUND,
                         "run.db: there are no samples of the bound; `alignpro bound RECIPE` makes "
                         "them");
        goto out;
    }
    out->n_rewrite = t.of[SFT].n_rewrite;
    out->n_answer = t.of[SFT].n_answer;
    out->n_scored = scored_of(&t.of[SFT]);
    out->n_star = t.of[RLHF].n > 0 ? scored_of(&t.of[RLHF]) : 0;
    AP_TRY(allocate(out, &t, err));
    fill(out, &t);
    look_at_all(out, &t);
out:
    for (int p = 0; p < N_POLICY; p++)
        ap_free(t.of[p].items);
    if (status != AP_OK)
        ap_bound_read_free(out);
    return status;
}

void ap_bound_read_free(struct ap_bound_read *r)
{
    ap_free(r->record);
    ap_free(r->reward);
    ap_free(r->trained_reward);
    ap_free(r->trained_kl);
    ap_free(r->star_reward);
    ap_free(r->logp);
    ap_free(r->logq);
    ap_free(r->star_logp);
    ap_free(r->star_logq);
    *r = (struct ap_bound_read){0};
}
