/* Environments of text (environment.h): rewrite → answers → rewards. */
#include "align/environment.h"

#include "base/memory.h"

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

static ap_status ask_target(struct ap_text_environment *e, int64_t step, struct ap_rollout *r,
                            struct ap_answer *answers, struct ap_error *err)
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
    ap_status status =
        e->target->answer(e->target->self, requests, r->n_row, e->n_answers, answers, err);
    ap_free(requests);
    return status;
}

static void fill_row(struct ap_text_environment *e, struct ap_rollout_row *row, const double *score,
                     int n_score)
{
    bool empty = !row->text || !row->text[0];
    row->score = 0;
    for (int k = 0; k < n_score; k++)
        row->score += score[k] / n_score;
    row->penalty = !row->ended || empty ? e->missing_end_penalty : 0;
    e->n_empty += empty;
}

static ap_status text_score(void *self, int64_t step, struct ap_rollout *r, struct ap_error *err)
{
    struct ap_text_environment *e = self;
    ap_status status = AP_OK;
    int K = e->target ? e->n_answers : 1, n = r->n_row * K;
    struct ap_answer *answers = ap_calloc((size_t)n, sizeof(*answers));
    struct ap_scored *items = ap_calloc((size_t)n, sizeof(*items));
    double *score = ap_calloc((size_t)n, sizeof(*score));

    if (!answers || !items || !score) {
        status = ap_fail(err, AP_MEMORY, "%d answers: out of memory", n);
        goto out;
    }
    if (e->target)
        AP_TRY(ask_target(e, step, r, answers, err));
    for (int i = 0; i < n; i++) {
        const struct ap_rollout_row *row = &r->rows[i / K];
        const struct ap_prompt *p = &e->prompts->items[row->prompt];
        items[i] = (struct ap_scored){.context = p->context,
                                      .n_context = p->n_context,
                                      .x = p->x,
                                      .y = e->target ? answers[i].text : row->text,
                                      .ended = e->target ? answers[i].ended : row->ended};
    }
    AP_TRY(ap_reward_score(e->reward, items, n, score, err));
    for (int i = 0; i < r->n_row; i++) {
        fill_row(e, &r->rows[i], score + i * K, K);
        if (e->target) {
            ap_free(r->rows[i].answer);
            r->rows[i].answer = answers[i * K].text;
            answers[i * K].text = NULL;
        }
    }
out:
    ap_answers_free(answers, (size_t)n);
    ap_free(answers);
    ap_free(items);
    ap_free(score);
    return status;
}

static const char *text_prompt(void *self, int32_t prompt)
{
    struct ap_text_environment *e = self;
    return ap_prompt_seen(&e->prompts->items[prompt]);
}

struct ap_environment ap_text_environment(struct ap_text_environment *e)
{
    return (struct ap_environment){.self = e,
                                   .n_prompt = e->prompts->n,

                                   .score = text_score,
                                   .prompt_text = text_prompt};
}
