/* A paid server (remote.h). Entry points: ap_remote_open, ap_remote_find, ap_remote_ask. */
#include "align/remote.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is spent and what is held back for what is in flight. */
struct spending {
    int64_t requests, tokens;
    double usd;
};

struct ap_remote {
    struct ap_remote_options o;
    struct ap_secret key;
    struct ap_client *client;
    struct spending spent, held;
    bool told_usage; /* that the server does not say what it counted */
    unsigned told;   /* ap_remote_tells */
};

struct asking { /* one call of ap_remote_ask */
    struct ap_remote *r;
    const struct ap_remote_request *requests; /* those that are sent */
    const struct ap_remote_reader *reader;
    int *answered; /* n_answered of them, which are claimed until that is committed */
    int n_answered;
    int n_left;         /* that are not over */
    double waits_since; /* nothing is in flight as others ask for it; 0: it is not so */
    bool writing;       /* a transaction of the ledger is open */
    char why[256];      /* the last reply was no answer */
    bool told;          /* that it waits */
};

/* ---- opening ---- */

static ap_status read_spent(struct ap_remote *r, struct ap_error *err)
{
    struct ap_ledger_sums sums;
    ap_status status = ap_ledger_sum(r->o.ledger, r->o.who, &sums, err);
    if (status == AP_OK)
        r->spent = (struct spending){sums.n_send - sums.n_refused,
                                     sums.n_prompt + sums.n_token + sums.reserved_tokens,
                                     sums.usd + sums.reserved_usd};
    return status;
}

ap_status ap_remote_open(struct ap_remote **out, const struct ap_remote_options *options,
                         struct ap_error *err)
{
    const struct ap_http_settings *h = options->http;
    struct ap_remote *r = ap_calloc(1, sizeof(*r));
    ap_status status = AP_OK;
    *out = NULL;
    if (!r)
        return ap_fail(err, AP_MEMORY, "%s: no memory", options->who);
    r->o = *options;
    const struct ap_client_options client = {.who = options->who,
                                             .urls = h->url,
                                             .n_url = h->n_url,
                                             .ca_file = h->ca_file,
                                             .key = &r->key,
                                             .concurrency = h->concurrency,
                                             .rpm = h->rpm,
                                             .tpm = h->tpm,
                                             .timeout = options->timeout,
                                             .retries = h->retries,
                                             .backoff = options->backoff,
                                             .sink = options->sink};
    AP_TRY(ap_secret_open(&r->key, h->key_env, h->key_file, options->who, err));
    AP_TRY(ap_client_open(&r->client, &client, err));
    AP_TRY(read_spent(r, err));
    *out = r;
    r = NULL;
out:
    ap_remote_close(r);
    return status;
}

void ap_remote_close(struct ap_remote *r)
{
    if (!r)
        return;
    ap_client_close(r->client);
    ap_secret_free(&r->key);
    ap_free(r);
}

ap_status ap_remote_find(struct ap_remote *r, const char *key, struct ap_ledger_answer *out,
                         bool *found, struct ap_error *err)
{
    return ap_ledger_find(r->o.ledger, key, out, found, err);
}

const struct ap_sink *ap_remote_sink(const struct ap_remote *r)
{
    return r->o.sink;
}

bool ap_remote_tells(struct ap_remote *r, unsigned what)
{
    bool first = !(r->told & what);
    r->told |= what;
    return first;
}

/* ---- the budget ---- */

static double price(const struct ap_remote *r, int64_t n_prompt, int64_t n_answer)
{
    const struct ap_budget_settings *b = &r->o.http->budget;
    return ((double)n_prompt * b->price_in + (double)n_answer * b->price_out) / 1e6;
}

static struct spending most_of(const struct ap_remote *r, const struct ap_remote_request *q)
{
    return (struct spending){q->n, q->n_prompt_most + q->n * q->n_answer_most,
                             price(r, q->n_prompt_most, q->n * q->n_answer_most)};
}

static void add(struct spending *to, const struct spending *s, int sign)
{
    to->requests += sign * s->requests;
    to->tokens += sign * s->tokens;
    to->usd += sign * s->usd;
}

/* The key of the budget that `more` would pass; NULL: it is within. */
static const char *passes(const struct ap_remote *r, const struct spending *more)
{
    const struct ap_budget_settings *b = &r->o.http->budget;
    if (b->requests > 0 && r->spent.requests + r->held.requests + more->requests > b->requests)
        return "requests";
    if (b->tokens > 0 && r->spent.tokens + r->held.tokens + more->tokens > b->tokens)
        return "tokens";
    if (b->usd > 0 && r->spent.usd + r->held.usd + more->usd > b->usd)
        return "usd";
    return NULL;
}

