/* libFuzzer entry for bodies of requests: any bytes are refused in one line or taken; what is taken
 * is JSON for another reader too, and stays so, with each text exchanged, when it is spliced.
 *
 * fuzz: serve/json_tape serve/chat_body */
#include "base/json.h"
#include "base/memory.h"
#include "serve/chat_body.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ap_tape_limits limits = {32, 4096, 1 << 16};

static json_t *parse(const char *text, size_t n)
{
    json_error_t why;
    return json_loadb(text, n, JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
}

/* A reader of its own takes what ours takes, but for what it cannot hold: numbers out of range,
 * half surrogate pairs. */
static void check_spliced(const struct ap_chat_body *b, const char *text, size_t n,
                          ap_body_kind kind)
{
    char **rewrites = calloc(b->n_text ? b->n_text : 1, sizeof(*rewrites));
    struct ap_error err = {0};
    struct ap_buffer out = {0};
    struct ap_chat_body again;
    json_t *before = parse(text, n);
    if (!rewrites)
        abort();
    for (size_t i = 0; i < b->n_text; i++)
        rewrites[i] = "re\"written\\ \n\x01 \xc3\xa9";
    if (ap_chat_body_splice(b, text, n, rewrites, &out, &err) != AP_OK)
        abort();
    json_t *after = parse(out.data, out.len);
    if (before && !after)
        abort();
    if (ap_chat_body_read(&again, kind, AP_REWRITE_ALL, out.data, out.len, &limits, &err) ==
        AP_OK) {
        if (again.n_text != b->n_text || again.mark_end || again.n_message != b->n_message)
            abort();
        for (size_t i = 0; i < again.n_text; i++)
            if (strcmp(again.messages[again.texts[i].message].content, rewrites[i]) != 0)
                abort();
        ap_chat_body_free(&again);
    } else if (err.status != AP_LIMIT) {
        abort();
    }
    json_decref(before);
    json_decref(after);
    free(rewrites);
    ap_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* the end is the end, for the sanitizer too */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    for (int kind = AP_BODY_CHAT; kind <= AP_BODY_COMPLETION; kind++) {
        struct ap_error err = {0};
        struct ap_chat_body b;
        if (ap_chat_body_read(&b, (ap_body_kind)kind, AP_REWRITE_ALL, text, size, &limits, &err) ==
            AP_OK) {
            if (b.pass == AP_PASS_NOT)
                check_spliced(&b, text, size, (ap_body_kind)kind);
            ap_chat_body_free(&b);
        } else if (!err.text[0] || strchr(err.text, '\n')) {
            abort();
        }
    }
    free(text);
    return 0;
}
