/* The upstream's thread (upstream.h): libcurl says which sockets and which time it waits for, one
 * epoll waits for them and for posts of other threads. */
#include "serve/upstream.h"

#include "base/clock.h"
#include "base/memory.h"
#include "net/wire.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 64, STATUS_MAX = 999 };

struct ap_upstream {
    struct ap_upstream_options options;
    char *url, *ca_file; /* owned; options points to them */
    bool direct;         /* the address is this machine's own: no proxy */
    CURLM *multi;
    int epoll, event;
    double timer_at; /* ap_clock_seconds; infinity: none */
    pthread_t thread;
    bool started;
    atomic_int n_active;
    struct ap_transfer *active; /* a list of those under way: all of them at the end */

    pthread_mutex_t lock; /* of what follows */
    struct ap_transfer *first, *last;
    bool closing;
};

/* ---- what other threads do ---- */

static void ring(struct ap_upstream *u)
{
    uint64_t one = 1;
    ssize_t ignored = write(u->event, &one, sizeof(one));
    (void)ignored;
}

/* False where nobody would serve it any more. */
static bool post(struct ap_upstream *u, struct ap_transfer *t)
{
    pthread_mutex_lock(&u->lock);
    bool first = !u->first, closing = u->closing;
    if (!t->posted && !closing) {
        t->posted = true;
        t->next = NULL;
        atomic_fetch_add(&t->n_ref, 1);
        if (u->last && u->first)
            u->last->next = t;
        else
            u->first = t;
        u->last = t;
    }
    pthread_mutex_unlock(&u->lock);
    if (first && !closing)
        ring(u);
    return !closing;
}

void ap_upstream_post(struct ap_upstream *u, struct ap_transfer *t)
{
    (void)post(u, t);
}

void ap_upstream_send(struct ap_upstream *u, struct ap_transfer *t)
{
    atomic_fetch_add(&u->n_active, 1);
    if (post(u, t))
        return;
    atomic_fetch_sub(&u->n_active, 1);
    ap_transfer_finish(t, AP_TRANSFER_DROPPED, "the server is closing");
    ap_transfer_unref(t);
}

int ap_upstream_n_active(const struct ap_upstream *u)
{
    return atomic_load(&u->n_active);
}

char *ap_upstream_url(const struct ap_upstream *u, const char *path, const char *query)
{
    struct ap_buffer url = {0};
    if (ap_buffer_printf(&url, NULL, "%s%s%s%s", u->url, path, query ? "?" : "",
                         query ? query : "") != AP_OK)
        ap_buffer_free(&url);
    return url.data;
}

bool ap_upstream_has_path(const struct ap_upstream *u)
{
    const char *host = strstr(u->url, "://");
    return host && strchr(host + strlen("://"), '/');
}

/* ---- what libcurl calls ---- */

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    struct ap_transfer *t = context;
    (void)size;
    size_t length = n;
    while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
        length--;
    if (t->head_told)
        return n; /* trailers */
    if (length > 5 && memcmp(line, "HTTP/", 5) == 0) {
        ap_transfer_clear_headers(t);
    } else if (length > 0) {
        if (!ap_transfer_add_header(t, line, length))
            return 0;
    } else {
        long status = 0;
        curl_off_t bytes = -1;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status < 200)
            return n;
        if (status > STATUS_MAX || !ap_wire_length_is_sound(t->easy))
            return 0;
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &bytes);
        t->status = (int)status;
        t->content_length = bytes;
        ap_transfer_tell_head(t);
    }
    return n;
}

static size_t on_data(char *data, size_t size, size_t n, void *context)
{
    struct ap_transfer *t = context;
    (void)size;
    return ap_transfer_take(t, data, n, t->upstream->options.buffer_bytes) ? n
                                                                           : CURL_WRITEFUNC_PAUSE;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
    struct ap_upstream *u = context;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(u->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event event = {.data.fd = fd};
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(u->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return -1;
    if (!known)
        curl_multi_assign(u->multi, fd, u);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *context)
{
    struct ap_upstream *u = context;
    (void)multi;
    u->timer_at = ms < 0 ? INFINITY : ap_clock_seconds() + 1e-3 * (double)ms;
    return 0;
}

/* ---- one transfer ---- */

/* libcurl by itself sends a request again whose kept connection ended without a byte of a reply:
 * perhaps the upstream had read it, and the answer would be paid for twice. */
static int ask_once(void *context, char *ip, char *local_ip, int port, int local_port)
{
    struct ap_transfer *t = context;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    bool again = t->post && t->asked;
    t->asked = true;
    return again ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void set_options(const struct ap_upstream *u, struct ap_transfer *t, CURL *easy)
{
    bool tls = strncmp(u->url, "https:", 6) == 0;
    curl_easy_setopt(easy, CURLOPT_URL, t->url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, tls ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(1e3 * u->options.connect_timeout));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(1e3 * u->options.timeout));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->sent);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, ask_once);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    ap_wire_trust(easy, u->ca_file);
    if (u->direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (t->post) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->body.data ? t->body.data : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.len);
    }
}

