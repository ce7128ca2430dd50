/* A tokenizer.json as tokenizer.ggml.* of a GGUF file (gguf_model.h). llama.cpp has its own code
 * for every kind of text splitting and goes by names; a kind that has none is refused. Entry point:
 * ap_gguf_put_tokenizer.
 *
 * SentencePiece's kind: tokenizer.json says which pairs merge and in which order, llama.cpp joins
 * whatever makes a token, the token of the highest score first. Where the merges were made from a
 * SentencePiece model, all pairs that make one token follow each other and no pair is left out: the
 * order of tokens says the same, and −(first rank) is its score. What departs from that is counted
 * and warned of. */
#include "base/json.h"
#include "base/memory.h"
#include "model/gguf_model.h"
#include "text/merge_table.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)128 << 20)
#define MARK "\xE2\x96\x81"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; /* tokenizer.ggml.token_type */

/* ---- recognising ---- */

#define LLAMA3                                                                                     \
    "Split((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+) ByteLevel"
#define QWEN2                                                                                      \
    "Split((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                     \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+) ByteLevel"

static const struct kind {
    const char *normalizer, *splitter; /* as describe() writes them */
    bool ignore_merges;
    const char *model, *pre; /* tokenizer.ggml.model, .pre */
    bool prefix;             /* a space is put before a text */
} kinds[] = {
    {"", LLAMA3, true, "gpt2", "llama-bpe", false},
    {"", LLAMA3, false, "gpt2", "dbrx", false},
    {"NFC", QWEN2, false, "gpt2", "qwen2", false},
    {"", QWEN2, false, "gpt2", "qwen2", false},
    {"", "ByteLevel(words)", false, "gpt2", "gpt-2", false},
    {"", "Digits ByteLevel(words)", false, "gpt2", "smollm", false},
    {"Prepend(" MARK ") Replace( ," MARK ")", "", false, "llama", "default", true},
    {"Replace( ," MARK ")", "", false, "llama", "default", false},
    {"", "Metaspace(" MARK ",always)", false, "llama", "default", true},
    {"", "Metaspace(" MARK ",first)", false, "llama", "default", true},
    {"", "Metaspace(" MARK ",never)", false, "llama", "default", false},
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "?";
}

static bool is_on(const json_t *o, const char *key, bool absent)
{
    const json_t *value = json_object_get(o, key);
    return value ? json_is_true(value) : absent;
}

static ap_status describe_split(const json_t *o, struct ap_buffer *out, struct ap_error *err)
{
    bool plain = !strcmp(text_of(o, "behavior"), "Isolated") && !is_on(o, "invert", false);
    return ap_buffer_printf(out, err, "%s(%s)", plain ? "Split" : "Split of another kind",
                            text_of(json_object_get(o, "pattern"), "Regex"));
}

/* Splitting before a mark changes nothing where no merge joins over one (`parts`). */
static ap_status describe_metaspace(const json_t *o, bool parts, struct ap_buffer *out,
                                    struct ap_error *err)
{
    bool prefix = is_on(o, "add_prefix_space", true), splits = is_on(o, "split", true) && !parts;
    const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
    return ap_buffer_printf(out, err, "Metaspace(%s,%s%s)", text_of(o, "replacement"),
                            scheme   ? scheme
                            : prefix ? "always"
                                     : "never",
                            splits ? ",split" : "");
}

/* What a normaliser or pre-tokeniser does, on one line: "" for none. Not deeper than the tokenizer
 * itself, which was read before, allows. */
