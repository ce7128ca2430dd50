/* run.db to statistics: the answers that count, of one run or of several, are joined with their
 * scores and laid out as one dense table a judge. Not here: the arithmetic (statistics.c), any text
 * (report_text.c). Entry points: ap_evaluate, ap_evaluate_runs, ap_evaluate_noise. */
#include "base/memory.h"
#include "base/random.h"
#include "eval/noisy.h"
#include "eval/report_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX ((size_t)1 << 24)

/* One answer that counts: an evaluations row with sample −1, and its scores. */
struct answer {
    int arm, run;
    int64_t seed;
    uint64_t record;
    uint64_t prompt;           /* hash of its text */
    struct ap_score_cell cell; /* but for the score */
    double scores[AP_JUDGES_MAX];
};

/* A column of the table: a seed of a run. */
struct column {
    int run;
    int64_t seed;
};

struct reader {
    char *const *arms, *const *judges;
    int n_arm, n_judge;
    const struct ap_evaluated_run *runs;
    int n_run, run;                      /* run: the one that is read */
    struct column columns[AP_SEEDS_MAX]; /* ascending */
    int n_column;
    struct answer *answers; /* sorted by (arm, run, seed, record) before scores are read */
    size_t n, cap;
    bool has_score[AP_JUDGES_MAX][AP_ARMS_MAX];
    uint64_t *records; /* distinct, ascending */
    size_t n_record;
    struct ap_error *err;
};

