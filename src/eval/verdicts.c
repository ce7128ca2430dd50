/* What judges that compare found, from run.db's table verdicts, as rows of an evaluation.
 * Entry points: ap_evaluate_verdicts, ap_sentences_of_verdicts. */
#include "eval/report_page.h"

#include "align/judge.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONTRADICTED_MUCH 0.3

/* The verdicts on one prompt, all seeds together. */
struct prompt_points {
    uint64_t record;
    double points;
    int n;
};

struct reading {
    struct ap_evaluation *e;
    const char *judge; /* the only one to read */
    double max_bad;
    uint64_t seed;
    struct ap_verdict_row row; /* of the arm and the other that are read now */
    int64_t counts[AP_OUTCOME_COUNT];
    struct prompt_points *prompts; /* owned; of that row, by record */
    size_t n_prompt, cap;
    struct ap_error *err;
};

/* The win rate with its percentile interval over prompts. */
static ap_status win_rate(const struct reading *r, double value, struct ap_interval *out)
{
    const int n_sample = r->e->n_bootstrap;
    *out = (struct ap_interval){value, NAN, NAN};
    if (isnan(value) || r->n_prompt < AP_PROMPTS_LEAST || n_sample < 1)
        return AP_OK;
    double *samples = ap_calloc((size_t)n_sample, sizeof(*samples));
    if (!samples)
        return ap_fail(r->err, AP_MEMORY, "verdicts: out of memory");
    struct ap_stream stream = {.seed = r->seed, .stage = ap_stream_stage("verdict.bootstrap")};
    for (int i = 0; i < n_sample; i++) {
        struct ap_random random;
        double points = 0, n = 0;
        stream.record = (uint64_t)i;
        ap_random_init(&random, &stream);
        for (size_t k = 0; k < r->n_prompt; k++) {
            const struct prompt_points *p =
                &r->prompts[ap_random_below(&random, (uint32_t)r->n_prompt)];
            points += p->points;
            n += p->n;
        }
        samples[i] = points / n;
    }
    *out = ap_interval_of(value, samples, n_sample);
    ap_free(samples);
    return AP_OK;
}

static ap_status end_row(struct reading *r)
{
    struct ap_outcome_shares s = ap_outcome_sum(r->counts, r->max_bad);
    if (s.n == 0)
        return AP_OK;
    if (r->e->n_verdict == AP_VERDICT_ROWS_MAX)
        return ap_fail(r->err, AP_LIMIT, "eval.judges: more than %d comparisons of judges and arms",
                       AP_VERDICT_ROWS_MAX);
    struct ap_verdict_row *row = &r->e->verdicts[r->e->n_verdict++];
    *row = r->row;
    row->n = s.n;
    row->contradicted = s.contradicted;
    row->bad = s.bad;
    return win_rate(r, s.win_rate, &row->win);
}

/* Of a seed the rows come by record, so that with the first seed each is put at the end. */
static ap_status add_points(struct reading *r, uint64_t record, double points)
{
    size_t low = 0, high = r->n_prompt;
    if (isnan(points))
        return AP_OK;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->prompts[middle].record < record)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == r->n_prompt || r->prompts[low].record != record) {
        if (r->n_prompt == r->cap) {
            size_t cap = r->cap ? 2 * r->cap : 64;
            void *grown = ap_realloc(r->prompts, r->cap, cap, sizeof(*r->prompts));
            if (!grown)
                return ap_fail(r->err, AP_MEMORY, "verdicts: out of memory");
            r->prompts = grown;
            r->cap = cap;
        }
        memmove(r->prompts + low + 1, r->prompts + low, (r->n_prompt - low) * sizeof(*r->prompts));
        r->prompts[low] = (struct prompt_points){.record = record};
        r->n_prompt++;
    }
    r->prompts[low].points += points;
    r->prompts[low].n++;
    return AP_OK;
}

/* Rows come by judge, arm and against. */
static ap_status on_verdict(void *context, const struct ap_verdict_record *v)
{
    struct reading *r = context;
    ap_status status = AP_OK;
    if (strcmp(v->judge, r->judge) != 0)
        return AP_OK;
    if (strcmp(r->row.arm, v->arm) != 0 || strcmp(r->row.against, v->against) != 0) {
        status = end_row(r);
        memset(r->counts, 0, sizeof(r->counts));
        r->n_prompt = 0;
        snprintf(r->row.judge, sizeof(r->row.judge), "%s", v->judge);
        snprintf(r->row.arm, sizeof(r->row.arm), "%s", v->arm);
        snprintf(r->row.against, sizeof(r->row.against), "%s", v->against);
    }
    for (int k = 0; status == AP_OK && k < AP_OUTCOME_COUNT; k++)
        if (strcmp(v->outcome, ap_outcome_name((ap_outcome)k)) == 0) {
            r->counts[k]++;
            status = add_points(r, v->record, ap_outcome_points((ap_outcome)k));
        }
    return status;
}

ap_status ap_evaluate_verdicts(struct ap_evaluation *e, struct ap_database *db, const char *judge,
                               double max_bad, uint64_t seed, struct ap_error *err)
{
    struct reading r = {.e = e, .judge = judge, .max_bad = max_bad, .seed = seed, .err = err};
    ap_status status = ap_database_each_verdict(db, on_verdict, &r, err);
    if (status == AP_OK)
        status = end_row(&r);
    ap_free(r.prompts);
    return status;
}

void ap_sentences_of_verdicts(struct ap_page *page, const struct ap_evaluation *e)
{
    for (int i = 0; i < e->n_verdict; i++) {
        const struct ap_verdict_row *v = &e->verdicts[i];
        ap_page_printf(page, "Judge %s, %s against %s: ", v->judge, ap_arm_shown(v->arm),
                       v->against);
        if (isnan(v->win.value))
            ap_page_printf(
                page,
                "no win rate, because %s of %lld pairs have no verdict; the table verdicts of "
                "run.db has the replies: mend the judge or its question.\n",
                ap_percent(v->bad).text, (long long)v->n);
        else
            ap_page_printf(page,
                           "wins %s of %lld pairs, each asked in both orders, ties one half; %s "
                           "contradicted, %s without verdict.\n",
                           ap_percent_with_range(v->win).text, (long long)v->n,
                           ap_percent(v->contradicted).text, ap_percent(v->bad).text);
        if (v->contradicted > CONTRADICTED_MUCH)
            ap_page_printf(page,
                           "Caution: %s contradicts itself on %s of these pairs; position decides "
                           "more than the answers.\n",
                           v->judge, ap_percent(v->contradicted).text);
    }
}
