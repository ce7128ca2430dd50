/* A paid server: the client, the ledger and the budget in one. What is asked has keys; what the
 * ledger holds under a key is never asked for again. Knows no bodies: who reads them says so.
 *
 *     ask ─► ledger has it ──────────────────────────────────────────► the answer
 *         └► slot ─► claim ─► budget ─► intent on disk ─► client ─► read ─► answer on disk ─┘
 */
#ifndef AP_ALIGN_REMOTE_H
#define AP_ALIGN_REMOTE_H

#include "base/buffer.h"
#include "net/client.h"
#include "store/ledger.h"
#include "store/settings.h"

struct ap_remote_options {
    const char *who; /* "target", "rewards.help": in messages and in the ledger; borrowed */
    const struct ap_http_settings *http; /* borrowed */
    double timeout;
    struct ap_ledger *ledger; /* borrowed */
    const struct ap_sink *sink;
    double backoff; /* as the client's; 0: its own */
};

/* A POST that buys n answers. The caller's. */
struct ap_remote_request {
    int index; /* the caller's own number of it, for the reader */
    const char *path, *body;
    size_t n_body;
    const char *header;           /* one more header line; NULL: none */
    char (*keys)[AP_LEDGER_KEY];  /* n, all of this call's different */
    struct ap_ledger_answer *out; /* n, empty; filled, the caller's to free also after an error */
    int n;
    int64_t n_prompt_most, n_answer_most; /* tokens that it can come to at most */
};

struct ap_remote_reader {
    void *context;
    /* Fills q->out[q->n], or its first ones where the body has no more: the others were not bought.
     * NULL, or a static clause of why the body holds no answer. */
    const char *(*read)(void *context, const struct ap_remote_request *q,
                        const struct ap_client_reply *reply);
    /* Whether a rejection is an answer of its kind, q->out[q->n]; NULL: never. */
    bool (*rejected)(void *context, const struct ap_remote_request *q,
                     const struct ap_client_reply *reply);
    /* The clause of `read`, by its address, that asking again will not heal, and what to do; NULL:
     * there is none. */
    const char *hopeless, *remedy;
    const char *expected; /* what a body with an answer holds, for messages; NULL: unsaid */
};

struct ap_remote;
ap_status ap_remote_open(struct ap_remote **out, const struct ap_remote_options *options,
                         struct ap_error *err);
void ap_remote_close(struct ap_remote *r); /* NULL is fine */

/* Whether the ledger has the answer to key. */
ap_status ap_remote_find(struct ap_remote *r, const char *key, struct ap_ledger_answer *out,
                         bool *found, struct ap_error *err);
/* Gets what the ledger holds from there, asks for the others, and waits for what another process is
 * asking for at the same moment: no key is asked for by two. A request's keys are claimed when its
 * turn to be sent comes, until its answers are on the disk; meanwhile the others go on. Of a
 * request of several answers some may stay empty: the server gave fewer, or some had come to the
 * ledger meanwhile and the body asks for too many; the caller puts the others into requests anew.
 * AP_LIMIT when the budget ends it; as ap_client_send otherwise. What was answered by then is in
 * the ledger. */
ap_status ap_remote_ask(struct ap_remote *r, const struct ap_remote_request *requests, int n,
                        const struct ap_remote_reader *reader, struct ap_error *err);
/* The same for requests of one answer each, of which several may have the same key. */
ap_status ap_remote_fetch(struct ap_remote *r, const struct ap_remote_request *requests, int n,
                          const struct ap_remote_reader *reader, struct ap_error *err);

/* n requests of one answer each, for ap_remote_fetch, and what they own. */
struct ap_remote_batch {
    char **bodies; /* jansson's texts; NULL until put */
    char (*keys)[AP_LEDGER_KEY];
    struct ap_ledger_answer *answers; /* where the answers come to */
    struct ap_remote_request *requests;
    int n;
};
ap_status ap_remote_batch_open(struct ap_remote_batch *b, int n, const char *who,
                               struct ap_error *err);
/* The i-th: takes body, jansson's text; path is static. Its key is made of kind, name, path and
 * body: whose answer to what it is. */
void ap_remote_batch_put(struct ap_remote_batch *b, int i, char *body, const char *path,
                         const char *kind, const char *name, int64_t n_answer_most);
void ap_remote_batch_free(struct ap_remote_batch *b); /* also of one that failed to open */

/* A key of the ledger: SHA-256 of n texts that make an answer that answer. */
void ap_remote_key(const char *const *parts, int n, char out[AP_LEDGER_KEY]);
/* What the ledger's run has bought of `who` so far, in one line for the user. */
ap_status ap_remote_tell(struct ap_ledger *ledger, const char *who, struct ap_buffer *out,
                         struct ap_error *err);
const struct ap_sink *ap_remote_sink(const struct ap_remote *r);
/* Whether `what`, one bit, is told for the first time since it was opened. */
bool ap_remote_tells(struct ap_remote *r, unsigned what);

#endif