static int name_find(char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static ap_status check_names(const char *key, char *const *names, int n, int max,
                             struct ap_error *err)
{
    if (n < 1 || n > max)
        return ap_fail(err, AP_LIMIT, "%s: has %d names, expected 1 to %d", key, n, max);
    for (int i = 0; i < n; i++) {
        if (strlen(names[i]) >= sizeof(((struct ap_arm_statistics *)0)->name))
            return ap_fail(err, AP_LIMIT, "%s: '%s' has %zu bytes, expected at most 31; rename it",
                           key, names[i], strlen(names[i]));
        if (name_find(names, i, names[i]) >= 0)
            return ap_fail(err, AP_INVALID, "%s: has '%s' twice, expected once; remove one", key,
                           names[i]);
    }
    return AP_OK;
}

/* ---- reading rows ---- */

static ap_status grow(struct reader *r)
{
    size_t cap = r->cap ? r->cap * 2 : 1024;
    if (r->n >= ROWS_MAX)
        return ap_fail(r->err, AP_LIMIT,
                       "run.db: more than %zu answers to evaluate; use fewer "
                       "test prompts or seeds",
                       ROWS_MAX);
    struct answer *more = ap_realloc(r->answers, r->cap, cap, sizeof(*more));
    if (!more)
        return ap_fail(r->err, AP_MEMORY, "run.db: out of memory for %zu answers; free some", cap);
    r->answers = more;
    r->cap = cap;
    return AP_OK;
}

/* A mean of which one is not known is not known, either. */
static double tokens(int n)
{
    return n >= 0 ? n : (double)NAN;
}

static ap_status on_answer(void *context, const struct ap_evaluation_record *e)
{
    struct reader *r = context;
    int arm = name_find(r->arms, r->n_arm, e->arm);
    if (arm < 0 || e->sample != -1)
        return AP_OK;
    if (r->n == r->cap) {
        ap_status status = grow(r);
        if (status != AP_OK)
            return status;
    }
    struct answer *a = &r->answers[r->n++];
    *a = (struct answer){.arm = arm,
                         .run = r->run,
                         .seed = e->seed,
                         .record = e->record,
                         .prompt = e->prompt ? ap_hash(e->prompt, strlen(e->prompt)) : 0,
                         .cell = {.kl = e->kl,
                                  .rewrite_tokens = e->rewrite ? (double)e->n_rewrite_tokens : NAN,
                                  .answer_tokens = tokens(e->n_answer_tokens),
                                  .rewrite_ended = e->rewrite ? (double)e->rewrite_ended : NAN,
                                  .answer_ended = e->answer_ended}};
    for (int j = 0; j < AP_JUDGES_MAX; j++)
        a->scores[j] = NAN;
    return AP_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct answer *a = left, *b = right;
    if (a->arm != b->arm)
        return a->arm < b->arm ? -1 : 1;
    if (a->run != b->run)
        return a->run < b->run ? -1 : 1;
    if (a->seed != b->seed)
        return a->seed < b->seed ? -1 : 1;
    return a->record < b->record ? -1 : a->record > b->record;
}

static ap_status on_score(void *context, const char *arm, int64_t seed, uint64_t record, int sample,
                          const char *judge, double value)
{
    struct reader *r = context;
    struct answer key = {
        .arm = name_find(r->arms, r->n_arm, arm), .run = r->run, .seed = seed, .record = record};
    int j = name_find(r->judges, r->n_judge, judge);
    if (key.arm < 0 || j < 0 || sample != -1)
        return AP_OK;
    r->has_score[j][key.arm] = true;
    struct answer *a = bsearch(&key, r->answers, r->n, sizeof(key), by_place);
    if (a)
        a->scores[j] = value;
    return AP_OK;
}

static ap_status on_guard(void *context, const char *arm, int64_t seed, uint64_t record, int sample,
                          const char *guard)
{
    struct ap_evaluation *e = context;
    (void)seed;
    (void)record;
    for (int a = 0; a < e->n_arm && sample == -1; a++)
        if (strcmp(e->arms[0][a].name, arm) == 0)
            e->n_guarded[a][ap_guard_find(guard)]++;
    return AP_OK;
}

/* Each of the first n answers belongs to some run before the one that is read. */
static ap_status check_rows(const struct reader *r, const bool *has_answer)
{
    const char *where = r->runs[r->run].name;
    for (int a = 0; a < r->n_arm; a++) {
        if (!has_answer[a])
            return ap_fail(r->err, AP_NOT_FOUND,
                           "%s: has no answers of the arm '%s'; run eval for it, or take it out "
                           "of eval.arms",
                           where, r->arms[a]);
        for (int j = 0; j < r->n_judge; j++)
            if (!r->has_score[j][a])
                return ap_fail(r->err, AP_NOT_FOUND,
                               "%s: the judge '%s' has not scored the arm '%s'; run eval again, "
                               "or take it out of eval.judges",
                               where, r->judges[j], r->arms[a]);
    }
    return AP_OK;
}

static ap_status read_scores(struct reader *r)
{
    bool has_answer[AP_ARMS_MAX] = {false};
    memset(r->has_score, 0, sizeof(r->has_score));
    for (size_t i = 0; i < r->n; i++)
        if (r->answers[i].run == r->run)
            has_answer[r->answers[i].arm] = true;
    ap_status status = ap_database_each_score(r->runs[r->run].db, on_score, r, r->err);
    return status == AP_OK ? check_rows(r, has_answer) : status;
}

static ap_status read_answers(struct reader *r)
{
    ap_status status = AP_OK;
    for (r->run = 0; r->run < r->n_run; r->run++)
        AP_TRY(ap_database_each_evaluation(r->runs[r->run].db, on_answer, r, r->err));
    if (r->n > 0)
        qsort(r->answers, r->n, sizeof(*r->answers), by_place);
    for (r->run = 0; r->run < r->n_run; r->run++)
        AP_TRY(read_scores(r));
out:
    return status;
}

/* ---- the dense table ---- */

static int record_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int column_order(const void *a, const void *b)
{
    const struct column *x = a, *y = b;
    if (x->run != y->run)
        return x->run < y->run ? -1 : 1;
    return (x->seed > y->seed) - (x->seed < y->seed);
}

static int seed_order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static ap_status find_records(struct reader *r)
{
    r->records = ap_calloc(r->n, sizeof(*r->records));
    if (!r->records)
        return ap_fail(r->err, AP_MEMORY, "run.db: out of memory for %zu answers; free some", r->n);
    for (size_t i = 0; i < r->n; i++)
        r->records[i] = r->answers[i].record;
    qsort(r->records, r->n, sizeof(*r->records), record_order);
    for (size_t i = 0; i < r->n; i++)
        if (i == 0 || r->records[i] != r->records[r->n_record - 1])
            r->records[r->n_record++] = r->records[i];
    return AP_OK;
}

/* Few columns, many answers: answers are sorted, so that a column comes in runs. */
static ap_status find_columns(struct reader *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct answer *a = &r->answers[i];
        if (i > 0 && a[-1].seed == a->seed && a[-1].run == a->run)
            continue;
        int k = 0;
        while (k < r->n_column && (r->columns[k].seed != a->seed || r->columns[k].run != a->run))
            k++;
        if (k < r->n_column)
            continue;
        if (r->n_column == AP_SEEDS_MAX)
            return ap_fail(r->err, AP_LIMIT,
                           "%s: has answers of more than %d seeds (of all runs together); start a "
                           "fresh run directory, or compare fewer runs",
                           r->runs[a->run].name, AP_SEEDS_MAX);
        r->columns[r->n_column++] = (struct column){a->run, a->seed};
    }
    qsort(r->columns, (size_t)r->n_column, sizeof(*r->columns), column_order);
    return AP_OK;
}

static void list_seeds(struct ap_evaluation *out, const struct reader *r)
{
    for (int i = 0; i < r->n_column; i++) {
        int k = 0;
        while (k < out->n_seed && out->seeds[k] != r->columns[i].seed)
            k++;
        if (k == out->n_seed)
            out->seeds[out->n_seed++] = r->columns[i].seed;
    }
    qsort(out->seeds, (size_t)out->n_seed, sizeof(*out->seeds), seed_order);
}

