/* Reading tokenizer.json and tokenizer_config.json. Entry points: ap_tokenizer_open,
 * ap_tokenizer_parse, ap_tokenizer_close. What is not implemented is refused by name. */
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "text/model_text.h"
#include "text/text_json.h"

#include <string.h>

#define TOKENIZER_BYTES_MAX ((size_t)128 << 20)
#define CONFIG_BYTES_MAX ((size_t)16 << 20)
#define PART_MAX 1200

/* "PATH: KEY", the place that a message about a part of the file names. */
static const char *part(char *buffer, const char *where, const char *key)
{
    snprintf(buffer, PART_MAX, "%.1000s: %s", where, key);
    return buffer;
}

/* ---- vocabulary ---- */

static ap_status read_model_vocab(struct ap_vocab *v, struct ap_json_cursor *at, const char *where,
                                  struct ap_error *err)
{
    struct ap_buffer token = {0};
    ap_status status = AP_OK;
    bool first = true;
    ap_json_take(at, '{');
    for (; ap_json_more(at, '}', first); first = false) {
        int64_t id = -1;
        bool whole = ap_json_string(at, &token, &status, err) && ap_json_take(at, ':');
        AP_TRY(status);
        at->broken = !whole;
        if (!whole || !ap_json_integer(at, &id))
            AP_TRY(ap_fail(err, AP_FORMAT, "%s: the id of \"%.64s\" is no integer; correct it",
                           where, token.len ? token.data : ""));
        AP_TRY(ap_vocab_put(v, id, token.data ? token.data : "", token.len, AP_VOCAB_MODEL, where,
                            err));
    }
    if (at->broken)
        status = ap_fail(err, AP_FORMAT, "%s: is not JSON", where);
out:
    ap_buffer_free(&token);
    return status;
}

/* Added tokens that are not in the model's own vocabulary, which was read. */
static size_t count_new(const json_t *added, const struct ap_vocab *v)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *content = json_object_get(json_array_get(added, i), "content");
        n += json_is_string(content) &&
             ap_vocab_find(v, json_string_value(content), json_string_length(content),
                           AP_VOCAB_PRESENT) < 0;
    }
    return n;
}

struct added_entry {
    const char *content;
    size_t n;
    int64_t id;
    bool special, normalized, lstrip, rstrip, single_word;
};

static ap_status read_added_entry(struct added_entry *e, const json_t *o, const char *where,
                                  struct ap_error *err)
{
    static const char *const known[] = {"id",     "content", "single_word", "lstrip",
                                        "rstrip", "special", "normalized"};
    ap_status status;
    *e = (struct added_entry){0};
    AP_TRY(ap_json_text(o, "content", where, true, &e->content, &e->n, err));
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_json_int(o, "id", where, true, INT64_MIN, INT64_MAX, &e->id, err));
    AP_TRY(ap_json_bool(o, "special", where, true, &e->special, err));
    AP_TRY(ap_json_bool(o, "normalized", where, true, &e->normalized, err));
    AP_TRY(ap_json_bool(o, "lstrip", where, false, &e->lstrip, err));
    AP_TRY(ap_json_bool(o, "rstrip", where, false, &e->rstrip, err));
    AP_TRY(ap_json_bool(o, "single_word", where, false, &e->single_word, err));
    if (e->n == 0 || e->n > AP_ADDED_TEXT_MAX)
        return ap_fail(err, AP_FORMAT, "%s: \"%.64s\" has %zu bytes, expected 1 to %d", where,
                       e->content, e->n, AP_ADDED_TEXT_MAX);
out:
    return status;
}

/* The token into the vocabulary; one that the model has already must have the same id. */
static ap_status register_added(struct ap_vocab *v, const struct added_entry *e, const char *where,
                                struct ap_error *err)
{
    uint8_t flags = (uint8_t)(AP_VOCAB_ADDED | (e->special ? AP_VOCAB_SPECIAL : 0));
    int32_t id = ap_vocab_find(v, e->content, e->n, AP_VOCAB_PRESENT);
    if (id < 0)
        return ap_vocab_put(v, e->id, e->content, e->n, flags, where, err);
    if (id != e->id || (v->entry[id].flags & AP_VOCAB_ADDED))
        return ap_fail(err, AP_FORMAT, "%s: \"%.64s\" has the ids %d and %lld; keep one", where,
                       e->content, id, (long long)e->id);
    v->entry[id].flags |= flags;
    return AP_OK;
}

