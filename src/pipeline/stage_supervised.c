/* The stages that imitate text: pretrain, sft from a file or from best-of-n, math.md (8), and ift,
 * which trains the target itself, math.md (21). */
#include "pipeline/run_inner.h"

#include "align/ift.h"
#include "align/sft.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct sequences {
    struct ap_sequence *items;
    int n;
    int64_t n_skipped;
};

static void free_sequences(struct sequences *s)
{
    for (int i = 0; i < s->n; i++)
        ap_sequence_free(&s->items[i]);
    ap_free(s->items);
    *s = (struct sequences){0};
}

/* The examples of the training split, each with an answer, as lm sees them. or_chosen: of a
 * preference pair the chosen answer will do, and records without any are left out. */
static ap_status make_sequences(struct ap_run *run, const struct ap_dataset *d, const char *path,
                                const struct ap_lm *lm, const char *meta_prompt, bool or_chosen,
                                struct sequences *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    int32_t *index = NULL;
    size_t n;

    AP_TRY(ap_run_select(run, d, AP_SPLIT_TRAIN, false, &index, &n, err));
    if (!(out->items = ap_calloc(n ? n : 1, sizeof(*out->items)))) {
        status = ap_fail(err, AP_MEMORY, "%s: %zu examples: out of memory", path, n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const struct ap_example *e = &d->examples[index[i]];
        const char *answer = e->answer || !or_chosen ? e->answer : e->chosen;
        bool fits;
        if (!answer && or_chosen)
            continue;
        if (!answer) {
            status = ap_fail(err, AP_FORMAT,
                             "%s: record %llu has no answer to imitate, expected {\"prompt\", "
                             "\"rewrite\"}, {\"prompt\", \"response\"} or {\"messages\"}",
                             path, (unsigned long long)e->record);
            goto out;
        }
        char *x = ap_meta_prompt_apply(meta_prompt ? meta_prompt : "", e->prompt);
        status = x ? ap_sequence_make(&out->items[out->n], lm->chat, e->context, e->n_context, x,
                                      answer, lm->context, ap_run_too_long(run), &fits, err)
                   : ap_fail(err, AP_MEMORY, "%s: out of memory", path);
        ap_free(x);
        if (status != AP_OK)
            goto out;
        out->n += fits;
        out->n_skipped += !fits;
    }
    if (out->n_skipped > 0)
        ap_sink_note(run->sink, "data", "%s: %lld examples longer than the context were skipped",
                     path, (long long)out->n_skipped);
out:
    ap_free(index);
    return status;
}

static ap_status train_on(struct ap_run *run, const char *stage_name, const struct ap_lm *lm,
                          const struct ap_role *role, const struct sequences *data, int epochs,
                          int batch, const struct ap_optimiser_settings *optimiser,
                          struct ap_error *err)
{
    struct ap_stage stage = ap_run_begin(run, stage_name);
    struct ap_sft_options options = {.lm = lm,
                                     .role = *role,
                                     .sequences = data->items,
                                     .n = data->n,
                                     .epochs = epochs,
                                     .batch = batch,
                                     .optimiser = optimiser};
    char json[96];
    ap_status status = ap_sft(&stage, &options, err);
    snprintf(json, sizeof(json), "{\"examples\": %d, \"skipped\": %lld}", data->n,
             (long long)data->n_skipped);
    return status == AP_OK ? ap_run_finish(run, stage_name, lm, role, json, err) : status;
}

/* ---- pretrain ---- */

ap_status ap_run_stage_pretrain(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_pretrain_settings *s = &run->s->pretrain;
    const struct ap_dataset *d;
    struct ap_lm *lm = NULL;
    struct sequences data = {0};

    AP_TRY(ap_run_dataset(run, s->path, &d, err));
    AP_TRY(ap_run_lm_start(run, s->model, &lm, err));
    AP_TRY(make_sequences(run, d, s->path, lm, NULL, false, &data, err));
    AP_TRY(train_on(run, "pretrain", lm, &(struct ap_role){lm->weights, NULL}, &data, s->epochs,
                    s->batch, &s->optimiser, err));
out:
    free_sequences(&data);
    ap_lm_free(lm);
    return status;
}

/* ---- sft: best-of-n writes the file that source: file would name ---- */

struct best_of {
    struct ap_prompts prompts;
    struct ap_target rewriter, target;
    struct ap_run_reward reward;
    struct ap_answer *rewrites, *answers; /* n per prompt */
    double *score;
};

static void best_of_free(struct best_of *b, int n)
{
    size_t n_all = (size_t)b->prompts.n * (size_t)n;
    ap_answers_free(b->rewrites, b->rewrites ? n_all : 0);
    ap_answers_free(b->answers, b->answers ? n_all : 0);
    ap_free(b->rewrites);
    ap_free(b->answers);
    ap_free(b->score);
    ap_target_free(&b->rewriter);
    ap_target_free(&b->target);
    ap_run_reward_close(&b->reward);
    ap_prompts_free(&b->prompts);
}

static ap_status best_of_open(struct ap_run *run, struct best_of *b, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_settings *s = run->s;
    struct ap_lm *lm, *target;
    size_t n_all;

    AP_TRY(ap_run_lm(run, s->prompter.model, &lm, err));
    AP_TRY(ap_run_target_lm(run, &target, err));
    AP_TRY(ap_run_prompts(run, s->sft.path, AP_SPLIT_TRAIN, lm, ap_run_meta_prompt(run),
                          s->prompter.max_new_tokens, s->sft.prompts, &b->prompts, err));
    AP_TRY(ap_run_reward_open(run, false, &b->reward, err));
    AP_TRY(ap_run_rewriter(run, lm, &(struct ap_role){lm->weights, NULL}, s->prompter.temperature,
                           s->run.batch, &b->rewriter, err));
    AP_TRY(ap_run_target(run, target, &(struct ap_role){target ? target->weights : NULL, NULL},
                         &b->target, err));
    n_all = (size_t)b->prompts.n * (size_t)s->sft.n;
    b->rewrites = ap_calloc(n_all, sizeof(*b->rewrites));
    b->answers = ap_calloc(n_all, sizeof(*b->answers));
    b->score = ap_calloc(n_all, sizeof(*b->score));
    if (!b->rewrites || !b->answers || !b->score)
        status = ap_fail(err, AP_MEMORY, "sft: %zu rewrites: out of memory", n_all);
out:
    return status;
}

/* One prompt's n rewrites, their answers and scores; `i` is the prompt's place. */
static ap_status best_of_prompt(struct ap_run *run, struct best_of *b, int i, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_prompt *p = &b->prompts.items[i];
    int n = run->s->sft.n;
    struct ap_answer *rewrites = b->rewrites + i * n, *answers = b->answers + i * n;
    struct ap_target_request *requests = ap_calloc((size_t)n, sizeof(*requests));
    struct ap_scored *items = ap_calloc((size_t)n, sizeof(*items));
    char *wrapped = ap_meta_prompt_apply(ap_run_meta_prompt(run), p->x);

    if (!requests || !items || !wrapped) {
        status = ap_fail(err, AP_MEMORY, "sft: out of memory");
        goto out;
    }
    requests[0] = (struct ap_target_request){p->context,
                                             p->n_context,
                                             wrapped,
                                             {.seed = (uint64_t)run->s->run.seed,
                                              .stage = ap_stream_stage("sft.rewrite"),
                                              .record = p->record}};
    AP_TRY(b->rewriter.answer(b->rewriter.self, requests, 1, n, rewrites, err));
    for (int k = 0; k < n; k++) {
        requests[k] = requests[0];
        requests[k].prompt = rewrites[k].text[0] ? rewrites[k].text : p->x;
        requests[k].stream.stage = ap_stream_stage("sft.answer");
        requests[k].stream.sample = (uint32_t)k;
    }
    AP_TRY(b->target.answer(b->target.self, requests, n, 1, answers, err));
    for (int k = 0; k < n; k++)
        items[k] = ap_scored_answer(p->context, p->n_context, p->x, &answers[k]);
    AP_TRY(ap_reward_score(&b->reward.reward, items, n, b->score + i * n, err));
out:
    ap_free(requests);
    ap_free(items);
    ap_free(wrapped);
    return status;
}

/* {"prompt", "rewrite"} of the best; prompts whose rewrites are all empty or endless are left out.
 */
static ap_status best_of_line(const struct ap_run *run, const struct best_of *b, int i,
                              struct ap_buffer *out, struct ap_error *err)
{
    int n = run->s->sft.n, best = -1;
    const struct ap_prompt *p = &b->prompts.items[i];
    for (int k = i * n; k < (i + 1) * n; k++)
        if (b->rewrites[k].text[0] && b->rewrites[k].ended &&
            (best < 0 || b->score[k] > b->score[best]))
            best = k;
    for (int k = i * n; best < 0 && k < (i + 1) * n; k++)
        if (b->rewrites[k].text[0])
            best = k; /* better an endless rewrite than none */
    if (best < 0)
        return AP_OK;
    json_t *line = json_pack("{s:s, s:s, s:f}", "prompt", p->x, "rewrite", b->rewrites[best].text,
                             "score", b->score[best]);
    for (size_t c = 0; line && c < p->n_context; c++)
        if (strcmp(p->context[c].role, "system") == 0)
            json_object_set_new(line, "system", json_string(p->context[c].content));
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    ap_status status = text ? ap_buffer_printf(out, err, "%s\n", text)
                            : ap_fail(err, AP_MEMORY, "sft: out of memory");
    free(text);
    json_decref(line);
    return status;
}

static ap_status best_of_write(struct ap_run *run, const char *path, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct best_of b = {0};
    struct ap_buffer lines = {0};

    AP_TRY(best_of_open(run, &b, err));
    const double began = ap_clock_seconds();
    struct ap_event event = {.kind = AP_EVENT_BEGIN,
                             .stage = "best-of-n",
                             .n_steps = b.prompts.n,
                             .loss = NAN,
                             .reward = NAN,
                             .kl = NAN};
    ap_sink_event(run->sink, &event);
    for (int i = 0; i < b.prompts.n; i++) {
        AP_TRY(best_of_prompt(run, &b, i, err));
        AP_TRY(best_of_line(run, &b, i, &lines, err));
        event.kind = AP_EVENT_STEP;
        event.step = i + 1;
        event.seconds = ap_clock_seconds() - began;
        ap_sink_event(run->sink, &event);
        if (ap_sink_stopped(run->sink)) {
            status = ap_fail(err, AP_INTERRUPTED,
                             "sft: interrupted while rewrites were sampled; the same command "
                             "samples them again");
            goto out;
        }
    }
    AP_TRY(ap_file_write(path, lines.data, lines.len, err));
    event.kind = AP_EVENT_END;
    ap_sink_event(run->sink, &event);
out:
    best_of_free(&b, run->s->sft.n);
    ap_buffer_free(&lines);
    return status;
}

static ap_status sft_path(struct ap_run *run, char **out, struct ap_error *err)
{
    ap_status status = AP_OK;
    *out = NULL;
    if (strcmp(run->s->sft.source, "file") == 0) {
        *out = ap_strdup(run->s->sft.path);
        return *out ? AP_OK : ap_fail(err, AP_MEMORY, "sft: out of memory");
    }
    char *folder = ap_run_dir_path(&run->dir, "sft", "");
    *out = ap_run_dir_path(&run->dir, "sft", "best-of-n.jsonl");
    if (!*out || !folder)
        status = ap_fail(err, AP_MEMORY, "sft: out of memory");
    else if (!ap_file_exists(*out)) {
        status = ap_dir_make(folder, err);
        if (status == AP_OK)
            status = best_of_write(run, *out, err);
    }
    ap_free(folder);
    return status;
}

/* Every pass imitates the same pairs: of best-of-n those that the first prompter wrote. */
ap_status ap_run_stage_sft(struct ap_run *run, int pass, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_sft_settings *s = &run->s->sft;
    const struct ap_prompter_settings *p = ap_run_prompter(run, pass);
    const char *stage = ap_run_pass_sft(run, pass);
    const struct ap_dataset *d;
    struct ap_lm *lm;
    struct ap_owned_role policy = {0};
    struct sequences data = {0};
    char *path = NULL;

    AP_TRY(sft_path(run, &path, err));
    ap_run_release_models(run, stage);
    AP_TRY(ap_run_dataset(run, path, &d, err));
    AP_TRY(ap_run_lm(run, p->model, &lm, err));
    AP_TRY(make_sequences(run, d, path, lm, ap_run_pass_meta(run, pass), false, &data, err));
    AP_TRY(ap_run_policy(run, lm, &p->adapter, NULL, &policy, err));
    AP_TRY(train_on(run, stage, lm, &policy.role, &data, s->epochs, s->batch, &s->optimiser, err));
out:
    ap_owned_role_free(&policy);
    free_sequences(&data);
    ap_free(path);
    return status;
}

/* ---- ift ---- */

ap_status ap_run_stage_ift(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_ift_settings *s = &run->s->ift;
    const char *path = s->path[0] ? s->path : run->s->data.path;
    struct ap_stage stage = ap_run_begin(run, "ift");
    const struct ap_dataset *d;
    struct ap_lm *lm;
    struct ap_owned_role policy = {0};
    struct sequences data = {0};
    char json[96];

    AP_TRY(ap_run_dataset(run, path, &d, err));
    AP_TRY(ap_run_lm(run, run->s->target.model, &lm, err));
    AP_TRY(make_sequences(run, d, path, lm, NULL, true, &data, err));
    AP_TRY(ap_run_policy(run, lm, &run->s->target.adapter, NULL, &policy, err));
    struct ap_ift_options options = {.lm = lm,
                                     .role = policy.role,
                                     .frozen = lm->weights,
                                     .sequences = data.items,
                                     .n = data.n,
                                     .settings = s};
    AP_TRY(ap_ift(&stage, &options, err));
    snprintf(json, sizeof(json), "{\"examples\": %d, \"skipped\": %lld}", data.n,
             (long long)data.n_skipped);
    AP_TRY(ap_run_finish(run, "ift", lm, &policy.role, json, err));
out:
    ap_owned_role_free(&policy);
    free_sequences(&data);
    return status;
}
