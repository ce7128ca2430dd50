/* An evaluation as text for programs and terminals: the fixed-width table, JSON, CSV.
 * Entry points: ap_evaluation_table, ap_evaluation_json, ap_evaluation_csv. */
#include "eval/report_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the table: 9 + 2+20 + 2+20 + 2+4 + 2+5 + 2+6 + 2+15 + 2+5 = 98 columns ---- */

#define ROW "%-9.9s  %-20s  %-20s  %4s  %5s  %6s  %-15s  %5s\n"

/* An interval of no width says nothing: bare against itself, rlhf's share of its own gap. */
static struct ap_number cell(struct ap_number value, int width, struct ap_interval x, int decimals)
{
    struct ap_number out, range = {""};
    if (x.low < x.high)
        range = ap_range(x, decimals);
    snprintf(out.text, sizeof(out.text), "%*.20s%s%.50s", width, value.text,
             range.text[0] ? " " : "", range.text);
    return out;
}

static struct ap_number with_range(struct ap_interval x, int decimals, bool sign)
{
    return cell(ap_number(x.value, decimals, sign), 5, x, decimals);
}

static struct ap_number share_with_range(struct ap_interval x)
{
    struct ap_interval percent = {100 * x.value, 100 * x.low, 100 * x.high};
    return cell(ap_percent(x.value), 4, percent, 0);
}

static void put_arm(struct ap_page *page, const struct ap_arm_statistics *arm, int decimals)
{
    ap_page_printf(page, ROW, ap_arm_shown(arm->name), with_range(arm->mean, decimals, false).text,
                   with_range(arm->delta_bare, decimals, true).text,
                   ap_percent(arm->win_bare.value).text, ap_percent(arm->win_instruct.value).text,
                   ap_number(arm->variance.value, decimals, false).text,
                   share_with_range(arm->share_bare).text, ap_number(arm->kl.value, 2, false).text);
}

static const char notes[] =
    "over bare: paired difference of means. wins: share of comparisons won, ties one half.\n"
    "gap to rlhf closed: the gain over bare as a share of rlhf's. KL: how far the trained policy\n"
    "moved, in nats. In brackets: 95% bootstrap intervals over prompts.\n";

ap_status ap_evaluation_table(const struct ap_evaluation *e, struct ap_buffer *out,
                              struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    for (int j = 0; j < e->n_judge; j++) {
        const struct ap_arm_statistics *first = &e->arms[j][0];
        ap_page_printf(&page, "judge: %s (%lld prompts, %d seed%s)\n", e->judges[j],
                       (long long)first->n_prompt, first->n_seed, first->n_seed == 1 ? "" : "s");
        ap_page_printf(&page, "%59s  %5s  %6s   %s\n", "wins", "wins", "vari-", "gap to rlhf");
        ap_page_printf(&page, ROW, "arm", " mean", " over bare", "bare", "instr", "ance", " closed",
                       "KL");
        for (int a = 0; a < e->n_arm; a++)
            put_arm(&page, &e->arms[j][a], ap_score_decimals(e, j));
        ap_page_put(&page, "\n");
    }
    ap_page_put(&page, notes);
    return page.status;
}

/* ---- JSON ---- */

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *ap_interval_json(const struct ap_interval *x)
{
    return json_pack("{s:o, s:o, s:o}", "value", real_or_null(x->value), "low",
                     real_or_null(x->low), "high", real_or_null(x->high));
}

static json_t *arm_json(const struct ap_arm_statistics *arm)
{
    struct ap_arm_statistics copy = *arm;
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:i}", "arm", arm->name, "shown", ap_arm_shown(arm->name),
                  "prompts", (json_int_t)arm->n_prompt, "seeds", arm->n_seed);
    for (int k = 0; k < ap_n_statistics && o; k++) {
        const struct ap_interval *x = ap_statistic_at(&copy, k);
        if (json_object_set_new(o, ap_statistics[k].name, ap_interval_json(x)) != 0) {
            json_decref(o);
            o = NULL;
        }
    }
    return o;
}

static json_t *judge_json(const struct ap_evaluation *e, int judge)
{
    json_t *arms = json_array();
    for (int a = 0; a < e->n_arm; a++)
        if (json_array_append_new(arms, arm_json(&e->arms[judge][a])) != 0) {
            json_decref(arms);
            return NULL;
        }
    return json_pack("{s:s, s:I, s:o}", "judge", e->judges[judge], "dropped",
                     (json_int_t)e->n_dropped[judge], "arms", arms);
}

/* Only guards that fired are named. */
static json_t *guard_json(const struct ap_evaluation *e, int arm)
{
    json_t *fired = json_object();
    for (int g = AP_GUARD_EMPTY; g < AP_GUARD_COUNT && fired; g++)
        if (e->n_guarded[arm][g] > 0 &&
            json_object_set_new(fired, ap_guard_name((ap_guard)g),
                                json_integer(e->n_guarded[arm][g])) != 0) {
            json_decref(fired);
            fired = NULL;
        }
    return json_pack("{s:s, s:I, s:o}", "arm", e->arms[0][arm].name, "rewrites",
                     (json_int_t)e->n_rewrite[arm], "fired", fired);
}

