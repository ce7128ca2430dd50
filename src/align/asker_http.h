/* A judge that compares behind a server's chat (chat_api.h, remote.h). */
#ifndef AP_ALIGN_ASKER_HTTP_H
#define AP_ALIGN_ASKER_HTTP_H

#include "align/judge_pairs.h"
#include "align/remote.h"

/* Each question is a user's message, the reply what it says at temperature 0; a refusal is a reply
 * without a verdict. What is not answered in all attempts is an error: replies that came are in the
 * ledger. Borrows remote and settings. */
ap_status ap_asker_http(struct ap_asker *out, struct ap_remote *remote,
                        const struct ap_judge_settings *settings, struct ap_error *err);

#endif
