/* What an evaluation says, in sentences for somebody who meets the method for the first time. A
 * difference is called one only when its interval excludes zero.
 * Entry points: ap_evaluation_sentences, ap_sentences_of_judge, ap_sentences_across. */
#include "eval/report_page.h"

#include <math.h>
#include <string.h>

/* Answers cut at the length limit are worth a word from this share on. */
#define CUT_SHARE 0.05

static const struct ap_arm_statistics *arm_of(const struct ap_evaluation *e, int judge,
                                              const char *name)
{
    int a = ap_arm_find(e, name);
    return a >= 0 ? &e->arms[judge][a] : NULL;
}

/* +1: above zero, −1: below, 0: this test cannot tell. */
static int direction(struct ap_interval x)
{
    return x.low > 0 ? 1 : x.high < 0 ? -1 : 0;
}

static void say_judge(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    const struct ap_arm_statistics *first = &e->arms[judge][0];
    const char *meaning = ap_judge_meaning(e->judges[judge]);
    ap_page_printf(page, "Judged by %s%s%s:\n", e->judges[judge], meaning[0] ? ", " : "", meaning);
    ap_page_printf(page, "%lld test prompt%s, %d seed%s; higher is better; ",
                   (long long)first->n_prompt, first->n_prompt == 1 ? "" : "s", first->n_seed,
                   first->n_seed == 1 ? "" : "s");
    if (first->n_prompt >= AP_PROMPTS_LEAST)
        ap_page_put(page, "± and brackets: 95% intervals.\n");
    else
        ap_page_printf(
            page, "fewer than %d prompts give no intervals, and no difference is called one.\n",
            AP_PROMPTS_LEAST);
}

/* Who is ahead of whom, as a clause without its end; x: the difference, of `who` against `whom`. */
static void say_difference(struct ap_page *page, struct ap_interval x, int decimals,
                           const char *ahead, const char *behind, const char *apart)
{
    int sign = direction(x);
    if (sign == 0)
        ap_page_printf(page, "%s (%s)", apart, ap_with_margin(x, decimals, true).text);
    else
        ap_page_printf(
            page, "%s %s", sign > 0 ? ahead : behind,
            ap_with_margin(x.value < 0 ? (struct ap_interval){-x.value, -x.high, -x.low} : x,
                           decimals, false)
                .text);
}

void ap_sentence_headline(struct ap_page *page, const struct ap_arm_statistics *align,
                          const struct ap_arm_statistics *rlhf, int decimals)
{
    struct ap_interval lead = {-align->delta_rlhf.value, -align->delta_rlhf.high,
                               -align->delta_rlhf.low};
    say_difference(page, align->delta_bare, decimals, "Align-Pro beats bare by",
                   "Align-Pro loses to bare by", "Align-Pro and bare cannot be told apart");
    if (!rlhf || isnan(lead.value)) {
        ap_page_put(page, "; without an RLHF arm the share of the gap is n/a.\n");
        return;
    }
    ap_page_put(page, "; ");
    say_difference(page, lead, decimals, "RLHF is ahead by", "RLHF is behind by",
                   "RLHF and Align-Pro cannot be told apart");
    if (isnan(align->share_bare.value))
        ap_page_put(page, "; RLHF does not clearly beat bare, so there is no gap to close.\n");
    else
        ap_page_printf(page, "; %s of the gap is closed.\n",
                       ap_percent_with_range(align->share_bare).text);
}

static void say_against(struct ap_page *page, const struct ap_evaluation *e, int judge,
                        const struct ap_arm_statistics *arm, const struct ap_arm_statistics *bare)
{
    int decimals = ap_score_decimals(e, judge);
    ap_page_printf(page, "Align-Pro scores %s on average and bare %s; ",
                   ap_number(arm->mean.value, decimals, false).text,
                   ap_number(bare->mean.value, decimals, false).text);
    ap_page_printf(page, "it wins %s of the comparisons with bare, ties counting half.\n",
                   ap_percent_with_range(arm->win_bare).text);
}