static ap_status index_added(struct ap_tokenizer *t, const struct added_entry *e,
                             struct ap_marked *raw, struct ap_normalizer_work *work,
                             struct ap_error *err)
{
    struct ap_added_token token = {(int32_t)e->id, e->special, e->lstrip, e->rstrip,
                                   e->single_word};
    struct ap_span span;
    if (!e->normalized)
        return ap_added_put(&t->added_raw, e->content, e->n, token, err);
    ap_marked_clear(raw);
    ap_status status = ap_marked_fill(raw, e->content, e->n, AP_SEGMENT_MARKUP, err);
    if (status == AP_OK)
        status = ap_normalizer_run(&t->normalizer, ap_marked_span(raw), work, &span, err);
    if (status == AP_OK && span.n == 0)
        return ap_fail(err, AP_FORMAT,
                       "%s: the normalizer leaves nothing of the added token "
                       "\"%.64s\"",
                       t->where, e->content);
    if (status == AP_OK)
        status = ap_vocab_show(&t->vocab, token.id, span.text, span.n, err);
    return status == AP_OK ? ap_added_put(&t->added_normalized, span.text, span.n, token, err)
                           : status;
}

static ap_status read_added(struct ap_tokenizer *t, const json_t *added, const char *where,
                            struct ap_error *err)
{
    struct ap_marked raw = {0};
    struct ap_normalizer_work work = {0};
    ap_status status = AP_OK;
    for (size_t i = 0; i < json_array_size(added); i++) {
        struct added_entry e;
        AP_TRY(read_added_entry(&e, json_array_get(added, i), where, err));
        AP_TRY(register_added(&t->vocab, &e, where, err));
        AP_TRY(index_added(t, &e, &raw, &work, err));
    }
    ap_vocab_finish(&t->vocab);
out:
    ap_marked_free(&raw);
    ap_normalizer_work_free(&work);
    return status;
}

/* ids have no gaps: whatever a model samples has a spelling. */
static ap_status check_complete(const struct ap_vocab *v, const char *where, struct ap_error *err)
{
    if (v->n == 0)
        return ap_fail(err, AP_FORMAT, "%s: is empty, expected tokens", where);
    for (int32_t id = 0; id < v->n; id++)
        if (!v->entry[id].flags)
            return ap_fail(err, AP_FORMAT,
                           "%s: no token has the id %d, expected ids 0 to %d "
                           "without a gap",
                           where, id, v->n - 1);
    return AP_OK;
}

/* ---- the file ---- */

static ap_status read_components(struct ap_tokenizer *t, const json_t *root, struct ap_error *err)
{
    const json_t *o;
    char where[PART_MAX];
    ap_status status;
    AP_TRY(ap_text_json_object(root, "normalizer", t->where, false, &o, err));
    AP_TRY(ap_normalizer_init(&t->normalizer, o, part(where, t->where, "normalizer"), err));
    AP_TRY(ap_text_json_object(root, "pre_tokenizer", t->where, false, &o, err));
    AP_TRY(ap_pretokenizer_init(&t->pretokenizer, o, part(where, t->where, "pre_tokenizer"), err));
    AP_TRY(ap_text_json_object(root, "decoder", t->where, false, &o, err));
    AP_TRY(ap_decoder_plan_init(&t->decoder, o, part(where, t->where, "decoder"), err));
out:
    return status;
}

