/* Bodies of chats and completions (chat_body.h). */
#include "serve/chat_body.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

enum { WORD_SHOWN = 60 }; /* bytes of a value in a message about it */

struct reading {
    struct ap_chat_body *body;
    const struct ap_tape *tape;
    ap_rewrite_policy policy;
    struct ap_error *err;
};

static const struct ap_tape_node *node_of(const struct reading *r, uint32_t i)
{
    return &r->tape->nodes[i];
}

static ap_status find(const struct reading *r, uint32_t object, const char *key, uint32_t *node)
{
    return ap_tape_find(r->tape, object, key, node, r->err);
}

static bool is_set(const struct reading *r, uint32_t i)
{
    return i && node_of(r, i)->kind != AP_TAPE_NULL;
}

/* Contents are the struct's own; roles are static. */
static void add_message(struct reading *r, const char *role, char *content)
{
    r->body->messages[r->body->n_message++] = (struct ap_message){role, content};
}

static void add_text(struct reading *r, uint32_t string, int at)
{
    struct ap_chat_body *b = r->body;
    b->texts[b->n_text++] = (struct ap_body_text){node_of(r, string)->start,
                                                  node_of(r, string)->end, b->n_message - 1, at};
}

static ap_status make_room(struct reading *r, size_t n)
{
    r->body->messages = ap_calloc(n, sizeof(*r->body->messages));
    r->body->texts = ap_calloc(n, sizeof(*r->body->texts));
    if (!r->body->messages || !r->body->texts)
        return ap_fail(r->err, AP_MEMORY, "no memory for the body's messages");
    return AP_OK;
}

/* ---- one message of a chat ---- */

/* The roles that a template knows; a developer's message is what a system's was called before. */
static const char *known_role(const struct reading *r, uint32_t role)
{
    static const char *const rows[][2] = {{"user", "user"},
                                          {"assistant", "assistant"},
                                          {"system", "system"},
                                          {"developer", "system"}};
    for (size_t i = 0; i < AP_LEN(rows); i++)
        if (ap_tape_is(r->tape, role, rows[i][0]))
            return rows[i][1];
    return NULL;
}

/* A content of parts: its one part of text, 0 where there is none or several. *whole: there is
 * nothing else. */
static ap_status find_text_part(const struct reading *r, uint32_t content, uint32_t *text,
                                bool *whole)
{
    size_t n_text = 0;
    *text = 0;
    for (uint32_t part = node_of(r, content)->first; part; part = node_of(r, part)->next) {
        uint32_t type = 0, found = 0;
        ap_status status = find(r, part, "type", &type);
        if (status == AP_OK)
            status = find(r, part, "text", &found);
        if (status != AP_OK)
            return status;
        if (type && ap_tape_is(r->tape, type, "text") && found &&
            node_of(r, found)->kind == AP_TAPE_STRING) {
            *text = found;
            n_text++;
        }
    }
    *whole = n_text == 1 && node_of(r, content)->n_child == 1;
    if (n_text != 1)
        *text = 0;
    return AP_OK;
}

/* The string that is a message's text; 0: it has none, or several. */
static ap_status find_content(const struct reading *r, uint32_t content, uint32_t *text,
                              bool *whole)
{
    *text = 0;
    *whole = true;
    if (!is_set(r, content)) {
        *whole = false;
        return AP_OK;
    }
    if (node_of(r, content)->kind == AP_TAPE_STRING) {
        *text = content;
        return AP_OK;
    }
    if (node_of(r, content)->kind != AP_TAPE_ARRAY)
        return ap_fail(r->err, AP_FORMAT, "\"content\" is no text and no array of parts");
    return find_text_part(r, content, text, whole);
}