static void say_instruct(struct ap_page *page, const struct ap_arm_statistics *align)
{
    if (!isnan(align->win_instruct.value))
        ap_page_printf(page,
                       "Against the rewrites of the prompter before any training (instruct) it "
                       "wins %s.\n",
                       ap_percent_with_range(align->win_instruct).text);
}

/* What an arm that is there for comparison gains over bare. */
static void say_gain(struct ap_page *page, const struct ap_evaluation *e, int judge,
                     const struct ap_arm_statistics *arm, const char *who)
{
    if (!arm || isnan(arm->delta_bare.value))
        return;
    int sign = direction(arm->delta_bare);
    ap_page_printf(page, "%s %s %s against bare.\n", who,
                   sign > 0   ? "gains"
                   : sign < 0 ? "loses"
                              : "makes no clear difference:",
                   ap_with_range(arm->delta_bare, ap_score_decimals(e, judge), true).text);
}

/* Whether a further pass helps. */
static void say_pass(struct ap_page *page, const struct ap_evaluation *e, int judge, int arm)
{
    const struct ap_arm_statistics *a = &e->arms[judge][arm];
    int before = ap_arm_before(e, arm);
    if (before < 0 || isnan(a->delta_pass.value))
        return;
    int sign = direction(a->delta_pass);
    ap_page_printf(page, "Rewriting on after %s %s %s over stopping there.\n",
                   ap_arm_shown(e->arms[judge][before].name),
                   sign > 0   ? "gains"
                   : sign < 0 ? "loses"
                              : "makes no clear difference:",
                   ap_with_range(a->delta_pass, ap_score_decimals(e, judge), true).text);
}

static void say_share(struct ap_page *page, const struct ap_arm_statistics *align)
{
    if (!isnan(align->share_instruct.value))
        ap_page_printf(page, "Of the gap from instruct to RLHF it closes %s.\n",
                       ap_percent_with_range(align->share_instruct).text);
}

static void say_variance(struct ap_page *page, const struct ap_evaluation *e, int judge,
                         const struct ap_arm_statistics *align,
                         const struct ap_arm_statistics *bare)
{
    int decimals = ap_score_decimals(e, judge);
    if (isnan(align->variance.value) || isnan(bare->variance.value))
        return;
    /* Intervals that overlap are not a test, but those that do not are one. */
    const char *word = align->variance.high < bare->variance.low   ? "is lower"
                       : align->variance.low > bare->variance.high ? "is higher"
                                                                   : "shows no clear difference";
    ap_page_printf(page, "The variance of its scores from prompt to prompt %s: %s", word,
                   ap_with_range(align->variance, decimals, false).text);
    ap_page_printf(page, " against bare's %s.\n",
                   ap_with_range(bare->variance, decimals, false).text);
}

static void say_kl(struct ap_page *page, const struct ap_arm_statistics *align)
{
    if (!isnan(align->kl.value))
        ap_page_printf(page,
                       "Its rewriting has moved %s nats (KL) away from the prompter it started "
                       "from; 0 is no change.\n",
                       ap_with_range(align->kl, 2, false).text);
}

static void say_cut(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    for (int a = 0; a < e->n_arm; a++) {
        const struct ap_arm_statistics *arm = &e->arms[judge][a];
        if (1 - arm->answer_ended.value >= CUT_SHARE)
            ap_page_printf(page, "%s: %s of the answers were cut at the length limit.\n",
                           ap_arm_shown(arm->name), ap_percent(1 - arm->answer_ended.value).text);
        if (1 - arm->rewrite_ended.value >= CUT_SHARE)
            ap_page_printf(page, "%s: %s of the rewrites were cut at the length limit.\n",
                           ap_arm_shown(arm->name), ap_percent(1 - arm->rewrite_ended.value).text);
    }
}

/* The two arms on the noisiest prompts. */
static void say_noise(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    int align = ap_arm_find(e, "align"), bare = ap_arm_find(e, "bare"), k = e->n_noise - 1;
    if (k < 0 || e->noise[k] <= 0 || align < 0 || bare < 0)
        return;
    int decimals = ap_score_decimals(e, judge);
    ap_page_printf(page, "With %g%% noise in the prompts Align-Pro scores %s", 100 * e->noise[k],
                   ap_with_range(e->noisy[k][judge][align], decimals, false).text);
    ap_page_printf(page, " and bare %s.\n",
                   ap_with_range(e->noisy[k][judge][bare], decimals, false).text);
}

