/* A transfer between two threads (transfer.h). */
#include "serve/transfer.h"

#include "base/memory.h"
#include "serve/upstream.h"

#include <curl/curl.h>
#include <string.h>

struct ap_transfer *ap_transfer_open(struct ap_upstream *upstream,
                                     const struct ap_transfer_reader *reader)
{
    struct ap_transfer *t = ap_calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->upstream = upstream;
    t->reader = reader;
    t->content_length = -1;
    atomic_init(&t->n_ref, 2);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void ap_transfer_clear_headers(struct ap_transfer *t)
{
    for (size_t i = 0; i < t->n_header; i++)
        ap_free(t->headers[i]);
    t->n_header = t->header_bytes = 0;
}

void ap_transfer_unref(struct ap_transfer *t)
{
    if (!t || atomic_fetch_sub(&t->n_ref, 1) != 1)
        return;
    ap_transfer_clear_headers(t);
    curl_slist_free_all(t->sent);
    ap_buffer_free(&t->body);
    ap_buffer_free(&t->bytes);
    ap_free(t->url);
    pthread_mutex_destroy(&t->lock);
    ap_free(t);
}

bool ap_transfer_add_header(struct ap_transfer *t, const char *line, size_t n)
{
    if (t->n_header == AP_TRANSFER_HEADERS_MAX || t->header_bytes + n > AP_TRANSFER_HEADER_BYTES)
        return false;
    char *copy = ap_strndup(line, n);
    if (!copy)
        return false;
    t->headers[t->n_header++] = copy;
    t->header_bytes += n;
    return true;
}

static void wake(struct ap_transfer *t)
{
    if (t->asleep)
        t->reader->wake(t->reader->context);
    t->asleep = false;
}

bool ap_transfer_take(struct ap_transfer *t, const void *data, size_t n, size_t most)
{
    pthread_mutex_lock(&t->lock);
    size_t waiting = t->bytes.len - t->n_read;
    bool room = waiting == 0 || waiting + n <= most;
    if (room && waiting == 0) {
        ap_buffer_clear(&t->bytes);
        t->n_read = 0;
    }
    if (room && !t->dropped && ap_buffer_append(&t->bytes, data, n, NULL) != AP_OK)
        room = false;
    t->paused = !room;
    if (room)
        wake(t);
    pthread_mutex_unlock(&t->lock);
    return room;
}

void ap_transfer_tell_head(struct ap_transfer *t)
{
    bool told = t->head_told;
    t->head_told = true;
    if (!told)
        t->reader->head(t->reader->context);
}

void ap_transfer_finish(struct ap_transfer *t, ap_transfer_end end, const char *why)
{
    pthread_mutex_lock(&t->lock);
    t->ended = true;
    t->end = end;
    t->why = why;
    wake(t);
    pthread_mutex_unlock(&t->lock);
    ap_transfer_tell_head(t);
}

/* Bytes that were read are let go when nothing waits, or when they are the larger part. */
static void forget_read(struct ap_transfer *t)
{
    size_t left = t->bytes.len - t->n_read;
    if (t->n_read < left || t->n_read == 0)
        return;
    memmove(t->bytes.data, t->bytes.data + t->n_read, left);
    t->bytes.len = left;
    t->n_read = 0;
}

ssize_t ap_transfer_read(struct ap_transfer *t, char *out, size_t n, ap_transfer_end *end)
{
    bool resume = false;
    ssize_t got = 0;
    pthread_mutex_lock(&t->lock);
    size_t waiting = t->bytes.len - t->n_read;
    if (waiting > 0) {
        size_t taken = waiting < n ? waiting : n;
        memcpy(out, t->bytes.data + t->n_read, taken);
        t->n_read += taken;
        forget_read(t);
        got = (ssize_t)taken;
        resume = t->paused && taken == waiting;
        if (resume)
            t->paused = false;
    } else if (t->ended) {
        *end = t->end;
        got = -1;
    } else {
        t->asleep = true;
        t->reader->sleep(t->reader->context);
    }
    pthread_mutex_unlock(&t->lock);
    if (resume)
        ap_upstream_post(t->upstream, t);
    return got;
}

void ap_transfer_drop(struct ap_transfer *t)
{
    pthread_mutex_lock(&t->lock);
    bool under_way = !t->ended && !t->dropped;
    t->dropped = true;
    pthread_mutex_unlock(&t->lock);
    if (under_way)
        ap_upstream_post(t->upstream, t);
}
