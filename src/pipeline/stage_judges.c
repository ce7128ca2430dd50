/* The judges that compare, at the end of eval: their verdicts on the answers of each arm against
 * those of bare and instruct, into run.db's table verdicts. A few pairs a transaction, so that a
 * run that was stopped goes on with the next and no reply is asked for twice. Entry points:
 * ap_run_judges, ap_run_judges_done. */
#include "pipeline/run_inner.h"

#include "align/asker_command.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { STEP = 16 }; /* pairs in one transaction */
#define N_AGAINST 2
static const char *const against[N_AGAINST] = {"bare", "instruct"};

/* ---- under which settings a judge's verdicts were made ---- */

static ap_status write_stamp(const struct ap_judge_settings *j, struct ap_buffer *out,
                             struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "timeout %.17g\nquestion %s\n", j->timeout, j->question));
    for (int i = 0; i < j->n_command; i++)
        AP_TRY(ap_buffer_printf(out, err, "%s\n", j->command[i]));
out:
    return status;
}

/* RUN/eval/judge-NAME; allocated. */
static char *stamp_path(const struct ap_run *run, const struct ap_judge_settings *j)
{
    char name[64];
    snprintf(name, sizeof(name), "judge-%s", j->name);
    return ap_run_dir_path(&run->dir, "eval", name);
}

static bool stamp_agrees(const struct ap_run *run, const struct ap_judge_settings *j)
{
    struct ap_buffer now = {0}, then = {0};
    char *path = stamp_path(run, j);
    bool agrees = path && write_stamp(j, &now, NULL) == AP_OK &&
                  ap_file_read(path, AP_BUFFER_MAX, &then, NULL) == AP_OK && now.len == then.len &&
                  memcmp(now.data, then.data, now.len) == 0;
    ap_buffer_free(&now);
    ap_buffer_free(&then);
    ap_free(path);
    return agrees;
}

static ap_status renew(struct ap_run *run, const struct ap_judge_settings *j, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer stamp = {0};
    char *path = NULL;
    if (stamp_agrees(run, j))
        return AP_OK;
    if (!(path = stamp_path(run, j)))
        return ap_fail(err, AP_MEMORY, "eval: out of memory");
    AP_TRY(ap_database_forget_verdicts(run->db, j->name, err));
    AP_TRY(write_stamp(j, &stamp, err));
    AP_TRY(ap_file_write(path, stamp.data, stamp.len, err));
out:
    ap_buffer_free(&stamp);
    ap_free(path);
    return status;
}

/* ---- the pairs of one arm, one seed, one other arm ---- */

struct round {
    const struct ap_judge_settings *judge;
    const char *arm, *against;
    int64_t seed;
};

/* False past the last. */
static bool round_at(const struct ap_settings *s, int k, struct round *out)
{
    const struct ap_eval_settings *e = &s->eval;
    int first = ap_settings_n_scoring(s), n = 0;
    for (int j = first; j < e->n_judges; j++)
        for (int b = 0; b < N_AGAINST; b++)
            for (int i = 0; i < e->n_seeds; i++)
                for (int a = 0; a < e->n_arms; a++) {
                    bool there = false, itself = strcmp(e->arms[a], against[b]) == 0;
                    for (int o = 0; o < e->n_arms; o++)
                        there = there || strcmp(e->arms[o], against[b]) == 0;
                    if (!there || itself || strcmp(e->arms[a], "bare") == 0 || n++ < k)
                        continue;
                    *out = (struct round){ap_settings_pairwise(s, e->judges[j]), e->arms[a],
                                          against[b], e->seeds[i]};
                    return true;
                }
    return false;
}

struct answers { /* by prompt, in the order of the test prompts */
    const struct round *round;
    struct place {
        uint64_t record;
        int at;
    } * places; /* by record */
    int n;
    char **texts[2]; /* owned; the arm's, the other's; NULL: none */
    bool *judged;
};

static int by_record(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    return a->record < b->record ? -1 : a->record > b->record;
}

static int place_of(const struct answers *a, uint64_t record)
{
    const struct place *p =
        bsearch(&(struct place){record, 0}, a->places, (size_t)a->n, sizeof(*a->places), by_record);
    return p ? p->at : -1;
}

static ap_status on_answer(void *context, const struct ap_evaluation_record *r)
{
    struct answers *a = context;
    bool arm = strcmp(r->arm, a->round->arm) == 0, other = strcmp(r->arm, a->round->against) == 0;
    int at = r->sample == -1 && r->seed == a->round->seed && (arm || other) ? place_of(a, r->record)
                                                                            : -1;
    if (at < 0 || !r->answer)
        return AP_OK;
    a->texts[other][at] = ap_strdup(r->answer);
    return a->texts[other][at] ? AP_OK : AP_MEMORY;
}

static ap_status on_verdict(void *context, const struct ap_verdict_record *r)
{
    struct answers *a = context;
    const struct round *round = a->round;
    int at = place_of(a, r->record);
    if (at >= 0 && r->seed == round->seed && strcmp(r->judge, round->judge->name) == 0 &&
        strcmp(r->arm, round->arm) == 0 && strcmp(r->against, round->against) == 0)
        a->judged[at] = true;
    return AP_OK;
}

static void answers_free(struct answers *a)
{
    for (int k = 0; k < 2; k++) {
        for (int i = 0; a->texts[k] && i < a->n; i++)
            ap_free(a->texts[k][i]);
        ap_free(a->texts[k]);
    }
    ap_free(a->places);
    ap_free(a->judged);
}

