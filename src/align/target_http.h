/* A target that answers over HTTP: any OpenAI-compatible server, behind the ledger (remote.h). */
#ifndef AP_ALIGN_TARGET_HTTP_H
#define AP_ALIGN_TARGET_HTTP_H

#include "align/remote.h"
#include "align/target.h"

/* What its answers are drawn with: target.* of a recipe. A sample's seed is its stream's, and the
 * header x-alignpro-stream has the stream itself, for a server of ours. Answers are as many as the
 * local target's, stripped; ids NULL, n_token as the server counts (-1 where it does not). Prompts
 * are never cut. Log-probabilities are logp_http.h's, where ap_target_http_no_logp has nothing to
 * say. Borrows both. */
ap_status ap_target_http(struct ap_target *out, struct ap_remote *remote,
                         const struct ap_target_settings *settings, struct ap_error *err);
/* Why it gives no log-probabilities, one clause; NULL: it does. Static. */
const char *ap_target_http_no_logp(const struct ap_target_settings *settings);

#endif
