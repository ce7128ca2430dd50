/* A language model as a judge that compares (asker_model.h). */
#include "align/asker_model.h"

#include "align/target.h"
#include "base/memory.h"
#include "text/sequence.h"

#include <stdint.h>
#include <string.h>

enum { GROW = 64 }; /* positions: the longest question so far rises by a few tokens at a time */

struct asker {
    const struct ap_lm *lm;
    struct ap_asker_model_options options;
    const struct ap_sink *sink;
    struct ap_lm roomy;       /* lm with the context that replier was made for */
    struct ap_target replier; /* nothing before the first question */
    bool warned;
};

int ap_asker_model_positions(const struct ap_asker_model_options *options, int context, int n)
{
    int64_t positions = ((int64_t)n + GROW - 1) / GROW * GROW + options->max_new_tokens;
    return positions < context ? (int)positions : context;
}

/* 0 for one that leaves no room for its reply. */
static ap_status count_tokens(const struct asker *a, const char *question, int *out,
                              struct ap_error *err)
{
    struct ap_sequence s = {0};
    bool fits;
    int room = a->lm->context - a->options.max_new_tokens;
    ap_status status = ap_sequence_make(&s, a->lm->chat, NULL, 0, question, NULL,
                                        room > 1 ? room : 1, AP_TOO_LONG_SKIP, &fits, err);
    *out = status == AP_OK && fits ? s.n : 0;
    ap_sequence_free(&s);
    return status;
}

static ap_status make_room(struct asker *a, int longest, struct ap_error *err)
{
    int positions = ap_asker_model_positions(&a->options, a->lm->context, longest);
    const struct ap_role role = {.weights = a->lm->weights};
    const struct ap_target_options options = {.max_new_tokens = a->options.max_new_tokens,
                                              .sampling = {.top_p = 1},
                                              .n_slot = a->options.n_slot};
    if (a->replier.self && a->roomy.context >= positions)
        return AP_OK;
    ap_target_free(&a->replier);
    a->roomy = *a->lm;
    a->roomy.context = positions;
    return ap_target_local(&a->replier, &a->roomy, &role, &options, err);
}

static void warn(struct asker *a, int n_too_long, int n)
{
    if (n_too_long > 0 && !a->warned)
        ap_sink_warn(a->sink, "judge",
                     "%d of %d questions leave no room for a reply of %d tokens in %s's context of "
                     "%d: they have no verdict, and later ones like them neither",
                     n_too_long, n, a->options.max_new_tokens, a->lm->name, a->lm->context);
    a->warned = a->warned || n_too_long > 0;
}

/* Which questions fit, as requests; the others have their replies. at: of each request its place.
 */
static ap_status take_fitting(struct asker *a, char *const *questions, int n, char **replies,
                              struct ap_target_request *requests, int *at, int *n_request,
                              struct ap_error *err)
{
    int longest = 0;
    ap_status status = AP_OK;
    *n_request = 0;
    for (int i = 0; i < n; i++) {
        int n_token;
        AP_TRY(count_tokens(a, questions[i], &n_token, err));
        longest = n_token > longest ? n_token : longest;
        if (n_token > 0) {
            at[*n_request] = i;
            requests[(*n_request)++] = (struct ap_target_request){.prompt = questions[i]};
        } else if (!(replies[i] = ap_strdup(""))) {
            AP_TRY(ap_fail(err, AP_MEMORY, "judge %s: no memory; free some", a->lm->name));
        }
    }
    warn(a, n - *n_request, n);
    if (*n_request > 0)
        AP_TRY(make_room(a, longest, err));
out:
    return status;
}

static ap_status ask(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err)
{
    struct asker *a = self;
    int n_request = 0;
    ap_status status = AP_OK;
    struct ap_target_request *requests = ap_calloc((size_t)n, sizeof(*requests));
    struct ap_answer *answers = ap_calloc((size_t)n, sizeof(*answers));
    int *at = ap_calloc((size_t)n, sizeof(*at));
    if (!requests || !answers || !at)
        AP_TRY(ap_fail(err, AP_MEMORY, "judge %s: no memory for %d questions; free some",
                       a->lm->name, n));
    AP_TRY(take_fitting(a, questions, n, replies, requests, at, &n_request, err));
    if (n_request > 0)
        AP_TRY(a->replier.answer(a->replier.self, requests, n_request, 1, answers, err));
    for (int i = 0; i < n_request; i++) {
        replies[at[i]] = answers[i].text;
        answers[i].text = NULL;
    }
out:
    if (answers)
        ap_answers_free(answers, (size_t)n);
    ap_free(requests);
    ap_free(answers);
    ap_free(at);
    return status;
}

static void asker_free(void *self)
{
    struct asker *a = self;
    ap_target_free(&a->replier);
    ap_free(a);
}

ap_status ap_asker_model(struct ap_asker *out, const struct ap_lm *lm,
                         const struct ap_asker_model_options *options, const struct ap_sink *sink,
                         struct ap_error *err)
{
    struct asker *a = ap_calloc(1, sizeof(*a));
    *out = (struct ap_asker){0};
    if (!a)
        return ap_fail(err, AP_MEMORY, "judge %s: no memory; free some", lm->name);
    a->lm = lm;
    a->options = *options;
    a->sink = sink;
    *out = (struct ap_asker){a, ask, asker_free};
    return AP_OK;
}
