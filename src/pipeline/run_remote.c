/* Servers that a run asks over HTTP: one client each, one ledger for all (run_inner.h). Entry
 * points: ap_run_remote, ap_run_remotes_tell, ap_run_check_http. */
#include "pipeline/run_inner.h"

#include "align/remote.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

struct ap_run_remote {
    char who[64];
    struct ap_remote *remote;
};

/* In its own run.db a run is ".": its folder may be moved, or be seen at another path, and what it
 * has spent stays spent. In a ledger of several it is its path. */
ap_status ap_run_ledger(const struct ap_settings *s, const char *folder, ap_ledger_opener *open,
                        struct ap_ledger **out, struct ap_error *err)
{
    if (s->ledger[0])
        return open(out, s->ledger, s->run.dir, err);
    char *own = ap_path_join(folder, "run.db");
    ap_status status =
        own ? open(out, own, ".", err) : ap_fail(err, AP_MEMORY, "ledger: no memory");
    ap_free(own);
    return status;
}

static ap_status open_ledger(struct ap_run *run, struct ap_error *err)
{
    return run->ledger ? AP_OK
                       : ap_run_ledger(run->s, run->dir.path, ap_ledger_open, &run->ledger, err);
}

ap_status ap_run_remote(struct ap_run *run, const char *who, const struct ap_http_settings *http,
                        double timeout, struct ap_remote **out, struct ap_error *err)
{
    for (int i = 0; i < run->n_remote; i++)
        if (strcmp(run->remotes[i]->who, who) == 0) {
            *out = run->remotes[i]->remote;
            return AP_OK;
        }
    struct ap_run_remote *r = ap_calloc(1, sizeof(*r));
    ap_status status = r ? open_ledger(run, err) : ap_fail(err, AP_MEMORY, "%s: no memory", who);
    if (status == AP_OK) {
        snprintf(r->who, sizeof(r->who), "%s", who);
        const struct ap_remote_options options = {.who = r->who,
                                                  .http = http,
                                                  .timeout = timeout,
                                                  .ledger = run->ledger,
                                                  .sink = run->sink};
        status = ap_remote_open(&r->remote, &options, err);
    }
    if (status != AP_OK) {
        ap_free(r);
        return status;
    }
    run->remotes[run->n_remote++] = r;
    *out = r->remote;
    return AP_OK;
}

void ap_run_remotes_tell(const struct ap_run *run)
{
    for (int i = 0; i < run->n_remote; i++) {
        struct ap_buffer text = {0};
        if (ap_remote_tell(run->ledger, run->remotes[i]->who, &text, NULL) == AP_OK)
            ap_sink_note(run->sink, run->remotes[i]->who, "%s", text.data);
        ap_buffer_free(&text);
    }
}

void ap_run_remotes_close(struct ap_run *run)
{
    for (int i = 0; i < run->n_remote; i++) {
        ap_remote_close(run->remotes[i]->remote);
        ap_free(run->remotes[i]);
    }
    run->n_remote = 0;
    ap_ledger_close(run->ledger);
    run->ledger = NULL;
}

/* The i-th server that the run may ask; false past the last. */
static bool server_at(const struct ap_run *run, int *i, struct ap_server *out)
{
    for (; ap_settings_server(run->s, *i, out); ++*i)
        if (out->http->n_url > 0 && (out->judge < 0 || ap_run_asks_judge(run->s, out->judge)))
            return true;
    return false;
}

/* A plan sends nothing: its keys and certificates may be elsewhere. */
static ap_status check_server(const struct ap_run *run, const struct ap_server *server,
                              struct ap_error *err)
{
    const struct ap_http_settings *http = server->http;
    struct ap_secret key = {0};
    ap_status status = AP_OK;
    for (int i = 0; i < http->n_url && status == AP_OK; i++)
        status = ap_client_check_url(http->url[i], err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s.url", server->section.name);
    if (run->plan_only)
        return AP_OK;
    status = ap_client_check_ca(http->ca_file, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s.ca_file", server->section.name);
    status = ap_secret_open(&key, http->key_env, http->key_file, server->section.name, err);
    ap_secret_free(&key);
    return status;
}

ap_status ap_run_check_http(const struct ap_run *run, struct ap_error *err)
{
    struct ap_server server;
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && server_at(run, &i, &server); i++)
        status = check_server(run, &server, err);
    return status;
}

void ap_run_probe_http(const struct ap_run *run, const char *wanted)
{
    struct ap_server server;
    bool asks =
        ap_run_includes(run, wanted, "eval") || ap_run_includes(run, wanted, "bound") ||
        (strcmp(run->s->sft.source, "best-of-n") == 0 && ap_run_includes(run, wanted, "sft"));
    for (int pass = 0; pass < ap_run_n_passes(run); pass++)
        asks = asks || ap_run_includes(run, wanted, ap_run_pass_stage(pass));
    for (int i = 0; asks && server_at(run, &i, &server); i++)
        for (int k = 0; k < server.http->n_url; k++) {
            struct ap_error why;
            if (ap_client_probe(server.http->url[k], server.http->ca_file, &why) != AP_OK)
                ap_sink_warn(run->sink, server.section.name, "nobody answers there yet: %s",
                             why.text);
        }
}

ap_status ap_run_bought(struct ap_run *run, struct ap_buffer *out, struct ap_error *err)
{
    struct ap_server server;
    ap_status status = AP_OK;
    for (int i = 0; server_at(run, &i, &server); i++) {
        AP_TRY(open_ledger(run, err));
        AP_TRY(ap_buffer_printf(out, err, "%s%s: ", out->len ? "; " : "", server.section.name));
        AP_TRY(ap_remote_tell(run->ledger, server.section.name, out, err));
    }
out:
    return status;
}