static ap_status refuse(const struct ap_remote *r, const char *key, const struct spending *more,
                        struct ap_error *err)
{
    const struct ap_budget_settings *b = &r->o.http->budget;
    char limit[32];
    if (strcmp(key, "usd") == 0)
        snprintf(limit, sizeof(limit), "%g", b->usd);
    else
        snprintf(limit, sizeof(limit), "%lld",
                 (long long)(strcmp(key, "tokens") == 0 ? b->tokens : b->requests));
    return ap_fail(err, AP_LIMIT,
                   "%s.budget.%s is %s and would be passed: %lld requests, %lld tokens, %.6g usd "
                   "are spent, the next may take %lld tokens, %.6g usd; raise it and run again: "
                   "what was bought is kept",
                   r->o.who, key, limit, (long long)r->spent.requests, (long long)r->spent.tokens,
                   r->spent.usd, (long long)more->tokens, more->usd);
}

/* ---- what the client tells ---- */

/* In the ledger together, at the next settle. */
static ap_status write_on(struct asking *a, struct ap_error *err)
{
    ap_status status = a->writing ? AP_OK : ap_ledger_begin(a->r->o.ledger, err);
    a->writing = a->writing || status == AP_OK;
    return status;
}

static void release(const struct asking *a, int call)
{
    for (int k = 0; k < a->requests[call].n; k++)
        ap_ledger_release(a->r->o.ledger, a->requests[call].keys[k]);
}

/* Others may look for the answers once they are there. */
static ap_status settle(void *context, struct ap_error *err)
{
    struct asking *a = context;
    ap_status status = a->writing ? ap_ledger_commit(a->r->o.ledger, err) : AP_OK;
    a->writing = false;
    while (a->n_answered > 0)
        release(a, a->answered[--a->n_answered]);
    return status;
}

static ap_status intend(struct asking *a, const struct ap_remote_request *q, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int k = 0; k < q->n && status == AP_OK; k++) {
        int64_t prompt = k == 0 ? q->n_prompt_most : 0;
        status =
            ap_ledger_intend(a->r->o.ledger, q->keys[k], a->r->o.who, q->body,
                             prompt + q->n_answer_most, price(a->r, prompt, q->n_answer_most), err);
    }
    return status;
}

/* Holds back what the first *n of them may come to, and lowers *n to what the budget allows. */
static ap_status hold_back(struct asking *a, const int *calls, int *n, struct ap_error *err)
{
    struct ap_remote *r = a->r;
    const int n_ready = *n;
    for (*n = 0; *n < n_ready; ++*n) {
        struct spending most = most_of(r, &a->requests[calls[*n]]);
        const char *passed = passes(r, &most);
        if (passed && *n == 0 && r->held.requests == 0)
            return refuse(r, passed, &most, err);
        if (passed)
            break;
        add(&r->held, &most, 1);
    }
    for (int i = *n; i < n_ready; i++) /* who waits holds nothing */
        release(a, calls[i]);
    return AP_OK;
}

static ap_status sending(void *context, const int *calls, int *n, struct ap_error *err)
{
    struct asking *a = context;
    struct ap_remote *r = a->r;
    int i;
    ap_status status = hold_back(a, calls, n, err);
    if (status != AP_OK)
        return status;
    if (*n > 0)
        status = write_on(a, err);
    for (i = 0; i < *n && status == AP_OK; i++)
        status = intend(a, &a->requests[calls[i]], err);
    ap_status end = settle(a, err);
    status = status == AP_OK ? end : status;
    for (i = 0; i < *n && status != AP_OK; i++) {
        struct spending most = most_of(r, &a->requests[calls[i]]);
        add(&r->held, &most, -1);
    }
    return status;
}

/* What it came to in place of what was held back. */
static void account(struct ap_remote *r, const struct ap_remote_request *q)
{
    const struct ap_budget_settings *b = &r->o.http->budget;
    struct spending most = most_of(r, q), real = {0};
    bool told = true;
    add(&r->held, &most, -1);
    for (int k = 0; k < q->n; k++) {
        if (!q->out[k].text)
            continue;
        real.requests++;
        told = told && q->out[k].n_prompt >= 0;
        real.tokens += q->out[k].n_prompt + q->out[k].n_token;
        q->out[k].usd = told ? price(r, q->out[k].n_prompt, q->out[k].n_token) : 0;
        real.usd += q->out[k].usd;
    }
    add(&r->spent, told ? &real : &most, 1);
    if (!told && !r->told_usage && (b->tokens > 0 || b->usd > 0))
        ap_sink_warn(r->o.sink, r->o.who,
                     "the server does not say how many tokens it counts: the budget takes the most "
                     "that they can be");
    r->told_usage = r->told_usage || !told;
}

