/* The judges that compare, at the end of eval: their verdicts on the answers of each arm against
 * those of bare and instruct, into run.db's table verdicts. A few pairs a transaction, so that a
 * run that was stopped goes on with the next and no reply is asked for twice. Entry points:
 * ap_run_judges, ap_run_judges_done. */
#include "pipeline/stage_share.h"

#include "align/asker_command.h"
#include "align/asker_http.h"
#include "align/asker_model.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP = 16,      /* pairs in one transaction */
    STEP_MODEL = 8, /* of a model, which may take long: a kill loses what is in flight */
};

bool ap_run_asks_judge(const struct ap_settings *s, int i)
{
    bool asked = false;
    for (int k = 0; k < s->eval.n_judges; k++)
        asked = asked || strcmp(s->eval.judges[k], s->judges[i].name) == 0;
    return asked;
}

int ap_run_judge_slots(const struct ap_settings *s)
{
    return s->run.batch < 2 * STEP_MODEL ? s->run.batch : 2 * STEP_MODEL;
}

int ap_run_judge_context(const struct ap_run *run, int most)
{
    return run->s->run.context > 0 ? run->s->run.context : most;
}

#define N_AGAINST 2
static const char *const against[N_AGAINST] = {"bare", "instruct"};

/* ---- under which settings a judge's verdicts were made ---- */

