/* A judge behind a server's chat (asker_http.h). */
#include "align/asker_http.h"

#include "align/chat_api.h"
#include "base/memory.h"

#include <string.h>

struct asker {
    struct ap_remote *remote;
    const struct ap_judge_settings *s;
    json_t *extra; /* of every body; NULL: nothing */
};

static ap_status put_question(const struct asker *a, const char *question,
                              struct ap_remote_batch *to, int i, struct ap_error *err)
{
    json_t *body = NULL;
    const struct ap_api_request api = {.model = a->s->model,
                                       .prompt = question,
                                       .max_new_tokens = a->s->max_new_tokens,
                                       .sampling = {.top_p = 1},
                                       .extra = a->extra};
    ap_status status = ap_api_body(&api, &body, err);
    char *text = status == AP_OK ? json_dumps(body, JSON_COMPACT) : NULL;
    int64_t most = ap_api_most_tokens(body, a->s->max_new_tokens);
    json_decref(body);
    if (status == AP_OK && !text)
        status = ap_fail(err, AP_MEMORY, "judge: no memory for a question");
    if (text)
        ap_remote_batch_put(to, i, text, ap_api_path(false), "judge", a->s->http.url[0], most);
    return status;
}

static const char *read_reply(void *context, const struct ap_remote_request *q,
                              const struct ap_client_reply *reply)
{
    (void)context;
    return ap_api_read(reply->body, reply->n_body, false, 1, q->out);
}

static bool read_rejection(void *context, const struct ap_remote_request *q,
                           const struct ap_client_reply *reply)
{
    (void)context;
    return ap_api_refused(reply->body, reply->n_body, 1, q->out);
}

static ap_status ask(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err)
{
    struct asker *a = self;
    const struct ap_remote_reader reader = {
        .read = read_reply, .rejected = read_rejection, .expected = ap_api_expected(false)};
    struct ap_remote_batch to;
    ap_status status = ap_remote_batch_open(&to, n, "judge", err);
    for (int i = 0; i < n && status == AP_OK; i++)
        status = put_question(a, questions[i], &to, i, err);
    if (status == AP_OK)
        status = ap_remote_fetch(a->remote, to.requests, n, &reader, err);
    for (int i = 0; to.answers && i < n; i++) {
        replies[i] = to.answers[i].text; /* what came before an error, too */
        if (replies[i] && to.answers[i].refused)
            replies[i][0] = '\0'; /* whatever a filter says, it is no verdict */
        to.answers[i].text = NULL;
    }
    ap_remote_batch_free(&to);
    return status;
}

static void asker_free(void *self)
{
    struct asker *a = self;
    json_decref(a->extra);
    ap_free(a);
}

ap_status ap_asker_http(struct ap_asker *out, struct ap_remote *remote,
                        const struct ap_judge_settings *settings, struct ap_error *err)
{
    struct asker *a = ap_calloc(1, sizeof(*a));
    *out = (struct ap_asker){0};
    if (!a)
        return ap_fail(err, AP_MEMORY, "judge: no memory");
    *a = (struct asker){remote, settings, NULL};
    ap_status status = ap_api_extra(settings->http.body, "judge", &a->extra, err);
    if (status == AP_OK)
        *out = (struct ap_asker){a, ask, asker_free};
    else
        asker_free(a);
    return status;
}
