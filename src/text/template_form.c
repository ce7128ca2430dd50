/* The texts by which known chat templates are recognised. Each row is the length and the hash of a
 * whole template in normal form, so that one with a single byte of its own is refused and never
 * rendered as what it is not. tools/check_templates.py --row prints the row of a file. Entry point:
 * ap_template_recognise.
 *
 * Normal form: lines end in \n; up to two of them at the very end are dropped, which Jinja as
 * transformers sets it up does, too; and Qwen's own system prompt, in which its models differ, is
 * taken out wherever it stands. */
#include "text/template.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"

#include <string.h>

struct form {
    size_t n;
    uint64_t hash; /* ap_hash of n bytes */
    const struct ap_template_kind *kind;
    ap_template_variant variant;
};

static const struct form forms[] = {
    /* Llama 3.1 and 3.3; 3.2 */
    {4613, 0x40A17035D5712584, &ap_template_llama3, AP_TEMPLATE_CURRENT},
    {3826, 0x76F22C7DF0F368DB, &ap_template_llama3, AP_TEMPLATE_CURRENT},
    /* Llama 3.0, its line ends as themselves and as escapes; its first release likewise */
    {389, 0x349993C2E5AC4E70, &ap_template_llama3, AP_LLAMA3_NO_DATE},
    {393, 0xEFC2310801B34A63, &ap_template_llama3, AP_LLAMA3_NO_DATE},
    {348, 0xA000672E08800C9F, &ap_template_llama3, AP_LLAMA3_ALWAYS_ASKS},
    {352, 0xEC69BC6A705C8653, &ap_template_llama3, AP_LLAMA3_ALWAYS_ASKS},
    /* Qwen2.5; Qwen2 */
    {2370, 0x263F686BBEE5343A, &ap_template_qwen2, AP_TEMPLATE_CURRENT},
    {300, 0x5990157CAA5A36D0, &ap_template_qwen2, AP_TEMPLATE_CURRENT},
    {305, 0xE91A22E4464098C8, &ap_template_qwen2, AP_TEMPLATE_CURRENT},
    /* Phi-3.5; Phi-3 of July 2024; its first release */
    {430, 0xD566B923F85F3F44, &ap_template_phi3, AP_TEMPLATE_CURRENT},
    {437, 0xA0FE4CA5CC6D546B, &ap_template_phi3, AP_TEMPLATE_CURRENT},
    {407, 0xC534DE094736EC1D, &ap_template_phi3, AP_PHI3_EMPTY_SYSTEM},
    {414, 0x4413F7E98D40D09A, &ap_template_phi3, AP_PHI3_EMPTY_SYSTEM},
    {269, 0x4FF6749827EC0F03, &ap_template_phi3, AP_PHI3_NO_SYSTEM},
    {273, 0xF581B2C66D47C14D, &ap_template_phi3, AP_PHI3_NO_SYSTEM},
};

static ap_status put_lines(struct ap_buffer *out, const char *text, size_t n, struct ap_error *err)
{
    ap_status status = ap_buffer_append(out, "", 0, err);
    for (size_t i = 0; i < n && status == AP_OK; i++) {
        bool ends_line = text[i] == '\n' || text[i] == '\r';
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            i++;
        status = ap_buffer_append(out, ends_line ? "\n" : text + i, 1, err);
    }
    for (int i = 0; i < 2 && out->len && out->data[out->len - 1] == '\n'; i++)
        out->data[--out->len] = '\0';
    return status;
}

/* A literal '<|im_start|>system\nPROMPT<|im_end|>…', the line's end as itself or as an escape:
 * where PROMPT stands; NULL where there is none. */
static const char *find_system(const char *text, size_t *n)
{
    static const char opening[] = "'<|im_start|>system";
    for (const char *at = text; (at = strstr(at, opening));) {
        at += sizeof(opening) - 1;
        const char *start = *at == '\n' ? at + 1 : !strncmp(at, "\\n", 2) ? at + 2 : NULL;
        const char *end = start ? strstr(start, "<|im_end|>") : NULL;
        if (!end || memchr(start, '\'', (size_t)(end - start)))
            continue;
        *n = (size_t)(end - start);
        return start;
    }
    return NULL;
}

/* Every `part` out of the text, which is then shorter. */
static void take_out(struct ap_buffer *text, const char *part, size_t n_part)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->len;) {
        if (n_part && text->len - i >= n_part && !memcmp(text->data + i, part, n_part))
            i += n_part;
        else
            text->data[kept++] = text->data[i++];
    }
    text->len = kept;
    text->data[kept] = '\0';
}

/* Of a Jinja literal, in place; false for an escape that no known template has. */
static bool unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        if (*from != '\\' && *from != 'n' && *from != '"')
            return false;
        *to++ = *from == 'n' ? '\n' : *from;
    }
    *to = '\0';
    return true;
}

static const struct form *find_form(const struct ap_buffer *text)
{
    uint64_t hash = ap_hash(text->len ? text->data : "", text->len);
    for (size_t i = 0; i < AP_LEN(forms); i++)
        if (forms[i].n == text->len && forms[i].hash == hash)
            return &forms[i];
    return NULL;
}

ap_status ap_template_recognise(struct ap_template *tpl, const char *jinja, size_t n,
                                struct ap_error *err)
{
    struct ap_buffer text = {0};
    char *system = NULL;
    size_t n_system = 0;
    ap_status status = AP_OK;
    if (!ap_utf8_valid(jinja, n) || memchr(jinja, '\0', n))
        return AP_OK;
    AP_TRY(put_lines(&text, jinja, n, err));
    const char *found = text.len ? find_system(text.data, &n_system) : NULL;
    if (found) {
        if (!(system = ap_strndup(found, n_system)))
            AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a chat template"));
        take_out(&text, system, n_system);
    }
    const struct form *form = find_form(&text);
    if (!form || (system && !unescape(system)))
        goto out;
    tpl->kind = form->kind;
    tpl->variant = form->variant;
    tpl->system = system;
    system = NULL;
out:
    ap_buffer_free(&text);
    ap_free(system);
    return status;
}
