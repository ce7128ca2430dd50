/* The chat template of Qwen2 and Qwen2.5: every turn between <|im_start|> and <|im_end|>, with a
 * system turn of its own where the chat begins with none. Checked against transformers. */
#include "text/template.h"

#include "base/error.h"

#include <string.h>

static const char default_system[] =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

static ap_status write_turn(struct ap_chat_writer *w, const char *role, const char *content,
                            bool own, struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_chat_write_markup(w, "<|im_start|>", err));
    AP_TRY(ap_chat_write_markup(w, role, err));
    AP_TRY(ap_chat_write_markup(w, "\n", err));
    if (own)
        AP_TRY(ap_chat_write_markup(w, content, err));
    else
        AP_TRY(ap_chat_write_content(w, content, strlen(content), err));
    AP_TRY(ap_chat_write_markup(w, "<|im_end|>\n", err));
out:
    return status;
}

static ap_status render(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err)
{
    ap_status status;
    if (strcmp(messages[0].role, "system") != 0)
        AP_TRY(write_turn(w, "system", tpl->system ? tpl->system : default_system, true, err));
    for (size_t i = 0; i < n; i++)
        AP_TRY(write_turn(w, messages[i].role, messages[i].content, false, err));
    if (add_generation_prompt)
        AP_TRY(ap_chat_write_markup(w, "<|im_start|>assistant\n", err));
out:
    return status;
}

static const char *const tokens[] = {"<|im_end|>", "<|im_start|>", NULL};

const struct ap_template_kind ap_template_qwen2 = {"qwen2", tokens, render};
