/* A judge behind a server's chat (asker_http.h). */
#include "align/asker_http.h"

#include "align/chat_api.h"
#include "base/memory.h"

#include <string.h>

struct asker {
    struct ap_remote *remote;
    const struct ap_judge_settings *s;
};

struct asking { /* one call of ask */
    char **bodies;
    char (*keys)[AP_LEDGER_KEY];
    struct ap_ledger_answer *answers;
    struct ap_remote_request *requests;
};

static ap_status make_request(const struct asker *a, const char *question, struct asking *to, int i,
                              struct ap_error *err)
{
    json_t *body = NULL;
    const struct ap_api_request api = {.model = a->s->model,
                                       .prompt = question,
                                       .max_new_tokens = a->s->max_new_tokens,
                                       .sampling = {.top_p = 1}};
    ap_status status = ap_api_body(&api, &body, err);
    if (status != AP_OK)
        return status;
    to->bodies[i] = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!to->bodies[i])
        return ap_fail(err, AP_MEMORY, "judge: no memory for a question");
    const char *const parts[] = {"judge", a->s->http.url[0], to->bodies[i]};
    ap_remote_key(parts, AP_LEN(parts), to->keys[i]);
    to->requests[i] = (struct ap_remote_request){.path = ap_api_path(false),
                                                 .body = to->bodies[i],
                                                 .n_body = strlen(to->bodies[i]),
                                                 .keys = &to->keys[i],
                                                 .out = &to->answers[i],
                                                 .n = 1,
                                                 .n_prompt_most = (int64_t)strlen(to->bodies[i]),
                                                 .n_answer_most = a->s->max_new_tokens};
    return AP_OK;
}

static const char *read_reply(void *context, int request, const struct ap_client_reply *reply,
                              struct ap_ledger_answer *out)
{
    (void)context;
    (void)request;
    return ap_api_read(reply->body, reply->n_body, false, 1, out);
}

static bool read_rejection(void *context, int request, const struct ap_client_reply *reply,
                           struct ap_ledger_answer *out)
{
    (void)context;
    (void)request;
    return ap_api_refused(reply->body, reply->n_body, 1, out);
}

static ap_status ask(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err)
{
    struct asker *a = self;
    size_t size = (size_t)n;
    const struct ap_remote_reader reader = {NULL, read_reply, read_rejection};
    struct asking to = {ap_calloc(size, sizeof(*to.bodies)), ap_calloc(size, sizeof(*to.keys)),
                        ap_calloc(size, sizeof(*to.answers)),
                        ap_calloc(size, sizeof(*to.requests))};
    ap_status status = AP_OK;
    if (!to.bodies || !to.keys || !to.answers || !to.requests)
        status = ap_fail(err, AP_MEMORY, "judge: no memory for %d questions", n);
    for (int i = 0; i < n && status == AP_OK; i++)
        status = make_request(a, questions[i], &to, i, err);
    if (status == AP_OK)
        status = ap_remote_fetch(a->remote, to.requests, n, &reader, err);
    for (int i = 0; to.answers && i < n; i++) {
        replies[i] = to.answers[i].text; /* what came before an error, too */
        if (replies[i] && to.answers[i].refused)
            replies[i][0] = '\0'; /* whatever a filter says, it is no verdict */
        to.answers[i].text = NULL;
        ap_ledger_answer_free(&to.answers[i]);
    }
    for (int i = 0; to.bodies && i < n; i++)
        free(to.bodies[i]);
    ap_free(to.bodies);
    ap_free(to.keys);
    ap_free(to.answers);
    ap_free(to.requests);
    return status;
}

ap_status ap_asker_http(struct ap_asker *out, struct ap_remote *remote,
                        const struct ap_judge_settings *settings, struct ap_error *err)
{
    struct asker *a = ap_calloc(1, sizeof(*a));
    *out = (struct ap_asker){0};
    if (!a)
        return ap_fail(err, AP_MEMORY, "judge: no memory");
    *a = (struct asker){remote, settings};
    *out = (struct ap_asker){a, ask, ap_free};
    return AP_OK;
}