static ap_status add_model(const struct ap_run *run, const struct ap_judge_settings *j,
                           struct ap_buffer *out, struct ap_error *err)
{
    json_t *files;
    ap_status status = ap_share_model(run, j->model, &files, err);
    if (status != AP_OK)
        return status;
    char *text = json_dumps(files, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(files);
    status = text ? ap_buffer_printf(out, err, "model %s tokens %d question %s\n", text,
                                     j->max_new_tokens, j->question)
                  : ap_fail(err, AP_MEMORY, "judges.%s: no memory; free some", j->name);
    free(text);
    return status;
}

static ap_status write_stamp(const struct ap_run *run, const struct ap_judge_settings *j,
                             struct ap_buffer *out, struct ap_error *err)
{
    ap_status status;
    if (j->http.n_url > 0)
        return ap_buffer_printf(out, err, "server %s model %s tokens %d question %s\n",
                                j->http.url[0], j->model, j->max_new_tokens, j->question);
    if (j->model[0])
        return add_model(run, j, out, err);
    AP_TRY(ap_buffer_printf(out, err, "timeout %.17g\nquestion %s\nfolder %s\n", j->timeout,
                            j->question, j->folder));
    for (int i = 0; i < j->n_command; i++)
        AP_TRY(ap_buffer_printf(out, err, "%s\n", j->command[i]));
out:
    return status;
}

struct stamp_name {
    char text[64];
};

static struct stamp_name stamp_of(const struct ap_judge_settings *j)
{
    struct stamp_name name;
    snprintf(name.text, sizeof(name.text), "judge-%s", j->name);
    return name;
}

static bool stamp_agrees(const struct ap_run *run, const struct ap_judge_settings *j)
{
    struct ap_buffer now = {0};
    bool agrees = write_stamp(run, j, &now, NULL) == AP_OK &&
                  ap_run_stamp_agrees(run, "eval", stamp_of(j).text, &now);
    ap_buffer_free(&now);
    return agrees;
}

static ap_status renew(struct ap_run *run, const struct ap_judge_settings *j, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer stamp = {0};
    if (stamp_agrees(run, j))
        return AP_OK;
    AP_TRY(ap_database_forget_verdicts(run->db, j->name, err));
    AP_TRY(write_stamp(run, j, &stamp, err));
    AP_TRY(ap_run_stamp_put(run, "eval", stamp_of(j).text, &stamp, err));
out:
    ap_buffer_free(&stamp);
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

/* ---- what is there of a round ---- */

/* The two answers to a prompt, and what the judge has said of them. */
struct pair {
    uint64_t record;
    char *arm, *other;       /* owned; NULL: no answer */
    struct ap_judged judged; /* owned; its replies as far as they came */
    bool stored;             /* there is a verdict */
};

struct pairs { /* by record, which rises */
    const struct round *round;
    struct pair *items; /* owned */
    int n, cap;
    struct ap_error *err;
};

static void pairs_free(struct pairs *p)
{
    for (int i = 0; i < p->n; i++) {
        ap_free(p->items[i].arm);
        ap_free(p->items[i].other);
        ap_judged_free(&p->items[i].judged, 1);
    }
    ap_free(p->items);
}

static int by_record(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    return a->record < b->record ? -1 : a->record > b->record;
}

static struct pair *pair_of(const struct pairs *p, uint64_t record)
{
    return p->n ? bsearch(&(struct pair){.record = record}, p->items, (size_t)p->n,
                          sizeof(*p->items), by_record)
                : NULL;
}

static ap_status copy(char **out, const char *text, struct ap_error *err)
{
    if (!text)
        return AP_OK;
    ap_free(*out);
    *out = ap_strdup(text);
    return *out ? AP_OK : ap_fail(err, AP_MEMORY, "eval: no memory for the answers of a judge");
}

/* Rows of an arm and seed come by record. */
static ap_status on_arm(void *context, const struct ap_evaluation_record *r)
{
    struct pairs *p = context;
    if (r->sample != -1 || r->seed != p->round->seed || strcmp(r->arm, p->round->arm) != 0)
        return AP_OK;
    if (p->n == p->cap) {
        int cap = p->cap ? 2 * p->cap : 256;
        struct pair *grown = ap_realloc(p->items, (size_t)p->cap, (size_t)cap, sizeof(*p->items));
        if (!grown)
            return ap_fail(p->err, AP_MEMORY, "eval: no memory for %d answers", cap);
        p->items = grown;
        p->cap = cap;
    }
    p->items[p->n++] = (struct pair){.record = r->record};
    return copy(&p->items[p->n - 1].arm, r->answer, p->err);
}

static ap_status on_other(void *context, const struct ap_evaluation_record *r)
{
    struct pairs *p = context;
    struct pair *pair =
        r->sample == -1 && r->seed == p->round->seed && strcmp(r->arm, p->round->against) == 0
            ? pair_of(p, r->record)
            : NULL;
    return pair ? copy(&pair->other, r->answer, p->err) : AP_OK;
}

static ap_status on_verdict(void *context, const struct ap_verdict_record *r)
{
    struct pairs *p = context;
    const struct round *round = p->round;
    struct pair *pair = r->seed == round->seed && strcmp(r->judge, round->judge->name) == 0 &&
                                strcmp(r->arm, round->arm) == 0 &&
                                strcmp(r->against, round->against) == 0
                            ? pair_of(p, r->record)
                            : NULL;
    if (!pair)
        return AP_OK;
    pair->stored = true;
    ap_status status = copy(&pair->judged.first, r->reply_ab, p->err);
    return status == AP_OK ? copy(&pair->judged.second, r->reply_ba, p->err) : status;
}

static ap_status pairs_read(struct pairs *p, const struct round *round, struct ap_database *db,
                            struct ap_error *err)
{
    ap_status status;
    *p = (struct pairs){.round = round, .err = err};
    AP_TRY(ap_database_each_evaluation(db, on_arm, p, err));
    AP_TRY(ap_database_each_evaluation(db, on_other, p, err));
    AP_TRY(ap_database_each_verdict(db, on_verdict, p, err));
out:
    return status;
}

/* Whether there is something left to ask or to store. A reply that never came stays open, so that
 * the same command asks for it once the judge is mended. */
static bool is_open(const struct pair *p)
{
    bool same = p->arm && p->other && strcmp(p->arm, p->other) == 0;
    return p->arm && p->other && (!p->stored || (!same && !(p->judged.first && p->judged.second)));
}

bool ap_run_judges_done(const struct ap_run *run)
{
    struct round round;
    bool done = true;
    for (int k = 0; done && round_at(run->s, k, &round); k++) {
        struct pairs p = {0};
        done = stamp_agrees(run, round.judge) && pairs_read(&p, &round, run->db, NULL) == AP_OK;
        for (int i = 0; done && i < p.n; i++)
            done = !is_open(&p.items[i]);
        pairs_free(&p);
    }
    return done;
}

/* ---- asking ---- */

static ap_status store(const struct ap_run *run, const struct round *round,
                       struct pair *const *pairs, int n, struct ap_error *err)
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
                                        .record = pairs[i]->record,
                                        .reply_ab = pairs[i]->judged.first,
                                        .reply_ba = pairs[i]->judged.second,
                                        .outcome = ap_outcome_name(pairs[i]->judged.outcome)},
            err));
    AP_TRY(ap_database_commit(run->db, err));
out:
    return status;
}

/* Prompts come by record, too. */
static const struct ap_prompt *prompt_of(const struct ap_prompts *prompts, uint64_t record)
{
    int low = 0, high = prompts->n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (prompts->items[middle].record < record)
            low = middle + 1;
        else
            high = middle;
    }
    return low < prompts->n && prompts->items[low].record == record ? &prompts->items[low] : NULL;
}

static ap_status ask_step(const struct ap_run *run, const struct round *round,
                          const struct ap_asker *asker, const struct ap_prompts *prompts,
                          struct pair *const *open, int n, struct ap_error *err)
{
    struct ap_pair pairs[STEP];
    struct ap_judged judged[STEP];
    const char *question = round->judge->question;
    for (int i = 0; i < n; i++) {
        const struct ap_prompt *p = prompt_of(prompts, open[i]->record);
        pairs[i] = (struct ap_pair){.context = p->context,
                                    .n_context = p->n_context,
                                    .x = p->x,
                                    .arm = open[i]->arm,
                                    .baseline = open[i]->other};
        judged[i] = open[i]->judged;
    }
    ap_status status = ap_judge_pairs(asker, question[0] ? question : NULL, pairs, n, judged, err);
    for (int i = 0; i < n; i++)
        open[i]->judged = judged[i];
    /* after a failure, too: what arrived by then is not asked for again */
    ap_status stored = store(run, round, open, n, status == AP_OK ? err : NULL);
    return status == AP_OK ? stored : status;
}

