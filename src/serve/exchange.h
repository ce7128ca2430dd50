/* One request and its answer. Moved on by the server's thread alone: a step either replies, or
 * leaves work with other threads; then the connection sleeps, and whoever ends the last piece of
 * work wakes it for the next step.
 *
 *     step ─► tasks, a transfer (each holds the exchange) ─► sleep ─► last one lets go ─► step …
 */
#ifndef AP_SERVE_EXCHANGE_H
#define AP_SERVE_EXCHANGE_H

#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/server.h"
#include "serve/transfer.h"

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct ap_exchange;
struct ap_peer;

struct ap_route {
    const char *path;
    const char *method; /* "GET" (HEAD too) or "POST" */
    bool needs_key;
    void (*begin)(struct ap_exchange *e); /* its first step */
};

/* A piece of work with the engine. */
struct ap_task {
    struct ap_work work;
    struct ap_exchange *exchange;
    bool refused;     /* the engine did not take it */
    atomic_bool over; /* `done` was called */
};

typedef enum ap_exchange_mark { /* the header x-alignpro of the answer */
                                AP_MARK_NONE,
                                AP_MARK_REWRITTEN,
                                AP_MARK_PARTLY, /* other texts of it fell back */
                                AP_MARK_UNCHANGED,
                                AP_MARK_BYPASSED,
                                AP_MARK_FELL_BACK,
} ap_exchange_mark;

struct ap_rewriting { /* rewrites.c */
    ap_body_kind kind;
    struct ap_chat_body body;
    bool off, show; /* as header or field asks */
    size_t n_over;  /* the body's first so many texts are over the limit, and not asked for */
    struct ap_task *tasks; /* one for each text behind those; owned */
    char **rewrites;       /* where one takes its text's place: borrowed of the tasks; owned list */
    ap_exchange_mark mark;
};

struct ap_forwarding { /* forward.c */
    struct ap_transfer_reader reader;
    struct ap_buffer insert; /* put behind the reply's first brace; empty: nothing */
    size_t n_inserted;
    int stage;
    char held; /* the byte before which it is put */
};

struct ap_answering { /* answering.c */
    struct ap_task *tasks;
    size_t n_task;
    struct ap_message *messages; /* with the rewrites in their places; contents borrowed */
    char **stop;                 /* owned, with its n_stop texts */
    int n_stop;
    int n; /* answers to each prompt */
    bool stream, usage;
    char id[40]; /* of the answer */
    int64_t created;
    char *model; /* as the request calls it; owned; NULL: not at all */
};

struct ap_asking { /* asking.c */
    struct ap_task task;
    json_t *request;
    struct ap_message *messages;
};

struct ap_exchange {
    struct ap_server *server; /* borrowed */
    struct MHD_Connection *connection;
    struct ap_peer *peer;
    const struct ap_route *route; /* NULL: none was found */
    char method[12];
    char key_name[AP_KEY_NAME_MAX]; /* "" where nobody is asked */
    double began;

    struct ap_buffer body;
    bool body_whole, body_cut; /* cut: more than is taken, or after a refusal: not kept */

    void (*step)(struct ap_exchange *e);
    atomic_int n_holding;      /* pieces of work under way, and the step itself */
    atomic_bool gone;          /* its client went away, or the server closes */
    atomic_llong asleep_since; /* milliseconds of ap_clock_seconds; 0: awake */

    struct MHD_Response *response; /* of a step that replies; owned until it is sent */
    int status;
    bool sent;
    bool speechless; /* no memory even for a refusal: nothing is done but closing the connection */

    pthread_mutex_t lock;  /* of the next three, which other threads give up */
    struct ap_task *tasks; /* those under way; borrowed */
    size_t n_task;
    struct ap_transfer *transfer; /* holds a reference */

    struct ap_rewriting rewriting;
    struct ap_forwarding forwarding;
    struct ap_answering answering;
    struct ap_asking asking;
};

/* ---- exchange.c ---- */

/* What the server gives to libmicrohttpd. */
enum MHD_Result ap_exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *n_data, void **exchange);
void ap_exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                           enum MHD_RequestTerminationCode why);

/* From a step: the next step comes when everything that holds the exchange lets go. */
void ap_exchange_hold(struct ap_exchange *e);
void ap_exchange_let_go(struct ap_exchange *e); /* any thread */
/* Gives n works to the engine; each holds e. What it refuses is marked. tasks stay alive until the
 * next step. */
void ap_exchange_submit(struct ap_exchange *e, struct ap_task *tasks, size_t n);
void ap_exchange_set_transfer(struct ap_exchange *e, struct ap_transfer *t);
/* Nobody waits for the answer any more. Any thread, e alive. */
void ap_exchange_abandon(struct ap_exchange *e);
/* Sleep and wake of a reply that comes in pieces. */
void ap_exchange_sleep(struct ap_exchange *e);
void ap_exchange_wake(struct ap_exchange *e);
/* A header of the request; NULL: it has none. */
const char *ap_exchange_header(const struct ap_exchange *e, const char *name);

/* ---- reply.c ---- */

#define AP_TYPE_JSON "application/json"
#define AP_TYPE_EVENTS "text/event-stream"

/* Takes the body's memory. */
void ap_reply(struct ap_exchange *e, int status, const char *type, struct ap_buffer *body);
/* A static text. */
void ap_reply_static(struct ap_exchange *e, int status, const char *type, const char *text);
/* {"error"} in OpenAI's shape; code may be NULL. */
void ap_reply_error(struct ap_exchange *e, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What err says, as 400, or 413 for a limit, or 500. */
void ap_reply_failed(struct ap_exchange *e, const struct ap_error *err);
/* Where the task is not done: why, and true. */
bool ap_reply_undone(struct ap_exchange *e, const struct ap_task *task);
/* Takes value; NULL: no memory. */
void ap_reply_json(struct ap_exchange *e, int status, json_t *value);
void ap_reply_header(struct ap_exchange *e, const char *name, const char *value);
/* The answer's x-alignpro, and x-alignpro-rewrite where it is asked for. */
void ap_reply_mark(struct ap_exchange *e);

/* ---- the steps ---- */

/* Of a route in the metrics; NULL: of what is none. */
int ap_route_index(const struct ap_route *route);
const char *ap_route_name(int index); /* "none" behind the last, then NULL */
/* Looks at the head of the request: sets route and step, or replies that it is refused. */
void ap_route_admit(struct ap_exchange *e, const char *path, const char *version);

void ap_rewriting_chat(struct ap_exchange *e);
void ap_rewriting_completion(struct ap_exchange *e);
void ap_rewriting_free(struct ap_exchange *e);
/* {"rewrites"}: what "show" shows; NULL: no memory. */
json_t *ap_rewriting_json(const struct ap_exchange *e);

void ap_forward_models(struct ap_exchange *e);
void ap_forward_body(struct ap_exchange *e);
void ap_forward_free(struct ap_exchange *e);

void ap_answering_begin(struct ap_exchange *e);
void ap_answering_free(struct ap_exchange *e);

void ap_asking_rewrite(struct ap_exchange *e);
void ap_asking_score(struct ap_exchange *e);
void ap_asking_free(struct ap_exchange *e);

#endif
