/* The chat template of Llama 3.1, 3.2 and 3.3: a system turn that tells two dates before anything
 * that the chat's own says, contents without the white space around them. 3.1 and 3.2 print the
 * same but for the day where none is given: 3.2 would ask the clock, we never do. Checked against
 * transformers. */
#include "text/template.h"

#include "base/error.h"
#include "text/space.h"
#include "text/tokenizer.h"

#include <string.h>

#define DEFAULT_DATE "26 Jul 2024"

/* What Python's str.strip takes beyond the white space of Unicode. */
static bool is_separator(char c)
{
    return c >= 0x1C && c <= 0x1F;
}

static const char *trimmed(const char *text, size_t *n)
{
    const char *end = text + strlen(text);
    for (size_t used = 1; used > 0 && text < end; text += used)
        used = is_separator(*text) ? 1 : ap_space_prefix(text, (size_t)(end - text));
    for (size_t used = 1; used > 0 && text < end; end -= used)
        used = is_separator(end[-1]) ? 1 : ap_space_suffix(text, (size_t)(end - text));
    *n = (size_t)(end - text);
    return text;
}

static ap_status write_trimmed(struct ap_chat_writer *w, const char *text, struct ap_error *err)
{
    size_t n;
    const char *content = trimmed(text, &n);
    return ap_chat_write_content(w, content, n, err);
}

static ap_status write_opening(struct ap_chat_writer *w, const char *role, struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_chat_write_markup(w, "<|start_header_id|>", err));
    AP_TRY(ap_chat_write_markup(w, role, err));
    AP_TRY(ap_chat_write_markup(w, "<|end_header_id|>\n\n", err));
out:
    return status;
}

static ap_status write_system(const struct ap_template *tpl, struct ap_chat_writer *w,
                              const char *system, struct ap_error *err)
{
    ap_status status;
    AP_TRY(write_opening(w, "system", err));
    AP_TRY(ap_chat_write_markup(w, "Cutting Knowledge Date: December 2023\nToday Date: ", err));
    AP_TRY(ap_chat_write_markup(w, tpl->date ? tpl->date : DEFAULT_DATE, err));
    AP_TRY(ap_chat_write_markup(w, "\n\n", err));
    AP_TRY(write_trimmed(w, system, err));
    AP_TRY(ap_chat_write_markup(w, "<|eot_id|>", err));
out:
    return status;
}

static ap_status render(const struct ap_template *tpl, struct ap_chat_writer *w,
                        const struct ap_message *messages, size_t n, bool add_generation_prompt,
                        struct ap_error *err)
{
    const char *bos = ap_tokenizer_spelling(tpl->t, ap_tokenizer_bos(tpl->t));
    bool has_system = !strcmp(messages[0].role, "system");
    bool dated = tpl->variant == AP_TEMPLATE_CURRENT;
    ap_status status = AP_OK;
    if (bos)
        AP_TRY(ap_chat_write_markup(w, bos, err));
    if (dated)
        AP_TRY(write_system(tpl, w, has_system ? messages[0].content : "", err));
    for (size_t i = dated && has_system; i < n; i++) {
        AP_TRY(write_opening(w, messages[i].role, err));
        AP_TRY(write_trimmed(w, messages[i].content, err));
        AP_TRY(ap_chat_write_markup(w, "<|eot_id|>", err));
    }
    if (add_generation_prompt || tpl->variant == AP_LLAMA3_ALWAYS_ASKS)
        AP_TRY(write_opening(w, "assistant", err));
out:
    return status;
}

static const char *const tokens[] = {"<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
                                     NULL};

const struct ap_template_kind ap_template_llama3 = {"llama3", tokens, render};
