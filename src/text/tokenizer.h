/* Inside of a tokenizer. Not the public interface (alignpro/text.h): shared by the files of this
 * folder, its tests and its fuzzers, and by what writes a tokenizer down (model/gguf_tokenizer.c).
 */
#ifndef AP_TEXT_TOKENIZER_H
#define AP_TEXT_TOKENIZER_H

#include "alignpro/text.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/postprocessor.h"
#include "text/pretokenizer.h"
#include "text/vocab.h"

struct ap_encoder; /* working memory of a call, tokenizer.c */

struct ap_tokenizer {
    char *where; /* path of the tokenizer.json, for messages */
    struct ap_vocab vocab;
    struct ap_added added_raw;        /* matched in the raw text */
    struct ap_added added_normalized; /* matched, normalised themselves, in the normalised text */
    struct ap_normalizer normalizer;
    struct ap_pretokenizer pretokenizer;
    struct ap_bpe bpe;
    struct ap_postprocessor postprocessor;
    struct ap_decoder_plan decoder;
    int32_t bos, eos;    /* by tokenizer_config.json; −1 for none */
    char *chat_template; /* owned; NULL for none */
    /* Working memory that no call is using now, kept for the next; owned. Calls of other threads
     * that find none make their own. */
    _Atomic(struct ap_encoder *) *spare;
};

void ap_encoder_close(struct ap_encoder *e);

/* From the texts of the two files. where: name of the first in messages; config may be NULL. */
ap_status ap_tokenizer_parse(struct ap_tokenizer **out, const char *text, size_t n,
                             const char *where, const char *config, size_t n_config,
                             const char *config_where, struct ap_error *err);

/* Those of a tokenizer's files that a folder has, into another folder that is there. */
ap_status ap_tokenizer_copy(const char *from, const char *to, struct ap_error *err);

#endif
