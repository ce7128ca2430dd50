/* A client with ledger and budget before a local server, for tests of what stands on it. */
#ifndef AP_TESTS_ALIGN_FAR_REMOTE_H
#define AP_TESTS_ALIGN_FAR_REMOTE_H

#include "align/remote.h"
#include "base/scratch.h"
#include "net/local_server.h"

struct far_remote {
    struct ap_http_settings http; /* a test may change it before far_remote_open */
    struct ap_ledger *ledger;
    struct ap_remote *remote;
    struct ap_sink sink;
};

static inline void far_remote_init(struct far_remote *f, struct ap_http_settings *http, char *url)
{
    *http = (struct ap_http_settings){.url = {url},
                                      .n_url = 1,
                                      .key_env = (char *)"",
                                      .key_file = (char *)"",
                                      .ca_file = (char *)"",
                                      .concurrency = 4,
                                      .retries = 3};
    *f = (struct far_remote){.http = *http};
}

/* who: also the ledger's. */
static inline void far_remote_open(struct far_remote *f, void **state, const char *who,
                                   const char *run)
{
    struct ap_error err;
    char *path = scratch_path(state, "ledger.db");
    check_ok(ap_ledger_open(&f->ledger, path, run, &err), err);
    ap_free(path);
    const struct ap_remote_options options = {.who = who,
                                              .http = &f->http,
                                              .timeout = 20,
                                              .ledger = f->ledger,
                                              .sink = &f->sink,
                                              .backoff = 1e-4};
    check_ok(ap_remote_open(&f->remote, &options, &err), err);
}

static inline void far_remote_close(struct far_remote *f)
{
    ap_remote_close(f->remote);
    ap_ledger_close(f->ledger);
}

static inline struct ap_ledger_sums far_remote_sums(struct far_remote *f, const char *who)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    check_ok(ap_ledger_sum(f->ledger, who, &sums, &err), err);
    return sums;
}

#endif
