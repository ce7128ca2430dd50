/* What a run's servers have brought and cost, from its ledger (inspect_rows.h). */
#include "pipeline/inspect_rows.h"

#include "pipeline/run_inner.h"
#include "store/ledger.h"

#include <inttypes.h>

#define WHO_COLUMNS 20

static json_t *sums_json(const struct ap_ledger_sums *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "answers",
                     (json_int_t)s->n_answer, "sends", (json_int_t)s->n_send, "refused",
                     (json_int_t)s->n_refused, "lost", (json_int_t)s->n_lost, "unknown",
                     (json_int_t)s->n_unknown, "filtered", (json_int_t)s->n_filtered,
                     "prompt_tokens", (json_int_t)s->n_prompt, "answer_tokens",
                     (json_int_t)s->n_token, "usd", s->usd);
}

static void tell_server(struct ap_tell *t, struct ap_ledger *ledger, const char *who, json_t *list)
{
    struct ap_ledger_sums s;
    struct ap_error e = {0};
    if (!ap_tell_fine(t, ap_ledger_sum(ledger, who, &s, &e), &e))
        return;
    ap_tell_raw(t,
                "  %-*.*s %8" PRId64 " %8" PRId64 " %8" PRId64 " %8" PRId64 " %11" PRId64
                " %11" PRId64 " %10.4g\n",
                WHO_COLUMNS, WHO_COLUMNS, who, s.n_answer, s.n_refused, s.n_lost, s.n_unknown,
                s.n_prompt, s.n_token, s.usd);
    json_object_set_new(list, who, sums_json(&s));
}

void ap_tell_spent(struct ap_tell *t, const struct ap_settings *s, const char *run)
{
    struct ap_server server;
    struct ap_ledger *ledger = NULL;
    struct ap_error e = {0};
    bool any = false;
    for (int i = 0; ap_settings_server(s, i, &server); i++)
        any = any || server.http->n_url > 0;
    if (!any || !ap_tell_fine(t, ap_run_ledger(s, run, ap_ledger_open_read, &ledger, &e), &e) ||
        !ledger)
        return;
    json_t *list = json_object();
    ap_tell_raw(t, "\n  %-*s %8s %8s %8s %8s %11s %11s %10s\n", WHO_COLUMNS, "bought from",
                "answers", "refused", "lost", "unknown", "tokens read", "written", "usd");
    for (int i = 0; ap_settings_server(s, i, &server); i++)
        if (server.http->n_url > 0)
            tell_server(t, ledger, server.section.name, list);
    ap_tell_set(t, "spent", list);
    ap_ledger_close(ledger);
}
