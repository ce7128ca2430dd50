/* Log-probabilities of answers from a server that says those of what it reads: vLLM's
 * prompt_logprobs of chats, echo of /completions. */
#ifndef AP_ALIGN_LOGP_HTTP_H
#define AP_ALIGN_LOGP_HTTP_H

#include "align/remote.h"
#include "align/target.h"

/* out[n], nats: of each answer's text as the server's own tokenizer reads it behind the prompt, its
 * end token not counted, at temperature 1. As struct ap_target's logp otherwise. */
ap_status ap_logp_http(struct ap_remote *remote, const struct ap_target_settings *settings,
                       const struct ap_target_request *requests, const struct ap_answer *answers,
                       int n, double *out, struct ap_error *err);

/* Of a reply to /completions with echo of `text`: Σ over the tokens that begin at or behind byte
 * `first` of it, and before its end; NULL, or why there is none, a static clause. Where tokens
 * begin is read from what they spell: text_offset counts begin tokens and halves of characters,
 * too. */
const char *ap_logp_read_echo(const char *body, size_t n_body, const char *text, size_t first,
                              double *out);
/* Of a reply with prompt_logprobs: Σ over all tokens behind the first n_skip, and their number. */
const char *ap_logp_read_prompt(const char *body, size_t n_body, int64_t n_skip, double *out,
                                int64_t *n_token);

#endif