static ap_status write_answers(struct asking *a, int call, const struct ap_client_reply *reply,
                               struct ap_error *err)
{
    const struct ap_remote_request *q = &a->requests[call];
    account(a->r, q);
    a->answered[a->n_answered++] = call;
    a->n_left--;
    ap_status status = write_on(a, err);
    for (int k = 0; k < q->n && status == AP_OK; k++) {
        if (!q->out[k].text) { /* the server gave fewer */
            status = ap_ledger_miss(a->r->o.ledger, q->keys[k], true, err);
            continue;
        }
        q->out[k].seconds = reply->seconds;
        ap_secret_hide(&a->r->key, q->out[k].text); /* JSON may have spelt it with escapes */
        ap_secret_hide(&a->r->key, q->out[k].finish);
        status = ap_ledger_answer(a->r->o.ledger, q->keys[k], &q->out[k], err);
    }
    return status;
}

static ap_status missed(void *context, int call, ap_client_miss kind, struct ap_error *err)
{
    struct asking *a = context;
    const struct ap_remote_request *q = &a->requests[call];
    struct spending most = most_of(a->r, q);
    add(&a->r->held, &most, -1);
    if (kind == AP_MISS_LOST)
        add(&a->r->spent, &most, 1);
    ap_status status = write_on(a, err);
    for (int k = 0; k < q->n && status == AP_OK; k++)
        status = ap_ledger_miss(a->r->o.ledger, q->keys[k], kind != AP_MISS_LOST, err);
    release(a, call);
    return status;
}

static ap_status arrived(void *context, int call, const struct ap_client_reply *reply,
                         const char **no_answer, struct ap_error *err)
{
    struct asking *a = context;
    const char *why = a->reader->read(a->reader->context, &a->requests[call], reply);
    if (why) {
        const char *expected = a->reader->expected;
        snprintf(a->why, sizeof(a->why), "%s%s%s", why, expected ? ", expected " : "",
                 expected ? expected : "");
        *no_answer = a->why;
    }
    if (!why || why != a->reader->hopeless)
        return why ? AP_OK : write_answers(a, call, reply, err);
    ap_status status = missed(a, call, AP_MISS_LOST, err);
    return status != AP_OK
               ? status
               : ap_fail(err, AP_UNSUPPORTED, "%s: the server's reply is of no use: %s; %s",
                         a->r->o.who, why, a->reader->remedy);
}

static ap_status rejected(void *context, int call, const struct ap_client_reply *reply, bool *taken,
                          struct ap_error *err)
{
    struct asking *a = context;
    *taken =
        a->reader->rejected && a->reader->rejected(a->reader->context, &a->requests[call], reply);
    return *taken ? write_answers(a, call, reply, err) : AP_OK;
}

/* ---- what the ledger has, and what others ask for ---- */

static ap_status find_all(struct ap_remote *r, const struct ap_remote_request *q, int *n_found,
                          struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int k = 0; k < q->n && status == AP_OK; k++) {
        bool found;
        status = ap_remote_find(r, q->keys[k], &q->out[k], &found, err);
        *n_found += status == AP_OK && found;
    }
    return status;
}

static ap_status claim_all(struct ap_remote *r, const struct ap_remote_request *q, bool *mine,
                           struct ap_error *err)
{
    struct ap_error line;
    ap_status status = AP_OK;
    *mine = true;
    for (int k = 0; k < q->n && status == AP_OK; k++) {
        status = ap_ledger_claim(r->o.ledger, q->keys[k], mine, err);
        if (ap_ledger_warns(r->o.ledger, &line))
            ap_sink_warn(r->o.sink, r->o.who, "%s", line.text);
        if (status == AP_OK && *mine)
            continue;
        while (k-- > 0)
            ap_ledger_release(r->o.ledger, q->keys[k]);
        break;
    }
    return status;
}

/* A line for whoever looks at a run that stands still. */
static void tell_of_others(struct asking *a)
{
    enum { QUIET_S = 5 };
    double now = ap_clock_seconds();
    if (a->r->held.requests > 0) {
        a->waits_since = 0;
        return;
    }
    if (a->waits_since == 0)
        a->waits_since = now;
    if (a->told || now - a->waits_since < QUIET_S)
        return;
    a->told = true;
    ap_sink_note(a->r->o.sink, a->r->o.who,
                 "another run that shares the ledger is asking for the same answers; waiting for "
                 "it, with %d requests left",
                 a->n_left);
}