/* Who replies, and how far it has come. */
struct judging {
    struct ap_run *run;
    const struct ap_prompts *prompts;
    const struct ap_judge_settings *judge; /* whose asker is open: rounds come by judge */
    struct ap_asker asker;
    struct ap_lm lm; /* the judge's model with the context of its own */
    struct ap_event event;
    double began;
};

/* Alone in memory: the answers are there, and what gave them is needed no more. */
static ap_status open_model(struct judging *g, const struct ap_judge_settings *j,
                            struct ap_error *err)
{
    struct ap_lm *lm;
    struct ap_asker_model_options options = {j->max_new_tokens, ap_run_judge_slots(g->run->s)};
    ap_run_keep_model(g->run, j->model);
    ap_status status = ap_run_lm(g->run, j->model, &lm, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "judges.%s.model", j->name);
    g->lm = *lm;
    g->lm.context = ap_run_judge_context(g->run, lm->weights->context);
    return ap_asker_model(&g->asker, &g->lm, &options, g->run->sink, err);
}

static ap_status open_server(struct judging *g, const struct ap_judge_settings *j,
                             struct ap_error *err)
{
    struct ap_remote *remote;
    char who[64];
    snprintf(who, sizeof(who), "judges.%s", j->name);
    ap_status status = ap_run_remote(g->run, who, &j->http, j->timeout, &remote, err);
    return status == AP_OK ? ap_asker_http(&g->asker, remote, j, err) : status;
}

static ap_status open_asker(struct judging *g, const struct ap_judge_settings *j,
                            struct ap_error *err)
{
    const struct ap_command command = {j->command, j->n_command, j->folder, j->timeout, NULL};
    if (g->judge == j)
        return AP_OK;
    ap_asker_free(&g->asker);
    g->judge = j;
    if (j->http.n_url > 0)
        return open_server(g, j, err);
    return j->model[0] ? open_model(g, j, err)
                       : ap_asker_command(&g->asker, &command, g->run->sink, err);
}

static ap_status after_step(struct judging *g, const struct round *round, int n,
                            struct ap_error *err)
{
    g->event.kind = AP_EVENT_STEP;
    g->event.step += n;
    g->event.seconds = ap_clock_seconds() - g->began;
    ap_sink_event(g->run->sink, &g->event);
    if (!ap_sink_stopped(g->run->sink))
        return AP_OK;
    return ap_fail(err, AP_INTERRUPTED,
                   "eval: interrupted while %s compares %s with %s; the same command goes on from "
                   "there",
                   round->judge->name, round->arm, round->against);
}

/* What is left of one round. */
static ap_status run_round(struct judging *g, const struct round *round, struct ap_error *err)
{
    struct pairs p;
    struct pair *open[STEP];
    int n = 0, step = ap_judge_model(round->judge)[0] ? STEP_MODEL : STEP;
    ap_status status;
    AP_TRY(pairs_read(&p, round, g->run->db, err));
    for (int i = 0; i < p.n; i++) {
        if (is_open(&p.items[i]) && prompt_of(g->prompts, p.items[i].record))
            open[n++] = &p.items[i];
        if (n == 0 || (n < step && i < p.n - 1))
            continue;
        AP_TRY(open_asker(g, round->judge, err));
        AP_TRY(ask_step(g->run, round, &g->asker, g->prompts, open, n, err));
        AP_TRY(after_step(g, round, n, err));
        n = 0;
    }
out:
    pairs_free(&p);
    return status;
}

static ap_status count_open(const struct judging *g, const struct round *round, int64_t *n,
                            struct ap_error *err)
{
    struct pairs p;
    ap_status status = pairs_read(&p, round, g->run->db, err);
    for (int i = 0; status == AP_OK && i < p.n; i++)
        *n += is_open(&p.items[i]) && prompt_of(g->prompts, p.items[i].record);
    pairs_free(&p);
    return status;
}

ap_status ap_run_judges(struct ap_run *run, const struct ap_prompts *prompts, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct judging g = {.run = run,
                        .prompts = prompts,
                        .event = {.stage = "judges", .loss = NAN, .reward = NAN, .kl = NAN}};
    struct round round;
    for (int k = 0; round_at(run->s, k, &round); k++) {
        AP_TRY(renew(run, round.judge, err));
        AP_TRY(count_open(&g, &round, &g.event.n_steps, err));
    }
    if (g.event.n_steps == 0)
        goto out;
    g.began = ap_clock_seconds();
    ap_sink_event(run->sink, &g.event);
    for (int k = 0; round_at(run->s, k, &round); k++)
        AP_TRY(run_round(&g, &round, err));
    g.event.kind = AP_EVENT_END;
    ap_sink_event(run->sink, &g.event);
out:
    ap_asker_free(&g.asker);
    return status;
}
