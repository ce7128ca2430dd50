/* Prompters and rewrites, pass by pass (rewriting.h). */
#include "pipeline/rewriting.h"

#include "align/guard.h"
#include "base/memory.h"
#include "text/space.h"

#include <stdio.h>
#include <string.h>

_Static_assert(AP_REWRITE_WHY_MAX == AP_GUARD_WHY_MAX, "AP_REWRITE_WHY_MAX");

static const char special_key[] = "text.special_in_content=";

/* ---- opening ---- */

static bool is_special_key(const char *set)
{
    return strncmp(set, special_key, strlen(special_key)) == 0;
}

static ap_status check_sets(const char *const *sets, size_t n_sets, struct ap_error *err)
{
    for (size_t i = 0; i < n_sets; i++)
        if (strncmp(sets[i], "guard.", 6) != 0 && !is_special_key(sets[i]))
            return ap_fail(err, AP_INVALID,
                           "'%.100s' is no key of guard, expected guard.KEY=VALUE (or "
                           "text.special_in_content); the other keys are those that the run was "
                           "made with",
                           sets[i]);
    return AP_OK;
}

static ap_status encode_as(const struct ap_lm *lm, const char *text, ap_segment_kind kind,
                           struct ap_ids *ids, struct ap_error *err)
{
    struct ap_segment segment = {text, strlen(text), kind};
    return ap_tokenizer_encode(lm->tokenizer, &segment, 1, false, ids, err);
}

/* A meta-prompt stands in the same message as x: where it spells special tokens and was trained as
 * markup, the prompter would see another one than it knows. */
static ap_status check_meta(const struct ap_prompters *p, int k, struct ap_error *err)
{
    const struct ap_run *run = &p->past.run;
    const struct ap_lm *lm = p->passes[k].lm;
    struct ap_ids text = {0}, markup = {0};
    ap_status status = AP_OK;
    if (!run->content_is_text || strcmp(run->s->special_in_content, "text") == 0)
        return AP_OK;
    AP_TRY(encode_as(lm, ap_run_pass_meta(run, k), AP_SEGMENT_TEXT, &text, err));
    AP_TRY(encode_as(lm, ap_run_pass_meta(run, k), AP_SEGMENT_MARKUP, &markup, err));
    if (text.n != markup.n || memcmp(text.data, markup.data, text.n * sizeof(*text.data)) != 0)
        status = ap_fail(err, AP_UNSUPPORTED,
                         "%s: the meta-prompt spells special tokens, and the run was trained with "
                         "them; --set text.special_in_content=markup keeps them, in the prompts of "
                         "users, too",
                         run->dir.path);
out:
    ap_ids_free(&text);
    ap_ids_free(&markup);
    return status;
}

static ap_status open_pass(struct ap_prompters *p, int k, struct ap_error *err)
{
    struct ap_run *run = &p->past.run;
    struct ap_prompter_pass *pass = &p->passes[k];
    const struct ap_prompter_settings *settings = ap_run_prompter(run, k);
    const struct ap_model_settings *m;
    const char *stage = !p->stage                        ? NULL
                        : strcmp(p->stage, "align") == 0 ? ap_run_pass_stage(k)
                                                         : ap_run_pass_sft(run, k);
    ap_status status;

    AP_TRY(ap_settings_model(run->s, settings->model, &m, err));
    if (!stage && !m->path[0] && strcmp(run->s->pretrain.model, m->name) != 0)
        AP_TRY(ap_fail(err, AP_NOT_FOUND,
                       "%s: has no prompter yet: neither sft nor align is finished, and before "
                       "them its weights are random; finish it with `alignpro run`",
                       run->dir.path));
    AP_TRY(ap_run_lm(run, settings->model, &pass->lm, err));
    AP_TRY(check_meta(p, k, err));
    AP_TRY(ap_run_role(run, pass->lm, &settings->adapter, stage, &pass->role, err));
out:
    return status;
}

