/* Environments of text (environment.h): rewrite → answers → rewards. */
#include "align/environment.h"

#include "base/memory.h"
#include "world/world.h"

#include <stdio.h>

static const char *sent_text(const struct ap_text_environment *e, const struct ap_rollout_row *row)
{
    return row->text && row->text[0] ? row->text : ap_prompt_seen(&e->prompts->items[row->prompt]);
}

static struct ap_stream answer_stream(const struct ap_text_environment *e, int64_t step,
                                      const struct ap_rollout_row *row)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.answer", e->stage);
    return (struct ap_stream){.seed = e->seed,
                              .stage = ap_stream_stage(name),
                              .step = (uint32_t)step,
                              .record = row->record,
                              .sample = (uint32_t)(row->sample * e->n_answers)};
}

/* K answers to each row. */
static ap_status ask_target(struct ap_text_environment *e, int64_t step, struct ap_rollout *r,
                            int K, struct ap_answer *answers, struct ap_error *err)
{
    struct ap_target_request *requests = ap_calloc((size_t)r->n_row, sizeof(*requests));
    if (!requests)
        return ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", r->n_row);
    for (int i = 0; i < r->n_row; i++) {
        const struct ap_prompt *p = &e->prompts->items[r->rows[i].prompt];
        requests[i] = (struct ap_target_request){.context = p->context,
                                                 .n_context = p->n_context,
                                                 .prompt = sent_text(e, &r->rows[i]),
                                                 .stream = answer_stream(e, step, &r->rows[i])};
    }
    ap_status status = e->target->answer(e->target->self, requests, r->n_row, K, answers, err);
    ap_free(requests);
    return status;
}

static void fill_row(struct ap_text_environment *e, struct ap_rollout_row *row, const double *score,
                     int n_score)
{
    row->score = 0;
    for (int k = 0; k < n_score; k++)
        row->score += score[k] / n_score;
    row->penalty = row->n_fault * e->missing_end_penalty;
    e->n_empty += row->n_empty;
}

/* The answers of a rollout as rewards take them, against x itself: K to a row, the row's own text
 * where there is no target. Owned: answered_free. */
struct answered {
    struct ap_answer *answers;
    struct ap_scored *items;
    int n;
};

static void answered_free(struct answered *a)
{
    if (a->answers)
        ap_answers_free(a->answers, (size_t)a->n);
    ap_free(a->answers);
    ap_free(a->items);
}

static ap_status answer_rows(struct ap_text_environment *e, int64_t step, struct ap_rollout *r,
                             int K, struct answered *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    const int n = r->n_row * K;
    *out = (struct answered){.answers = ap_calloc((size_t)n, sizeof(*out->answers)),
                             .items = ap_calloc((size_t)n, sizeof(*out->items)),
                             .n = n};
    if (!out->answers || !out->items)
        return ap_fail(err, AP_MEMORY, "%d answers: out of memory", n);
    if (e->target)
        AP_TRY(ask_target(e, step, r, K, out->answers, err));
    for (int i = 0; i < n; i++) {
        const struct ap_rollout_row *row = &r->rows[i / K];
        const struct ap_prompt *p = &e->prompts->items[row->prompt];
        const struct ap_answer own = {.text = row->text, .ended = row->ended};
        out->items[i] =
            ap_scored_answer(p->context, p->n_context, p->x, e->target ? &out->answers[i] : &own);
    }
out:
    return status;
}

static ap_status text_score(void *self, int64_t step, struct ap_rollout *r, struct ap_error *err)
{
    struct ap_text_environment *e = self;
    ap_status status = AP_OK;
    int K = e->target ? e->n_answers : 1, n = r->n_row * K;
    struct answered a = {0};
    double *score = ap_calloc((size_t)n, sizeof(*score));

    if (!score) {
        status = ap_fail(err, AP_MEMORY, "%d answers: out of memory", n);
        goto out;
    }
    AP_TRY(answer_rows(e, step, r, K, &a, err));
    AP_TRY(ap_reward_score(e->reward, a.items, n, score, err));
    for (int i = 0; i < r->n_row; i++) {
        fill_row(e, &r->rows[i], score + i * K, K);
        if (e->target) {
            ap_free(r->rows[i].answer);
            r->rows[i].answer = a.answers[i * K].text;
            r->rows[i].n_answer = a.answers[i * K].n_token;
            a.answers[i * K].text = NULL;
        }
    }
out:
    answered_free(&a);
    ap_free(score);
    return status;
}

static ap_status judge_by_world(const struct ap_text_environment *e, const struct ap_rollout *r,
                                const struct ap_scored *items, double *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < r->n_row; i++)
        status = ap_world_score(e->prompts->items[r->rows[i].prompt].meta, items[i].y,
                                items[i].ended, &out[i], err);
    return status;
}

static ap_status text_judge(void *self, int64_t step, struct ap_rollout *r, double *out,
                            struct ap_error *err)
{
    struct ap_text_environment *e = self;
    struct answered a = {0};
    ap_status status = answer_rows(e, step, r, 1, &a, err);
    for (int k = 0; status == AP_OK && k < e->n_judge; k++) {
        const struct ap_reward *reward = e->judges[k].reward;
        double *scores = out + (size_t)k * (size_t)r->n_row;
        status = reward ? ap_reward_score(reward, a.items, r->n_row, scores, err)
                        : judge_by_world(e, r, a.items, scores, err);
    }
    answered_free(&a);
    return status;
}

static const char *text_prompt(void *self, int32_t prompt)
{
    struct ap_text_environment *e = self;
    return ap_prompt_seen(&e->prompts->items[prompt]);
}

struct ap_environment ap_text_environment(struct ap_text_environment *e)
{
    for (int k = 0; k < e->n_judge; k++)
        e->judge_names[k] = e->judges[k].name;
    return (struct ap_environment){.self = e,
                                   .n_prompt = e->prompts->n - e->n_valid,
                                   .score = text_score,
                                   .prompt_text = text_prompt,
                                   .n_valid = e->n_valid,
                                   .judges = e->judge_names,
                                   .n_judge = e->n_judge,
                                   .picks = e->picks,
                                   .judge = text_judge};
}
