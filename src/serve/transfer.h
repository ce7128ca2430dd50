/* One request to the upstream and what comes back, between two threads: the upstream's writes, the
 * server's reads. Not here: the wire (upstream.h), the client (forward.c).
 *
 *     upstream's thread: head ─► bytes … ─► end     |     server's thread: read … ─► release
 *
 * What was not read yet is bounded: the writer is told to pause, and posted when there is room. */
#ifndef AP_SERVE_TRANSFER_H
#define AP_SERVE_TRANSFER_H

#include "base/buffer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum ap_transfer_end {
    AP_TRANSFER_WHOLE,
    AP_TRANSFER_UNREACHED, /* no connection */
    AP_TRANSFER_LATE,      /* over its time */
    AP_TRANSFER_BROKEN,    /* the connection broke, or what came is no HTTP */
    AP_TRANSFER_DROPPED,   /* given up by us */
} ap_transfer_end;

enum { AP_TRANSFER_HEADERS_MAX = 64, AP_TRANSFER_HEADER_BYTES = 16384 };

struct ap_upstream;

/* What its reader does; borrowed with its context until head was called and nobody sleeps. A reader
 * that has all it wants may give its reference back then, and the transfer ends by itself. */
struct ap_transfer_reader {
    void *context;
    void (*head)(void *context); /* once, on the upstream's thread: the head is there, or the end */
    void (*sleep)(void *context); /* from ap_transfer_read: nothing is there yet */
    void (*wake)(void *context);  /* on the upstream's thread, after sleep */
};

struct ap_transfer {
    atomic_int n_ref;
    struct ap_upstream *upstream; /* borrowed */
    const struct ap_transfer_reader *reader;

    /* what is sent; the upstream's thread alone touches it once it was given over */
    char *url;               /* owned */
    struct ap_buffer body;   /* owned */
    bool post;               /* else GET */
    struct curl_slist *sent; /* its headers; owned */
    void *easy;              /* the curl handle while it is under way */
    bool started, asked;     /* asked: a connection has taken the request */
    struct ap_transfer *next_active;

    /* the head, fixed before reader->head is called */
    int status;                             /* 0: none came */
    int64_t content_length;                 /* −1: unknown */
    char *headers[AP_TRANSFER_HEADERS_MAX]; /* "Name: value"; owned */
    size_t n_header, header_bytes;

    pthread_mutex_t lock; /* of what follows */
    struct ap_buffer bytes;
    size_t n_read; /* of them */
    bool head_told, ended, paused, asleep, dropped;
    ap_transfer_end end;
    const char *why; /* what libcurl says of the end; static */

    bool posted; /* in the upstream's queue, under its lock */
    struct ap_transfer *next;
};

/* One reference each for the reader and the upstream. NULL: no memory. */
struct ap_transfer *ap_transfer_open(struct ap_upstream *upstream,
                                     const struct ap_transfer_reader *reader);
void ap_transfer_unref(struct ap_transfer *t);

/* The upstream's thread. */
bool ap_transfer_take(struct ap_transfer *t, const void *data, size_t n,
                      size_t most); /* false: no room */
bool ap_transfer_add_header(struct ap_transfer *t, const char *line, size_t n);
void ap_transfer_clear_headers(struct ap_transfer *t);
void ap_transfer_tell_head(struct ap_transfer *t);
void ap_transfer_finish(struct ap_transfer *t, ap_transfer_end end, const char *why);

/* The reader's. Bytes read; 0: none yet, and reader->sleep was called; −1: the end, whose kind is
 * in *end. */
ssize_t ap_transfer_read(struct ap_transfer *t, char *out, size_t n, ap_transfer_end *end);
/* What is under way is given up: it ends as AP_TRANSFER_DROPPED, and a reader that sleeps is woken
 * for that. Any thread that has a reference. */
void ap_transfer_drop(struct ap_transfer *t);

#endif