static ap_status describe(const json_t *o, bool parts, struct ap_buffer *out, struct ap_error *err)
{
    const char *type = text_of(o, "type");
    const json_t *list = json_object_get(o, "normalizers");
    ap_status status = AP_OK;
    if (!json_is_object(o))
        return AP_OK;
    list = list ? list : json_object_get(o, "pretokenizers");
    if (!strcmp(type, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list) && status == AP_OK; i++) {
            status = i ? ap_buffer_puts(out, " ", err) : AP_OK;
            if (status == AP_OK)
                status = describe(json_array_get(list, i), parts, out, err);
        }
        return status;
    }
    if (!strcmp(type, "Split"))
        return describe_split(o, out, err);
    if (!strcmp(type, "Metaspace"))
        return describe_metaspace(o, parts, out, err);
    if (!strcmp(type, "ByteLevel"))
        return ap_buffer_printf(out, err, "ByteLevel%s%s",
                                is_on(o, "add_prefix_space", true) ? "(prefix)" : "",
                                is_on(o, "use_regex", true) ? "(words)" : "");
    if (!strcmp(type, "Digits"))
        return ap_buffer_puts(out, is_on(o, "individual_digits", false) ? "Digits" : "Digits(runs)",
                              err);
    if (!strcmp(type, "Prepend"))
        return ap_buffer_printf(out, err, "Prepend(%s)", text_of(o, "prepend"));
    if (!strcmp(type, "Replace"))
        return ap_buffer_printf(out, err, "Replace(%s,%s)",
                                text_of(json_object_get(o, "pattern"), "String"),
                                text_of(o, "content"));
    return ap_buffer_puts(out, type, err);
}

static ap_status find_kind(const struct ap_tokenizer *t, const json_t *root,
                           const struct kind **kind, struct ap_error *err)
{
    struct ap_buffer normalizer = {0}, splitter = {0};
    bool parts = t->bpe.parts;
    ap_status status;
    AP_TRY(describe(json_object_get(root, "normalizer"), parts, &normalizer, err));
    AP_TRY(describe(json_object_get(root, "pre_tokenizer"), parts, &splitter, err));
    const char *n = normalizer.len ? normalizer.data : "", *s = splitter.len ? splitter.data : "";
    for (size_t i = 0; i < AP_LEN(kinds) && !*kind; i++)
        if (!strcmp(n, kinds[i].normalizer) && !strcmp(s, kinds[i].splitter) &&
            t->bpe.ignore_merges == kinds[i].ignore_merges)
            *kind = &kinds[i];
    if (!*kind)
        status = ap_fail(err, AP_UNSUPPORTED,
                         "%s: normalizer \"%.120s\" with pre_tokenizer \"%.200s\"%s is none that "
                         "llama.cpp has a name for; use --format hf",
                         t->where, n, s, t->bpe.ignore_merges ? " and ignore_merges" : "");
out:
    ap_buffer_free(&normalizer);
    ap_buffer_free(&splitter);
    return status;
}

/* ---- tokens ---- */

static bool is_byte(const struct ap_tokenizer *t, int32_t id)
{
    for (int b = 0; b < 256; b++)
        if (t->bpe.byte[b] == id)
            return true;
    return false;
}

static int type_of(const struct ap_tokenizer *t, int32_t id)
{
    uint8_t flags = t->vocab.entry[id].flags;
    if (id == t->bpe.unk)
        return UNKNOWN;
    if (flags & AP_VOCAB_SPECIAL)
        return CONTROL;
    if (flags & AP_VOCAB_ADDED)
        return USER_DEFINED;
    return t->bpe.byte_fallback && is_byte(t, id) ? BYTE : NORMAL;
}

/* As many as the embedding has rows: what the tokenizer does not use is padding. */
static ap_status put_tokens(struct ap_gguf_values *v, const struct ap_tokenizer *t, int n_vocab,
                            struct ap_error *err)
{
    char padding[32];
    size_t n;
    ap_status status;
    AP_TRY(ap_gguf_begin_array(v, "tokenizer.ggml.tokens", AP_GGUF_STRING, (uint64_t)n_vocab, err));
    for (int32_t id = 0; id < n_vocab; id++) {
        const char *text = padding;
        if (id < t->vocab.n)
            text = ap_vocab_text(&t->vocab, id, &n);
        else
            n = (size_t)snprintf(padding, sizeof(padding), "[PAD%d]", id);
        AP_TRY(ap_gguf_add_text(v, text, n, err));
    }
    AP_TRY(
        ap_gguf_begin_array(v, "tokenizer.ggml.token_type", AP_GGUF_I32, (uint64_t)n_vocab, err));
    for (int32_t id = 0; id < n_vocab; id++)
        AP_TRY(ap_gguf_add_i32(v, id < t->vocab.n ? type_of(t, id) : UNUSED, err));
out:
    return status;
}

/* ---- merges in their order ---- */

