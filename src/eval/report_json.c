/* An evaluation as JSON. Entry points: ap_evaluation_json, and the parts in report_json.h. */
#include "eval/report_json.h"

#include "eval/report_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *ap_interval_json(const struct ap_interval *x)
{
    return json_pack("{s:o, s:o, s:o}", "value", real_or_null(x->value), "low",
                     real_or_null(x->low), "high", real_or_null(x->high));
}

json_t *ap_arm_json(const struct ap_arm_statistics *arm)
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
        if (json_array_append_new(arms, ap_arm_json(&e->arms[judge][a])) != 0) {
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

json_t *ap_judges_json(const struct ap_evaluation *e)
{
    json_t *judges = json_array();
    for (int j = 0; j < e->n_judge; j++)
        if (json_array_append_new(judges, judge_json(e, j)) != 0) {
            json_decref(judges);
            return NULL;
        }
    return judges;
}

json_t *ap_seeds_json(const struct ap_evaluation *e)
{
    json_t *seeds = json_array();
    for (int s = 0; s < e->n_seed; s++)
        if (json_array_append_new(seeds, json_integer(e->seeds[s])) != 0) {
            json_decref(seeds);
            return NULL;
        }
    return seeds;
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

static json_t *verdict_json(const struct ap_verdict_row *v)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "judge", v->judge, "arm", v->arm,
                     "against", v->against, "pairs", (json_int_t)v->n, "win",
                     ap_interval_json(&v->win), "contradicted", real_or_null(v->contradicted),
                     "without_verdict", real_or_null(v->bad));
}

static json_t *evaluation_json(const struct ap_evaluation *e)
{
    json_t *guards = json_array(), *noise = json_array(), *texts = json_array(),
           *verdicts = json_array();
    bool ok = guards && noise && texts && verdicts;
    for (int a = 0; ok && a < e->n_arm && e->has_texts; a++)
        ok = json_array_append_new(texts, texts_json(e, a)) == 0;
    for (int k = 0; ok && k < e->n_noise; k++)
        ok = json_array_append_new(noise, noise_json(e, k)) == 0;
    for (int a = 0; ok && a < e->n_arm; a++)
        ok = e->n_rewrite[a] == 0 || json_array_append_new(guards, guard_json(e, a)) == 0;
    for (int i = 0; ok && i < e->n_verdict; i++)
        ok = json_array_append_new(verdicts, verdict_json(&e->verdicts[i])) == 0;
    if (ok)
        return json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "bootstrap", e->n_bootstrap,
                         "least_prompts", AP_PROMPTS_LEAST, "seeds", ap_seeds_json(e), "texts",
                         texts, "guards", guards, "noise", noise, "verdicts", verdicts, "judges",
                         ap_judges_json(e));
    json_decref(verdicts);
    json_decref(texts);
    json_decref(guards);
    json_decref(noise);
    return NULL;
}

ap_status ap_json_put(json_t *root, const char *what, struct ap_buffer *out, struct ap_error *err)
{
    ap_status status;
    char *text = NULL;
    if (root)
        text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
    if (!text)
        AP_TRY(ap_fail(err, AP_INVALID,
                       "%s: cannot be written as JSON; the names of judges and arms must be "
                       "UTF-8, and memory must suffice",
                       what));
    AP_TRY(ap_buffer_puts(out, text, err));
    AP_TRY(ap_buffer_puts(out, "\n", err));
out:
    free(text); /* jansson's own */
    json_decref(root);
    return status;
}

/* Said only where there are any. */
static json_t *with_absent(const struct ap_evaluation *e, json_t *root)
{
    json_t *absent = root && e->n_absent > 0 ? json_array() : NULL;
    for (int a = 0; absent && a < e->n_absent; a++)
        json_array_append_new(absent, json_string(e->absent[a]));
    if (absent)
        json_object_set_new(root, "absent", absent);
    return root;
}

ap_status ap_evaluation_json(const struct ap_evaluation *e, struct ap_buffer *out,
                             struct ap_error *err)
{
    return ap_json_put(with_absent(e, evaluation_json(e)), "evaluation", out, err);
}