static ap_transfer_end end_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return AP_TRANSFER_WHOLE;
    case CURLE_OPERATION_TIMEDOUT:
        return AP_TRANSFER_LATE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return AP_TRANSFER_UNREACHED;
    default:
        return AP_TRANSFER_BROKEN;
    }
}

/* The upstream's own reference ends here. */
static void finish(struct ap_upstream *u, struct ap_transfer *t, ap_transfer_end end,
                   const char *why)
{
    if (t->easy) {
        curl_multi_remove_handle(u->multi, t->easy);
        curl_easy_cleanup(t->easy);
        t->easy = NULL;
    }
    for (struct ap_transfer **at = &u->active; *at; at = &(*at)->next_active)
        if (*at == t) {
            *at = t->next_active;
            break;
        }
    atomic_fetch_sub(&u->n_active, 1);
    ap_transfer_finish(t, end, why);
    ap_transfer_unref(t);
}

static void start(struct ap_upstream *u, struct ap_transfer *t)
{
    t->next_active = u->active;
    u->active = t;
    t->started = true;
    t->easy = curl_easy_init(); /* why not a kept one: net/wire.h */
    if (!t->easy) {
        finish(u, t, AP_TRANSFER_BROKEN, "no memory");
        return;
    }
    set_options(u, t, t->easy);
    if (curl_multi_add_handle(u->multi, t->easy) != CURLM_OK)
        finish(u, t, AP_TRANSFER_BROKEN, "no memory");
}

/* ---- the loop ---- */

static struct ap_transfer *take_posted(struct ap_upstream *u, bool *closing)
{
    pthread_mutex_lock(&u->lock);
    struct ap_transfer *t = u->first;
    *closing = u->closing;
    if (t) {
        u->first = t->next;
        t->posted = false;
    }
    pthread_mutex_unlock(&u->lock);
    return t;
}

static void serve_posted(struct ap_upstream *u, struct ap_transfer *t, bool closing)
{
    pthread_mutex_lock(&t->lock);
    bool dropped = t->dropped || closing, ended = t->ended;
    pthread_mutex_unlock(&t->lock);
    if (ended)
        ;
    else if (!t->started && !dropped)
        start(u, t);
    else if (dropped)
        finish(u, t, AP_TRANSFER_DROPPED, "given up");
    else
        curl_easy_pause(t->easy, CURLPAUSE_CONT);
    ap_transfer_unref(t);
}

static bool serve_posts(struct ap_upstream *u)
{
    struct ap_transfer *t;
    bool closing;
    while ((t = take_posted(u, &closing)) != NULL)
        serve_posted(u, t, closing);
    return closing;
}

static void finish_done(struct ap_upstream *u)
{
    CURLMsg *message;
    int n;
    while ((message = curl_multi_info_read(u->multi, &n)) != NULL) {
        char *t = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        finish(u, (struct ap_transfer *)t, end_of(code),
               code == CURLE_ABORTED_BY_CALLBACK ? "the connection was closed before a reply came"
                                                 : curl_easy_strerror(code));
    }
}

static int wait_ms(const struct ap_upstream *u)
{
    double left = u->timer_at - ap_clock_seconds();
    return !isfinite(left) ? -1 : left <= 0 ? 0 : left > 3600 ? 3600000 : (int)ceil(1e3 * left);
}