static ap_status read_message(struct reading *r, uint32_t message, int at)
{
    uint32_t role, content, text, calls;
    bool whole;
    char *copy;
    ap_status status;
    if (node_of(r, message)->kind != AP_TAPE_OBJECT)
        return ap_fail(r->err, AP_FORMAT, "messages[%d] is no object", at);
    AP_TRY(find(r, message, "role", &role));
    AP_TRY(find(r, message, "content", &content));
    AP_TRY(find(r, message, "tool_calls", &calls));
    if (!role || node_of(r, role)->kind != AP_TAPE_STRING)
        return ap_fail(r->err, AP_FORMAT, "messages[%d] has no \"role\" that is a text", at);
    AP_TRY(find_content(r, content, &text, &whole));
    const char *known = known_role(r, role);
    if (!known || !whole || is_set(r, calls))
        r->body->n_unsaid++;
    if (!known || !text)
        return AP_OK;
    AP_TRY(ap_tape_text(r->tape, text, &copy, r->err));
    add_message(r, known, copy);
    if (strcmp(known, "user") == 0)
        add_text(r, text, at);
out:
    return status;
}

static ap_status read_messages(struct reading *r)
{
    uint32_t messages;
    ap_status status = find(r, 0, "messages", &messages);
    int at = 0;
    if (status != AP_OK)
        return status;
    if (!messages || node_of(r, messages)->kind != AP_TAPE_ARRAY)
        return ap_fail(r->err, AP_FORMAT, "\"messages\" is missing or no array; add it");
    if (node_of(r, messages)->n_child == 0)
        return ap_fail(r->err, AP_FORMAT, "\"messages\" is empty, expected at least one");
    status = make_room(r, node_of(r, messages)->n_child);
    uint32_t i = node_of(r, messages)->first;
    for (; i && status == AP_OK; i = node_of(r, i)->next)
        status = read_message(r, i, at++);
    if (status == AP_OK && (uint32_t)at != node_of(r, messages)->n_child)
        status = ap_fail(r->err, AP_FORMAT, "\"messages\" holds what is no object");
    return status;
}

/* ---- prompts of a completion ---- */

static ap_status read_prompt(struct reading *r, uint32_t prompt, int at)
{
    char *copy;
    if (node_of(r, prompt)->kind != AP_TAPE_STRING) {
        r->body->n_unsaid++;
        return AP_OK;
    }
    ap_status status = ap_tape_text(r->tape, prompt, &copy, r->err);
    if (status != AP_OK)
        return status;
    add_message(r, "user", copy);
    add_text(r, prompt, at);
    return AP_OK;
}

static ap_status read_prompts(struct reading *r)
{
    uint32_t prompt;
    int at = 0;
    ap_status status = find(r, 0, "prompt", &prompt);
    if (status != AP_OK)
        return status;
    if (!is_set(r, prompt))
        return ap_fail(r->err, AP_FORMAT, "\"prompt\" is missing; add it");
    bool several = node_of(r, prompt)->kind == AP_TAPE_ARRAY;
    status = make_room(r, several ? node_of(r, prompt)->n_child : 1);
    if (!several)
        return status == AP_OK ? read_prompt(r, prompt, 0) : status;
    for (uint32_t i = node_of(r, prompt)->first; i && status == AP_OK; i = node_of(r, i)->next)
        status = read_prompt(r, i, at++);
    /* ids of tokens have no nodes */
    r->body->n_unsaid += node_of(r, prompt)->n_child - (uint32_t)at;
    return status;
}

/* ---- what the body says of itself ---- */

/* The field goes, with the comma behind it or, where it is the last, the one before it. */
static void place_mark(struct reading *r, uint32_t field)
{
    const char *text = r->tape->text;
    const struct ap_tape_node *v = node_of(r, field);
    uint32_t start = v->key_start, end = v->end;
    while (strchr(" \t\r\n", text[end]))
        end++;
    if (text[end] == ',') {
        end++;
        while (strchr(" \t\r\n", text[end]))
            end++;
    } else {
        end = v->end;
        uint32_t before = start;
        while (strchr(" \t\r\n", text[before - 1]))
            before--;
        if (text[before - 1] == ',')
            start = before - 1;
    }
    r->body->mark_start = start;
    r->body->mark_end = end;
}

