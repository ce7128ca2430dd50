/* What the plan measures instead of computing: how long the texts of each stage are in tokens, and
 * what the process has already (plan.h). A token is at least a byte, so the longest text is found
 * by tokenizing from the one with the most bytes on until no other can be longer; the memory of all
 * sequences is told from a sample. Entry point: ap_plan_measure. */
#include "pipeline/plan.h"

#include "align/judge_pairs.h"
#include "base/memory.h"
#include "text/sequence.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE = 256,         /* examples that tell bytes a token */
    MARKUP = 256,         /* tokens that a template puts around a turn, beside n_markup of a run */
    MOST_BYTES = 4 << 20, /* tokenized in search of the longest; then its bound stands */
};

typedef enum text_kind { PROMPTS, ANSWERS, ANSWERS_OR_CHOSEN, PAIRS, CHAT_PAIRS } text_kind;

/* Texts of one stage. */
struct view {
    const char *path; /* "": data.path */
    ap_split split;
    text_kind kind;
    const char *model;
    const char *meta; /* NULL: none */
    int room;         /* tokens of the context that an answer takes */
    int64_t limit;    /* examples; 0: all */
};

struct sized {
    const struct ap_example *e;
    size_t bytes;
};

struct measuring {
    struct ap_run *run;
    const struct view *view;
    const struct ap_run_text *text;
    int most; /* tokens of one sequence */
    struct sized *items;
    size_t n;
};

/* ---- one example ---- */

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

static bool has_one_answer(const struct view *v)
{
    return v->kind == ANSWERS || v->kind == ANSWERS_OR_CHOSEN;
}

static const char *answer_of(const struct view *v, const struct ap_example *e)
{
    return e->answer || v->kind == ANSWERS ? e->answer : e->chosen;
}

/* Of the sequence, or of a pair's two sequences. */
static size_t example_bytes(const struct ap_run *run, const struct view *v,
                            const struct ap_example *e)
{
    size_t shared = text_bytes(e->prompt) + text_bytes(v->meta) + MARKUP + run->n_markup;
    for (size_t i = 0; i < e->n_context; i++)
        shared += text_bytes(e->context[i].content) + MARKUP;
    if (v->kind == PROMPTS)
        return shared;
    if (has_one_answer(v))
        return shared + text_bytes(answer_of(v, e));
    return 2 * shared + text_bytes(e->chosen) + text_bytes(e->rejected);
}

static bool is_wanted(const struct view *v, const struct ap_example *e)
{
    return v->kind == PROMPTS  ? true
           : has_one_answer(v) ? answer_of(v, e) != NULL
                               : e->chosen && e->rejected;
}

/* As the stages make them; 0 for one that does not fit. */
static ap_status count_side(const struct measuring *m, const struct ap_example *e, const char *x,
                            const char *y, int *out, struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits = false;
    ap_too_long how = ap_run_too_long(m->run);
    how = how == AP_TOO_LONG_ERROR ? AP_TOO_LONG_TRUNCATE : how; /* the stage says it better */
    ap_status status = m->view->kind == CHAT_PAIRS
                           ? ap_sequence_chat(&s, m->text->chat, e->context, e->n_context, x, y,
                                              m->most, how, &fits, err)
                           : ap_sequence_make(&s, m->text->chat, e->context, e->n_context, x, y,
                                              m->most, how, &fits, err);
    *out = fits ? s.n : 0;
    ap_sequence_free(&s);
    return status;
}

static ap_status count_example(const struct measuring *m, const struct ap_example *e, int *out,
                               struct ap_error *err)
{
    const struct view *v = m->view;
    int chosen = 0, rejected = 0;
    ap_status status = AP_OK;
    char *x = ap_meta_prompt_apply(v->meta ? v->meta : "", e->prompt);
    if (!x)
        return ap_fail(err, AP_MEMORY, "plan: out of memory");
    *out = 0;
    if (v->kind == PROMPTS || has_one_answer(v)) {
        status = count_side(m, e, x, v->kind == PROMPTS ? NULL : answer_of(v, e), out, err);
    } else {
        status = count_side(m, e, x, e->chosen, &chosen, err);
        if (status == AP_OK)
            status = count_side(m, e, x, e->rejected, &rejected, err);
        *out = chosen && rejected ? chosen + rejected : 0;
    }
    ap_free(x);
    return status;
}