ap_status ap_prompters_open(struct ap_prompters *p, const char *run_dir, const char *const *sets,
                            size_t n_sets, int n_position, struct ap_error *err)
{
    ap_status status;
    bool asked = false;
    *p = (struct ap_prompters){0};
    AP_TRY(check_sets(sets, n_sets, err));
    AP_TRY(ap_past_run_open(&p->past, run_dir, sets, n_sets, err));
    for (size_t i = 0; i < n_sets; i++)
        asked = asked || is_special_key(sets[i]);
    p->past.run.content_is_text = !asked;
    p->past.run.n_position = n_position;
    p->stage = ap_past_run_stage(&p->past);
    for (p->n_pass = 0; p->n_pass < ap_run_n_passes(&p->past.run); p->n_pass++)
        AP_TRY(open_pass(p, p->n_pass, err));
out:
    return status;
}

void ap_prompters_close(struct ap_prompters *p)
{
    for (int k = 0; k < AP_PROMPTERS_MAX; k++)
        ap_owned_role_free(&p->passes[k].role);
    ap_past_run_close(&p->past);
    *p = (struct ap_prompters){0};
}

ap_status ap_prompters_generator(const struct ap_prompters *p, int pass, int n_slot,
                                 struct ap_generator **out, struct ap_error *err)
{
    const struct ap_lm *lm = p->passes[pass].lm;
    const struct ap_role *role = &p->passes[pass].role.role;
    struct ap_generator_options options = {.n_slot = n_slot,
                                           .context = lm->context,
                                           .end = lm->end,
                                           .n_end = lm->n_end,
                                           .tokenizer = lm->tokenizer,
                                           .max_rank = role->adapter ? role->adapter->rank : 0};
    return ap_generator_open(out, &role->weights->config, &options, err);
}

/* ---- a rewrite ---- */

ap_status ap_draft_begin(struct ap_draft *d, const struct ap_message *messages, size_t n_message,
                         struct ap_error *err)
{
    *d = (struct ap_draft){.messages = messages, .n_message = n_message, .ended = true};
    if (n_message == 0 || strcmp(messages[n_message - 1].role, "user") != 0)
        return ap_fail(err, AP_INVALID,
                       "the conversation ends in %s, expected a message of the user's to rewrite",
                       n_message ? "another's message" : "nothing");
    const char *x = messages[n_message - 1].content;
    size_t n = strlen(x);
    if (ap_space_prefix(x, n) == n)
        return ap_fail(err, AP_INVALID, "the prompt is %s, expected a text to rewrite",
                       n ? "white space only" : "empty");
    d->text = ap_strdup("");
    return d->text ? AP_OK : ap_fail(err, AP_MEMORY, "rewrite: out of memory");
}

void ap_draft_free(struct ap_draft *d)
{
    ap_free(d->text);
    *d = (struct ap_draft){0};
}

/* One prompt of a pass, to be fitted. */
struct fitting {
    const struct ap_lm *lm;
    const struct ap_draft *d;
    const char *wrapped;
    int room;
    size_t n_system;         /* 1: the context begins with a system message */
    struct ap_message *kept; /* n_message of them */
};

/* With the system message and the turns from `from` on. */
static ap_status try_turns(const struct fitting *f, size_t from, bool system, ap_too_long too_long,
                           struct ap_sequence *out, bool *fits, struct ap_error *err)
{
    size_t n_context = f->d->n_message - 1, n = system ? f->n_system : 0;
    if (n)
        f->kept[0] = f->d->messages[0];
    if (from < n_context)
        memcpy(f->kept + n, f->d->messages + from, (n_context - from) * sizeof(*f->kept));
    return ap_sequence_make(out, f->lm->chat, f->kept, n + n_context - from, f->wrapped, NULL,
                            f->room, too_long, fits, err);
}

/* An answer whose question is left out would answer nothing. */
static size_t next_question(const struct ap_draft *d, size_t from)
{
    while (from < d->n_message - 1 && strcmp(d->messages[from].role, "assistant") == 0)
        from++;
    return from;
}

