/* The local target: a frozen model decoded by our own generator (target.h). */
#include "align/target.h"

#include "align/kl.h"
#include "align/learner.h"
#include "base/memory.h"

#include <ctype.h>
#include <string.h>

struct local {
    const struct ap_lm *lm;
    struct ap_role role;
    struct ap_generator *generator;
    struct ap_target_options options;
};

struct collecting { /* the callback's view of one call */
    struct local *self;
    struct ap_answer *out;
    int n_samples;
    struct ap_error *err;
};

char *ap_strip(char *text)
{
    size_t n = strlen(text), first = 0;
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    while (first < n && isspace((unsigned char)text[first]))
        first++;
    memmove(text, text + first, n - first);
    text[n - first] = '\0';
    return text;
}

void ap_answers_free(struct ap_answer *answers, size_t n)
{
    for (size_t i = 0; answers && i < n; i++) {
        ap_free(answers[i].text);
        ap_free(answers[i].ids);
        answers[i] = (struct ap_answer){0};
    }
}

void ap_target_free(struct ap_target *t)
{
    if (t->self)
        t->free(t->self);
    *t = (struct ap_target){0};
}

ap_status ap_answer_take(struct ap_answer *answer, const struct ap_lm *lm,
                         const struct ap_generated *g, struct ap_error *err)
{
    int n_text = g->stop == AP_STOP_END ? g->n - 1 : g->n;
    char *text;
    size_t n;
    ap_status status =
        ap_tokenizer_decode(lm->tokenizer, g->ids, (size_t)n_text, true, &text, &n, err);
    if (status != AP_OK)
        return status;
    if (g->stop == AP_STOP_STRING && g->n_text < n)
        n = g->n_text;
    answer->text = ap_strndup(text, n);
    ap_text_free(text);
    answer->ids = ap_calloc((size_t)g->n, sizeof(*g->ids));
    if (!answer->text || !answer->ids)
        return ap_fail(err, AP_MEMORY, "answer of %zu bytes: out of memory", n);
    memcpy(answer->ids, g->ids, (size_t)g->n * sizeof(*g->ids));
    ap_strip(answer->text);
    answer->ended = g->stop != AP_STOP_LENGTH;
    answer->n_token = g->n;
    return AP_OK;
}

static bool is_space(char c)
{
    return isspace((unsigned char)c) != 0;
}

size_t ap_answer_tell(struct ap_answer_told *told, const char *text, size_t n, const char **piece)
{
    while (told->end == told->begin && told->begin < n && is_space(text[told->begin]))
        told->end = ++told->begin;
    const size_t from = told->end;
    size_t to = from + strnlen(text + from, n - from); /* the answer ends at a NUL */
    while (to > from && is_space(text[to - 1]))
        to--;
    *piece = text + from;
    told->end = to;
    return to - from;
}

static ap_status on_generated(void *context, int request, int sample, const struct ap_generated *g)
{
    struct collecting *c = context;
    return ap_answer_take(&c->out[request * c->n_samples + sample], c->self->lm, g, c->err);
}

ap_status ap_target_prompt(const struct ap_lm *lm, const struct ap_target_request *request,
                           int max_new_tokens, ap_too_long too_long, struct ap_sequence *out,
                           struct ap_error *err)
{
    int room = lm->context - max_new_tokens;
    bool fits;
    return ap_sequence_make(out, lm->chat, request->context, request->n_context, request->prompt,
                            NULL, room > 1 ? room : 1, too_long, &fits, err);
}

static ap_status make_prompt(const struct local *l, const struct ap_target_request *request,
                             struct ap_sequence *out, struct ap_error *err)
{
    return ap_target_prompt(l->lm, request, l->options.max_new_tokens, AP_TOO_LONG_TRUNCATE, out,
                            err);
}

