/* What a request asks of the local target. */
#ifndef AP_SERVE_ANSWER_REQUEST_H
#define AP_SERVE_ANSWER_REQUEST_H

#include "serve/server_inner.h"

/* Fills e->answering and what all its works share. What the target cannot do is AP_FORMAT and says
 * so: nothing that would change an answer is passed over. */
ap_status ap_answer_request_read(struct ap_exchange *e, struct ap_work *like, struct ap_error *err);

#endif