static json_t *noisy_judge_json(const struct ap_evaluation *e, int level, int judge)
{
    json_t *arms = json_object();
    for (int a = 0; a < e->n_arm; a++)
        if (json_object_set_new(arms, e->arms[judge][a].name,
                                ap_interval_json(&e->noisy[level][judge][a])) != 0) {
            json_decref(arms);
            return NULL;
        }
    return arms;
}

static json_t *noise_json(const struct ap_evaluation *e, int level)
{
    json_t *judges = json_object();
    for (int j = 0; j < e->n_judge; j++)
        if (json_object_set_new(judges, e->judges[j], noisy_judge_json(e, level, j)) != 0) {
            json_decref(judges);
            return NULL;
        }
    return json_pack("{s:f, s:o}", "strength", e->noise[level], "judges", judges);
}

static json_t *texts_json(const struct ap_evaluation *e, int arm)
{
    const struct ap_arm_texts *texts = &e->texts[arm];
    json_t *o = json_pack("{s:s, s:o}", "arm", e->arms[0][arm].name, "answer_missing_end",
                          real_or_null(texts->answer_missing_end));
    for (int k = 0; k < AP_MONITOR_GAP && o; k++)
        if (json_object_set_new(o, ap_monitor_name((ap_monitor)k),
                                real_or_null(texts->monitors[k])) != 0) {
            json_decref(o);
            o = NULL;
        }
    return o;
}

static json_t *evaluation_json(const struct ap_evaluation *e)
{
    json_t *judges = json_array(), *seeds = json_array(), *guards = json_array(),
           *noise = json_array(), *texts = json_array();
    bool ok = judges && seeds && guards && noise && texts;
    for (int a = 0; ok && a < e->n_arm && e->has_texts; a++)
        ok = json_array_append_new(texts, texts_json(e, a)) == 0;
    for (int k = 0; ok && k < e->n_noise; k++)
        ok = json_array_append_new(noise, noise_json(e, k)) == 0;
    for (int a = 0; ok && a < e->n_arm; a++)
        ok = e->n_rewrite[a] == 0 || json_array_append_new(guards, guard_json(e, a)) == 0;
    for (int j = 0; ok && j < e->n_judge; j++)
        ok = json_array_append_new(judges, judge_json(e, j)) == 0;
    for (int s = 0; ok && s < e->n_seed; s++)
        ok = json_array_append_new(seeds, json_integer(e->seeds[s])) == 0;
    if (ok)
        return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "bootstrap", e->n_bootstrap, "seeds",
                         seeds, "texts", texts, "guards", guards, "noise", noise, "judges", judges);
    json_decref(texts);
    json_decref(guards);
    json_decref(noise);
    json_decref(judges);
    json_decref(seeds);
    return NULL;
}

ap_status ap_evaluation_json(const struct ap_evaluation *e, struct ap_buffer *out,
                             struct ap_error *err)
{
    ap_status status;
    char *text = NULL;
    json_t *root = evaluation_json(e);
    if (root)
        text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
    if (!text)
        AP_TRY(
            ap_fail(err, AP_INVALID,
                    "evaluation: cannot be written as JSON; the names of judges and arms must be "
                    "UTF-8, and memory must suffice"));
    AP_TRY(ap_buffer_puts(out, text, err));
    AP_TRY(ap_buffer_puts(out, "\n", err));
out:
    free(text); /* jansson's own */
    json_decref(root);
    return status;
}

/* ---- CSV (RFC 4180) ---- */

void ap_csv_quoted(struct ap_page *page, const char *text)
{
    ap_page_put(page, "\"");
    for (; *text; text++)
        ap_page_printf(page, *text == '"' ? "\"\"" : "%c", *text);
    ap_page_put(page, "\"");
}

void ap_csv_real(struct ap_page *page, double x)
{
    if (isfinite(x))
        ap_page_printf(page, ",%.15g", x);
    else
        ap_page_put(page, ",");
}

ap_status ap_evaluation_csv(const struct ap_evaluation *e, struct ap_buffer *out,
                            struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    ap_page_put(&page, "judge,arm,prompts,seeds");
    for (int k = 0; k < ap_n_statistics; k++)
        ap_page_printf(&page, ",%s,%s_low,%s_high", ap_statistics[k].name, ap_statistics[k].name,
                       ap_statistics[k].name);
    ap_page_put(&page, "\n");
    for (int j = 0; j < e->n_judge; j++)
        for (int a = 0; a < e->n_arm; a++) {
            struct ap_arm_statistics arm = e->arms[j][a];
            ap_csv_quoted(&page, e->judges[j]);
            ap_page_put(&page, ",");
            ap_csv_quoted(&page, arm.name);
            ap_page_printf(&page, ",%lld,%d", (long long)arm.n_prompt, arm.n_seed);
            for (int k = 0; k < ap_n_statistics; k++) {
                const struct ap_interval *x = ap_statistic_at(&arm, k);
                ap_csv_real(&page, x->value);
                ap_csv_real(&page, x->low);
                ap_csv_real(&page, x->high);
            }
            ap_page_put(&page, "\n");
        }
    return page.status;
}
