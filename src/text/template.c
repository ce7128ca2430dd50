/* Choosing a chat template and rendering by it. Entry points: ap_template_open, _render, _answer,
 * _end. */
#include "text/template.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "text/tokenizer.h"

#include <string.h>

#define JINJA_BYTES_MAX ((size_t)1 << 20)

static const struct ap_template_kind *const kinds[] = {&ap_template_plain};

static const struct ap_template_kind *find_named(const char *name)
{
    for (size_t i = 0; i < AP_LEN(kinds); i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

static const struct ap_template_kind *recognise(const char *jinja)
{
    for (size_t i = 0; i < AP_LEN(kinds); i++) {
        bool all = kinds[i]->marks != NULL;
        for (const char *const *mark = kinds[i]->marks; all && *mark; mark++)
            all = strstr(jinja, *mark) != NULL;
        if (all)
            return kinds[i];
    }
    return NULL;
}

/* "plain" or, with more rows, "plain, llama3". */
static const char *known_names(char *buffer, size_t size)
{
    buffer[0] = '\0';
    for (size_t i = 0; i < AP_LEN(kinds); i++) {
        size_t used = strlen(buffer);
        snprintf(buffer + used, size - used, "%s%s", used ? ", " : "", kinds[i]->name);
    }
    return buffer;
}

static ap_status choose(struct ap_template *tpl, const struct ap_template_options *o,
                        struct ap_error *err)
{
    const char *name = o->name ? o->name : "auto", *jinja = tpl->t->chat_template;
    const char *where = tpl->t->where;
    struct ap_buffer file = {0};
    char known[256];
    ap_status status = AP_OK;
    if (strcmp(name, "auto") != 0) {
        tpl->kind = find_named(name);
        return tpl->kind ? AP_OK
                         : ap_fail(err, AP_UNSUPPORTED,
                                   "text.template: \"%.64s\" is not known, expected auto or one of "
                                   "%s",
                                   name, known_names(known, sizeof(known)));
    }
    if (o->file) {
        AP_TRY(ap_file_read(o->file, JINJA_BYTES_MAX, &file, err));
        jinja = file.len ? file.data : "";
        where = o->file;
    }
    tpl->kind = jinja ? recognise(jinja) : &ap_template_plain;
    if (!tpl->kind)
        status = ap_fail(err, AP_UNSUPPORTED,
                         "%s: its chat template is not one of those known (%s); set text.template "
                         "to the one to use",
                         where, known_names(known, sizeof(known)));
out:
    ap_buffer_free(&file);
    return status;
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
    AP_TRY(tpl->kind->bind(tpl, err));
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
        status = ap_chat_write_content(w, answer, err);
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
                           "message %zu has the role \"%.32s\", expected system, user or assistant",
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