static int by_rank(const void *a, const void *b)
{
    const struct ap_merge *x = *(const struct ap_merge *const *)a,
                          *y = *(const struct ap_merge *const *)b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* *out: allocated, borrows the merges. */
static ap_status sort_merges(const struct ap_bpe *bpe, const struct ap_merge ***out, size_t *n,
                             struct ap_error *err)
{
    size_t n_slot = (size_t)bpe->mask + 1;
    *out = ap_calloc(n_slot, sizeof(struct ap_merge *));
    *n = 0;
    if (!*out)
        return ap_fail(err, AP_MEMORY, "merges: out of memory");
    for (size_t i = 0; i < n_slot; i++)
        if (bpe->merge[i].left >= 0)
            (*out)[(*n)++] = &bpe->merge[i];
    qsort((void *)*out, *n, sizeof(struct ap_merge *), by_rank);
    return AP_OK;
}

static ap_status put_merges(struct ap_gguf_values *v, const struct ap_tokenizer *t,
                            struct ap_error *err)
{
    const struct ap_merge **merges = NULL;
    struct ap_buffer pair = {0};
    size_t n, n_text;
    ap_status status;
    AP_TRY(sort_merges(&t->bpe, &merges, &n, err));
    AP_TRY(ap_gguf_begin_array(v, "tokenizer.ggml.merges", AP_GGUF_STRING, n, err));
    for (size_t i = 0; i < n; i++) {
        ap_buffer_clear(&pair);
        const char *text = ap_vocab_text(&t->vocab, merges[i]->left, &n_text);
        AP_TRY(ap_buffer_append(&pair, text, n_text, err));
        AP_TRY(ap_buffer_append(&pair, " ", 1, err));
        text = ap_vocab_text(&t->vocab, merges[i]->right, &n_text);
        AP_TRY(ap_buffer_append(&pair, text, n_text, err));
        AP_TRY(ap_gguf_add_text(v, pair.data, pair.len, err));
    }
out:
    ap_buffer_free(&pair);
    ap_free((void *)merges);
    return status;
}

/* ---- merges as scores ---- */

/* Pairs of tokens that make this one, and that tokenizer.json leaves apart. */
static int count_left_apart(const struct ap_tokenizer *t, int32_t id)
{
    size_t n;
    int count = 0;
    const char *text = ap_vocab_text(&t->vocab, id, &n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xC0) == 0x80)
            continue;
        int32_t left = ap_vocab_find(&t->vocab, text, i, AP_VOCAB_MODEL);
        int32_t right = ap_vocab_find(&t->vocab, text + i, n - i, AP_VOCAB_MODEL);
        count += left >= 0 && right >= 0 && !ap_merge_find(&t->bpe, left, right);
    }
    return count;
}

/* scores: [vocab.n], of the first merge that makes a token. Returns how many merges stand apart
 * from others of the same token, and how many pairs are left apart. */
static int score_tokens(const struct ap_tokenizer *t, const struct ap_merge **merges, size_t n,
                        float *scores)
{
    int n_odd = 0;
    for (int32_t id = 0; id < t->vocab.n; id++)
        scores[id] = 1;
    for (size_t i = 0; i < n; i++) {
        int32_t id = merges[i]->id;
        n_odd += scores[id] <= 0 && merges[i - 1]->id != id;
        if (scores[id] > 0)
            scores[id] = -(float)i;
    }
    for (int32_t id = 0; id < t->vocab.n; id++) {
        if (scores[id] > 0)
            scores[id] = -(float)n;
        n_odd += t->vocab.entry[id].flags & AP_VOCAB_MODEL ? count_left_apart(t, id) : 0;
    }
    return n_odd;
}

