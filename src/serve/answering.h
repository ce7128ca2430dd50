/* What an answer of the local target as one object and as events share (answering.c). */
#ifndef AP_SERVE_ANSWERING_H
#define AP_SERVE_ANSWERING_H

#include "serve/server_inner.h"

bool ap_answering_is_chat(const struct ap_exchange *e);
/* The object without its choices; NULL: no memory, as of the next. */
json_t *ap_answering_envelope(const struct ap_exchange *e, const char *kind);
/* Of works that are all done. */
json_t *ap_answering_usage(const struct ap_answering *a);
/* Of a work that is done; static. */
const char *ap_answering_finish_reason(const struct ap_work *w);

#endif
