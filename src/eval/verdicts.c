/* What the judges that compare found, from run.db's table verdicts (report.h). */
#include "eval/report_page.h"

#include "align/judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONTRADICTED_MUCH 0.3

struct group {
    char judge[32], arm[32], against[32];
    int64_t counts[AP_OUTCOME_COUNT];
};

struct telling {
    struct ap_page *page;
    const char *judge; /* the only one to tell of */
    double max_bad;
    struct group group;
};

static void tell(struct telling *t)
{
    const struct group *g = &t->group;
    struct ap_outcome_shares s = ap_outcome_sum(g->counts, t->max_bad);
    if (s.n == 0)
        return;
    ap_page_printf(t->page, "Judge %s, %s against %s: ", g->judge, ap_arm_shown(g->arm),
                   g->against);
    if (isnan(s.win_rate))
        ap_page_printf(t->page, "no win rate, because %.0f%% of %lld pairs have no verdict.\n",
                       100 * s.bad, (long long)s.n);
    else
        ap_page_printf(t->page,
                       "wins %.1f%% of %lld pairs, ties one half; %.0f%% contradicted, %.0f%% "
                       "without verdict.\n",
                       100 * s.win_rate, (long long)s.n, 100 * s.contradicted, 100 * s.bad);
    if (s.contradicted > CONTRADICTED_MUCH)
        ap_page_printf(t->page,
                       "Caution: %s contradicts itself on %.0f%% of these pairs; position decides "
                       "more than the answers.\n",
                       g->judge, 100 * s.contradicted);
}

/* Rows come by judge, arm and against. */
static ap_status on_verdict(void *context, const struct ap_verdict_record *r)
{
    struct telling *t = context;
    struct group *g = &t->group;
    if (strcmp(r->judge, t->judge) != 0)
        return AP_OK;
    if (strcmp(g->arm, r->arm) != 0 || strcmp(g->against, r->against) != 0) {
        tell(t);
        *g = (struct group){0};
        snprintf(g->judge, sizeof(g->judge), "%s", r->judge);
        snprintf(g->arm, sizeof(g->arm), "%s", r->arm);
        snprintf(g->against, sizeof(g->against), "%s", r->against);
    }
    for (int k = 0; k < AP_OUTCOME_COUNT; k++)
        g->counts[k] += strcmp(r->outcome, ap_outcome_name((ap_outcome)k)) == 0;
    return AP_OK;
}

ap_status ap_verdict_sentences(struct ap_database *db, const char *judge, double max_bad,
                               struct ap_buffer *out, struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    struct telling t = {.page = &page, .judge = judge, .max_bad = max_bad};
    ap_status status = ap_database_each_verdict(db, on_verdict, &t, err);
    if (status == AP_OK)
        tell(&t);
    return status == AP_OK ? page.status : status;
}
