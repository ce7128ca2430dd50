/* Numbers, sentences and JSON of a run's bound (bound_told.h). */
#include "eval/bound_told.h"

#include "eval/report_json.h"
#include "eval/report_page.h"

#include <math.h>
#include <string.h>

ap_status ap_bound_tell(struct ap_bound_told *out, const struct ap_bound_read *r, double kl,
                        int n_bootstrap, uint64_t seed, struct ap_error *err)
{
    const struct ap_bound_samples samples = {
        .n_prompt = r->n_prompt,
        .n_rewrite = r->n_rewrite,
        .n_answer = r->n_answer,
        .kl = kl,
        .r_max = r->r_max,
        .reward = r->reward,
        .trained_reward = r->trained_reward,
        .trained_kl = r->trained_kl,
        .star_reward = r->star_reward,
        .lacks = {r->n_star, r->star_logp, r->star_logq},
        .disturbs = {r->n_rewrite * r->n_scored, r->logp, r->logq},
    };
    *out = (struct ap_bound_told){.n_prompt = r->n_prompt,
                                  .n_rewrite = r->n_rewrite,
                                  .n_answer = r->n_answer,
                                  .n_scored = r->n_scored,
                                  .n_bootstrap = n_bootstrap,
                                  .kl = kl,
                                  .r_max = r->r_max,
                                  .r_max_known = r->r_max_known,
                                  .ended = r->ended};
    return ap_bound_of(&out->bound, &samples, n_bootstrap, seed, err);
}

/* ---- sentences ---- */

static const char *shown(struct ap_interval x, bool sign, struct ap_number *hold)
{
    *hold = ap_with_range(x, 3, sign);
    return hold->text;
}

static void say_ceiling(struct ap_page *page, const struct ap_bound_told *t)
{
    const struct ap_bound *b = &t->bound;
    struct ap_number a, c, d;
    ap_page_printf(page,
                   "With %d rewrites of %lld prompts and %d answers to each, prompting can reach "
                   "between %s (cross-fitted: in expectation never too high) and %s (plug-in: "
                   "biased up by the noise of the answers) on this target at lambda %g. Before "
                   "alignment the prompter stands at %s.\n",
                   t->n_rewrite, (long long)t->n_prompt, t->n_answer, shown(b->lower, false, &a),
                   shown(b->plug_in, false, &c), t->kl, shown(b->j_sft, false, &d));
    if (!(b->room_lower.low > 0))
        ap_page_put(page, "The cross-fitted value shows no room above that start: it is honest but "
                          "loose, and more answers (bound.answers) would tighten it.\n");
}

static void say_share(struct ap_page *page, const struct ap_bound *b)
{
    struct ap_number a;
    if (!isnan(b->share_plug_in.value)) {
        a = ap_percent_with_range(b->share_plug_in);
        ap_page_printf(page, "That is %s of the room below the plug-in value", a.text);
        if (!isnan(b->share_lower.value)) {
            a = ap_percent_with_range(b->share_lower);
            ap_page_printf(page, " and %s of the room below the cross-fitted one%s", a.text,
                           b->share_lower.value > 1 ? ", which is a lower value and can be passed"
                                                    : "");
        }
        ap_page_put(page, ".\n");
    } else
        ap_page_put(page, "No share of the room is told: the room is not clearly above zero.\n");
}

static void say_trained(struct ap_page *page, const struct ap_bound_told *t)
{
    static const char *const checks[] = {
        [AP_BOUND_UNKNOWN] = "",
        [AP_BOUND_HOLDS] = "so it does no worse than its start, which (6) rests on: holds",
        [AP_BOUND_OPEN] =
            "and whether it does no worse than its start, which (6) rests on, stays open",
        [AP_BOUND_FAILS] = "so it does worse than its start, and (6) does not speak of it: fails",
    };
    const struct ap_bound *b = &t->bound;
    struct ap_number a, c;
    if (t->no_trained) {
        ap_page_printf(page, "The trained prompter: not available: %s.\n", t->no_trained);
        return;
    }
    ap_page_printf(page, "The trained prompter reached %s, %s over its start, %s.\n",
                   shown(b->j_trained, false, &a), shown(b->gain, true, &c), checks[b->check]);
    say_share(page, b);
}

static void say_term(struct ap_page *page, const char *name, struct ap_interval x, const char *why)
{
    struct ap_number a;
    if (why)
        ap_page_printf(page, "%s: not available: %s.\n", name, why);
    else
        ap_page_printf(page, "%s: %s.\n", name, shown(x, false, &a));
}

static void say_terms(struct ap_page *page, const struct ap_bound_told *t)
{
    const struct ap_bound *b = &t->bound;
    struct ap_number a, c;
    ap_page_printf(page,
                   "What the gap to full fine-tuning can at most be, math.md (6); pi* is the RLHF "
                   "arm, and R_max %.3f is %s:\n",
                   t->r_max,
                   t->r_max_known ? "the range of the reward"
                                  : "the observed range of the reward, which has no bound of its "
                                    "own");
    say_term(page, "What the frozen model lacks", b->lacks, t->no_lacks);
    say_term(page, "What rewriting disturbs", b->disturbs, t->no_disturbs);
    say_term(page, "What optimisation wins back", b->wins_back, t->no_trained);
    if (!isnan(b->sum.value))
        ap_page_printf(page, "Their sum: %s.\n", shown(b->sum, false, &a));
    else
        ap_page_put(page, "Their sum is not available without all three.\n");
    if (!isnan(b->gap.value))
        ap_page_printf(page, "The gap that was seen: %s%s.\n", shown(b->gap, true, &c),
                       b->sum.value >= t->r_max
                           ? "; the sum is no less than R_max, so it says nothing here"
                           : "");
}

ap_status ap_bound_sentences(const struct ap_bound_told *t, struct ap_buffer *out,
                             struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    say_ceiling(&page, t);
    say_trained(&page, t);
    say_terms(&page, t);
    if (t->ended < 1)
        ap_page_printf(&page,
                       "%.1f%% of the answers were cut at their limit of tokens; they count as "
                       "answers of the process that is cut there, on both sides.\n",
                       100 * (1 - t->ended));
    return page.status;
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

ap_status ap_bound_json(const struct ap_bound_told *t, struct ap_buffer *out, struct ap_error *err)
{
    static const char *const checks[] = {"unknown", "holds", "open", "fails"};
    json_t *o = json_pack(
        "{s:I, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:f, s:s, s:s, s:{s:o, s:o, s:o}}", "prompts",
        (json_int_t)t->n_prompt, "rewrites", t->n_rewrite, "answers", t->n_answer, "scored",
        t->n_scored, "bootstrap", t->n_bootstrap, "kl", t->kl, "r_max", t->r_max, "r_max_known",
        t->r_max_known, "ended", t->ended, "pi_star", "rlhf", "check", checks[t->bound.check],
        "missing", "trained", text_or_null(t->no_trained), "lacks", text_or_null(t->no_lacks),
        "disturbs", text_or_null(t->no_disturbs));
    bool ok = o != NULL;
#define X(field) ok = ok && json_object_set_new(o, #field, ap_interval_json(&t->bound.field)) == 0;
    AP_BOUND_LIST(X)
#undef X
    if (!ok) {
        json_decref(o);
        o = NULL;
    }
    return ap_json_put(o, "bound", out, err);
}
