/* Unicode's normal forms of text that knows its origin. Reference: unicode-normalization-alignments
 * of the Rust library `tokenizers` (Unicode 9); made with utf8proc. */
#ifndef AP_TEXT_NORMAL_FORM_H
#define AP_TEXT_NORMAL_FORM_H

#include "text/marked.h"

enum ap_normal_form { AP_NFC, AP_NFD, AP_NFKC, AP_NFKD };

/* Append the normal form of `in`. What comes of bytes of both kinds is text. */
ap_status ap_normal_form(enum ap_normal_form form, struct ap_span in, struct ap_marked *out,
                         struct ap_error *err);

#endif
