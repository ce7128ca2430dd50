/* The body of a request as it came: which of its texts may be rewritten, what stands before each,
 * and the same bytes with only those texts exchanged. Not here: who rewrites (rewriting.h). */
#ifndef AP_SERVE_CHAT_BODY_H
#define AP_SERVE_CHAT_BODY_H

#include "alignpro/text.h"

#include "base/buffer.h"
#include "serve/json_tape.h"

typedef enum ap_body_kind { AP_BODY_CHAT, AP_BODY_COMPLETION } ap_body_kind;
typedef enum ap_rewrite_policy {
    AP_REWRITE_LAST, /* the last user message */
    AP_REWRITE_ALL,  /* each user message */
    AP_REWRITE_NONE,
} ap_rewrite_policy;

/* Why nothing of a body is rewritten. */
typedef enum ap_body_pass {
    AP_PASS_NOT, /* something is */
    AP_PASS_OFF, /* the body's own x-alignpro, or the policy */
    AP_PASS_TOOLS,
    AP_PASS_JSON, /* another response_format than text */
    AP_PASS_NO_TEXT,
} ap_body_pass;

struct ap_body_text {
    uint32_t start, end; /* bytes of its string in the body, with the quotes */
    size_t message;      /* messages[message] is it; a chat's context are those before it */
    int at;              /* index in the body's "messages", or of the prompt */
};

struct ap_chat_body {
    struct ap_message *messages; /* what a template can say: system, user, assistant; owned */
    size_t n_message;
    size_t n_unsaid; /* messages or prompts that are not among them, or not whole: tools, images */
    struct ap_body_text *texts; /* n_text in the order of the body; owned */
    size_t n_text;
    ap_body_pass pass;
    bool off, show;                /* the field x-alignpro */
    uint32_t mark_start, mark_end; /* bytes of that field, with one comma; equal: none */
    bool stream;
};

/* AP_FORMAT for what is no JSON object, or "messages", "prompt" and what they hold of another type
 * than OpenAI's; AP_LIMIT. The text is not kept. */
ap_status ap_chat_body_read(struct ap_chat_body *b, ap_body_kind kind, ap_rewrite_policy policy,
                            const char *text, size_t n, const struct ap_tape_limits *limits,
                            struct ap_error *err);
void ap_chat_body_free(struct ap_chat_body *b);

/* The same text with rewrites[i] in the place of texts[i] where that is not NULL, and without
 * x-alignpro; every other byte is as it was. Appended to out. */
ap_status ap_chat_body_splice(const struct ap_chat_body *b, const char *text, size_t n,
                              char *const *rewrites, struct ap_buffer *out, struct ap_error *err);

/* `text` as a JSON string, quotes and all, in UTF-8. */
ap_status ap_json_put_string(struct ap_buffer *out, const char *text, struct ap_error *err);

#endif
