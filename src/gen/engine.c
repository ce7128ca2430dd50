/* One model with its text, behind the public header alignpro/model.h. Not here: batches of requests
 * (generator.c) — an engine answers one call after another. Entry points: ap_engine_open,
 * ap_engine_score, ap_engine_classify, ap_engine_generate. */
#include "alignpro/model.h"

#include "base/file.h"
#include "base/memory.h"
#include "gen/generator.h"

#include <math.h>
#include <string.h>

enum { MAX_NEW_DEFAULT = 128, GROWTH_LEAST = 64 };

struct ap_engine {
    char *dir; /* the model's folder, for messages */
    struct ap_weights *weights;
    struct ap_adapter *adapter;
    struct ap_role role;
    int context;

    struct ap_tokenizer *tokenizer;
    struct ap_error no_tokenizer; /* why tokenizer is NULL */
    struct ap_template *chat;
    struct ap_error no_chat;
    int32_t end[AP_EOS_MAX + 1];
    int n_end;

    struct ap_tape *tape;           /* grows; NULL before the first score */
    struct ap_generator *generator; /* grows; NULL before the first text */
    int generator_context;
    char **stop; /* n_stop owned copies, which the generator borrows */
    size_t n_stop;
};

/* -- opening -- */

static void open_text(struct ap_engine *e, const struct ap_engine_options *options)
{
    if (ap_tokenizer_open(&e->tokenizer, options->model, &e->no_tokenizer) != AP_OK) {
        e->tokenizer = NULL;
        e->no_chat = e->no_tokenizer;
        return;
    }
    if (ap_template_open(&e->chat, e->tokenizer, &options->chat, &e->no_chat) != AP_OK)
        e->chat = NULL;
}

static void gather_end_ids(struct ap_engine *e)
{
    const struct ap_config *c = &e->weights->config;
    int32_t turn_end = e->chat ? ap_template_end(e->chat) : -1;
    bool known = turn_end < 0;
    for (int i = 0; i < c->n_eos; i++) {
        e->end[e->n_end++] = c->eos[i];
        known = known || c->eos[i] == turn_end;
    }
    if (!known)
        e->end[e->n_end++] = turn_end;
}

ap_status ap_engine_open(struct ap_engine **out, const struct ap_engine_options *options,
                         struct ap_error *err)
{
    ap_dtype dtype;
    ap_status status;
    struct ap_engine *e = ap_calloc(1, sizeof(*e));
    *out = NULL;
    if (!e || !(e->dir = ap_strdup(options->model))) {
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", options->model);
        goto out;
    }
    AP_TRY(ap_weights_dtype(&dtype, options->dtype, err));
    ap_threads_set(options->threads);
    AP_TRY(ap_weights_load(&e->weights, options->model, options->context, dtype, err));
    if (options->adapter)
        AP_TRY(ap_adapter_load(&e->adapter, e->weights, options->adapter, err));
    e->role = (struct ap_role){e->weights, e->adapter};
    e->context = e->weights->context;
    open_text(e, options);
    gather_end_ids(e);
    *out = e;
    return AP_OK;
out:
    ap_engine_close(e);
    return status;
}

static void drop_generator(struct ap_engine *e)
{
    ap_generator_close(e->generator);
    e->generator = NULL;
    for (size_t i = 0; i < e->n_stop; i++)
        ap_free(e->stop[i]);
    ap_free(e->stop);
    e->stop = NULL;
    e->n_stop = 0;
}

void ap_engine_close(struct ap_engine *e)
{
    if (!e)
        return;
    drop_generator(e);
    ap_tape_close(e->tape);
    ap_template_close(e->chat);
    ap_tokenizer_close(e->tokenizer);
    ap_adapter_free(e->adapter);
    ap_weights_free(e->weights);
    ap_free(e->dir);
    ap_free(e);
}

bool ap_engine_is_classifier(const struct ap_engine *e)
{
    return e->weights->score >= 0 || (e->adapter && e->adapter->score >= 0);
}

int ap_engine_context(const struct ap_engine *e)
{
    return e->context;
}

ap_status ap_engine_tokenizer(const struct ap_engine *e, const struct ap_tokenizer **out,
                              struct ap_error *err)
{
    *out = e->tokenizer;
    return e->tokenizer ? AP_OK : ap_fail(err, e->no_tokenizer.status, "%s", e->no_tokenizer.text);
}

