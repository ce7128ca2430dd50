/* Normalisers of a tokenizer.json: normal forms, Lowercase, Prepend, Replace, Strip, StripAccents,
 * Nmt, ByteLevel and Sequences of them. A further kind is a row in the table of normalizer.c.
 * Reference: the Rust library `tokenizers`. */
#ifndef AP_TEXT_NORMALIZER_H
#define AP_TEXT_NORMALIZER_H

#include "base/json.h"
#include "text/marked.h"
#include "text/pattern.h"

#define AP_NORMALIZER_MAX 16

struct ap_normalizer_step {
    size_t kind;               /* row of the table */
    struct ap_pattern pattern; /* owned; Replace */
    char *value;               /* owned; Replace, Prepend */
    size_t n_value;
    bool left, right; /* Strip */
};

struct ap_normalizer {
    struct ap_normalizer_step step[AP_NORMALIZER_MAX];
    int n;
};

/* From the "normalizer" of the tokenizer.json; NULL gives none. */
ap_status ap_normalizer_init(struct ap_normalizer *nz, const json_t *config, const char *where,
                             struct ap_error *err);
void ap_normalizer_free(struct ap_normalizer *nz);

/* Working memory. Zero it before first use. */
struct ap_normalizer_work {
    struct ap_marked text[2];
    struct ap_searcher searcher;
};
void ap_normalizer_work_free(struct ap_normalizer_work *work);

/* *out is the normalised text: in itself, or in the working memory. What a step puts in is of the
 * kind of what it replaces or precedes, and text where that is mixed. Over 64 times the text and
 * 64 KiB is AP_LIMIT. */
ap_status ap_normalizer_run(const struct ap_normalizer *nz, struct ap_span in,
                            struct ap_normalizer_work *work, struct ap_span *out,
                            struct ap_error *err);

#endif
