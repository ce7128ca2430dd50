/* What a comparison says, in sentences. Entry point: ap_comparison_sentences. */
#include "eval/compare.h"
#include "eval/paper.h"
#include "eval/report_page.h"

#include <math.h>
#include <string.h>

static void say_cell(struct ap_page *page, const struct ap_comparison *c, int i, const char *judge)
{
    const struct ap_cell *cell = &c->cells[i];
    const struct ap_arm_statistics *align = ap_cell_arm(cell, judge, "align"),
                                   *rlhf = ap_cell_arm(cell, judge, "rlhf");
    int j = ap_judge_find(cell->evaluation, judge);
    if (j < 0)
        return;
    ap_page_printf(page, "%.100s, %.100s and %.100s", cell->data, cell->prompter, cell->target);
    ap_page_printf(page,
                   " (%lld prompts, %d %s%s): ", (long long)cell->evaluation->arms[j][0].n_prompt,
                   cell->evaluation->arms[j][0].n_seed, cell->n_run > 1 ? "run" : "seed",
                   cell->evaluation->arms[j][0].n_seed == 1 ? "" : "s");
    if (align && !isnan(align->delta_bare.value))
        ap_sentence_headline(page, align, rlhf, ap_score_decimals(cell->evaluation, j));
    else
        ap_page_put(page, "Align-Pro and bare are not both among the arms: n/a.\n");
    if (cell->evaluation->arms[j][0].n_prompt < AP_PROMPTS_LEAST)
        ap_page_printf(page,
                       "%.100s: fewer than %d prompts give no intervals, and no difference is "
                       "called one.\n",
                       cell->data, AP_PROMPTS_LEAST);
}

/* Cells in which Align-Pro's variance is below bare's; *n have both. */
static int n_lower_variance(const struct ap_comparison *c, const char *data, const char *judge,
                            int *n)
{
    int n_lower = 0;
    *n = 0;
    for (int i = 0; i < c->n_cell; i++) {
        const struct ap_arm_statistics *align = ap_cell_arm(&c->cells[i], judge, "align"),
                                       *bare = ap_cell_arm(&c->cells[i], judge, "bare");
        if (!align || !bare || (data && strcmp(data, c->cells[i].data) != 0))
            continue;
        ++*n;
        n_lower += align->variance.value < bare->variance.value;
    }
    return n_lower;
}

static void say_average_share(struct ap_page *page, const struct ap_average *average, int arm,
                              int which, const char *from)
{
    struct ap_arm_statistics align = average->arms[arm];
    int n = average->n_of[arm][which];
    if (n == 0)
        return;
    ap_page_printf(page, " Of the gap from %s to RLHF it closes %s", from,
                   ap_percent_with_range(*ap_statistic_at(&align, which)).text);
    if (n < average->n_cell)
        ap_page_printf(page, " (in %d of %d cells; the others have no such gap)", n,
                       average->n_cell);
    ap_page_put(page, ".");
}

static void say_average(struct ap_page *page, const struct ap_comparison *c,
                        const struct ap_average *average)
{
    int a = 0, n_both;
    while (a < average->n_arm && strcmp(average->arms[a].name, "align") != 0)
        a++;
    if (a == average->n_arm)
        return;
    const struct ap_arm_statistics *align = &average->arms[a];
    ap_page_printf(page, "On average over %d cells%s%.100s", average->n_cell,
                   average->data ? " of " : "", average->data ? average->data : "");
    ap_page_printf(page, " Align-Pro's score less bare's is %s",
                   ap_with_margin(align->delta_bare, average->decimals, true).text);
    ap_page_printf(page, ", and it wins %s of the comparisons.",
                   ap_percent_with_range(align->win_bare).text);
    say_average_share(page, average, a, AP_AT_share_bare, "bare");
    say_average_share(page, average, a, AP_AT_share_instruct, "instruct");
    int n_lower = n_lower_variance(c, average->data, average->judge, &n_both);
    ap_page_printf(page, " Its variance is below bare's in %d of %d cells.\n", n_lower, n_both);
}

/* What else could have been done, and what it bought on average. */
static void say_other_arms(struct ap_page *page, const struct ap_average *average)
{
    static const char *const others[] = {"rlhf", "dpo", "ift", "best-of-n", "best-of-n-answers"};
    int n = 0;
    for (size_t i = 0; i < AP_LEN(others); i++)
        for (int a = 0; a < average->n_arm; a++) {
            const struct ap_arm_statistics *arm = &average->arms[a];
            if (strcmp(arm->name, others[i]) != 0 || isnan(arm->delta_bare.value))
                continue;
            ap_page_printf(page, "%s %s %s",
                           n++ ? ";" : "The same of the other arms:", ap_arm_shown(arm->name),
                           ap_with_margin(arm->delta_bare, average->decimals, true).text);
            ap_page_printf(page, ", wins %s", ap_percent_with_range(arm->win_bare).text);
        }
    if (n > 0)
        ap_page_put(page, ".\n");
}

static int n_cells_of(const struct ap_comparison *c, const char *judge)
{
    int n = 0;
    for (int i = 0; i < c->n_cell; i++)
        n += ap_judge_find(c->cells[i].evaluation, judge) >= 0;
    return n;
}

/* docs/report.md: such intervals hold 70 to 90% where runs lie far apart; of one run they hold
 * nothing of what another would change. */
static void say_few_runs(struct ap_page *page, const struct ap_comparison *c)
{
    int n = 0, n_one = 0;
    for (int i = 0; i < c->n_cell; i++) {
        n += c->cells[i].n_run > 1 && c->cells[i].n_run < 5;
        n_one += c->cells[i].n_run == 1;
    }
    if (n_one > 0)
        ap_page_printf(page, "%d cell%s one run: another training seed is not in such intervals.\n",
                       n_one, n_one == 1 ? " has" : "s have");
    if (n > 0)
        ap_page_printf(page,
                       "%d cell%s two to four runs: where runs lie far apart such intervals are "
                       "too narrow.\n",
                       n, n == 1 ? " has" : "s have");
}

void ap_comparison_sentences_of(struct ap_page *page, const struct ap_comparison *c,
                                const char *judge)
{
    const char *meaning = ap_judge_meaning(judge);
    int n = n_cells_of(c, judge);
    ap_page_printf(page, "Judged by %s%s%s:\n", judge, meaning[0] ? ", " : "", meaning);
    ap_page_printf(page, "%d cell%s; higher is better; ± and brackets: 95%% intervals.\n", n,
                   n == 1 ? "" : "s");
    say_few_runs(page, c);
    for (int i = 0; i < c->n_average; i++)
        if (!c->averages[i].data && strcmp(c->averages[i].judge, judge) == 0) {
            say_average(page, c, &c->averages[i]);
            say_other_arms(page, &c->averages[i]);
        }
    for (int i = 0; i < c->n_average; i++)
        if (c->averages[i].data && strcmp(c->averages[i].judge, judge) == 0 &&
            c->averages[i].n_cell < n) /* of one data set both would say the same */
            say_average(page, c, &c->averages[i]);
    for (int i = 0; i < c->n_cell; i++)
        say_cell(page, c, i, judge);
}

ap_status ap_comparison_sentences(const struct ap_comparison *c, struct ap_buffer *out,
                                  struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    const char *judge;
    for (int i = 0; (judge = ap_comparison_judge(c, i)); i++) {
        ap_page_put(&page, i > 0 ? "\n" : "");
        ap_comparison_sentences_of(&page, c, judge);
    }
    return page.status;
}