static ap_status read_mark(struct reading *r)
{
    uint32_t field;
    ap_status status = find(r, 0, "x-alignpro", &field);
    if (status != AP_OK || !field)
        return status;
    const struct ap_tape_node *v = node_of(r, field);
    char *word = NULL;
    if (v->kind == AP_TAPE_STRING &&
        (status = ap_tape_text(r->tape, field, &word, r->err)) != AP_OK)
        return status;
    r->body->off = word && strcasecmp(word, "off") == 0;
    r->body->show = word && strcasecmp(word, "show") == 0;
    ap_free(word);
    if (!r->body->off && !r->body->show)
        return ap_fail(r->err, AP_FORMAT, "\"x-alignpro\" is %.*s, expected \"off\" or \"show\"",
                       (int)(v->end - v->start < WORD_SHOWN ? v->end - v->start : WORD_SHOWN),
                       r->tape->text + v->start);
    place_mark(r, field);
    return AP_OK;
}

static ap_status has_tools(struct reading *r, bool *has)
{
    static const char *const keys[] = {"tools", "functions"};
    *has = false;
    for (size_t i = 0; i < AP_LEN(keys); i++) {
        uint32_t field;
        ap_status status = find(r, 0, keys[i], &field);
        if (status != AP_OK)
            return status;
        if (is_set(r, field) &&
            (node_of(r, field)->kind != AP_TAPE_ARRAY || node_of(r, field)->n_child > 0))
            *has = true;
    }
    return AP_OK;
}

static ap_status wants_json(struct reading *r, bool *wants)
{
    uint32_t format, type = 0;
    ap_status status = find(r, 0, "response_format", &format);
    *wants = false;
    if (status != AP_OK || !is_set(r, format))
        return status;
    status = find(r, format, "type", &type);
    *wants = !type || !ap_tape_is(r->tape, type, "text");
    return status;
}

