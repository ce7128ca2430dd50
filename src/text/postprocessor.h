/* Post-processors of a tokenizer.json: the ids that are put before and after a text. Kinds:
 * TemplateProcessing, ByteLevel (which changes offsets only), Sequences of them. */
#ifndef AP_TEXT_POSTPROCESSOR_H
#define AP_TEXT_POSTPROCESSOR_H

#include "alignpro/text.h"
#include "base/json.h"

struct ap_postprocessor {
    struct ap_ids before, after;
};

/* From the "post_processor" of the tokenizer.json; NULL gives none. Every id is below n_vocab. */
ap_status ap_postprocessor_init(struct ap_postprocessor *p, const json_t *config, int32_t n_vocab,
                                const char *where, struct ap_error *err);
void ap_postprocessor_free(struct ap_postprocessor *p);

#endif
