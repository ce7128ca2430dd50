/* Inside of a chat template. A further one is a row in the table of template.c and a file beside
 * template_plain.c. Not a Jinja interpreter: known templates are recognised. */
#ifndef AP_TEXT_TEMPLATE_H
#define AP_TEXT_TEMPLATE_H

#include "text/chat_writer.h"

struct ap_template_kind {
    const char *name; /* recipe key text.template */
    /* Texts that all stand in its Jinja form and tell it from the others; NULL ends them. None:
     * never recognised, only named. */
    const char *const *marks;
    /* Fill tpl->end from the vocabulary; AP_INVALID where it lacks what the template needs. */
    ap_status (*bind)(struct ap_template *tpl, struct ap_error *err);
    ap_status (*render)(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err);
};

struct ap_template {
    const struct ap_template_kind *kind;
    const struct ap_tokenizer *t; /* borrowed */
    char *date;                   /* owned; NULL for none */
    ap_segment_kind content_kind;
    int32_t end; /* ends an assistant turn */
};

extern const struct ap_template_kind ap_template_plain;

/* An answer and its end token: the same for every template. math.md (8). */
ap_status ap_template_write_answer(const struct ap_template *tpl, struct ap_chat_writer *w,
                                   const char *answer, struct ap_error *err);

#endif