static ap_status answers_read(struct answers *a, const struct round *round,
                              const struct ap_prompts *prompts, struct ap_database *db,
                              struct ap_error *err)
{
    size_t n = (size_t)prompts->n;
    ap_status status = AP_MEMORY;
    *a = (struct answers){.round = round, .n = prompts->n};
    a->places = ap_calloc(n, sizeof(*a->places));
    a->judged = ap_calloc(n, sizeof(*a->judged));
    a->texts[0] = ap_calloc(n, sizeof(char *));
    a->texts[1] = ap_calloc(n, sizeof(char *));
    if (!a->places || !a->judged || !a->texts[0] || !a->texts[1])
        return ap_fail(err, status, "eval: no memory for %d answers; free some", prompts->n);
    for (int i = 0; i < prompts->n; i++)
        a->places[i] = (struct place){prompts->items[i].record, i};
    qsort(a->places, n, sizeof(*a->places), by_record);
    AP_TRY(ap_database_each_evaluation(db, on_answer, a, err));
    AP_TRY(ap_database_each_verdict(db, on_verdict, a, err));
out:
    return status;
}

/* ---- asking ---- */

static ap_status store(const struct ap_run *run, const struct round *round,
                       const struct ap_prompts *prompts, const int *at,
                       const struct ap_judged *judged, int n, struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_database_begin(run->db, err));
    for (int i = 0; i < n; i++)
        AP_TRY(ap_database_verdict(
            run->db,
            &(struct ap_verdict_record){.judge = round->judge->name,
                                        .arm = round->arm,
                                        .against = round->against,
                                        .seed = round->seed,
                                        .record = prompts->items[at[i]].record,
                                        .reply_ab = judged[i].first,
                                        .reply_ba = judged[i].second,
                                        .outcome = ap_outcome_name(judged[i].outcome)},
            err));
    AP_TRY(ap_database_commit(run->db, err));
out:
    return status;
}

static ap_status ask_step(const struct ap_run *run, const struct ap_asker *asker,
                          const struct answers *a, const struct ap_prompts *prompts, const int *at,
                          int n, struct ap_error *err)
{
    struct ap_pair pairs[STEP];
    struct ap_judged judged[STEP];
    const char *question = a->round->judge->question;
    for (int i = 0; i < n; i++) {
        const struct ap_prompt *p = &prompts->items[at[i]];
        pairs[i] = (struct ap_pair){.context = p->context,
                                    .n_context = p->n_context,
                                    .x = p->x,
                                    .arm = a->texts[0][at[i]],
                                    .baseline = a->texts[1][at[i]]};
    }
    ap_status status = ap_judge_pairs(asker, question[0] ? question : NULL, pairs, n, judged, err);
    if (status == AP_OK)
        status = store(run, a->round, prompts, at, judged, n, err);
    ap_judged_free(judged, n);
    return status;
}

/* What is left of one round. */
static ap_status run_round(const struct ap_run *run, const struct round *round,
                           const struct ap_asker *asker, const struct ap_prompts *prompts,
                           struct ap_error *err)
{
    struct answers a;
    int at[STEP], n = 0;
    ap_status status;
    AP_TRY(answers_read(&a, round, prompts, run->db, err));
    for (int i = 0; i < a.n; i++) {
        if (!a.judged[i] && a.texts[0][i] && a.texts[1][i])
            at[n++] = i;
        if (n == 0 || (n < STEP && i < a.n - 1))
            continue;
        AP_TRY(ask_step(run, asker, &a, prompts, at, n, err));
        n = 0;
        if (ap_sink_stopped(run->sink)) {
            status = ap_fail(err, AP_INTERRUPTED,
                             "eval: interrupted while %s compares %s with %s; the same command "
                             "goes on from there",
                             round->judge->name, round->arm, round->against);
            goto out;
        }
    }
out:
    answers_free(&a);
    return status;
}

ap_status ap_run_judges(struct ap_run *run, const struct ap_prompts *prompts, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_judge_settings *open = NULL; /* whose asker is open: rounds come by judge */
    struct ap_asker asker = {0};
    struct round round;
    for (int k = 0; round_at(run->s, k, &round); k++) {
        const struct ap_judge_settings *j = round.judge;
        if (j != open) {
            struct ap_command command = {j->command, j->n_command, j->folder, j->timeout};
            ap_asker_command_free(&asker);
            AP_TRY(renew(run, j, err));
            AP_TRY(ap_asker_command(&asker, &command, run->sink, err));
            open = j;
        }
        AP_TRY(run_round(run, &round, &asker, prompts, err));
    }
out:
    ap_asker_command_free(&asker);
    return status;
}

/* ---- which verdicts are there already ---- */

struct counting {
    const struct round *round;
    int64_t n_answer, n_verdict;
};

static ap_status count_answer(void *context, const struct ap_evaluation_record *r)
{
    struct counting *c = context;
    c->n_answer +=
        r->sample == -1 && r->seed == c->round->seed && strcmp(r->arm, c->round->arm) == 0;
    return AP_OK;
}

static ap_status count_verdict(void *context, const struct ap_verdict_record *r)
{
    struct counting *c = context;
    c->n_verdict += r->seed == c->round->seed && strcmp(r->judge, c->round->judge->name) == 0 &&
                    strcmp(r->arm, c->round->arm) == 0 &&
                    strcmp(r->against, c->round->against) == 0;
    return AP_OK;
}

bool ap_run_judges_done(const struct ap_run *run)
{
    struct round round;
    bool done = true;
    for (int k = 0; done && round_at(run->s, k, &round); k++) {
        struct counting c = {.round = &round};
        done = stamp_agrees(run, round.judge) &&
               ap_database_each_evaluation(run->db, count_answer, &c, NULL) == AP_OK &&
               ap_database_each_verdict(run->db, count_verdict, &c, NULL) == AP_OK &&
               c.n_answer == c.n_verdict;
    }
    return done;
}
