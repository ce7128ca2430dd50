/* How the texts of the arms look, by the monitors of training, and what a reader should be careful
 * about. Entry points: ap_evaluate_texts, ap_evaluation_cautions. */
#include "eval/report_page.h"

#include <math.h>
#include <string.h>

/* ---- reading ---- */

struct texts_reader {
    const struct ap_evaluation *e;
    struct ap_monitored sums[AP_ARMS_MAX];
    double answers_cut[AP_ARMS_MAX]; /* without an end token */
    int n[AP_ARMS_MAX];
    struct ap_error *err;
};

static ap_status on_answer(void *context, const struct ap_evaluation_record *row)
{
    struct texts_reader *r = context;
    const int a = ap_arm_find(r->e, row->arm);
    if (a < 0 || row->sample != -1)
        return AP_OK;
    const struct ap_monitor_text text = {.x = row->prompt,
                                         .rewrite = row->rewrite,
                                         .answer = row->answer ? row->answer : "",
                                         .n_rewrite = row->n_rewrite_tokens,
                                         .n_answer = row->n_answer_tokens,
                                         .ended =
                                             row->rewrite ? row->rewrite_ended : row->answer_ended};
    r->answers_cut[a] += row->answer_ended ? 0 : 1;
    r->n[a]++;
    return ap_monitored_add(&r->sums[a], &text, r->err);
}

ap_status ap_evaluate_texts(struct ap_evaluation *e, struct ap_database *db, struct ap_error *err)
{
    struct texts_reader r = {.e = e, .err = err};
    ap_status status = ap_database_each_evaluation(db, on_answer, &r, err);
    for (int a = 0; a < e->n_arm && status == AP_OK; a++) {
        for (int k = 0; k < AP_MONITOR_COUNT; k++)
            e->texts[a].monitors[k] = ap_monitored_mean(&r.sums[a], (ap_monitor)k);
        e->texts[a].answer_missing_end = r.n[a] ? r.answers_cut[a] / r.n[a] : (double)NAN;
    }
    e->has_texts = status == AP_OK;
    return status;
}

/* ---- cautions ---- */

static void put_limits(struct ap_page *page, const struct ap_evaluation *e,
                       const struct ap_monitor_settings *monitor)
{
    for (int a = 0; a < e->n_arm; a++)
        for (int k = 0; k < AP_MONITOR_COUNT; k++) {
            const struct ap_monitor_limits *l = &monitor->limits[k];
            const double value = e->texts[a].monitors[k];
            if (l->n > 0 && value > l->value[0])
                ap_page_printf(page,
                               "Caution: the %s of %s on the test set is %.3g, beyond the warning "
                               "of %g.\n",
                               ap_monitor_name((ap_monitor)k), ap_arm_shown(e->arms[0][a].name),
                               value, l->value[0]);
        }
}

/* A gain on the reward, which was trained on or picked the best, that another judge does not see is
 * the sign of a reward that was gamed. */
static void put_unfollowed(struct ap_page *page, const struct ap_evaluation *e, int reward,
                           int judge)
{
    for (int a = 0; a < e->n_arm; a++) {
        const struct ap_interval own = e->arms[reward][a].delta_bare,
                                 other = e->arms[judge][a].delta_bare;
        if (!(own.low > 0) || !(other.low <= 0))
            continue;
        ap_page_printf(
            page,
            "Caution: %s gains %s over bare under %s, but %s under %s, which no training "
            "step asked: the gain may be the reward's own taste.\n",
            ap_arm_shown(e->arms[reward][a].name),
            ap_with_range(own, ap_score_decimals(e, reward), true).text, e->judges[reward],
            ap_with_range(other, ap_score_decimals(e, judge), true).text, e->judges[judge]);
    }
}

ap_status ap_evaluation_cautions(const struct ap_evaluation *e,
                                 const struct ap_monitor_settings *monitor,
                                 const char *const *unasked, int n_unasked, struct ap_buffer *out,
                                 struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    const int reward = ap_judge_find(e, "reward");
    if (monitor && e->has_texts)
        put_limits(&page, e, monitor);
    for (int i = 0; i < n_unasked && reward >= 0; i++) {
        const int judge = ap_judge_find(e, unasked[i]);
        if (judge >= 0)
            put_unfollowed(&page, e, reward, judge);
    }
    return page.status;
}
