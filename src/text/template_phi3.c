/* The chat template of Phi-3 and Phi-3.5: <|user|>, <|assistant|> and <|system|> open a turn,
 * <|end|> closes it, and the tokenizer's end token closes a chat that asks for no answer. Checked
 * against transformers. */
#include "text/template.h"

#include "base/error.h"
#include "text/tokenizer.h"

#include <string.h>

static ap_status write_special(const struct ap_template *tpl, struct ap_chat_writer *w, int32_t id,
                               struct ap_error *err)
{
    const char *spelling = ap_tokenizer_spelling(tpl->t, id);
    return spelling ? ap_chat_write_markup(w, spelling, err) : AP_OK;
}

static ap_status write_turn(struct ap_chat_writer *w, const char *opening, const char *content,
                            struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_chat_write_markup(w, opening, err));
    AP_TRY(ap_chat_write_content(w, content, strlen(content), err));
    AP_TRY(ap_chat_write_markup(w, "<|end|>\n", err));
out:
    return status;
}

static ap_status render_first_release(const struct ap_template *tpl, struct ap_chat_writer *w,
                                      const struct ap_message *messages, size_t n,
                                      struct ap_error *err)
{
    ap_status status;
    AP_TRY(write_special(tpl, w, ap_tokenizer_bos(tpl->t), err));
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(messages[i].role, "user")) {
            AP_TRY(write_turn(w, "<|user|>\n", messages[i].content, err));
            AP_TRY(ap_chat_write_markup(w, "<|assistant|>\n", err));
        } else if (!strcmp(messages[i].role, "assistant")) {
            AP_TRY(write_turn(w, "", messages[i].content, err));
        }
    }
out:
    return status;
}

static ap_status render(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err)
{
    ap_status status;
    if (tpl->variant == AP_PHI3_NO_SYSTEM)
        return render_first_release(tpl, w, messages, n, err);
    for (size_t i = 0; i < n; i++) {
        const char *role = messages[i].role;
        bool system = !strcmp(role, "system");
        if (system && !messages[i].content[0] && tpl->variant != AP_PHI3_EMPTY_SYSTEM)
            continue;
        AP_TRY(write_turn(w,
                          system                  ? "<|system|>\n"
                          : !strcmp(role, "user") ? "<|user|>\n"
                                                  : "<|assistant|>\n",
                          messages[i].content, err));
    }
    AP_TRY(add_generation_prompt ? ap_chat_write_markup(w, "<|assistant|>\n", err)
                                 : write_special(tpl, w, ap_tokenizer_eos(tpl->t), err));
out:
    return status;
}

static const char *const tokens[] = {"<|end|>", "<|user|>", "<|assistant|>", "<|system|>", NULL};

const struct ap_template_kind ap_template_phi3 = {"phi3", tokens, render};
