/* A server of OpenAI's and of rewards' endpoints that fails as servers do, for the tests of what
 * talks to one: a process of its own on a port of its own of 127.0.0.1, with a loop over raw
 * sockets, so that it can break HTTP in ways that no library of servers lets it. What it answers is
 * a pure function of what was asked (fault_text), which of its requests fail and how a pure
 * function of a seed and the request's number; what it saw lies in memory that the test shares.
 *
 * fault_server.c is the process and its sockets, fault_reply.c the bytes of each fault,
 * fault_answer.c the right answers. */
#ifndef AP_TESTS_NET_FAULT_SERVER_H
#define AP_TESTS_NET_FAULT_SERVER_H

#include "base/buffer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* X(name, what the server has done when it is over) */
#define FAULT_LIST(X)                                                                              \
    X(NONE, WHOLE)                                                                                 \
    X(RESET_UNREAD, NOTHING) /* reset when the first byte came, unread */                          \
    X(RESET_READ, BOUGHT)    /* reset once the request was read */                                 \
    X(RESET_BODY, BOUGHT)    /* in the middle of the answer */                                     \
    X(STALL, BOUGHT)         /* read, and then nothing */                                          \
    X(STALL_BODY, BOUGHT)    /* half an answer, and then nothing */                                \
    X(CUT, BOUGHT)           /* closed before Content-Length is reached */                         \
    X(CUT_HEAD, BOUGHT)      /* closed inside the headers */                                       \
    X(LENGTH_SHORT, BOUGHT)  /* Content-Length is less than what is sent */                        \
    X(LENGTH_BAD, BOUGHT)    /* right, but Content-Length is no number, or is there twice */       \
    X(SPLICED, WHOLE)        /* a second, wrong answer right behind the right one */               \
    X(CHUNKED, WHOLE)        /* right, in chunks */                                                \
    X(CHUNK_CUT, BOUGHT)     /* closed without the last chunk */                                   \
    X(CHUNK_BAD, BOUGHT)     /* the length of a chunk is no number */                              \
    X(DRIP, WHOLE)           /* right, a few bytes at a time */                                    \
    X(HTTP10, WHOLE)         /* right, without a length: it ends with the connection */            \
    X(CLOSED_AFTER, WHOLE)   /* right, then closed without saying so */                            \
    X(CONTINUED, WHOLE)      /* right, behind replies of 100 and 103 */                            \
    X(GARBAGE, BOUGHT)       /* no HTTP at all */                                                  \
    X(EMPTY, BOUGHT)         /* 200 without a body */                                              \
    X(BAD_JSON, BOUGHT)                                                                            \
    X(NO_CHOICES, BOUGHT)                                                                          \
    X(EMPTY_CHOICES, BOUGHT)                                                                       \
    X(NULL_CONTENT, BOUGHT)                                                                        \
    X(WRONG_TYPES, BOUGHT)                                                                         \
    X(BAD_UTF8, BOUGHT)                                                                            \
    X(NUL, BOUGHT)                                                                                 \
    X(HUGE_BODY, BOUGHT)    /* right, whole, and longer than AP_CLIENT_REPLY_MAX */                \
    X(ENDLESS_BODY, BOUGHT) /* chunks on and on */                                                 \
    X(HUGE_HEADER, BOUGHT)  /* one of 200,000 bytes */                                             \
    X(ENDLESS_HEADERS, BOUGHT)                                                                     \
    X(WAIT_NOW, REFUSED)     /* 429, Retry-After: 0 */                                             \
    X(WAIT_SECONDS, REFUSED) /* 429, Retry-After: as set */                                        \
    X(WAIT_DATE, REFUSED)    /* 429, Retry-After: a date that is past */                           \
    X(WAIT_BAD, REFUSED)     /* 429, Retry-After: nonsense */                                      \
    X(E408, REFUSED)                                                                               \
    X(E409, REFUSED)                                                                               \
    X(E425, REFUSED)                                                                               \
    X(E500, REFUSED)                                                                               \
    X(E502, REFUSED) /* with a page of HTML */                                                     \
    X(E503, REFUSED)                                                                               \
    /* from here on: what asking again does not heal, never drawn unless a test sets its rate */   \
    X(FILTERED, WHOLE)      /* finish_reason content_filter */                                     \
    X(E400, REFUSED)        /* OpenAI's shape of an error */                                       \
    X(E400_FILTER, REFUSED) /* code content_filter */                                              \
    X(E401_ECHO, REFUSED)   /* says the key that it was sent */                                    \
    X(E302, REFUSED)        /* to /elsewhere of the same server */

typedef enum fault_kind {
#define X(name, end) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_COUNT
} fault_kind;
#define FAULT_HEALS FAULT_FILTERED /* kinds below it heal, and FAULT_NONE is none */