static ap_status put_scores(struct ap_gguf_values *v, const struct ap_tokenizer *t, int n_vocab,
                            const struct ap_sink *sink, struct ap_error *err)
{
    const struct ap_merge **merges = NULL;
    float *scores = ap_calloc((size_t)t->vocab.n, sizeof(*scores));
    size_t n;
    ap_status status = AP_OK;
    if (!scores)
        return ap_fail(err, AP_MEMORY, "scores of tokens: out of memory");
    AP_TRY(sort_merges(&t->bpe, &merges, &n, err));
    int n_odd = score_tokens(t, merges, n, scores);
    if (n_odd)
        ap_sink_warn(sink, "export",
                     "%s: %d pairs of tokens merge in an order that llama.cpp's scores cannot say: "
                     "some texts get other ids there",
                     t->where, n_odd);
    AP_TRY(ap_gguf_begin_array(v, "tokenizer.ggml.scores", AP_GGUF_F32, (uint64_t)n_vocab, err));
    for (int32_t id = 0; id < n_vocab; id++)
        AP_TRY(ap_gguf_add_f32(v, id < t->vocab.n ? scores[id] : -(float)n, err));
out:
    ap_free((void *)merges);
    ap_free(scores);
    return status;
}

/* llama.cpp splits a character without a token into bytes, and needs all of them. */
static ap_status check_bytes(const struct ap_tokenizer *t, struct ap_error *err)
{
    for (int b = 0; b < 256; b++)
        if (!t->bpe.byte_fallback || t->bpe.byte[b] < 0)
            return ap_fail(err, AP_UNSUPPORTED,
                           "%s: has no byte_fallback to tokens <0x00> to <0xFF> (<0x%02X> is "
                           "missing), which llama.cpp needs; use --format hf",
                           t->where, (unsigned)b);
    return AP_OK;
}

/* ---- special tokens ---- */

static ap_status put_id(struct ap_gguf_values *v, const char *key, int32_t id, struct ap_error *err)
{
    char whole[64];
    snprintf(whole, sizeof(whole), "tokenizer.ggml.%s_token_id", key);
    return id >= 0 ? ap_gguf_put_u32(v, whole, (uint32_t)id, err) : AP_OK;
}

/* What the post-processor puts around a text must be the first and the last token. */
static ap_status put_around(struct ap_gguf_values *v, const struct ap_tokenizer *t, int32_t bos,
                            int32_t eos, struct ap_error *err)
{
    const struct ap_ids *before = &t->postprocessor.before, *after = &t->postprocessor.after;
    if (before->n > 1 || after->n > 1 || (before->n && before->data[0] != bos) ||
        (after->n && after->data[0] != eos))
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: post_processor puts %zu tokens before a text and %zu after it, "
                       "expected at most bos_token and eos_token; use --format hf",
                       t->where, before->n, after->n);
    ap_status status = ap_gguf_put_bool(v, "tokenizer.ggml.add_bos_token", before->n == 1, err);
    return status == AP_OK ? ap_gguf_put_bool(v, "tokenizer.ggml.add_eos_token", after->n == 1, err)
                           : status;
}

/* Where a file names none, llama.cpp takes ids of GPT-2's or Llama 2's own. */
static ap_status put_special(struct ap_gguf_values *v, const struct ap_tokenizer *t,
                             const struct ap_config *c, struct ap_error *err)
{
    int32_t eos = t->eos >= 0 ? t->eos : c->n_eos ? c->eos[0] : -1, eot = -1;
    int32_t bos = t->bos >= 0                 ? t->bos
                  : t->postprocessor.before.n ? t->postprocessor.before.data[0]
                  : c->bos >= 0               ? c->bos
                                              : eos;
    ap_status status;
    for (int i = c->n_eos - 1; i >= 0; i--) /* it stops at either */
        eot = c->eos[i] != eos ? c->eos[i] : eot;
    AP_TRY(put_id(v, "bos", bos, err));
    AP_TRY(put_id(v, "eos", eos, err));
    AP_TRY(put_id(v, "eot", eot, err));
    AP_TRY(put_id(v, "unknown", t->bpe.unk, err));
    AP_TRY(put_id(v, "padding", c->pad, err));
    status = put_around(v, t, bos, eos, err);
out:
    return status;
}

/* Which tokens take white space in stands nowhere in a GGUF file. llama.cpp knows one rule, for
 * models that have Phi-3 in their name: behind every added token but these. */
enum stripping { STRIPS_NONE, STRIPS_AS_PHI3, STRIPS_OTHERWISE };

static bool phi3_strips(const struct ap_tokenizer *t, int32_t id)
{
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    size_t n;
    const char *text = ap_vocab_text(&t->vocab, id, &n);
    for (size_t i = 0; i < AP_LEN(kept); i++)
        if (strlen(kept[i]) == n && !memcmp(text, kept[i], n))
            return false;
    return true;
}