static ap_status read_settings(struct reading *r)
{
    struct ap_chat_body *b = r->body;
    uint32_t stream;
    bool tools, json;
    ap_status status;
    AP_TRY(read_mark(r));
    AP_TRY(has_tools(r, &tools));
    AP_TRY(wants_json(r, &json));
    AP_TRY(find(r, 0, "stream", &stream));
    b->stream = stream && node_of(r, stream)->kind == AP_TAPE_TRUE;
    b->pass = b->off || r->policy == AP_REWRITE_NONE ? AP_PASS_OFF
              : tools                                ? AP_PASS_TOOLS
              : json                                 ? AP_PASS_JSON
                                                     : AP_PASS_NOT;
out:
    return status;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* Leaves the texts that are to be rewritten. A chat's user message that is no text, or several, is
 * not in the list: where it is the last one, no other takes its place. */
static void choose_texts(struct reading *r, ap_body_kind kind, int last_user)
{
    struct ap_chat_body *b = r->body;
    size_t n = 0;
    for (size_t i = 0; i < b->n_text; i++) {
        struct ap_body_text text = b->texts[i];
        bool wanted =
            kind == AP_BODY_COMPLETION || r->policy == AP_REWRITE_ALL || text.at == last_user;
        if (wanted && !is_blank(b->messages[text.message].content))
            b->texts[n++] = text;
    }
    b->n_text = b->pass == AP_PASS_NOT ? n : 0;
    if (b->pass == AP_PASS_NOT && b->n_text == 0)
        b->pass = AP_PASS_NO_TEXT;
}

static int find_last_user(const struct reading *r)
{
    struct ap_error ignored;
    uint32_t messages, role;
    int at = 0, last = -1;
    if (ap_tape_find(r->tape, 0, "messages", &messages, &ignored) != AP_OK || !messages)
        return -1;
    for (uint32_t i = node_of(r, messages)->first; i; i = node_of(r, i)->next, at++)
        if (ap_tape_find(r->tape, i, "role", &role, &ignored) == AP_OK && role &&
            ap_tape_is(r->tape, role, "user"))
            last = at;
    return last;
}

ap_status ap_chat_body_read(struct ap_chat_body *b, ap_body_kind kind, ap_rewrite_policy policy,
                            const char *text, size_t n, const struct ap_tape_limits *limits,
                            struct ap_error *err)
{
    struct ap_tape tape = {0};
    struct reading r = {b, &tape, policy, err};
    ap_status status;
    *b = (struct ap_chat_body){0};
    AP_TRY(ap_tape_read(&tape, text, n, limits, err));
    if (tape.nodes[0].kind != AP_TAPE_OBJECT)
        AP_TRY(ap_fail(err, AP_FORMAT, "the body is no JSON object"));
    AP_TRY(read_settings(&r));
    AP_TRY(kind == AP_BODY_CHAT ? read_messages(&r) : read_prompts(&r));
    choose_texts(&r, kind, kind == AP_BODY_CHAT ? find_last_user(&r) : -1);
out:
    ap_tape_free(&tape);
    if (status != AP_OK)
        ap_chat_body_free(b);
    return status;
}

void ap_chat_body_free(struct ap_chat_body *b)
{
    for (size_t i = 0; i < b->n_message; i++)
        ap_free((char *)b->messages[i].content);
    ap_free(b->messages);
    ap_free(b->texts);
    *b = (struct ap_chat_body){0};
}

/* ---- writing ---- */

ap_status ap_json_put_string(struct ap_buffer *out, const char *text, struct ap_error *err)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    ap_status status = ap_buffer_append(out, "\"", 1, err);
    while (*text && status == AP_OK) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= 0x20 && text[plain] != '"' && text[plain] != '\\')
            plain++;
        status = ap_buffer_append(out, text, plain, err);
        text += plain;
        if (status != AP_OK || !*text)
            break;
        const char *name = strchr(named, *text);
        status = name ? ap_buffer_printf(out, err, "\\%c", letters[name - named])
                      : ap_buffer_printf(out, err, "\\u%04x", (unsigned char)*text);
        text++;
    }
    return status == AP_OK ? ap_buffer_append(out, "\"", 1, err) : status;
}

struct cut {
    uint32_t start, end;
    const char *text; /* NULL: nothing in its place */
};

/* What stands before the cut, then what takes its place. */
static ap_status put_cut(const char *text, size_t *at, const struct cut *cut, struct ap_buffer *out,
                         struct ap_error *err)
{
    ap_status status = ap_buffer_append(out, text + *at, cut->start - *at, err);
    *at = cut->end;
    return status == AP_OK && cut->text ? ap_json_put_string(out, cut->text, err) : status;
}

ap_status ap_chat_body_splice(const struct ap_chat_body *b, const char *text, size_t n,
                              char *const *rewrites, struct ap_buffer *out, struct ap_error *err)
{
    struct cut mark = {b->mark_start, b->mark_end, NULL};
    bool marked = mark.end > mark.start;
    size_t at = 0;
    ap_status status = AP_OK;
    for (size_t i = 0; i < b->n_text && status == AP_OK; i++) {
        struct cut cut = {b->texts[i].start, b->texts[i].end, rewrites ? rewrites[i] : NULL};
        if (marked && mark.start < cut.start) {
            status = put_cut(text, &at, &mark, out, err);
            marked = false;
        }
        if (status == AP_OK && cut.text)
            status = put_cut(text, &at, &cut, out, err);
    }
    if (status == AP_OK && marked)
        status = put_cut(text, &at, &mark, out, err);
    return status == AP_OK ? ap_buffer_append(out, text + at, n - at, err) : status;
}
