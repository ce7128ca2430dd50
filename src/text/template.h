/* Inside of a chat template. A further one is a row in the table of template.c, a file beside
 * template_plain.c and, for each text that it is written in, a row in template_form.c. Not a Jinja
 * interpreter: known texts are recognised, and nothing else is taken for one of them. */
#ifndef AP_TEXT_TEMPLATE_H
#define AP_TEXT_TEMPLATE_H

#include "text/chat_writer.h"

struct ap_template_kind {
    const char *name; /* recipe key text.template */
    /* Spellings of the added tokens that it writes; the first ends an assistant turn; NULL ends
     * them. NULL: writes none, and the tokenizer's end token ends a turn. */
    const char *const *tokens;
    ap_status (*render)(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err);
};

/* How older releases of a template differ from the one that its name stands for. */
typedef enum ap_template_variant {
    AP_TEMPLATE_CURRENT,
    AP_LLAMA3_NO_DATE,     /* Llama 3.0: no system turn of its own */
    AP_LLAMA3_ALWAYS_ASKS, /* its first release: a generation prompt even where none is asked for */
    AP_PHI3_EMPTY_SYSTEM,  /* Phi-3 of July 2024: a system turn even when it is empty */
    AP_PHI3_NO_SYSTEM,     /* its first release: no system turns, the next turn always opened */
} ap_template_variant;

struct ap_template {
    const struct ap_template_kind *kind;
    ap_template_variant variant;
    const struct ap_tokenizer *t; /* borrowed */
    char *date;                   /* owned; NULL for none */
    char *system;                 /* owned: qwen2's own system prompt; NULL for Qwen2.5's */
    ap_segment_kind content_kind;
    int32_t end; /* ends an assistant turn */
};

extern const struct ap_template_kind ap_template_plain, ap_template_llama3, ap_template_qwen2,
    ap_template_phi3;

/* Fill kind, variant and system from the Jinja text of a template; kind stays NULL where the text
 * is none of those known. */
ap_status ap_template_recognise(struct ap_template *tpl, const char *jinja, size_t n,
                                struct ap_error *err);

/* An answer and its end token: the same for every template. math.md (8). */
ap_status ap_template_write_answer(const struct ap_template *tpl, struct ap_chat_writer *w,
                                   const char *answer, struct ap_error *err);

#endif