static ap_status read_tokenizer(struct ap_tokenizer *t, const json_t *root,
                                struct ap_model_text *text, struct ap_error *err)
{
    /* truncation and padding are what a training script last set; transformers clears both before
     * it encodes, and so they are not looked at. */
    static const char *const known[] = {"version",        "truncation", "padding",
                                        "added_tokens",   "normalizer", "pre_tokenizer",
                                        "post_processor", "decoder",    "model"};
    static const char *const model_kind[] = {"BPE"};
    const json_t *model = NULL, *vocab = NULL, *added = NULL, *o = NULL;
    char where[PART_MAX];
    size_t kind = 0;
    ap_status status;
    AP_TRY(ap_text_json_object(root, "model", t->where, true, &model, err));
    AP_TRY(ap_text_json_known(root, t->where, known, AP_LEN(known), err));
    AP_TRY(ap_text_json_kind(model, part(where, t->where, "model"), model_kind, 1, &kind, err));
    AP_TRY(ap_text_json_object(model, "vocab", where, true, &vocab, err));
    AP_TRY(ap_text_json_array(root, "added_tokens", t->where, false, &added, err));
    part(where, t->where, "model.vocab");
    AP_TRY(ap_vocab_init(&t->vocab, text->n_vocab + json_array_size(added), where, err));
    AP_TRY(read_model_vocab(&t->vocab, &text->vocab, where, err));
    AP_TRY(ap_vocab_trim(&t->vocab, text->n_vocab + count_new(added, &t->vocab), where, err));
    AP_TRY(ap_bpe_init(&t->bpe, &t->vocab, model, text, part(where, t->where, "model"), err));
    AP_TRY(read_components(t, root, err));
    AP_TRY(read_added(t, added, part(where, t->where, "added_tokens"), err));
    AP_TRY(check_complete(&t->vocab, part(where, t->where, "model.vocab"), err));
    AP_TRY(ap_text_json_object(root, "post_processor", t->where, false, &o, err));
    AP_TRY(ap_postprocessor_init(&t->postprocessor, o, t->vocab.n,
                                 part(where, t->where, "post_processor"), err));
out:
    return status;
}

/* ---- tokenizer_config.json ---- */

/* A special token there is a text or an object with "content". */
static ap_status read_role(const struct ap_tokenizer *t, const json_t *root, const char *key,
                           const char *where, int32_t *id, struct ap_error *err)
{
    const json_t *value = json_object_get(root, key);
    const char *text = NULL;
    size_t n = 0;
    ap_status status = json_is_object(value)
                           ? ap_json_text(value, "content", where, true, &text, &n, err)
                           : ap_json_text(root, key, where, false, &text, &n, err);
    if (status != AP_OK || !text)
        return status;
    *id = ap_vocab_find(&t->vocab, text, n, AP_VOCAB_PRESENT);
    if (*id < 0)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is \"%.64s\", which is no token of %s", where,
                       key, text, t->where);
    return AP_OK;
}

static ap_status keep_template(struct ap_tokenizer *t, const char *text, size_t n,
                               struct ap_error *err)
{
    ap_free(t->chat_template);
    t->chat_template = ap_strndup(text, n);
    return t->chat_template ? AP_OK : ap_fail(err, AP_MEMORY, "no memory for a chat template");
}

/* One text, or a list of {"name", "template"} of which "default" counts; a list without it is kept
 * as an empty text, which is no template, lest the folder be taken for one that carries none. */
static ap_status read_template(struct ap_tokenizer *t, const json_t *root, const char *where,
                               struct ap_error *err)
{
    const json_t *value = json_object_get(root, "chat_template");
    const char *text = NULL, *name = NULL;
    ap_status status = AP_OK;
    if (!json_is_array(value))
        AP_TRY(ap_json_text(root, "chat_template", where, false, &text, NULL, err));
    for (size_t i = 0; i < json_array_size(value) && !text; i++) {
        const json_t *entry = json_array_get(value, i);
        AP_TRY(ap_json_text(entry, "name", where, true, &name, NULL, err));
        if (!strcmp(name, "default"))
            AP_TRY(ap_json_text(entry, "template", where, true, &text, NULL, err));
    }
    if (text || json_is_array(value))
        AP_TRY(keep_template(t, text ? text : "", text ? strlen(text) : 0, err));
out:
    return status;
}

static ap_status read_config(struct ap_tokenizer *t, const char *text, size_t n, const char *where,
                             struct ap_error *err)
{
    json_t *root = NULL;
    ap_status status;
    AP_TRY(ap_json_parse(text, n, where, &root, err));
    AP_TRY(read_role(t, root, "bos_token", where, &t->bos, err));
    AP_TRY(read_role(t, root, "eos_token", where, &t->eos, err));
    AP_TRY(read_template(t, root, where, err));
out:
    json_decref(root);
    return status;
}

/* ---- entry points ---- */

