/* The bodies of OpenAI's API, as vLLM, llama.cpp and clouds speak it: requests out of messages,
 * answers out of replies. No network here: strings in, strings out. */
#ifndef AP_ALIGN_CHAT_API_H
#define AP_ALIGN_CHAT_API_H

#include "base/json.h"
#include "gen/generator.h"
#include "store/ledger.h"
#include "text/chat_writer.h"

/* What is asked. All borrowed. */
struct ap_api_request {
    const char *model; /* "": not said */
    const struct ap_message *context;
    size_t n_context;
    const char *prompt; /* the last message, the user's */
    bool completions;   /* contents by lines in "prompt", in place of "messages" */
    int max_new_tokens;
    struct ap_sampling sampling;
    char *const *stop;
    int n_stop;
    const json_t *extra; /* an object merged into the body, null removes; NULL: none */
};

/* The object of a `body` key of the recipe, WHO.body; *out is NULL for "". A new reference. */
ap_status ap_api_extra(const char *text, const char *who, json_t **out, struct ap_error *err);
/* Puts its keys into the body; NULL: nothing. */
ap_status ap_api_merge(json_t *body, const json_t *extra, struct ap_error *err);
/* The body as an object, without seed and n: what makes an answer that answer, but for chance. A
 * new reference. A text that is no UTF-8 is AP_FORMAT. */
ap_status ap_api_body(const struct ap_api_request *request, json_t **out, struct ap_error *err);

/* Tokens of an answer to it: its extra may say more than the recipe's own key. */
int64_t ap_api_most_tokens(const json_t *body, int max_new_tokens);

/* Where it is posted to, behind the address. */
const char *ap_api_path(bool completions);

/* Where a reply has its text, for messages. */
const char *ap_api_expected(bool completions);

/* out[n] of a reply's text, or of its fewer choices the first ones: the others stay empty. NULL, or
 * why it holds none: a static clause, and out is as it was. Usage that is not told is −1, else its
 * tokens are shared out. */
const char *ap_api_read(const char *body, size_t n_body, bool completions, int n,
                        struct ap_ledger_answer *out);
/* Whether a choice of a chat has thoughts beside its content, as servers take them out of it. */
bool ap_api_thinks(const char *body, size_t n_body);
/* What any reply says that it counted, of one answer; −1 both where it does not. */
void ap_api_usage(const char *body, size_t n_body, struct ap_ledger_answer *out);
/* Whether the body of a status 400 or 403 says that a content filter refused the prompt: then
 * out[n] are refusals. */
bool ap_api_refused(const char *body, size_t n_body, int n, struct ap_ledger_answer *out);

#endif