ap_status ap_engine_template(const struct ap_engine *e, const struct ap_template **out,
                             struct ap_error *err)
{
    *out = e->chat;
    return e->chat ? AP_OK : ap_fail(err, e->no_chat.status, "%s", e->no_chat.text);
}

/* -- scoring -- */

static int grown(size_t need, int context)
{
    size_t size = GROWTH_LEAST;
    while (size < need)
        size *= 2;
    return size < (size_t)context ? (int)size : context;
}

static ap_status run_forward(struct ap_engine *e, const int32_t *ids, size_t n,
                             struct ap_error *err)
{
    if (n < 1)
        return ap_fail(err, AP_INVALID, "no token to score, expected one or more");
    if (n > (size_t)e->context)
        return ap_fail(err, AP_LIMIT,
                       "the text has %zu tokens, but the context holds %d; shorten it or raise the "
                       "context",
                       n, e->context);
    ap_status status = AP_OK;
    if (!e->tape || (size_t)ap_tape_max_row(e->tape) < n) {
        ap_tape_close(e->tape);
        e->tape = NULL;
        status = ap_tape_open(&e->tape, &e->weights->config, grown(n, e->context),
                              e->adapter ? e->adapter->rank : 0, AP_TAPE_FORWARD, err);
    }
    int32_t start[2] = {0, (int32_t)n};
    struct ap_rows rows = {.ids = ids, .start = start, .n_row = (int)n, .n_seq = 1};
    return status == AP_OK ? ap_forward(e->tape, &e->role, &rows, err) : status;
}

static ap_status not_finite(const struct ap_engine *e, const char *what, size_t position,
                            struct ap_error *err)
{
    return ap_fail(err, AP_NUMERIC,
                   "%s: the %s token %zu hold NaN or Inf, expected finite numbers; look at the "
                   "model's weights and adapter",
                   e->dir, what, position);
}

ap_status ap_engine_score(struct ap_engine *e, const int32_t *ids, size_t n, double *logp,
                          struct ap_error *err)
{
    if (e->weights->score >= 0)
        return ap_fail(err, AP_INVALID,
                       "%s: is a sequence classifier and gives no log-probabilities; expected a "
                       "causal language model",
                       e->dir);
    ap_status status = run_forward(e, ids, n, err);
    if (status != AP_OK || n == 1)
        return status;
    int32_t *row = ap_calloc(n - 1, sizeof(*row));
    float *value = ap_calloc(n - 1, sizeof(*value));
    if (row && value) {
        for (size_t t = 0; t + 1 < n; t++)
            row[t] = (int32_t)t;
        ap_logp_forward(e->tape, &e->role, row, ids + 1, (int)n - 1, 1.0, value, NULL);
        for (size_t t = 0; t + 1 < n && status == AP_OK; t++) {
            logp[t] = (double)value[t];
            if (!isfinite(value[t]))
                status = not_finite(e, "logits after", t, err);
        }
    } else {
        status = ap_fail(err, AP_MEMORY, "score of %zu tokens: out of memory", n);
    }
    ap_free(row);
    ap_free(value);
    return status;
}

ap_status ap_engine_classify(struct ap_engine *e, const int32_t *ids, size_t n, double *score,
                             struct ap_error *err)
{
    if (!ap_engine_is_classifier(e))
        return ap_fail(err, AP_INVALID,
                       "%s: has no scalar head; expected a sequence classifier with one label",
                       e->dir);
    ap_status status = run_forward(e, ids, n, err);
    if (status != AP_OK)
        return status;
    int32_t last = ap_last_real(&e->weights->config, ids, (int)n);
    float value;
    ap_scalar_forward(e->tape, &e->role, &last, 1, &value);
    *score = (double)value;
    return isfinite(value) ? AP_OK : not_finite(e, "outputs of the scalar head at", n - 1, err);
}

/* -- generation -- */

static bool same_stops(const struct ap_engine *e, const struct ap_generation_options *o)
{
    bool same = e->n_stop == o->n_stop;
    for (size_t i = 0; same && i < o->n_stop; i++)
        same = strcmp(e->stop[i], o->stop[i]) == 0;
    return same;
}

static ap_status copy_stops(struct ap_engine *e, const struct ap_generation_options *o,
                            struct ap_error *err)
{
    e->stop = ap_calloc(o->n_stop, sizeof(*e->stop));
    for (size_t i = 0; e->stop && i < o->n_stop; i++, e->n_stop++)
        if (!(e->stop[i] = ap_strdup(o->stop[i])))
            break;
    if (e->n_stop == o->n_stop)
        return AP_OK;
    return ap_fail(err, AP_MEMORY, "%zu stop strings: out of memory", o->n_stop);
}

