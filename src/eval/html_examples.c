/* Test prompts with their rewrites and both answers, the largest gains and the largest losses.
 * Entry point: ap_html_examples. */
#include "eval/html.h"

#include <math.h>

#define TEXT_MAX 2000 /* bytes of a prompt or an answer that the page shows */

static void put_quote(struct ap_page *page, const char *text, const char *class)
{
    ap_page_printf(page, "<blockquote dir=\"auto\"%s>", class);
    if (text && text[0])
        ap_html_text_max(page, text, TEXT_MAX);
    else
        ap_page_put(page, "<span class=\"none\">(empty)</span>");
    ap_page_put(page, "</blockquote>\n");
}

static void put_scores(struct ap_page *page, const struct ap_evaluation *e,
                       const struct ap_example *x, int which)
{
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, j ? ", " : "");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, " ");
        ap_html_number(page, ap_number(x->scores[j][which], ap_score_decimals(e, j), false));
    }
}

static void put_answer(struct ap_page *page, const struct ap_evaluation *e,
                       const struct ap_example *x, int which, const char *what)
{
    double gain = which == 1 ? x->difference : -x->difference;
    ap_page_printf(page, "<div><p class=\"what\">%s: ", what);
    put_scores(page, e, x, which);
    ap_page_put(page, "</p>\n");
    put_quote(page, x->answers[which],
              gain > 0   ? " class=\"better\""
              : gain < 0 ? " class=\"worse\""
                         : "");
    ap_page_put(page, "</div>\n");
}

static void put_example(struct ap_page *page, const struct ap_evaluation *e,
                        const struct ap_example *x)
{
    ap_page_put(page, "<article class=\"example\">\n<h4>Align-Pro over bare: ");
    ap_html_number(page, ap_number(x->difference, ap_score_decimals(e, 0), true));
    ap_page_printf(page, " <small>test prompt %llu</small></h4>\n<div class=\"pair\">\n<div>",
                   (unsigned long long)x->record);
    ap_page_put(page, "<p class=\"what\">prompt, as the user wrote it</p>\n");
    put_quote(page, x->prompt, "");
    ap_page_put(page, "</div>\n<div><p class=\"what\">Align-Pro's rewrite of it</p>\n");
    put_quote(page, x->rewrite, "");
    ap_page_put(page, "</div>\n");
    put_answer(page, e, x, 0, "the target's answer to the prompt (bare)");
    put_answer(page, e, x, 1, "its answer to the rewrite (Align-Pro)");
    ap_page_put(page, "</div>\n</article>\n");
}

void ap_html_examples(struct ap_page *page, const struct ap_evaluation *e,
                      const struct ap_answers_read *read)
{
    if (read->n_best == 0)
        return;
    ap_page_printf(page,
                   "<h2>%d test prompts</h2>\n<p>Not typical ones: those on which the two answers "
                   "differ most under ",
                   read->n_best + read->n_worst);
    ap_html_text(page, e->judges[0]);
    ap_page_printf(page, ", in both directions, all with seed %lld.</p>\n", (long long)read->seed);
    ap_page_printf(page, "<h3>The %d best for Align-Pro</h3>\n", read->n_best);
    for (int i = 0; i < read->n_best; i++)
        put_example(page, e, &read->examples[i]);
    if (read->n_worst > 0)
        ap_page_printf(page, "<h3>The %d worst for Align-Pro, the worst first</h3>\n",
                       read->n_worst);
    for (int i = 0; i < read->n_worst; i++)
        put_example(page, e, &read->examples[read->n_best + i]);
}