void ap_tokenizer_close(struct ap_tokenizer *t)
{
    if (!t)
        return;
    ap_vocab_free(&t->vocab);
    ap_added_free(&t->added_raw);
    ap_added_free(&t->added_normalized);
    ap_normalizer_free(&t->normalizer);
    ap_pretokenizer_free(&t->pretokenizer);
    ap_bpe_free(&t->bpe);
    ap_postprocessor_free(&t->postprocessor);
    ap_decoder_plan_free(&t->decoder);
    if (t->spare)
        ap_encoder_close(*t->spare);
    ap_free(t->spare);
    ap_free(t->chat_template);
    ap_free(t->where);
    ap_free(t);
}

static ap_status read_text(struct ap_tokenizer *t, const char *text, size_t n, struct ap_error *err)
{
    struct ap_model_text parts;
    struct ap_error other = {0};
    json_t *root = NULL, *again = NULL;
    ap_status status = ap_model_text_open(&parts, &root, text, n, t->where, err);
    if (status == AP_OK)
        status = read_tokenizer(t, root, &parts, err);
    if (status != AP_OK && (parts.vocab.broken || parts.merges.broken)) {
        if (ap_json_parse(text, n, t->where, &again, &other) != AP_OK)
            *err = other; /* with line and column */
        json_decref(again);
    }
    ap_model_text_close(&parts);
    json_decref(root);
    return status;
}

ap_status ap_tokenizer_parse(struct ap_tokenizer **out, const char *text, size_t n,
                             const char *where, const char *config, size_t n_config,
                             const char *config_where, struct ap_error *err)
{
    ap_status status;
    struct ap_tokenizer *t = ap_calloc(1, sizeof(*t));
    *out = NULL;
    if (!t)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a tokenizer", where);
    t->bos = t->eos = -1;
    ap_added_init(&t->added_raw);
    ap_added_init(&t->added_normalized);
    t->where = ap_strdup(where);
    t->spare = ap_calloc(1, sizeof(*t->spare));
    if (!t->where || !t->spare)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for a tokenizer", where));
    AP_TRY(read_text(t, text, n, err));
    if (config)
        AP_TRY(read_config(t, config, n_config, config_where, err));
out:
    if (status == AP_OK)
        *out = t;
    else
        ap_tokenizer_close(t);
    return status;
}

/* A file beside tokenizer.json that need not be there; *found says whether it is. */
static ap_status read_beside(const char *path, size_t max, struct ap_buffer *text, bool *found,
                             struct ap_error *err)
{
    *found = path && ap_file_exists(path);
    if (!path)
        return ap_fail(err, AP_MEMORY, "no memory for a path");
    return *found ? ap_file_read(path, max, text, err) : AP_OK;
}

ap_status ap_tokenizer_open(struct ap_tokenizer **out, const char *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir, "tokenizer.json");
    char *config_path = ap_path_join(dir, "tokenizer_config.json");
    char *jinja_path = ap_path_join(dir, "chat_template.jinja");
    struct ap_buffer text = {0}, config = {0}, jinja = {0};
    bool has_config, has_jinja;
    ap_status status;
    *out = NULL;
    if (!path)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a path"));
    AP_TRY(ap_file_read(path, TOKENIZER_BYTES_MAX, &text, err));
    AP_TRY(read_beside(config_path, CONFIG_BYTES_MAX, &config, &has_config, err));
    AP_TRY(read_beside(jinja_path, CONFIG_BYTES_MAX, &jinja, &has_jinja, err));
    const char *config_text = config.len ? config.data : "";
    AP_TRY(ap_tokenizer_parse(out, text.data, text.len, path, has_config ? config_text : NULL,
                              config.len, config_path, err));
    /* transformers 5 keeps the template in a file of its own, which goes before the key. */
    if (has_jinja && memchr(jinja.len ? jinja.data : "", '\0', jinja.len))
        AP_TRY(ap_fail(err, AP_FORMAT, "%s: holds a NUL character; remove it", jinja_path));
    if (has_jinja)
        AP_TRY(keep_template(*out, jinja.len ? jinja.data : "", jinja.len, err));
out:
    if (status != AP_OK) {
        ap_tokenizer_close(*out);
        *out = NULL;
    }
    ap_buffer_free(&text);
    ap_buffer_free(&config);
    ap_buffer_free(&jinja);
    ap_free(path);
    ap_free(config_path);
    ap_free(jinja_path);
    return status;
}
