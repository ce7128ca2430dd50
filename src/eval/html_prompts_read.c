/* run.db to the rows of the list of prompts. Entry point: ap_prompt_rows_read. */
#include "base/memory.h"
#include "eval/compare.h"
#include "eval/html_prompts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)16 << 10) /* bytes of a text that are kept */

struct reader {
    struct ap_prompt_rows *out;
    const struct ap_evaluation *e;
    struct ap_error *err;
};

static int by_record(const void *key, const void *item)
{
    uint64_t a = *(const uint64_t *)key, b = ((const struct ap_prompt_row *)item)->record;
    return (a > b) - (a < b);
}

static struct ap_prompt_row *find(const struct ap_prompt_rows *rows, uint64_t record)
{
    return rows->n ? bsearch(&record, rows->items, rows->n, sizeof(*rows->items), by_record) : NULL;
}

static ap_status no_memory(struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "report.html: out of memory for the test prompts");
}

static bool take(char **to, const char *text)
{
    if (*to || !text)
        return true;
    *to = ap_strndup(text, strnlen(text, TEXT_MAX));
    return *to;
}

/* The first arm names the prompts: rows come by arm, seed and record. */
static ap_status add_row(struct reader *r, uint64_t record)
{
    struct ap_prompt_rows *out = r->out;
    if (out->n == AP_PROMPTS_SHOWN_MAX) {
        out->n_more++;
        return AP_OK;
    }
    if (out->n == out->cap) {
        size_t cap = out->cap ? 2 * out->cap : 256;
        struct ap_prompt_row *more = ap_realloc(out->items, out->cap, cap, sizeof(*more));
        if (!more)
            return no_memory(r->err);
        out->items = more;
        out->cap = cap;
    }
    struct ap_prompt_row *row = &out->items[out->n++];
    row->record = record;
    for (int a = 0; a < AP_ARMS_MAX; a++)
        for (int j = 0; j < AP_JUDGES_MAX; j++)
            row->arms[a].scores[j] = NAN;
    return AP_OK;
}

static bool counts(const struct reader *r, int arm, int64_t seed, int sample)
{
    return arm >= 0 && sample == -1 && r->e->n_seed > 0 && seed == r->e->seeds[0];
}

static ap_status on_record(void *context, const struct ap_evaluation_record *e)
{
    struct reader *r = context;
    bool first = strcmp(e->arm, r->e->arms[0][0].name) == 0;
    return first && counts(r, 0, e->seed, e->sample) ? add_row(r, e->record) : AP_OK;
}

static ap_status on_answer(void *context, const struct ap_evaluation_record *e)
{
    struct reader *r = context;
    int a = ap_arm_find(r->e, e->arm);
    struct ap_prompt_row *row = counts(r, a, e->seed, e->sample) ? find(r->out, e->record) : NULL;
    if (row && (!take(&row->prompt, e->prompt) || !take(&row->arms[a].rewrite, e->rewrite) ||
                !take(&row->arms[a].answer, e->answer)))
        return no_memory(r->err);
    return AP_OK;
}

static ap_status on_score(void *context, const char *arm, int64_t seed, uint64_t record, int sample,
                          const char *judge, double value)
{
    struct reader *r = context;
    int a = ap_arm_find(r->e, arm), j = ap_judge_find(r->e, judge);
    struct ap_prompt_row *row = j >= 0 && counts(r, a, seed, sample) ? find(r->out, record) : NULL;
    if (row)
        row->arms[a].scores[j] = value;
    return AP_OK;
}

ap_status ap_prompt_rows_read(struct ap_prompt_rows *out, struct ap_database *db,
                              const struct ap_evaluation *e, struct ap_error *err)
{
    struct reader r = {.out = out, .e = e, .err = err};
    ap_status status;
    AP_TRY(ap_database_each_evaluation(db, on_record, &r, err));
    AP_TRY(ap_database_each_evaluation(db, on_answer, &r, err));
    AP_TRY(ap_database_each_score(db, on_score, &r, err));
out:
    return status;
}

void ap_prompt_rows_free(struct ap_prompt_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        ap_free(rows->items[i].prompt);
        for (int a = 0; a < AP_ARMS_MAX; a++) {
            ap_free(rows->items[i].arms[a].rewrite);
            ap_free(rows->items[i].arms[a].answer);
        }
    }
    ap_free(rows->items);
    *rows = (struct ap_prompt_rows){0};
}