static void serve_events(struct ap_upstream *u, const struct epoll_event *events, int n)
{
    int running;
    for (int i = 0; i < n; i++) {
        uint64_t ignored;
        uint32_t what = events[i].events;
        if (events[i].data.fd == u->event) {
            ssize_t got = read(u->event, &ignored, sizeof(ignored));
            (void)got;
            continue;
        }
        curl_multi_socket_action(u->multi, events[i].data.fd,
                                 (what & EPOLLIN ? CURL_CSELECT_IN : 0) |
                                     (what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                                     (what & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0),
                                 &running);
    }
    if (u->timer_at <= ap_clock_seconds()) {
        u->timer_at = INFINITY;
        curl_multi_socket_action(u->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

static void *loop(void *context)
{
    struct ap_upstream *u = context;
    struct epoll_event events[EVENTS];
    do {
        int n = epoll_wait(u->epoll, events, EVENTS, wait_ms(u));
        serve_events(u, events, n);
        finish_done(u);
    } while (!serve_posts(u));
    while (u->active)
        finish(u, u->active, AP_TRANSFER_DROPPED, "the server is closing");
    return NULL;
}

/* ---- open and close ---- */

/* Who it trusts is found out now, not at the first request. */
static ap_status check_options(const struct ap_upstream_options *o, struct ap_error *err)
{
    ap_status status = ap_client_check_url(o->url, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "upstream");
    status = ap_client_check_ca(o->ca_file, err);
    return status == AP_OK ? AP_OK : ap_fail_prefix(err, status, "upstream: certificates to trust");
}

static ap_status open_multi(struct ap_upstream *u, struct ap_error *err)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct epoll_event event = {.events = EPOLLIN};
    if (!(u->multi = curl_multi_init()))
        return ap_fail(err, AP_MEMORY, "upstream: no memory");
    curl_multi_setopt(u->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(u->multi, CURLMOPT_SOCKETDATA, u);
    curl_multi_setopt(u->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(u->multi, CURLMOPT_TIMERDATA, u);
    curl_multi_setopt(u->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(u->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)u->options.connections);
    curl_multi_setopt(u->multi, CURLMOPT_MAXCONNECTS, (long)u->options.connections);
    u->epoll = epoll_create1(EPOLL_CLOEXEC);
    u->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.fd = u->event;
    if (u->epoll < 0 || u->event < 0 || epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->event, &event) != 0)
        return ap_fail(err, AP_IO,
                       "upstream: cannot wait for sockets; raise the limit of open files");
    return AP_OK;
}

ap_status ap_upstream_open(struct ap_upstream **out, const struct ap_upstream_options *options,
                           struct ap_error *err)
{
    ap_status status = check_options(options, err);
    *out = NULL;
    if (status != AP_OK)
        return status;
    struct ap_upstream *u = ap_calloc(1, sizeof(*u));
    if (!u)
        return ap_fail(err, AP_MEMORY, "upstream: no memory");
    u->options = *options;
    u->epoll = u->event = -1;
    u->timer_at = INFINITY;
    pthread_mutex_init(&u->lock, NULL);
    u->url = ap_strdup(options->url);
    u->ca_file = options->ca_file ? ap_strdup(options->ca_file) : NULL;
    if (!u->url || (options->ca_file && !u->ca_file))
        AP_TRY(ap_fail(err, AP_MEMORY, "upstream: no memory"));
    for (size_t n = strlen(u->url); n > 0 && u->url[n - 1] == '/'; n--)
        u->url[n - 1] = '\0';
    u->direct = ap_client_is_loopback(u->url);
    AP_TRY(open_multi(u, err));
    if (pthread_create(&u->thread, NULL, loop, u) != 0)
        AP_TRY(ap_fail(err, AP_MEMORY, "upstream: no thread"));
    u->started = true;
    *out = u;
out:
    if (status != AP_OK)
        ap_upstream_close(u);
    return status;
}

void ap_upstream_stop(struct ap_upstream *u)
{
    if (!u || !u->started)
        return;
    pthread_mutex_lock(&u->lock);
    u->closing = true;
    pthread_mutex_unlock(&u->lock);
    ring(u);
    pthread_join(u->thread, NULL);
    u->started = false;
}

void ap_upstream_close(struct ap_upstream *u)
{
    if (!u)
        return;
    ap_upstream_stop(u);
    curl_multi_cleanup(u->multi);
    if (u->epoll >= 0)
        close(u->epoll);
    if (u->event >= 0)
        close(u->event);
    pthread_mutex_destroy(&u->lock);
    ap_free(u->url);
    ap_free(u->ca_file);
    ap_free(u);
}