/* ---- runs that are averaged must be of one test set ---- */

static int by_prompt(const void *left, const void *right)
{
    const struct answer *a = *(const struct answer *const *)left,
                        *b = *(const struct answer *const *)right;
    if (a->record != b->record)
        return a->record < b->record ? -1 : 1;
    return a->run - b->run;
}

static ap_status other_prompts(const struct reader *r, int run, uint64_t record, const char *what)
{
    return ap_fail(r->err, AP_INVALID,
                   "%s: its test prompts are not those of %s (test prompt %llu %s), expected the "
                   "same of runs of one cell; give them labels of their own (label.data), or "
                   "evaluate both on one test set",
                   r->runs[run].name, r->runs[run > 0 ? 0 : 1].name, (unsigned long long)record,
                   what);
}

/* places: of all answers, by (record, run). */
static ap_status compare_prompts(const struct reader *r, const struct answer *const *places)
{
    for (size_t i = 0, next; i < r->n; i = next) {
        int n_run = 0;
        for (next = i; next < r->n && places[next]->record == places[i]->record; next++) {
            if (places[next]->prompt != places[i]->prompt)
                return other_prompts(r, places[next]->run, places[i]->record, "is another one");
            if (next == i || places[next]->run != places[next - 1]->run) {
                if (places[next]->run != n_run)
                    return other_prompts(r, n_run, places[i]->record, "is missing");
                n_run++;
            }
        }
        if (n_run < r->n_run)
            return other_prompts(r, n_run, places[i]->record, "is missing");
    }
    return AP_OK;
}

static ap_status check_prompts(const struct reader *r)
{
    if (r->n_run < 2)
        return AP_OK;
    const struct answer **places = ap_calloc(r->n, sizeof(*places));
    if (!places)
        return ap_fail(r->err, AP_MEMORY, "run.db: out of memory for %zu answers; free some", r->n);
    for (size_t i = 0; i < r->n; i++)
        places[i] = &r->answers[i];
    qsort(places, r->n, sizeof(*places), by_prompt);
    ap_status status = compare_prompts(r, places);
    ap_free(places);
    return status;
}

/* Runs are drawn whole, so each must have as many seeds. */
static ap_status check_columns(const struct reader *r)
{
    int n[AP_SEEDS_MAX] = {0};
    for (int i = 0; i < r->n_column; i++)
        n[r->columns[i].run]++;
    for (int k = 1; k < r->n_run; k++)
        if (n[k] != n[0])
            return ap_fail(r->err, AP_INVALID,
                           "%s: has %d sampling seed%s and %s %d, expected as many in every run of "
                           "a cell; evaluate it with as many eval.seeds",
                           r->runs[k].name, n[k], n[k] == 1 ? "" : "s", r->runs[0].name, n[0]);
    return AP_OK;
}

static void fill_table(struct ap_score_table *t, const struct reader *r, int judge)
{
    size_t n_cell = (size_t)t->n_prompt * (size_t)t->n_seed * (size_t)t->n_arm;
    for (size_t i = 0; i < n_cell; i++)
        t->cells[i].score = NAN;
    for (size_t i = 0; i < r->n; i++) {
        const struct answer *a = &r->answers[i];
        const struct column key = {a->run, a->seed};
        const uint64_t *record =
            bsearch(&a->record, r->records, r->n_record, sizeof(*record), record_order);
        const struct column *column =
            bsearch(&key, r->columns, (size_t)r->n_column, sizeof(key), column_order);
        size_t row =
            (size_t)(record - r->records) * (size_t)t->n_seed + (size_t)(column - r->columns);
        struct ap_score_cell *cell = &t->cells[row * (size_t)t->n_arm + (size_t)a->arm];
        *cell = a->cell;
        cell->score = a->scores[judge];
    }
}

static ap_status evaluate(struct ap_evaluation *out, const struct reader *r, uint64_t seed,
                          double *const *samples)
{
    ap_status status = AP_OK;
    struct ap_score_table table = {.n_prompt = (int64_t)r->n_record,
                                   .n_seed = r->n_column,
                                   .n_arm = r->n_arm,
                                   .seeds_a_run = r->n_run > 1 ? r->n_column / r->n_run : 0,
                                   .bare = name_find(r->arms, r->n_arm, "bare"),
                                   .instruct = name_find(r->arms, r->n_arm, "instruct"),
                                   .rlhf = name_find(r->arms, r->n_arm, "rlhf")};
    for (int a = 0; a < r->n_arm; a++)
        table.before[a] = 1 + ap_arm_before(out, a);
    table.cells =
        ap_calloc(r->n_record * (size_t)r->n_column * (size_t)r->n_arm, sizeof(*table.cells));
    if (!table.cells)
        return ap_fail(r->err, AP_MEMORY, "run.db: out of memory for %zu prompts; free some",
                       r->n_record);
    for (int j = 0; j < r->n_judge; j++) {
        fill_table(&table, r, j);
        AP_TRY(ap_arm_statistics_of(out->arms[j], &table, out->n_bootstrap, seed,
                                    &out->n_dropped[j], samples ? samples[j] : NULL, r->err));
    }
out:
    ap_free(table.cells);
    return status;
}