/* Looks, claims it right before it is sent, and looks again once it has the claim: whoever had it
 * has written what came. What is put off holds no claim, so that two never wait for each other. */
static ap_status ready(void *context, int call, ap_client_ready *out, struct ap_error *err)
{
    struct asking *a = context;
    const struct ap_remote_request *q = &a->requests[call];
    int n_found = 0;
    bool mine = false;
    ap_status status = find_all(a->r, q, &n_found, err);
    if (status == AP_OK && n_found == 0)
        status = claim_all(a->r, q, &mine, err);
    if (status == AP_OK && mine)
        status = find_all(a->r, q, &n_found, err);
    *out = n_found > 0 ? AP_READY_OVER : mine ? AP_READY_NOW : AP_READY_LATER;
    if (status == AP_OK && *out == AP_READY_LATER)
        tell_of_others(a);
    if (*out == AP_READY_NOW)
        a->waits_since = 0;
    a->n_left -= *out == AP_READY_OVER;
    if (*out == AP_READY_OVER)
        release(a, call);
    return status;
}

/* ---- asking ---- */

enum { BYTES_OF_TOKEN = 3 }; /* of text, for the pace; the budget counts on no more than one */

/* One key for all attempts at the same request; another where it buys fewer answers. */
static char *idempotency_key(const struct ap_remote_request *q)
{
    char text[AP_LEDGER_KEY + 16];
    snprintf(text, sizeof(text), q->n > 1 ? "%s-%d" : "%s", q->keys[0], q->n);
    return ap_strdup(text);
}

static void free_names(char **names, int n)
{
    for (int i = 0; names && i < n; i++)
        ap_free(names[i]);
    ap_free(names);
}

static bool fill_calls(const struct asking *a, struct ap_client_call *calls, char **names, int n)
{
    for (int i = 0; i < n; i++) {
        const struct ap_remote_request *q = &a->requests[i];
        if (!(names[i] = idempotency_key(q)))
            return false;
        calls[i] = (struct ap_client_call){.path = q->path,
                                           .body = q->body,
                                           .n_body = q->n_body,
                                           .idempotency_key = names[i],
                                           .header = q->header,
                                           .tokens = q->n_prompt_most / BYTES_OF_TOKEN +
                                                     q->n * q->n_answer_most};
    }
    return true;
}

ap_status ap_remote_ask(struct ap_remote *r, const struct ap_remote_request *requests, int n,
                        const struct ap_remote_reader *reader, struct ap_error *err)
{
    struct asking a = {.r = r, .requests = requests, .reader = reader, .n_left = n};
    const struct ap_client_events events = {&a, ready, sending, arrived, missed, rejected, settle};
    struct ap_client_call *calls = ap_calloc((size_t)n, sizeof(*calls));
    char **names = ap_calloc((size_t)n, sizeof(*names));
    ap_status status = AP_OK;
    a.answered = ap_calloc((size_t)n, sizeof(*a.answered));
    r->held = (struct spending){0};
    if (!calls || !names || !a.answered || !fill_calls(&a, calls, names, n))
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for %d requests", r->o.who, n));
    status = ap_client_send(r->client, calls, n, &events, err);
    settle(&a, NULL); /* what came in with the error is kept, too */
    ap_ledger_release(r->o.ledger, NULL);
out:
    free_names(names, n);
    ap_free(a.answered);
    ap_free(calls);
    return status;
}

/* ---- requests of one answer each ---- */

void ap_remote_key(const char *const *parts, int n, char out[AP_LEDGER_KEY])
{
    struct ap_sha256 sha;
    unsigned char digest[32];
    ap_sha256_init(&sha);
    for (int i = 0; i < n; i++)
        ap_sha256_add(&sha, parts[i], strlen(parts[i]) + 1);
    ap_sha256_end(&sha, digest);
    ap_sha256_hex(digest, out);
}

static int by_key(const void *a, const void *b)
{
    const struct ap_remote_request *p = a, *q = b;
    int order = memcmp(p->keys[0], q->keys[0], AP_LEDGER_KEY);
    return order ? order : p->index - q->index;
}