/* The fewest oldest turns are left out that make it fit: halving, because each try reads all. */
static ap_status fit_turns(const struct fitting *f, struct ap_sequence *out, struct ap_error *err)
{
    const size_t n_context = f->d->n_message - 1;
    size_t low = f->n_system, high = n_context; /* low is too many, high fits or is tried last */
    bool fits = false;
    ap_status status = try_turns(f, low, true, AP_TOO_LONG_SKIP, out, &fits, err);
    if (status != AP_OK || fits)
        return status;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        ap_sequence_free(out);
        AP_TRY(try_turns(f, middle, true, AP_TOO_LONG_SKIP, out, &fits, err));
        *(fits ? &high : &low) = middle;
    }
    ap_sequence_free(out);
    AP_TRY(try_turns(f, next_question(f->d, high), true, AP_TOO_LONG_SKIP, out, &fits, err));
    if (!fits)
        AP_TRY(try_turns(f, n_context, false, AP_TOO_LONG_ERROR, out, &fits, err));
out:
    return status;
}

static ap_status fit_prompt(const struct ap_prompters *p, int pass, const struct ap_draft *d,
                            const char *wrapped, struct ap_sequence *out, struct ap_error *err)
{
    const struct ap_lm *lm = p->passes[pass].lm;
    int room = lm->context - ap_run_prompter(&p->past.run, pass)->max_new_tokens;
    struct fitting f = {.lm = lm,
                        .d = d,
                        .wrapped = wrapped,
                        .room = room > 1 ? room : 1,
                        .n_system = d->n_message > 1 && strcmp(d->messages[0].role, "system") == 0,
                        .kept = ap_calloc(d->n_message, sizeof(*f.kept))};
    if (!f.kept)
        return ap_fail(err, AP_MEMORY, "rewrite: out of memory");
    ap_status status = fit_turns(&f, out, err);
    ap_free(f.kept);
    return status;
}

ap_status ap_draft_ask(const struct ap_prompters *p, int pass, struct ap_draft *d,
                       const struct ap_stream *stream, struct ap_sequence *sequence,
                       struct ap_gen_request *out, struct ap_error *err)
{
    char stage[32];
    const struct ap_run *run = &p->past.run;
    const char *text = d->text[0] ? d->text : d->messages[d->n_message - 1].content;
    char *wrapped = ap_meta_prompt_apply(ap_run_pass_meta(run, pass), text);
    if (!wrapped)
        return ap_fail(err, AP_MEMORY, "rewrite: out of memory");
    ap_status status = fit_prompt(p, pass, d, wrapped, sequence, err);
    ap_free(wrapped);
    d->n_prompt += sequence->n;
    *out = (struct ap_gen_request){.prompt = sequence->ids,
                                   .n_prompt = sequence->n,
                                   .n_samples = 1,
                                   .max_new_tokens = ap_run_prompter(run, pass)->max_new_tokens,
                                   .stream = *stream};
    if (pass > 0) {
        snprintf(stage, sizeof(stage), "rewrite-%d", pass + 1);
        out->stream.stage = ap_stream_stage(stage);
    }
    return status;
}

ap_status ap_draft_take(const struct ap_prompters *p, int pass, struct ap_draft *d,
                        const struct ap_generated *g, struct ap_error *err)
{
    struct ap_answer answer = {0};
    ap_status status = ap_answer_take(&answer, p->passes[pass].lm, g, err);
    if (status == AP_OK) {
        d->ended = d->ended && answer.ended;
        d->n_token += answer.n_token;
        if (answer.text[0]) {
            ap_free(d->text);
            d->text = answer.text;
            answer.text = NULL;
        }
    }
    ap_answers_free(&answer, 1);
    return status;
}

ap_status ap_draft_finish(const struct ap_prompters *p, struct ap_draft *d,
                          struct ap_rewritten *out, struct ap_error *err)
{
    ap_guard guard;
    const char *x = d->messages[d->n_message - 1].content;
    *out = (struct ap_rewritten){.guard = "", .ended = d->ended};
    ap_status status = ap_guard_check(&p->past.run.s->guard, x, d->text, &guard, out->why, err);
    if (status != AP_OK)
        return status;
    out->guard = ap_guard_name(guard);
    out->text = guard == AP_GUARD_NONE ? d->text : ap_strdup(x);
    if (guard == AP_GUARD_NONE)
        d->text = NULL;
    return out->text ? AP_OK : ap_fail(err, AP_MEMORY, "rewrite: out of memory");
}