static ap_status count_guards(struct ap_evaluation *out, const struct reader *r)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < r->n; i++)
        out->n_rewrite[r->answers[i].arm] += !isnan(r->answers[i].cell.rewrite_tokens);
    for (int k = 0; k < r->n_run && status == AP_OK; k++)
        status = ap_database_each_guard(r->runs[k].db, on_guard, out, r->err);
    return status;
}

ap_status ap_evaluate_runs(struct ap_evaluation *out, const struct ap_evaluated_run *runs,
                           int n_runs, char *const *arms, int n_arms, char *const *judges,
                           int n_judges, int n_bootstrap, uint64_t seed, double *const *samples,
                           struct ap_error *err)
{
    ap_status status;
    struct reader r = {.arms = arms,
                       .judges = judges,
                       .n_arm = n_arms,
                       .n_judge = n_judges,
                       .runs = runs,
                       .n_run = n_runs,
                       .err = err};

    memset(out, 0, sizeof(*out));
    if (n_runs > AP_SEEDS_MAX)
        return ap_fail(err, AP_LIMIT,
                       "%s: %d runs of one cell, expected at most %d; leave some out", runs[0].name,
                       n_runs, AP_SEEDS_MAX);
    AP_TRY(check_names("eval.arms", arms, n_arms, AP_ARMS_MAX, err));
    AP_TRY(check_names("eval.judges", judges, n_judges, AP_JUDGES_MAX, err));
    *out = (struct ap_evaluation){
        .n_judge = n_judges, .n_arm = n_arms, .n_run = n_runs, .n_bootstrap = n_bootstrap};
    for (int j = 0; j < n_judges; j++) {
        strcpy(out->judges[j], judges[j]);
        for (int a = 0; a < n_arms; a++)
            strcpy(out->arms[j][a].name, arms[a]);
    }
    AP_TRY(read_answers(&r));
    AP_TRY(count_guards(out, &r));
    AP_TRY(find_records(&r));
    AP_TRY(find_columns(&r));
    AP_TRY(check_prompts(&r));
    AP_TRY(check_columns(&r));
    list_seeds(out, &r);
    AP_TRY(evaluate(out, &r, seed, samples));
out:
    ap_free(r.answers);
    ap_free(r.records);
    return status;
}

ap_status ap_evaluate(struct ap_evaluation *out, struct ap_database *db, char *const *arms,
                      int n_arms, char *const *judges, int n_judges, int n_bootstrap, uint64_t seed,
                      struct ap_error *err)
{
    const struct ap_evaluated_run run = {.name = "run.db", .db = db};
    return ap_evaluate_runs(out, &run, 1, arms, n_arms, judges, n_judges, n_bootstrap, seed, NULL,
                            err);
}

static ap_status evaluate_noise(struct ap_evaluation *e, int level, struct ap_evaluation *there,
                                struct ap_database *db, uint64_t seed, struct ap_error *err)
{
    struct ap_noisy_name names[AP_ARMS_MAX];
    char *arms[AP_ARMS_MAX], *judges[AP_JUDGES_MAX];
    for (int a = 0; a < e->n_arm; a++) {
        names[a] = ap_noisy_name(e->arms[0][a].name, e->noise[level]);
        arms[a] = names[a].text;
    }
    for (int j = 0; j < e->n_judge; j++)
        judges[j] = e->judges[j];
    ap_status status =
        ap_evaluate(there, db, arms, e->n_arm, judges, e->n_judge, e->n_bootstrap, seed, err);
    for (int j = 0; j < e->n_judge && status == AP_OK; j++)
        for (int a = 0; a < e->n_arm; a++)
            e->noisy[level][j][a] = there->arms[j][a].mean;
    return status;
}

ap_status ap_evaluate_noise(struct ap_evaluation *e, struct ap_database *db, const double *noise,
                            int n_noise, uint64_t seed, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_evaluation *there = ap_calloc(1, sizeof(*there));
    if (!there)
        return ap_fail(err, AP_MEMORY, "run.db: out of memory for the arms under noise");
    e->n_noise = n_noise;
    for (int k = 0; k < n_noise && status == AP_OK; k++) {
        e->noise[k] = noise[k];
        status = evaluate_noise(e, k, there, db, seed, err);
    }
    ap_free(there);
    return status;
}
