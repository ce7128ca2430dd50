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
    bool forwards;                        /* where there is an upstream */
    void (*begin)(struct ap_exchange *e); /* its first step */
};

/* A piece of work with the engine. */
struct ap_task {
    struct ap_work work;
    struct ap_exchange *exchange;
    bool taken;       /* by the engine; else it is over, undone, and all of its request are */
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
    char held;             /* the byte before which it is put */
    bool passed;           /* the reply is the client's, and not only a reason for one of ours */
    bool cut;              /* its reader came to an end before the whole */
    ap_transfer_end ended; /* filled by ap_forward_end; WHOLE where nothing was passed on */
};

/* One answer as events. The first two are under the exchange's lock, the others the server's
 * thread's. */
struct ap_choice {
    struct ap_buffer text; /* decoded, and not made an event: no more than the answer */
    bool lost;             /* there was no memory for it */
    bool begun, ended;     /* its first event was made; its last */
};

/* answer_events.c. The flags of the first line are under the exchange's lock, the rest is the
 * server's thread's. */
struct ap_answer_events {
    bool begun, news, asleep;  /* the head may go; something came that was not looked at; the
                                  connection sleeps until something comes */
    bool over, cut;            /* nothing comes behind out; and it is not the whole answer */
    struct ap_buffer out;      /* events, */
    size_t n_out;              /* and bytes of them that were read */
    struct ap_choice *choices; /* one for each task; owned */
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
    struct ap_answer_events events;
};

struct ap_asking { /* asking.c */
    struct ap_task task;
    json_t *request;
    struct ap_message *messages;
};

struct ap_exchange {
    atomic_int n_ref;         /* libmicrohttpd's, and one for each work of an answer that begins
                                 before they are done; it is freed with the last */
    struct ap_server *server; /* borrowed */
    struct MHD_Connection *connection;
    struct ap_peer *peer;
    const struct ap_route *route; /* NULL: none was found */
    char method[12];
    char *query;                    /* behind the path's '?', as it came; owned; NULL: none */
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

    pthread_mutex_t lock;  /* of the next three, which other threads give up, and of what
                              answer_events.c shares */
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
void *ap_exchange_uri(void *server, const char *uri, struct MHD_Connection *connection);
enum MHD_Result ap_exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *n_data, void **exchange);
void ap_exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                           enum MHD_RequestTerminationCode why);
/* NULL: there was no memory for one. */
struct ap_peer *ap_exchange_peer(struct MHD_Connection *connection);

/* From a step: the next step comes when everything that holds the exchange lets go. */
void ap_exchange_hold(struct ap_exchange *e);
void ap_exchange_let_go(struct ap_exchange *e); /* any thread */
/* Gives the engine n works, of which it takes all or none: then they are over. Each that is taken
 * holds e. tasks stay alive until the next step. */
void ap_exchange_submit(struct ap_exchange *e, struct ap_task *tasks, size_t n);
/* The same where the answer begins before the works are done: their `done` and `grew` are set by
 * the caller. Each that is taken has a reference of e, which `done` gives back, in place of a hold;
 * tasks live as long as e. Whether they are. */
bool ap_exchange_submit_growing(struct ap_exchange *e, struct ap_task *tasks, size_t n);
/* Gives one back; with the last one e is freed. Any thread. */
void ap_exchange_unref(struct ap_exchange *e);
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
/* What `read` gives with e as its context, on the server's thread, until it ends. */
void ap_reply_reader(struct ap_exchange *e, int status, const char *type,
                     MHD_ContentReaderCallback read);
/* A static text. */
void ap_reply_static(struct ap_exchange *e, int status, const char *type, const char *text);
/* {"error"} in OpenAI's shape; code may be NULL. */
void ap_reply_error(struct ap_exchange *e, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What err says, as 400, or 413 for a limit, or 500. */
void ap_reply_failed(struct ap_exchange *e, const struct ap_error *err);
/* Where the task is not done: why, and true. */
bool ap_reply_undone(struct ap_exchange *e, const struct ap_task *task);
/* The same in an answer that has begun: appends {"error"}. */
ap_status ap_reply_put_undone(struct ap_buffer *out, const struct ap_task *task);
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
/* Counts how the upstream's reply ended and lets go of it. delivered: the client has the answer. */
void ap_forward_end(struct ap_exchange *e, bool delivered);

void ap_answering_begin(struct ap_exchange *e);
void ap_answering_free(struct ap_exchange *e);

/* The works of e->answering, made by ap_answering_begin, answered as events while they are decoded.
 */
void ap_answer_events_begin(struct ap_exchange *e);
void ap_answer_events_free(struct ap_exchange *e);

void ap_asking_rewrite(struct ap_exchange *e);
void ap_asking_score(struct ap_exchange *e);
void ap_asking_free(struct ap_exchange *e);

#endif