static ap_status local_answer(void *self, const struct ap_target_request *requests, int n,
                              int n_samples, struct ap_answer *out, struct ap_error *err)
{
    struct local *l = self;
    ap_status status = AP_OK;
    struct collecting collecting = {l, out, n_samples, err};
    struct ap_sequence *prompts = ap_calloc((size_t)n, sizeof(*prompts));
    struct ap_gen_request *generate = ap_calloc((size_t)n, sizeof(*generate));

    memset(out, 0, (size_t)n * (size_t)n_samples * sizeof(*out));
    if (!prompts || !generate) {
        status = ap_fail(err, AP_MEMORY, "%d prompts for the target: out of memory", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        AP_TRY(make_prompt(l, &requests[i], &prompts[i], err));
        generate[i] = (struct ap_gen_request){.prompt = prompts[i].ids,
                                              .n_prompt = prompts[i].n,
                                              .n_samples = n_samples,
                                              .max_new_tokens = l->options.max_new_tokens,
                                              .stream = requests[i].stream};
    }
    AP_TRY(ap_generate(l->generator, &l->role, &l->options.sampling, generate, n, on_generated,
                       &collecting, err));
out:
    for (int i = 0; prompts && i < n; i++)
        ap_sequence_free(&prompts[i]);
    ap_free(prompts);
    ap_free(generate);
    if (status != AP_OK)
        ap_answers_free(out, (size_t)n * (size_t)n_samples);
    return status;
}

static ap_status local_logp(void *self, const struct ap_target_request *requests,
                            const struct ap_answer *answers, int n, double *out,
                            struct ap_error *err)
{
    struct local *l = self;
    ap_status status = AP_OK;
    struct ap_sequence *prompts = ap_calloc((size_t)n, sizeof(*prompts));
    struct ap_kl_item *items = ap_calloc((size_t)n, sizeof(*items));

    if (!prompts || !items) {
        status = ap_fail(err, AP_MEMORY, "%d answers of the target: out of memory", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        AP_TRY(make_prompt(l, &requests[i], &prompts[i], err));
        items[i] = (struct ap_kl_item){prompts[i].ids, answers[i].ids, (int)prompts[i].n,
                                       answers[i].n_token};
    }
    AP_TRY(ap_logp_sums(&l->role, items, n, l->options.sampling.temperature,
                        l->options.batch_tokens, out, err));
out:
    for (int i = 0; prompts && i < n; i++)
        ap_sequence_free(&prompts[i]);
    ap_free(prompts);
    ap_free(items);
    return status;
}

const char *ap_sampling_shapes(const struct ap_sampling *s)
{
    if (s->temperature <= 0)
        return "its temperature is 0";
    if (s->top_k > 0)
        return "top_k cuts its distribution";
    if (s->top_p < 1)
        return "top_p cuts its distribution";
    if (s->min_p > 0)
        return "min_p cuts its distribution";
    return s->repetition_penalty > 0 && s->repetition_penalty != 1
               ? "repetition_penalty changes its distribution"
               : NULL;
}

static void local_free(void *self)
{
    struct local *l = self;
    ap_generator_close(l->generator);
    ap_free(l);
}

ap_status ap_target_local(struct ap_target *out, const struct ap_lm *lm, const struct ap_role *role,
                          const struct ap_target_options *options, struct ap_error *err)
{
    *out = (struct ap_target){0};
    struct local *l = ap_calloc(1, sizeof(*l));
    if (!l)
        return ap_fail(err, AP_MEMORY, "target %s: out of memory", lm->name);
    l->lm = lm;
    l->role = *role;
    l->options = *options;
    struct ap_generator_options g = {.n_slot = options->n_slot,
                                     .context = lm->context,
                                     .end = lm->end,
                                     .n_end = lm->n_end,
                                     .tokenizer = lm->tokenizer,
                                     .stop = options->stop,
                                     .n_stop = options->n_stop,
                                     .max_rank = ap_role_max_rank(role, role)};
    ap_status status = ap_generator_open(&l->generator, &role->weights->config, &g, err);
    if (status != AP_OK) {
        ap_free(l);
        return status;
    }
    *out = (struct ap_target){
        l, local_answer, ap_sampling_shapes(&options->sampling) ? NULL : local_logp, local_free};
    return AP_OK;
}