void ap_sentences_of_judge(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    const struct ap_arm_statistics *bare = arm_of(e, judge, "bare"),
                                   *align = arm_of(e, judge, "align"),
                                   *rlhf = arm_of(e, judge, "rlhf");
    say_judge(page, e, judge);
    if (align && bare) {
        ap_sentence_headline(page, align, rlhf, ap_score_decimals(e, judge));
        say_against(page, e, judge, align, bare);
    }
    if (align)
        say_instruct(page, align);
    for (int a = 0; a < e->n_arm; a++)
        say_pass(page, e, judge, a);
    say_gain(page, e, judge, arm_of(e, judge, "sft"),
             "The prompter before reinforcement learning (sft)");
    say_gain(page, e, judge, rlhf, "Training the target's own weights instead (RLHF)");
    if (align)
        say_share(page, align);
    say_gain(page, e, judge, arm_of(e, judge, "dpo"),
             "Training the target on preference pairs (dpo)");
    say_gain(page, e, judge, arm_of(e, judge, "ift"), "Training the target on answers (ift)");
    say_gain(page, e, judge, arm_of(e, judge, "best-of-n"),
             "Trying several rewrites and keeping the best by the first judge (best-of-n)");
    say_gain(page, e, judge, arm_of(e, judge, "best-of-n-answers"),
             "Keeping the best of several answers by the first judge (n answers)");
    if (align && bare)
        say_variance(page, e, judge, align, bare);
    if (judge == 0) { /* the same under every judge */
        if (align)
            say_kl(page, align);
        say_cut(page, e, judge);
    }
    say_noise(page, e, judge);
}

/* How often x was sent in place of a rewrite, and why. */
static void say_guarded(struct ap_page *page, const struct ap_evaluation *e, int arm)
{
    int64_t n = 0;
    const char *separator = " (";
    for (int g = AP_GUARD_EMPTY; g < AP_GUARD_COUNT; g++)
        n += e->n_guarded[arm][g];
    if (n == 0)
        return;
    ap_page_printf(page, "%s: in place of %lld of %lld rewrites the prompt was sent as it is",
                   ap_arm_shown(e->arms[0][arm].name), (long long)n, (long long)e->n_rewrite[arm]);
    for (int g = AP_GUARD_EMPTY; g < AP_GUARD_COUNT; g++)
        if (e->n_guarded[arm][g] > 0) {
            ap_page_printf(page, "%s%s %lld", separator, ap_guard_name((ap_guard)g),
                           (long long)e->n_guarded[arm][g]);
            separator = ", ";
        }
    ap_page_put(page, ").\n");
}

static void say_absent(struct ap_page *page, const struct ap_evaluation *e)
{
    for (int a = 0; a < e->n_absent; a++)
        ap_page_printf(page, "%s%s", a ? ", " : "", ap_arm_shown(e->absent[a]));
    if (e->n_absent > 0)
        ap_page_put(page, ": n/a, as the target answers over HTTP and is not ours to train.\n");
}

void ap_sentences_across(struct ap_page *page, const struct ap_evaluation *e)
{
    say_absent(page, e);
    ap_sentences_of_verdicts(page, e);
    for (int a = 0; a < e->n_arm && e->n_judge > 0; a++)
        say_guarded(page, e, a);
    for (int j = 0; j < e->n_judge; j++)
        if (e->n_dropped[j] > 0)
            ap_page_printf(page,
                           "Under %s, %lld pairs of prompt and seed were left out because some arm "
                           "has no score there.\n",
                           e->judges[j], (long long)e->n_dropped[j]);
}

ap_status ap_evaluation_sentences(const struct ap_evaluation *e, struct ap_buffer *out,
                                  struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    for (int j = 0; j < e->n_judge; j++) {
        if (j > 0)
            ap_page_put(&page, "\n");
        ap_sentences_of_judge(&page, e, j);
    }
    ap_sentences_across(&page, e);
    return page.status;
}
