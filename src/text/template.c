/* Choosing a chat template and rendering by it. Entry points: ap_template_open, _render, _answer,
 * _end. */
#include "text/template.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "text/tokenizer.h"

#include <string.h>

#define JINJA_BYTES_MAX ((size_t)1 << 20)

static const struct ap_template_kind *const kinds[] = {&ap_template_plain, &ap_template_llama3,
                                                       &ap_template_qwen2, &ap_template_phi3};

static const struct ap_template_kind *find_named(const char *name)
{
    for (size_t i = 0; i < AP_LEN(kinds); i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

/* "plain, llama3, …" */
static const char *known_names(char *buffer, size_t size)
{
    buffer[0] = '\0';
    for (size_t i = 0; i < AP_LEN(kinds); i++) {
        size_t used = strlen(buffer);
        snprintf(buffer + used, size - used, "%s%s", used ? ", " : "", kinds[i]->name);
    }
    return buffer;
}

/* By the text of the file, or of the tokenizer's folder: kind NULL where it is not known. *where:
 * what the text is, for messages. */
static ap_status read_text(struct ap_template *tpl, const char *file, const char **where,
                           struct ap_error *err)
{
    const char *jinja = tpl->t->chat_template;
    struct ap_buffer text = {0};
    ap_status status = AP_OK;
    *where = file ? file : tpl->t->where;
    if (file) {
        AP_TRY(ap_file_read(file, JINJA_BYTES_MAX, &text, err));
        AP_TRY(ap_template_recognise(tpl, text.len ? text.data : "", text.len, err));
    } else if (jinja) {
        AP_TRY(ap_template_recognise(tpl, jinja, strlen(jinja), err));
    } else {
        tpl->kind = &ap_template_plain;
    }
out:
    ap_buffer_free(&text);
    return status;
}

/* A name decides; but where the model's own template is of that name, it is followed in its
 * details, which the release that the name stands for may not share. */
static ap_status choose(struct ap_template *tpl, const struct ap_template_options *o,
                        struct ap_error *err)
{
    bool is_named = o->name && strcmp(o->name, "auto") != 0;
    const struct ap_template_kind *named = is_named ? find_named(o->name) : NULL;
    const char *where;
    char known[256];
    if (is_named && !named)
        return ap_fail(err, AP_UNSUPPORTED,
                       "text.template (--template): \"%.64s\" is not known, expected auto or one "
                       "of %s",
                       o->name, known_names(known, sizeof(known)));
    ap_status status = read_text(tpl, o->file, &where, err);
    if (status != AP_OK)
        return status;
    if (!is_named && !tpl->kind)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: its chat template is not one of those known (%s); set text.template "
                       "(--template) to the one to use",
                       where, known_names(known, sizeof(known)));
    if (is_named && tpl->kind != named) {
        ap_free(tpl->system);
        tpl->system = NULL;
        tpl->variant = AP_TEMPLATE_CURRENT;
        tpl->kind = named;
    }
    return AP_OK;
}

/* The tokens that the template writes must be the tokenizer's own: as plain text they would tell a
 * model nothing. */
static ap_status bind_tokens(struct ap_template *tpl, struct ap_error *err)
{
    const char *const *token = tpl->kind->tokens;
    if (!token) {
        tpl->end = ap_tokenizer_eos(tpl->t);
        return tpl->end >= 0
                   ? AP_OK
                   : ap_fail(err, AP_INVALID,
                             "%s: the template %s needs a token that ends an answer; set eos_token "
                             "in tokenizer_config.json",
                             tpl->t->where, tpl->kind->name);
    }
    for (; *token; token++) {
        int32_t id = ap_vocab_find(&tpl->t->vocab, *token, strlen(*token), AP_VOCAB_ADDED);
        if (id < 0)
            return ap_fail(err, AP_INVALID,
                           "%s: the template %s needs the added token %s, and there is none; set "
                           "text.template (--template) to the one that the model was made for",
                           tpl->t->where, tpl->kind->name, *token);
        if (token == tpl->kind->tokens)
            tpl->end = id;
    }
    return AP_OK;
}

ap_status ap_template_open(struct ap_template **out, const struct ap_tokenizer *t,
                           const struct ap_template_options *options, struct ap_error *err)
{
    static const struct ap_template_options none = {0};
    const struct ap_template_options *o = options ? options : &none;
    struct ap_template *tpl = ap_calloc(1, sizeof(*tpl));
    ap_status status;
    *out = NULL;
    if (!tpl)
        return ap_fail(err, AP_MEMORY, "no memory for a chat template");
    tpl->t = t;
    tpl->end = -1;
    tpl->content_kind = o->content_is_text ? AP_SEGMENT_TEXT : AP_SEGMENT_MARKUP;
    if (o->date && !(tpl->date = ap_strdup(o->date)))
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a chat template"));
    AP_TRY(choose(tpl, o, err));
    AP_TRY(bind_tokens(tpl, err));
out:
    if (status == AP_OK)
        *out = tpl;
    else
        ap_template_close(tpl);
    return status;
}

void ap_template_close(struct ap_template *tpl)
{
    if (!tpl)
        return;
    ap_free(tpl->date);
    ap_free(tpl->system);
    ap_free(tpl);
}

int32_t ap_template_end(const struct ap_template *tpl)
{
    return tpl->end;
}

ap_status ap_template_write_answer(const struct ap_template *tpl, struct ap_chat_writer *w,
                                   const char *answer, struct ap_error *err)
{
    ap_status status = ap_chat_flush(w, err);
    if (status == AP_OK)
        status = ap_chat_write_content(w, answer, strlen(answer), err);
    return status == AP_OK ? ap_chat_write_token(w, tpl->end, err) : status;
}

static struct ap_chat_writer writer_for(const struct ap_template *tpl, struct ap_ids *ids)
{
    return (struct ap_chat_writer){.t = tpl->t, .content_kind = tpl->content_kind, .ids = ids};
}

ap_status ap_template_answer(const struct ap_template *tpl, const char *answer, struct ap_ids *ids,
                             struct ap_error *err)
{
    struct ap_chat_writer w = writer_for(tpl, ids);
    size_t n_before = ids->n;
    ap_status status = ap_template_write_answer(tpl, &w, answer, err);
    if (status != AP_OK)
        ids->n = n_before;
    ap_chat_writer_free(&w);
    return status;
}

static ap_status check_messages(const struct ap_message *messages, size_t n, struct ap_error *err)
{
    static const char *const known[] = {"system", "user", "assistant"};
    if (n == 0)
        return ap_fail(err, AP_INVALID, "a chat has no message, expected at least one");
    for (size_t i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < AP_LEN(known); k++)
            found = found || !strcmp(messages[i].role, known[k]);
        if (!found)
            return ap_fail(err, AP_INVALID,
                           "message %zu has the role \"%.32s\", expected system, user or assistant "
                           "(tools are not supported)",
                           i + 1, messages[i].role);
    }
    return AP_OK;
}

ap_status ap_template_render(const struct ap_template *tpl, const struct ap_message *messages,
                             size_t n_messages, bool add_generation_prompt, char **text, size_t *n,
                             struct ap_ids *ids, struct ap_error *err)
{
    struct ap_chat_writer w = writer_for(tpl, ids);
    size_t n_before = ids ? ids->n : 0;
    ap_status status;
    if (text)
        *text = NULL;
    AP_TRY(check_messages(messages, n_messages, err));
    AP_TRY(tpl->kind->render(tpl, &w, messages, n_messages, add_generation_prompt, err));
    AP_TRY(ap_chat_flush(&w, err));
    if (text && !(*text = ap_strndup(w.text.len ? w.text.data : "", w.text.len)))
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a chat of %zu bytes", w.text.len));
    if (n)
        *n = w.text.len;
out:
    if (status != AP_OK && ids)
        ids->n = n_before;
    ap_chat_writer_free(&w);
    return status;
}