/* ---- all of them ---- */

static int by_bytes(const void *a, const void *b)
{
    size_t x = ((const struct sized *)a)->bytes, y = ((const struct sized *)b)->bytes;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int pairs_or_one(const struct view *v)
{
    return v->kind == PAIRS || v->kind == CHAT_PAIRS ? 2 : 1;
}

static int least(size_t bytes, int tokens)
{
    return bytes < (size_t)tokens ? (int)bytes : tokens;
}

static ap_status find_longest(struct measuring *m, int *longest, struct ap_error *err)
{
    int cap = m->most * pairs_or_one(m->view);
    size_t read = 0;
    *longest = 1;
    qsort(m->items, m->n, sizeof(*m->items), by_bytes);
    for (size_t i = 0; i < m->n && m->items[i].bytes > (size_t)*longest; i++) {
        int n;
        read += m->items[i].bytes;
        if (read > MOST_BYTES || *longest > cap - cap / 32) {
            *longest = least(m->items[i].bytes, cap);
            return AP_OK;
        }
        ap_status status = count_example(m, m->items[i].e, &n, err);
        if (status != AP_OK)
            return status;
        *longest = n > *longest ? n : *longest;
    }
    return AP_OK;
}

/* Memory of one side's sequence: ids, marks, and the struct that has them. */
static size_t sequence_bytes(const struct view *v, double tokens)
{
    size_t n = (size_t)(tokens / pairs_or_one(v)) + 1;
    size_t ids = ap_calloc_bytes(n, sizeof(int32_t));
    return v->kind == PROMPTS ? ids + sizeof(struct ap_prompt)
                              : (ids + ap_calloc_bytes(n, 1) + sizeof(struct ap_sequence)) *
                                    (size_t)pairs_or_one(v);
}

static ap_status estimate_bytes(struct measuring *m, size_t *bytes, struct ap_error *err)
{
    size_t step = m->n / SAMPLE + 1, n_sample = 0, n_fit = 0;
    double tokens = 0;
    *bytes = 0;
    for (size_t i = 0; i < m->n; i += step) {
        int n;
        ap_status status = count_example(m, m->items[i].e, &n, err);
        if (status != AP_OK)
            return status;
        tokens += n;
        n_fit += n > 0;
        n_sample++;
    }
    if (n_fit)
        *bytes = (size_t)((double)m->n * (double)n_fit / (double)n_sample *
                          (double)sequence_bytes(m->view, tokens / (double)n_fit));
    return AP_OK;
}

static ap_status take_examples(struct measuring *m, struct ap_error *err)
{
    const struct ap_dataset *d;
    int32_t *index = NULL;
    size_t n;
    const struct view *v = m->view;
    ap_status status = ap_run_dataset(m->run, v->path, &d, err);
    if (status == AP_OK)
        status = ap_run_select(m->run, d, v->split, v->kind == PROMPTS, &index, &n, err);
    if (status != AP_OK)
        return status;
    m->items = ap_calloc(n ? n : 1, sizeof(*m->items));
    for (size_t i = 0; m->items && i < n && (!v->limit || m->n < (size_t)v->limit); i++) {
        const struct ap_example *e = &d->examples[index[i]];
        if (is_wanted(v, e))
            m->items[m->n++] = (struct sized){e, example_bytes(m->run, v, e)};
    }
    ap_free(index);
    return m->items ? AP_OK : ap_fail(err, AP_MEMORY, "plan: %zu examples: out of memory", n);
}

/* Positions that a model was made for, without its weights. */
static ap_status model_positions(const struct ap_run *run, const char *name, int *out,
                                 struct ap_error *err)
{
    struct ap_config config;
    const struct ap_model_settings *m;
    ap_status status = ap_settings_model(run->s, name, &m, err);
    if (status == AP_OK)
        status = m->path[0] ? ap_config_read(&config, m->path, err)
                            : ap_config_read_file(&config, m->config, err);
    *out = status == AP_OK ? ap_config_context(&config) : 0;
    return status;
}

static ap_status measure_within(struct ap_run *run, const struct view *v, int context,
                                struct ap_plan_texts *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct measuring m = {.run = run, .view = v};
    const struct ap_model_settings *model;

    AP_TRY(ap_settings_model(run->s, v->model, &model, err));
    m.most = context > v->room ? context - v->room : 1;
    *out = (struct ap_plan_texts){.longest = m.most * pairs_or_one(v)};
    if (run->data_missing || (run->plan_only && ap_run_text(run, model, &m.text, NULL) != AP_OK))
        goto out; /* the bound stands */
    AP_TRY(ap_run_text(run, model, &m.text, err));
    AP_TRY(take_examples(&m, err));
    AP_TRY(estimate_bytes(&m, &out->bytes, err));
    AP_TRY(find_longest(&m, &out->longest, err));
out:
    ap_free(m.items);
    return status;
}

static ap_status measure(struct ap_run *run, const struct view *v, struct ap_plan_texts *out,
                         struct ap_error *err)
{
    int positions;
    *out = (struct ap_plan_texts){0};
    if (!v->model[0]) /* a target that answers over HTTP */
        return AP_OK;
    ap_status status = model_positions(run, v->model, &positions, err);
    return status == AP_OK ? measure_within(run, v, ap_run_context(run, positions), out, err)
                           : status;
}

/* ---- the stages ---- */

static void take_larger(struct ap_plan_texts *out, const struct ap_plan_texts *t)
{
    out->bytes = t->bytes > out->bytes ? t->bytes : out->bytes;
    out->longest = t->longest > out->longest ? t->longest : out->longest;
}

/* Of best-of-n each prompt has a rewrite of the first prompter behind it. */
static ap_status measure_sft(struct ap_run *run, int pass, bool best_of, struct ap_plan_facts *out,
                             struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    int room = best_of ? s->prompter.max_new_tokens : 0;
    struct view v = {.path = s->sft.path,
                     .split = AP_SPLIT_TRAIN,
                     .kind = best_of ? PROMPTS : ANSWERS,
                     .model = ap_run_prompter(run, pass)->model,
                     .meta = ap_run_pass_meta(run, pass),
                     .room = room,
                     .limit = best_of ? s->sft.prompts : 0};
    struct ap_plan_texts texts = {0};
    ap_status status = measure(run, &v, &texts, err);
    texts.longest += room;
    take_larger(&out->sft, &texts);
    return status;
}

static ap_status measure_supervised(struct ap_run *run, const char *wanted,
                                    struct ap_plan_facts *out, struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    const char *meta = ap_run_meta_prompt(run), *p = s->prompter.model;
    int room = s->prompter.max_new_tokens;
    bool best_of = strcmp(s->sft.source, "best-of-n") == 0;
    ap_status status = AP_OK;
    if (ap_run_includes(run, wanted, "pretrain"))
        AP_TRY(measure(run,
                       &(struct view){.path = s->pretrain.path,
                                      .split = AP_SPLIT_TRAIN,
                                      .kind = ANSWERS,
                                      .model = s->pretrain.model},
                       &out->pretrain, err));
    if (best_of && ap_run_includes(run, wanted, "sft"))
        AP_TRY(measure(
            run,
            &(struct view){s->sft.path, AP_SPLIT_TRAIN, PROMPTS, p, meta, room, s->sft.prompts},
            &out->best_of, err));
    for (int pass = 0; pass < ap_run_n_passes(run); pass++)
        if (ap_run_wants_sft(run, pass) && ap_run_includes(run, wanted, ap_run_pass_sft(run, pass)))
            AP_TRY(measure_sft(run, pass, best_of, out, err));
out:
    return status;
}

/* Behind the training prompts. A bound: of a file with more than valid_prompts the longest counts,
 * wherever it stands. */
static ap_status add_valid(struct ap_run *run, const struct ap_rl_settings *s, struct view v,
                           struct ap_plan_texts *out, struct ap_error *err)
{
    struct ap_plan_texts valid = {0};
    const struct ap_valid_source from = ap_run_valid_source(s);
    if (s->valid_every == 0)
        return AP_OK;
    v.path = from.path;
    v.split = from.split;
    ap_status status = measure(run, &v, &valid, err);
    out->bytes = ap_sum_bytes(out->bytes, valid.bytes);
    out->longest = valid.longest > out->longest ? valid.longest : out->longest;
    return status;
}

static ap_status measure_rl(struct ap_run *run, const char *wanted, struct ap_plan_facts *out,
                            struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    const char *meta = ap_run_meta_prompt(run), *p = s->prompter.model, *t = ap_settings_target(s);
    int room = s->prompter.max_new_tokens, answer = s->target.max_new_tokens;
    ap_split split = s->eval.path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST;
    ap_status status = AP_OK;
    bool align = false;
    for (int pass = 0; pass < ap_run_n_passes(run); pass++)
        align = align || ap_run_includes(run, wanted, ap_run_pass_stage(pass));
    if (align) {
        struct view v = {s->align.path, AP_SPLIT_TRAIN, PROMPTS, p, meta, room, 0};
        AP_TRY(measure(run, &v, &out->align, err));
        AP_TRY(add_valid(run, &s->align, v, &out->align, err));
    }
    if (ap_run_includes(run, wanted, "rlhf")) {
        struct view v = {s->rlhf.path, AP_SPLIT_TRAIN, PROMPTS, t, NULL, answer, 0};
        AP_TRY(measure(run, &v, &out->rlhf, err));
        AP_TRY(add_valid(run, &s->rlhf, v, &out->rlhf, err));
    }
    if (ap_run_includes(run, wanted, "bound")) {
        int64_t n = s->bound.prompts;
        struct view v = {s->eval.path, split, PROMPTS, t, NULL, answer, n};
        AP_TRY(measure(run, &v, &out->bound_target, err));
        v = (struct view){s->eval.path, split, PROMPTS, p, meta, room, n};
        AP_TRY(measure(run, &v, &out->bound_prompter, err));
    }
    if (ap_run_includes(run, wanted, "eval")) {
        struct view v = {s->eval.path, split, PROMPTS, t, NULL, answer, s->eval.prompts};
        AP_TRY(measure(run, &v, &out->eval_target, err));
        v = (struct view){s->eval.path, split, PROMPTS, p, meta, room, s->eval.prompts};
        AP_TRY(measure(run, &v, &out->eval_prompter, err));
    }
out:
    return status;
}

/* How often a question holds an answer. */
static int count_answers(const char *question)
{
    int n = 0;
    for (const char *p = question; (p = strchr(p, '{')) != NULL; p++)
        n += strncmp(p, "{a}", 3) == 0 || strncmp(p, "{b}", 3) == 0;
    return n;
}

/* How long a question gets is measured without a limit, so that one that does not fit is seen; how
 * long its answers do is not known before they are there: as the target's can be. */
static ap_status measure_judge(struct ap_run *run, const struct ap_judge_settings *j,
                               struct ap_plan_texts *out, struct ap_error *err)
{
    enum { UNLIMITED = 1 << 20 }; /* tokens */
    const struct ap_settings *s = run->s;
    const struct view v = {.path = s->eval.path,
                           .split = s->eval.path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST,
                           .kind = PROMPTS,
                           .model = j->model,
                           .meta = j->question[0] ? j->question : ap_judge_question,
                           .limit = s->eval.prompts};
    int positions, context;
    ap_status status;
    AP_TRY(model_positions(run, j->model, &positions, err));
    AP_TRY(measure_within(run, &v, UNLIMITED, out, err));
    context = ap_run_judge_context(run, positions);
    if (out->longest < UNLIMITED && out->longest > context - j->max_new_tokens)
        ap_sink_warn(run->sink, "judges",
                     "%s: a question takes up to %d tokens without its answers, which leaves no "
                     "room for a reply of %d in %s's context of %d: pairs that do not fit have no "
                     "verdict; shorten judges.%s.question or max_new_tokens, or take another model",
                     j->name, out->longest, j->max_new_tokens, j->model, context, j->name);
    int64_t longest = out->longest + (int64_t)count_answers(v.meta) * s->target.max_new_tokens;
    out->longest = longest < context ? (int)longest : context;
out:
    return status;
}

static ap_status measure_judges(struct ap_run *run, const char *wanted, struct ap_plan_facts *out,
                                struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    ap_status status = AP_OK;
    for (int i = 0; i < s->n_judges && ap_run_includes(run, wanted, "eval"); i++)
        if (status == AP_OK && ap_run_asks_judge(s, i) && ap_judge_model(&s->judges[i])[0])
            status = measure_judge(run, &s->judges[i], &out->judges[i], err);
    return status;
}

static ap_status measure_pairs(struct ap_run *run, const struct ap_reward_settings *r,
                               struct ap_plan_texts *out, struct ap_error *err)
{
    struct view v = {.path = run->s->reward_train.path,
                     .kind = strcmp(r->kind, "implicit") == 0 ? PAIRS : CHAT_PAIRS,
                     .split = AP_SPLIT_TRAIN,
                     .model = r->model};
    struct ap_plan_texts train = {0}, valid = {0};
    ap_status status = measure(run, &v, &train, err);
    v.split = AP_SPLIT_VALID;
    if (status == AP_OK)
        status = measure(run, &v, &valid, err);
    valid.bytes += train.bytes;
    take_larger(out, &train);
    take_larger(out, &valid);
    return status;
}

/* Of the stages that train the target on examples. */
static ap_status measure_target(struct ap_run *run, const char *wanted, struct ap_plan_facts *out,
                                struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    struct view v = {.path = s->dpo.path, .kind = PAIRS, .model = s->target.model};
    struct ap_plan_texts valid = {0};
    ap_status status = AP_OK;
    if (ap_run_includes(run, wanted, "dpo")) {
        v.split = AP_SPLIT_TRAIN;
        AP_TRY(measure(run, &v, &out->dpo, err));
        v.split = AP_SPLIT_VALID;
        AP_TRY(measure(run, &v, &valid, err));
        valid.bytes += out->dpo.bytes;
        take_larger(&out->dpo, &valid);
    }
    v = (struct view){s->ift.path, AP_SPLIT_TRAIN, ANSWERS_OR_CHOSEN, s->target.model, NULL, 0, 0};
    if (ap_run_includes(run, wanted, "ift"))
        AP_TRY(measure(run, &v, &out->ift, err));
out:
    return status;
}

ap_status ap_plan_measure(struct ap_run *run, const char *wanted, struct ap_plan_facts *out,
                          struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = AP_OK;
    *out = (struct ap_plan_facts){0};
    for (int i = 0; i < n && ap_run_includes(run, wanted, "reward"); i++)
        if (ap_reward_is_trained(&r[i]))
            AP_TRY(measure_pairs(run, &r[i], &out->pairs, err));
    AP_TRY(measure_supervised(run, wanted, out, err));
    AP_TRY(measure_rl(run, wanted, out, err));
    AP_TRY(measure_judges(run, wanted, out, err));
    AP_TRY(measure_target(run, wanted, out, err));
    ap_process_trim();
    out->process = ap_process_memory();
out:
    return status;
}
