/* Text to tokens and back: tokenizers, chat templates.
 *
 * Handles are opaque, immutable after open, and may be shared by threads. */
#ifndef ALIGNPRO_TEXT_H
#define ALIGNPRO_TEXT_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

AP_API_BEGIN

struct ap_tokenizer;
struct ap_template;

/* Where text came from. Spellings of special tokens are recognised in markup only; adjacent
 * segments are otherwise encoded as one text. */
typedef enum ap_segment_kind { AP_SEGMENT_TEXT, AP_SEGMENT_MARKUP } ap_segment_kind;

struct ap_segment {
    const char *text; /* UTF-8, borrowed; invalid bytes are read as U+FFFD */
    size_t n;         /* bytes */
    ap_segment_kind kind;
};

/* A growing array of token ids. Zero it before first use; free with ap_ids_free. */
struct ap_ids {
    int32_t *data;
    size_t n, cap;
};
void ap_ids_free(struct ap_ids *ids);
ap_status ap_ids_push(struct ap_ids *ids, int32_t id, struct ap_error *err);

/* Reads tokenizer.json and, where present, tokenizer_config.json from a Hugging Face folder. */
ap_status ap_tokenizer_open(struct ap_tokenizer **out, const char *dir, struct ap_error *err);
void ap_tokenizer_close(struct ap_tokenizer *t);

/* Number of ids, added tokens included: every id is in [0, n). */
int32_t ap_tokenizer_n_vocab(const struct ap_tokenizer *t);
/* −1 where the tokenizer has none. */
int32_t ap_tokenizer_bos(const struct ap_tokenizer *t);
int32_t ap_tokenizer_eos(const struct ap_tokenizer *t);
int32_t ap_tokenizer_id(const struct ap_tokenizer *t, const char *token);
/* The chat template that tokenizer_config.json carries, or NULL. Borrowed. */
const char *ap_tokenizer_chat_template(const struct ap_tokenizer *t);
/* Borrowed spelling of a token as it stands in the vocabulary, or NULL. */
const char *ap_tokenizer_spelling(const struct ap_tokenizer *t, int32_t id);

/* Append the ids of the segments to ids. with_special: what the tokenizer's own post-processor adds
 * (a BOS, say). Reference: the Rust library `tokenizers`. */
ap_status ap_tokenizer_encode(const struct ap_tokenizer *t, const struct ap_segment *segments,
                              size_t n_segments, bool with_special, struct ap_ids *ids,
                              struct ap_error *err);

/* Text of the ids; *text is allocated (free with ap_text_free) and *n its bytes (it may hold NULs).
 * An id outside the vocabulary is AP_INVALID. skip_special leaves out what the reference leaves
 * out, the Rust library `tokenizers` 0.23: special tokens, but not those whose normal form differs
 * from their spelling ("normalized": true, as in stories260K), and ids past the vocabulary, for
 * which models have rows (Qwen2.5: 151,936 rows, 151,665 tokens). Drop an end token by its id. */
ap_status ap_tokenizer_decode(const struct ap_tokenizer *t, const int32_t *ids, size_t n_ids,
                              bool skip_special, char **text, size_t *n, struct ap_error *err);
void ap_text_free(char *text);

/* Decoding token by token: push gives the bytes that are final now (whole characters only); finish
 * gives what is left. The concatenation equals ap_tokenizer_decode of the whole. */
struct ap_decoder;
ap_status ap_decoder_open(struct ap_decoder **out, const struct ap_tokenizer *t, bool skip_special,
                          struct ap_error *err);
/* *text is borrowed until the next call on the decoder. */
ap_status ap_decoder_push(struct ap_decoder *d, int32_t id, const char **text, size_t *n,
                          struct ap_error *err);
ap_status ap_decoder_finish(struct ap_decoder *d, const char **text, size_t *n,
                            struct ap_error *err);
void ap_decoder_close(struct ap_decoder *d); /* NULL is fine */

/* ---- chats ---- */

struct ap_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8 */
};

struct ap_template_options {
    const char *name; /* "auto", "plain", "llama3", "qwen2", "phi3"; NULL: auto */
    const char *file; /* a .jinja file to recognise instead of the folder's own; NULL for none */
    const char *date; /* as a template prints it, "26 Jul 2024"; never the clock */
    /* Message contents are text, so that a special token's spelling in them stays text. Otherwise,
     * as transformers has it, they are markup. Recipe key text.special_in_content. */
    bool content_is_text;
};

/* auto: by the Jinja text of the file, or of what the tokenizer's folder carries
 * (chat_template.jinja, or chat_template in tokenizer_config.json, the default one of a list);
 * plain where it carries none. A text is recognised as a whole (docs/formats.md lists them), never
 * interpreted. A name goes before it; where the text is a release of that same template, its
 * details are kept. AP_UNSUPPORTED for an unknown text or name, with the known names; AP_INVALID
 * for a tokenizer without the tokens that the template writes. Borrows t; copies the options. */
ap_status ap_template_open(struct ap_template **out, const struct ap_tokenizer *t,
                           const struct ap_template_options *options, struct ap_error *err);
void ap_template_close(struct ap_template *tpl);

/* Text of a chat (allocated, ap_text_free) and, when ids is not NULL, its ids appended to ids; text
 * or n may be NULL. AP_INVALID for no message and for another role than the three.
 * llama3, qwen2, phi3: what transformers' apply_chat_template prints, and the ids of that as one
 * text; checked against transformers 5 and tokenizers 0.23 (tools/check_templates.py).
 * plain: contents joined by newlines, with the joining newline at the end when a generation prompt
 * is asked for; the end token after an assistant turn, whose ids are those of ap_template_answer;
 * ids start with the BOS that the post-processor adds, which the text does not show. */
ap_status ap_template_render(const struct ap_template *tpl, const struct ap_message *messages,
                             size_t n_messages, bool add_generation_prompt, char **text, size_t *n,
                             struct ap_ids *ids, struct ap_error *err);

/* math.md (8): the ids of an answer that follows a generation prompt, its end-of-turn token last.
 */
ap_status ap_template_answer(const struct ap_template *tpl, const char *answer, struct ap_ids *ids,
                             struct ap_error *err);
/* The id that ends an assistant turn. */
int32_t ap_template_end(const struct ap_template *tpl);

AP_API_END

#endif
