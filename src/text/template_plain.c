/* The template of models that carry none: contents joined by newlines, the end token after an
 * answer. Its text shows no BOS; its ids start with what the post-processor puts before a text. */
#include "text/template.h"

#include "base/error.h"
#include "text/tokenizer.h"

#include <string.h>

static ap_status write_before(const struct ap_template *tpl, struct ap_chat_writer *w,
                              struct ap_error *err)
{
    const struct ap_ids *before = &tpl->t->postprocessor.before;
    ap_status status = AP_OK;
    for (size_t i = 0; w->ids && i < before->n && status == AP_OK; i++)
        status = ap_ids_push(w->ids, before->data[i], err);
    return status;
}

static ap_status render(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err)
{
    ap_status status;
    AP_TRY(write_before(tpl, w, err));
    for (size_t i = 0; i < n; i++) {
        if (i)
            AP_TRY(ap_chat_write_markup(w, "\n", err));
        if (!strcmp(messages[i].role, "assistant"))
            AP_TRY(ap_template_write_answer(tpl, w, messages[i].content, err));
        else
            AP_TRY(ap_chat_write_content(w, messages[i].content, strlen(messages[i].content), err));
    }
    if (add_generation_prompt)
        AP_TRY(ap_chat_write_markup(w, "\n", err));
out:
    return status;
}

const struct ap_template_kind ap_template_plain = {"plain", NULL, render};
