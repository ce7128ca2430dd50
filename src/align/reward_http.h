/* A reward behind a server: a scalar endpoint of the user's, or vLLM's /classify and /pooling
 * (docs/formats.md, "A reward of your own"). */
#ifndef AP_ALIGN_REWARD_HTTP_H
#define AP_ALIGN_REWARD_HTTP_H

#include "align/remote.h"
#include "align/reward.h"

/* Borrows remote and settings. A reply that holds no number is asked for again. */
ap_status ap_reward_http(struct ap_reward *out, struct ap_remote *remote,
                         const struct ap_reward_settings *settings, struct ap_error *err);

/* The number in a reply of that shape; NULL, or why there is none, a static clause. */
const char *ap_reward_http_read(const char *body, size_t n_body, const char *shape, double *out);

#endif