typedef enum fault_end {                    /* of a request, as the server knows it */
                         FAULT_END_NOTHING, /* it was not even read */
                         FAULT_END_REFUSED, /* answered, with an error */
                         FAULT_END_BOUGHT, /* an answer was made, and did not go out whole and right
                                            */
                         FAULT_END_WHOLE,  /* the right answer, all of it handed to the socket */
} fault_end;

const char *fault_name(fault_kind kind);

struct fault_config {
    uint64_t seed;
    double rate[FAULT_COUNT]; /* shares of the requests; their sum at most 1, NONE takes the rest */
    int64_t n_faulty;         /* requests after so many are answered rightly; 0: no end */
    double latency;           /* seconds before an answer */
    int retry_after;          /* seconds, of WAIT_SECONDS */
    double drip;              /* seconds between the pieces of DRIP */
    char key[128];            /* expected as bearer token; "": none may be sent */
    bool dead;                /* connections are refused, open ones reset */
};

struct fault_counts {
    int64_t n_connection, n_request; /* accepted; read whole */
    int64_t n_bought, n_whole;       /* answers made; of these: sent whole and right */
    int64_t n_kind[FAULT_COUNT];     /* requests by what was done to them */
    int64_t n_early;                 /* came again before the Retry-After that they were told */
    int64_t n_unauthorised;          /* whose bearer token is not the key */
    int64_t n_elsewhere;             /* that came where a redirect pointed */
    int64_t n_unnamed;               /* without Idempotency-Key */
    int64_t n_expect;                /* that waited to be told to send their body */
    int64_t n_told;                  /* with an X-Alignpro-Stream */
    int64_t n_key;                   /* distinct Idempotency-Keys */
    int n_now, n_most;               /* requests between first byte and last; the most at once */
};

#define FAULT_KEY 72
struct fault_seen {      /* of one Idempotency-Key */
    char key[FAULT_KEY]; /* "": the slot is free */
    int64_t n_request, n_bought, n_whole;
    double wait_until; /* seconds of ap_clock_seconds */
};

struct fault_server;
/* Dies with the test. Aborts without a process, a port or memory. */
struct fault_server *fault_server_start(const struct fault_config *config);
void fault_server_stop(struct fault_server *s);             /* NULL is fine */
const char *fault_server_url(const struct fault_server *s); /* "http://127.0.0.1:PORT/v1" */
/* In force when it returns. */
void fault_server_set(struct fault_server *s, const struct fault_config *config);
/* Everything that came by now is in these numbers. */
void fault_server_counts(struct fault_server *s, struct fault_counts *out);
/* Zeros for a key that it never saw. As of the last _counts. */
struct fault_seen fault_server_seen(struct fault_server *s, const char *key);
/* The i-th of counts.n_key; NULL past the end. As of the last _counts. */
const struct fault_seen *fault_server_each(struct fault_server *s, int64_t i);
/* All healing faults but those that cost a second or megabytes, of `share` of the requests; the
 * dear ones too, `dear` of the requests each. */
void fault_config_mix(struct fault_config *config, double share, double dear);

/* What a right answer holds (fault_answer.c). */
#define FAULT_TEXT 64
/* The text of answer k to a request with these messages (or, for a completion, prompt) and seed;
 * seed −1: it had none. */
void fault_text(const json_t *asked, int64_t seed, int k, char out[FAULT_TEXT]);
/* The same for a request's body; false: it is none. */
bool fault_text_of(const char *body, size_t n, int k, char out[FAULT_TEXT]);
/* The text of a reply's first choice when it is one, whatever it says: the test's own reading of a
 * body. false: it holds no answer. */
bool fault_text_in(const char *reply, size_t n, char out[FAULT_TEXT]);
/* A reward in [0, 1) of a prompt and a response. */
double fault_reward(const char *prompt, const char *response);
/* The natural log-probability of character i of a text whose first is NULL in echoes. */
double fault_logp(const char *text, size_t i);
#define FAULT_COMPLETION_TOKENS 3 /* of each choice, as "usage" says */

/* The body of the right answer to a request to this path, to be freed with free; filtered: as a
 * content filter gives it. NULL: the request is none. */
char *fault_answer(const char *path, const char *body, size_t n, bool filtered);

/* Bytes of a reply, and how it ends (fault_reply.c). */
typedef enum fault_after {
    FAULT_KEEP,
    FAULT_CLOSE,
    FAULT_RESET,
    FAULT_HANG,   /* nothing more, and open */
    FAULT_REPEAT, /* from `again` on, so many more times; then closed */
} fault_after;

struct fault_reply {
    struct ap_buffer bytes;
    size_t n_send, again; /* of bytes: sent before `after`; where REPEAT begins */
    int64_t n_again;
    fault_after after;
    size_t piece; /* bytes at a time, config.drip apart; 0: all */
};
/* turn: the request's number, for faults that have variants. */
void fault_reply_make(struct fault_reply *out, fault_kind kind, const char *path, const char *body,
                      size_t n, const char *bearer, uint64_t turn,
                      const struct fault_config *config);

#endif