/* A generator with room for `need` positions and these stop strings. */
static ap_status ready_generator(struct ap_engine *e, size_t need,
                                 const struct ap_generation_options *o, struct ap_error *err)
{
    ap_status status;
    if (e->generator && same_stops(e, o) &&
        (need <= (size_t)e->generator_context || e->generator_context == e->context))
        return AP_OK;
    drop_generator(e);
    if (o->n_stop > 0) {
        const struct ap_tokenizer *ignored;
        AP_TRY(ap_engine_tokenizer(e, &ignored, err));
    }
    AP_TRY(copy_stops(e, o, err));
    e->generator_context = grown(need, e->context);
    struct ap_generator_options options = {.n_slot = 1,
                                           .context = e->generator_context,
                                           .end = e->end,
                                           .n_end = e->n_end,
                                           .tokenizer = e->tokenizer,
                                           .stop = e->stop,
                                           .n_stop = (int)e->n_stop,
                                           .max_rank = e->adapter ? e->adapter->rank : 0};
    AP_TRY(ap_generator_open(&e->generator, &e->weights->config, &options, err));
out:
    return status;
}

struct taking { /* the callback's view of ap_engine_generate */
    struct ap_engine *e;
    struct ap_generation *out;
    struct ap_error *err;
};

static ap_status take_sample(void *context, int request, int sample, const struct ap_generated *g)
{
    static const char *const stop_names[] = {
        [AP_STOP_END] = "end", [AP_STOP_LENGTH] = "length", [AP_STOP_STRING] = "string"};
    (void)request, (void)sample;
    struct taking *t = context;
    struct ap_generation *out = t->out;
    out->stop = stop_names[g->stop];
    out->n = (size_t)g->n;
    if (!(out->ids = ap_calloc(out->n, sizeof(*out->ids))))
        return ap_fail(t->err, AP_MEMORY, "%d new tokens: out of memory", g->n);
    memcpy(out->ids, g->ids, out->n * sizeof(*out->ids));
    if (!t->e->tokenizer)
        return AP_OK;
    size_t n_shown = g->stop == AP_STOP_END ? out->n - 1 : out->n;
    ap_status status = ap_tokenizer_decode(t->e->tokenizer, g->ids, n_shown, true, &out->text,
                                           &out->n_text, t->err);
    if (status == AP_OK && g->stop == AP_STOP_STRING && g->n_text < out->n_text) {
        out->n_text = g->n_text;
        out->text[out->n_text] = '\0';
    }
    return status;
}

ap_status ap_engine_generate(struct ap_engine *e, const int32_t *prompt, size_t n_prompt,
                             const struct ap_generation_options *o, struct ap_generation *out,
                             struct ap_error *err)
{
    ap_status status;
    struct taking taking = {e, out, err};
    struct ap_sampling sampling = {o->temperature, o->top_k, o->top_p > 0 ? o->top_p : 1, o->min_p,
                                   o->repetition_penalty};
    int max_new = o->max_new_tokens ? o->max_new_tokens : MAX_NEW_DEFAULT;
    *out = (struct ap_generation){0};
    if (e->weights->score >= 0)
        return ap_fail(err, AP_INVALID,
                       "%s: is a sequence classifier and writes nothing; expected a causal "
                       "language model",
                       e->dir);
    if (n_prompt >= (size_t)e->context)
        return ap_fail(err, AP_LIMIT,
                       "the prompt has %zu tokens and leaves no room for an answer in a context of "
                       "%d; shorten it or raise the context",
                       n_prompt, e->context);
    struct ap_gen_request request = {
        .prompt = prompt,
        .n_prompt = (int)n_prompt,
        .n_samples = 1,
        .max_new_tokens = max_new,
        .stream = {.seed = o->seed, .stage = ap_stream_stage("generate"), .record = o->record}};
    AP_TRY(ready_generator(e, n_prompt + (size_t)(max_new > 0 ? max_new : 0), o, err));
    AP_TRY(ap_generate(e->generator, &e->role, &sampling, &request, 1, take_sample, &taking, err));
    return AP_OK;
out:
    ap_generation_free(out);
    return status;
}

void ap_generation_free(struct ap_generation *g)
{
    ap_free(g->ids);
    ap_text_free(g->text);
    *g = (struct ap_generation){0};
}