static enum stripping stripping_of(const struct ap_tokenizer *t)
{
    const struct ap_added *sets[] = {&t->added_raw, &t->added_normalized};
    bool none = true, phi3 = true;
    for (size_t s = 0; s < AP_LEN(sets); s++)
        for (size_t i = 0; i < sets[s]->n_tokens; i++) {
            const struct ap_added_token *a = &sets[s]->token[i];
            none = none && !a->lstrip && !a->rstrip && !a->single_word;
            phi3 = phi3 && !a->lstrip && !a->single_word && a->rstrip == phi3_strips(t, a->id);
        }
    return none ? STRIPS_NONE : phi3 ? STRIPS_AS_PHI3 : STRIPS_OTHERWISE;
}

/* It puts the space of `prefix` behind every special token, too. The reference does so only for
 * tokens that are matched before the text is normalised, and not by Metaspace's "first". */
static bool prefixes_alike(const struct ap_tokenizer *t, const struct kind *kind)
{
    return !kind->prefix || (!t->added_normalized.n_tokens && !strstr(kind->splitter, ",first"));
}

static ap_status put_name(struct ap_gguf_values *v, const struct ap_tokenizer *t,
                          const struct kind *kind, const struct ap_gguf_options *o,
                          struct ap_error *err)
{
    enum stripping strips = stripping_of(t);
    bool named = strcasestr(o->name, "phi-3") || strcasestr(o->name, "phi3");
    char name[256];
    if (strips == STRIPS_OTHERWISE || (strips == STRIPS_NONE && named) || !prefixes_alike(t, kind))
        ap_sink_warn(o->sink, "export",
                     "%s: llama.cpp treats white space beside special tokens by another rule than "
                     "this file's: texts with such tokens inside get other ids there",
                     t->where);
    snprintf(name, sizeof(name), "%s%.200s", strips == STRIPS_AS_PHI3 && !named ? "Phi-3 " : "",
             o->name);
    return ap_gguf_put_string(v, "general.name", name, err);
}

/* ---- all of it ---- */

static ap_status put_kind(struct ap_gguf_values *v, const struct ap_tokenizer *t,
                          const struct kind *kind, int n_vocab, const struct ap_sink *sink,
                          struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_gguf_put_string(v, "tokenizer.ggml.model", kind->model, err));
    AP_TRY(ap_gguf_put_string(v, "tokenizer.ggml.pre", kind->pre, err));
    AP_TRY(put_tokens(v, t, n_vocab, err));
    if (!strcmp(kind->model, "gpt2"))
        return put_merges(v, t, err);
    AP_TRY(check_bytes(t, err));
    AP_TRY(ap_gguf_put_bool(v, "tokenizer.ggml.add_space_prefix", kind->prefix, err));
    status = put_scores(v, t, n_vocab, sink, err);
out:
    return status;
}

ap_status ap_gguf_put_tokenizer(struct ap_gguf_values *v, const struct ap_config *c,
                                const struct ap_gguf_options *options, struct ap_error *err)
{
    struct ap_tokenizer *t = NULL;
    const struct kind *kind = NULL;
    json_t *root = NULL;
    ap_status status;
    AP_TRY(ap_tokenizer_open(&t, options->tokenizer, err));
    AP_TRY(ap_json_load(t->where, FILE_MAX, &root, err));
    if (t->vocab.n > c->n_vocab)
        AP_TRY(ap_fail(err, AP_FORMAT,
                       "%s: %d tokens, expected at most %d (vocab_size in config.json); the two "
                       "files do not belong together",
                       t->where, t->vocab.n, c->n_vocab));
    AP_TRY(find_kind(t, root, &kind, err));
    AP_TRY(put_name(v, t, kind, options, err));
    AP_TRY(put_kind(v, t, kind, c->n_vocab, options->sink, err));
    AP_TRY(put_special(v, t, c, err));
    if (t->chat_template && t->chat_template[0])
        status = ap_gguf_put_string(v, "tokenizer.chat_template", t->chat_template, err);
out:
    json_decref(root);
    ap_tokenizer_close(t);
    return status;
}
