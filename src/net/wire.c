/* A request through libcurl, and what its end means (wire.h). */
#include "net/wire.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 10000, RETRY_AFTER_MAX_S = 600, WORDS_MAX = 200 };

static size_t take_bytes(char *data, size_t size, size_t n, void *context)
{
    struct ap_wire *w = context;
    (void)size; /* libcurl: always 1 */
    if (ap_buffer_append(&w->body, data, n, NULL) == AP_OK)
        return n;
    w->too_long = true;
    return 0;
}

/* libcurl takes a head that is cut off for one without a body. */
static size_t take_line(char *line, size_t size, size_t n, void *context)
{
    struct ap_wire *w = context;
    (void)size; /* always 1 */
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0)
        w->head = false;
    else if (n > 0 && (line[0] == '\r' || line[0] == '\n'))
        w->head = true; /* and stays so in trailers */
    return n;
}

/* libcurl by itself sends a request again when a connection that it had kept ends without a byte
 * of a reply, and says nothing of it. Perhaps the server had read it, and the answer was bought:
 * who counts what is bought must know. */
static int send_once(void *context, char *ip, char *local_ip, int port, int local_port)
{
    struct ap_wire *w = context;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    w->resends = w->sent;
    w->sent = true;
    return w->resends ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

void ap_wire_open(struct ap_wire *w)
{
    *w = (struct ap_wire){.call = -1};
    w->body.max = AP_CLIENT_REPLY_MAX;
}

void ap_wire_close(struct ap_wire *w)
{
    curl_easy_cleanup(w->easy);
    curl_slist_free_all(w->headers);
    ap_buffer_free(&w->body);
    *w = (struct ap_wire){.call = -1};
}

/* ---- beginning ---- */

void ap_wire_trust(CURL *easy, const char *ca_file)
{
    if (ca_file && ca_file[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
}

static bool add_header(struct ap_wire *w, const char *name, const char *value)
{
    char line[8192];
    int n = snprintf(line, sizeof(line), "%s%s", name, value);
    struct curl_slist *longer =
        n > 0 && (size_t)n < sizeof(line) ? curl_slist_append(w->headers, line) : NULL;
    explicit_bzero(line, sizeof(line));
    if (longer)
        w->headers = longer;
    return longer != NULL;
}

static bool add_headers(struct ap_wire *w, const struct ap_client_options *o,
                        const struct ap_client_call *call)
{
    return add_header(w, "Content-Type: application/json", "") &&
           add_header(w, "Accept: application/json", "") &&
           add_header(w, "Expect:", "") && /* no round trip before the body */
           (!o->key || !o->key->text || add_header(w, "Authorization: Bearer ", o->key->text)) &&
           (!call->idempotency_key || add_header(w, "Idempotency-Key: ", call->idempotency_key)) &&
           (!call->header || add_header(w, call->header, ""));
}

ap_status ap_wire_begin(struct ap_wire *w, const struct ap_client_options *o, const char *url,
                        const struct ap_client_call *call, struct ap_error *err)
{
    struct ap_buffer address = {0};
    ap_status status;
    size_t n = strlen(url);
    long timeout_ms = (long)(o->timeout * 1e3);
    curl_easy_cleanup(w->easy);
    w->easy = curl_easy_init();
    curl_slist_free_all(w->headers);
    w->headers = NULL;
    w->words[0] = '\0';
    w->too_long = w->sent = w->resends = w->head = false;
    w->begun = ap_clock_seconds();
    ap_buffer_clear(&w->body);
    AP_TRY(
        ap_buffer_printf(&address, err, "%.*s%s", (int)(n - (url[n - 1] == '/')), url, call->path));
    if (!w->easy || !add_headers(w, o, call))
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for a request", o->who));
    curl_easy_setopt(w->easy, CURLOPT_URL, address.data);
    curl_easy_setopt(w->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(w->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* One connection where HTTP/2 is offered. Without TLS it never is, and whoever waits to see
     * would wait for the first answer, his own time running. */
    curl_easy_setopt(w->easy, CURLOPT_PIPEWAIT, strncasecmp(url, "https:", 6) == 0 ? 1L : 0L);
    curl_easy_setopt(w->easy, CURLOPT_NOSIGNAL, 1L);
    ap_wire_trust(w->easy, o->ca_file);
    if (ap_client_is_loopback(url))
        curl_easy_setopt(w->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(w->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(w->easy, CURLOPT_TIMEOUT_MS, timeout_ms < 1 ? 1L : timeout_ms);
    curl_easy_setopt(w->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, w->headers);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->n_body);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, call->body);
    curl_easy_setopt(w->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(w->easy, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(w->easy, CURLOPT_HEADERFUNCTION, take_line);
    curl_easy_setopt(w->easy, CURLOPT_HEADERDATA, w);
    curl_easy_setopt(w->easy, CURLOPT_PREREQFUNCTION, send_once);
    curl_easy_setopt(w->easy, CURLOPT_PREREQDATA, w);
    curl_easy_setopt(w->easy, CURLOPT_ERRORBUFFER, w->words);
    curl_easy_setopt(w->easy, CURLOPT_PRIVATE, w);
out:
    ap_buffer_free(&address);
    return status;
}

/* ---- its end ---- */

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* What an error body says, as OpenAI, vLLM, llama.cpp and FastAPI write it. NULL: nothing. */
static const char *said_in(const json_t *body, const char **code)
{
    const json_t *e = json_object_get(body, "error");
    const char *words = json_is_object(e) ? text_of(e, "message") : json_string_value(e);
    words = words ? words : text_of(body, "message");
    *code = text_of(e, "code") ? text_of(e, "code") : text_of(e, "type");
    return words ? words : text_of(body, "detail");
}

/* JSON can spell a key so that it is not in the bytes that came. */
static char *spelt_plainly(const struct ap_wire *w, const json_t *body)
{
    return body && strchr(w->body.data, '\\') ? json_dumps(body, JSON_COMPACT) : NULL;
}

/* What a body says, or false and its first words: one line of clean UTF-8. */
static bool server_words(const struct ap_wire *w, const struct ap_secret *key, long http_status,
                         char out[WORDS_MAX], char code[64])
{
    json_t *body = NULL;
    const char *name = NULL;
    struct ap_error line;
    if (w->body.len > 0)
        ap_json_parse(w->body.data, w->body.len, "reply", &body, NULL);
    const char *words = said_in(body, &name);
    char *plain = words ? NULL : spelt_plainly(w, body);
    bool says = words != NULL;
    words = words ? words : plain;
    if (words)
        ap_secret_hide(key, (char *)(uintptr_t)words);
    if (http_status / 100 == 3)
        words = "a redirect, which is not followed: give the address that it leads to";
    if (!words)
        words = w->body.len > 0 ? w->body.data : "no words of its own";
    ap_fail(&line, AP_IO, "%.*s", WORDS_MAX - 16, words);
    snprintf(out, WORDS_MAX, "%.*s", WORDS_MAX - 1, line.text);
    snprintf(code, 64, "%s", name ? name : "");
    free(plain);
    json_decref(body);
    return says;
}

void ap_wire_no_answer(const struct ap_wire *w, const struct ap_client_options *o, const char *why,
                       struct ap_wire_result *out)
{
    char words[WORDS_MAX], code[64];
    bool says = server_words(w, o->key, out->http_status, words, code);
    out->end = AP_WIRE_LOST;
    out->cause = AP_CAUSE_REPLY;
    out->sick = true;
    if (w->body.len == 0)
        snprintf(out->why, sizeof(out->why), "its reply holds no answer: it is empty");
    else
        snprintf(out->why, sizeof(out->why), "its reply holds no answer: %s; it %s \"%s\"", why,
                 says ? "says" : "begins", words);
}

static ap_wire_cause cause_of(long http_status, const char *code)
{
    if (http_status == 402 || (http_status == 429 && strcmp(code, "insufficient_quota") == 0))
        return AP_CAUSE_MONEY;
    if (http_status == 404 || http_status == 405)
        return AP_CAUSE_ADDRESS;
    return http_status == 401 || http_status == 403 ? AP_CAUSE_KEY : AP_CAUSE_REQUEST;
}

static bool heals(long http_status)
{
    return http_status == 429 || http_status == 408 || http_status == 409 || http_status == 425 ||
           http_status >= 500;
}

void ap_wire_advise(const struct ap_wire_result *r, const char *who, char out[AP_WIRE_ADVICE])
{
    static const struct {
        const char *text, *key, *behind; /* key: of who; NULL: none */
    } rows[] = {
        [AP_CAUSE_SERVER] = {"see whether the server is up, or raise ", ".retries",
                             " to wait longer for it"},
        [AP_CAUSE_PACE] = {"ask it for less at once, by ", ".concurrency", " or .rpm"},
        [AP_CAUSE_TIMEOUT] = {"if its answers take longer, raise ", ".timeout", ""},
        [AP_CAUSE_REPLY] = {"look at what the server sends, and at ", ".url", ""},
        [AP_CAUSE_KEY] = {"see to the key, ", ".key_env", " or .key_file"},
        [AP_CAUSE_MONEY] = {"see to the account's money", NULL, ""},
        [AP_CAUSE_ADDRESS] = {"see to ", ".url (OpenAI's mostly end in /v1)", " and .model"},
        [AP_CAUSE_REQUEST] = {"correct the recipe or the server", NULL, ""},
    };
    const char *key = rows[r->cause].key;
    snprintf(out, AP_WIRE_ADVICE, "%s%s%s%s", rows[r->cause].text, key ? who : "", key ? key : "",
             rows[r->cause].behind);
}

/* A proxy's address that libcurl cannot read is repeated by it, name and password and all; ours
 * have no @. */
const char *ap_wire_words(const char *words, CURLcode code)
{
    return words[0] && !strchr(words, '@') ? words : curl_easy_strerror(code);
}

/* libcurl knows both of its forms, seconds and a date. */
static double retry_after(const struct ap_wire *w)
{
    curl_off_t seconds = 0;
    struct curl_header *header;
    if (curl_easy_header(w->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return 0;
    curl_easy_getinfo(w->easy, CURLINFO_RETRY_AFTER, &seconds);
    return seconds < 0 ? 0 : seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (double)seconds;
}

bool ap_wire_length_is_sound(CURL *easy)
{
    struct curl_header *header;
    char first[32] = "";
    if (curl_easy_header(easy, "Transfer-Encoding", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
        return true;
    for (size_t i = 0;
         curl_easy_header(easy, "Content-Length", i, CURLH_HEADER, -1, &header) == CURLHE_OK; i++) {
        const char *value = header->value;
        if (!value[0] || value[strspn(value, "0123456789")] || (i > 0 && strcmp(first, value) != 0))
            return false;
        snprintf(first, sizeof(first), "%s", value);
    }
    return true;
}

static void end_by_status(struct ap_wire *w, const struct ap_secret *key,
                          struct ap_wire_result *out)
{
    char words[WORDS_MAX], code[64];
    server_words(w, key, out->http_status, words, code);
    out->cause = cause_of(out->http_status, code);
    bool again = heals(out->http_status) && out->cause != AP_CAUSE_MONEY;
    out->end = again ? AP_WIRE_REFUSED : AP_WIRE_REJECTED;
    if (again)
        out->cause = out->http_status == 429 ? AP_CAUSE_PACE : AP_CAUSE_SERVER;
    out->sick = out->http_status >= 500;
    snprintf(out->why, sizeof(out->why), "%ld: %s", out->http_status, words);
}

static bool is_untrusted(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}

/* In OpenSSL's and in GnuTLS's words. */
static bool is_plain(const struct ap_wire *w, CURLcode code)
{
    return code == CURLE_SSL_CONNECT_ERROR &&
           (strstr(w->words, "wrong version number") || strstr(w->words, "unexpected TLS packet"));
}

void ap_wire_end_of(struct ap_wire *w, const struct ap_client_options *o, CURLcode code,
                    struct ap_wire_result *out)
{
    *out = (struct ap_wire_result){.end = AP_WIRE_REPLY};
    curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &out->http_status);
    if (w->body.data)
        ap_secret_hide(o->key, w->body.data);
    if (code != CURLE_OK || !w->head || !ap_wire_length_is_sound(w->easy)) {
        /* whatever the error: one on the way to a second connection comes after a first sending,
         * and a timeout may come before there was any connection */
        out->end = w->sent ? AP_WIRE_LOST : is_untrusted(code) ? AP_WIRE_UNTRUSTED : AP_WIRE_UNSENT;
        if (w->sent && code == CURLE_OPERATION_TIMEDOUT)
            out->cause = AP_CAUSE_TIMEOUT;
        if (w->too_long || (code == CURLE_OK && w->head))
            out->cause = AP_CAUSE_REPLY;
        if (is_plain(w, code))
            out->cause = AP_CAUSE_ADDRESS;
        out->sick = true;
        snprintf(out->why, sizeof(out->why), "%s",
                 w->too_long         ? "the reply is longer than any answer"
                 : is_plain(w, code) ? "it speaks no TLS: http:// in place of https://?"
                 : w->resends        ? "the connection was closed before a reply came"
                 : !code && !w->head ? "the connection was closed in the head of a reply"
                 : !code             ? "the reply says several lengths, or one that is no number"
                                     : ap_wire_words(w->words, code));
        ap_secret_hide(o->key, out->why);
        return;
    }
    out->retry_after = retry_after(w);
    if (out->http_status / 100 != 2)
        end_by_status(w, o->key, out);
}
