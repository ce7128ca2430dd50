/* A language model with its text: what a role is built from. One copy of the weights serves every
 * role. */
#ifndef AP_ALIGN_LM_H
#define AP_ALIGN_LM_H

#include "alignpro/text.h"

#include "gen/generator.h"
#include "text/dataset.h"

struct ap_lm {
    char *name; /* the recipe's name for it */
    struct ap_weights *weights;
    struct ap_tokenizer *tokenizer;
    struct ap_template *chat;
    int32_t end[AP_EOS_MAX + 1]; /* ids that end a turn: the template's and the config's */
    int n_end;
    int context; /* positions a sequence may take */
};

/* Takes weights over, opens tokenizer and template of the folder. */
ap_status ap_lm_open(struct ap_lm **out, const char *name, struct ap_weights *weights,
                     const char *tokenizer_dir, const struct ap_template_options *options,
                     int context, struct ap_error *err);
void ap_lm_free(struct ap_lm *lm); /* NULL is fine */

#endif
