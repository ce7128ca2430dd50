/* libFuzzer entry for chat templates: a byte of choices, a Jinja text, then contents of turns, with
 * NULs between. Any text is recognised or refused; by name, any chat renders, and where contents
 * are text it holds just the special tokens of the same chat with other contents.
 *
 * fuzz: text */
#include "base/memory.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_MARK = 2, TURNS_MAX = 16 };

#define FLAGS                                                                                      \
    ", \"single_word\": false, \"lstrip\": false, \"normalized\": false, \"special\": true"
static const char tokenizer_json[] =
    "{\"added_tokens\": ["
    "{\"id\": 2, \"content\": \"<|eot_id|>\", \"rstrip\": false" FLAGS "},"
    "{\"id\": 3, \"content\": \"<|start_header_id|>\", \"rstrip\": false" FLAGS "},"
    "{\"id\": 4, \"content\": \"<|end_header_id|>\", \"rstrip\": false" FLAGS "},"
    "{\"id\": 5, \"content\": \"<|im_end|>\", \"rstrip\": false" FLAGS "},"
    "{\"id\": 6, \"content\": \"<|im_start|>\", \"rstrip\": false" FLAGS "},"
    "{\"id\": 7, \"content\": \"<|end|>\", \"rstrip\": true" FLAGS "},"
    "{\"id\": 8, \"content\": \"<|user|>\", \"rstrip\": true" FLAGS "},"
    "{\"id\": 9, \"content\": \"<|assistant|>\", \"rstrip\": true" FLAGS "},"
    "{\"id\": 10, \"content\": \"<|system|>\", \"rstrip\": true" FLAGS "}],"
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true,"
    " \"vocab\": {\"<unk>\": 0, \"a\": 1}, \"merges\": []}}";
static const char config_json[] = "{\"bos_token\": \"<|eot_id|>\", \"eos_token\": \"<|end|>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ap_tokenizer *tokenizer(void)
{
    static struct ap_tokenizer *t;
    struct ap_error err = {0};
    if (!t && ap_tokenizer_parse(&t, tokenizer_json, strlen(tokenizer_json), "tokenizer.json",
                                 config_json, strlen(config_json), "tokenizer_config.json",
                                 &err) != AP_OK)
        abort();
    return t;
}

static void check_recognition(const char *jinja, size_t n)
{
    struct ap_template tpl = {0};
    struct ap_error err = {0};
    if (ap_template_recognise(&tpl, jinja, n, &err) != AP_OK || (!tpl.kind && tpl.system))
        abort();
    ap_free(tpl.system);
}

static size_t count_marks(const struct ap_template *tpl, const struct ap_message *chat, size_t n,
                          bool prompt)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    char *text = NULL;
    size_t n_text, n_marks = 0;
    if (ap_template_render(tpl, chat, n, prompt, &text, &n_text, &ids, &err) != AP_OK ||
        strlen(text) != n_text)
        abort();
    for (size_t i = 0; i < ids.n; i++) {
        if (ids.data[i] < 0 || ids.data[i] >= ap_tokenizer_n_vocab(tpl->t))
            abort();
        n_marks += ids.data[i] >= FIRST_MARK;
    }
    ap_text_free(text);
    ap_ids_free(&ids);
    return n_marks;
}

static void check_chat(struct ap_template *tpl, struct ap_message *chat, size_t n, bool prompt)
{
    size_t n_marks = count_marks(tpl, chat, n, prompt);
    if (tpl->content_kind != AP_SEGMENT_TEXT)
        return;
    for (size_t i = 0; i < n; i++)
        chat[i].content = chat[i].content[0] ? "a" : "";
    if (count_marks(tpl, chat, n, prompt) != n_marks)
        abort();
}

/* rest: contents with NULs between; choices' upper bits give the roles. */
static size_t read_chat(struct ap_message *chat, char *rest, size_t n, unsigned choices)
{
    static const char *const roles[] = {"user", "assistant", "system", "user"};
    size_t n_turns = 0;
    for (char *end = rest + n; rest < end && n_turns < TURNS_MAX; rest += strlen(rest) + 1) {
        unsigned role = (choices + (unsigned)n_turns * (1 + (choices >> 3))) % 4;
        chat[n_turns++] = (struct ap_message){roles[role], rest};
    }
    return n_turns;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"plain", "llama3", "qwen2", "phi3"};
    struct ap_message chat[TURNS_MAX];
    struct ap_error err = {0};
    struct ap_template *tpl = NULL;
    if (size < 2)
        return 0;
    char *text = malloc(size + 1);
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    unsigned choices = data[0], how = data[1];
    char *jinja = text + 2;
    size_t n_jinja = strnlen(jinja, size - 2);
    check_recognition(jinja, n_jinja);
    struct ap_template_options options = {.name = names[how & 3],
                                          .content_is_text = (how & 4) != 0};
    if (ap_template_open(&tpl, tokenizer(), &options, &err) != AP_OK)
        abort();
    tpl->variant = (ap_template_variant)((how >> 4) % (AP_PHI3_NO_SYSTEM + 1));
    size_t used = 2 + n_jinja + 1;
    size_t n = used < size ? read_chat(chat, text + used, size - used, choices) : 0;
    if (n)
        check_chat(tpl, chat, n, (how & 8) != 0);
    ap_template_close(tpl);
    free(text);
    return 0;
}