static ap_status copy_answer(const struct ap_ledger_answer *from, struct ap_ledger_answer *to,
                             struct ap_error *err)
{
    *to = *from;
    to->text = ap_strdup(from->text);
    to->finish = ap_strdup(from->finish);
    return to->text && to->finish ? AP_OK : ap_fail(err, AP_MEMORY, "no memory for an answer");
}

ap_status ap_remote_fetch(struct ap_remote *r, const struct ap_remote_request *requests, int n,
                          const struct ap_remote_reader *reader, struct ap_error *err)
{
    struct ap_remote_request *sorted = ap_calloc((size_t)n, sizeof(*sorted));
    struct ap_remote_request *distinct = ap_calloc((size_t)n, sizeof(*distinct));
    ap_status status = AP_OK;
    int n_distinct = 0;
    if (!sorted || !distinct)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for %d requests", r->o.who, n));
    memcpy(sorted, requests, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_key);
    for (int i = 0; i < n; i++)
        if (i == 0 || strcmp(sorted[i - 1].keys[0], sorted[i].keys[0]) != 0)
            distinct[n_distinct++] = sorted[i];
    AP_TRY(ap_remote_ask(r, distinct, n_distinct, reader, err));
    for (int i = 1; i < n; i++)
        if (!sorted[i].out->text)
            AP_TRY(copy_answer(sorted[i - 1].out, sorted[i].out, err));
out:
    ap_free(sorted);
    ap_free(distinct);
    return status;
}

ap_status ap_remote_batch_open(struct ap_remote_batch *b, int n, const char *who,
                               struct ap_error *err)
{
    size_t size = (size_t)n;
    *b = (struct ap_remote_batch){
        ap_calloc(size, sizeof(*b->bodies)), ap_calloc(size, sizeof(*b->keys)),
        ap_calloc(size, sizeof(*b->answers)), ap_calloc(size, sizeof(*b->requests)), n};
    return b->bodies && b->keys && b->answers && b->requests
               ? AP_OK
               : ap_fail(err, AP_MEMORY, "%s: no memory for %d requests", who, n);
}

void ap_remote_batch_put(struct ap_remote_batch *b, int i, char *body, const char *path,
                         const char *kind, const char *name, int64_t n_answer_most)
{
    const char *const parts[] = {kind, name, path, body};
    ap_remote_key(parts, AP_LEN(parts), b->keys[i]);
    b->bodies[i] = body;
    b->requests[i] = (struct ap_remote_request){.index = i,
                                                .path = path,
                                                .body = body,
                                                .n_body = strlen(body),
                                                .keys = &b->keys[i],
                                                .out = &b->answers[i],
                                                .n = 1,
                                                .n_prompt_most = (int64_t)strlen(body),
                                                .n_answer_most = n_answer_most};
}

void ap_remote_batch_free(struct ap_remote_batch *b)
{
    for (int i = 0; b->answers && i < b->n; i++)
        ap_ledger_answer_free(&b->answers[i]);
    for (int i = 0; b->bodies && i < b->n; i++)
        free(b->bodies[i]);
    ap_free(b->bodies);
    ap_free(b->keys);
    ap_free(b->answers);
    ap_free(b->requests);
    *b = (struct ap_remote_batch){0};
}

ap_status ap_remote_tell(struct ap_ledger *ledger, const char *who, struct ap_buffer *out,
                         struct ap_error *err)
{
    struct ap_ledger_sums s;
    ap_status status = ap_ledger_sum(ledger, who, &s, err);
    if (status != AP_OK)
        return status;
    AP_TRY(ap_buffer_printf(out, err, "%lld answers bought so far, ", (long long)s.n_answer));
    if (s.n_filtered > 0)
        AP_TRY(ap_buffer_printf(out, err, "%lld of them refusals by a content filter, ",
                                (long long)s.n_filtered));
    if (s.n_uncounted > 0)
        AP_TRY(ap_buffer_printf(out, err, "%lld of which the server does not say the tokens, ",
                                (long long)s.n_uncounted));
    AP_TRY(ap_buffer_printf(out, err, "%lld tokens read, %lld written", (long long)s.n_prompt,
                            (long long)s.n_token));
    if (s.usd + s.reserved_usd > 0)
        AP_TRY(ap_buffer_printf(out, err, ", %.6g usd", s.usd));
    if (s.n_lost + s.n_unknown > 0)
        AP_TRY(ap_buffer_printf(out, err,
                                "; %lld lost on the wire and %lld unknown at a stop may have been "
                                "bought, too, of at most %lld tokens",
                                (long long)s.n_lost, (long long)s.n_unknown,
                                (long long)s.reserved_tokens));
out:
    return status;
}
