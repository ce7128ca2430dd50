/* report.html, put together: sentences, table, plots, examples, and what made them. One page that
 * needs nothing else and runs nothing; a content policy in its head says so to the browser, too.
 * Entry point: ap_report_html. */
#include "eval/html.h"

#include <inttypes.h>

void ap_html_begin(struct ap_page *page, const char *title, const char *style)
{
    ap_page_put(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<title>");
    ap_html_text(page, title);
    ap_page_put(page, "</title>\n<style>\n");
    ap_page_put(page, ap_html_style);
    ap_page_put(page, style);
    ap_page_put(page, "</style>\n</head>\n<body>\n<main>\n<h1>");
    ap_html_text(page, title);
    ap_page_put(page, "</h1>\n");
}

static void put_head(struct ap_page *page, const char *title)
{
    ap_html_begin(page, title, "");
    ap_page_put(page,
                "<p>A small model, the prompter, rewrites each prompt. The target, a "
                "language model that stays as it is, answers the rewrite. A reward scores the "
                "answer against the original prompt, and the prompter learns from that by "
                "reinforcement.</p>\n");
}

static const char reading[] =
    "<p class=\"note\">Below each number its 95% interval: a bootstrap over test prompts, the same "
    "resamples for every arm. <b>over bare</b>: paired difference of means. <b>wins</b>: share of "
    "comparisons won on the same prompt and seed, ties one half. <b>gap closed</b>: the arm's gain "
    "as a share of rlhf's; empty when rlhf shows no clear gain. <b>variance</b>: of the scores of "
    "one "
    "answer per prompt, over prompts. <b>KL</b>: how far the trained policy moved from its start. "
    "Lengths in each model's own tokens.</p>\n";

static void put_numbers(struct ap_page *page, const struct ap_evaluation *e)
{
    ap_page_put(page, "<h2>The arms and their numbers</h2>\n");
    ap_html_arms(page, e);
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, "<h3>Judged by ");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, "</h3>\n");
        ap_html_table(page, e, j);
    }
    ap_page_put(page, reading);
}

static void put_evaluation(struct ap_page *page, const struct ap_report_source *source,
                           const struct ap_answers_read *read)
{
    const struct ap_evaluation *e = source->evaluation;
    ap_page_put(page, "<h2>What came out</h2>\n");
    ap_html_sentences(page, e);
    put_numbers(page, e);
    ap_page_put(page, "<h2>The arms side by side</h2>\n");
    ap_html_comparison(page, e, read);
    ap_html_noise(page, e);
    ap_html_texts(page, source);
}

static void put_training(struct ap_page *page, const struct ap_curves *curves)
{
    ap_page_put(page, "<h2>Training</h2>\n");
    if (curves->n == 0) {
        ap_page_put(page, "<p>No stage has written a metric yet.</p>\n");
        return;
    }
    ap_page_put(page, "<p class=\"note\">Thin lines: steps, averaged where there are very many. "
                      "Strong lines: the same, smoothed.</p>\n");
    ap_html_curves(page, curves);
    ap_html_watch(page, curves);
}

static void put_origin(struct ap_page *page, const struct ap_report_source *source)
{
    const struct ap_evaluation *e = source->evaluation;
    ap_page_put(page, "<h2>How this was made</h2>\n<p>");
    if (source->version) {
        ap_page_put(page, "alignpro ");
        ap_html_text(page, source->version);
        ap_page_put(page, ". ");
    }
    if (e) {
        ap_page_printf(page, "Sampling seed%s of the evaluation: ", e->n_seed == 1 ? "" : "s");
        for (int i = 0; i < e->n_seed; i++)
            ap_page_printf(page, "%s%" PRId64, i ? ", " : "", e->seeds[i]);
        ap_page_printf(page, ". Bootstrap resamples: %d. ", e->n_bootstrap);
    }
    ap_page_put(page, "All answers and scores are in run.db beside this page.</p>\n");
    if (source->recipe) {
        ap_page_put(page, "<details><summary>The recipe, resolved</summary>\n<pre>");
        ap_html_text(page, source->recipe);
        ap_page_put(page, "</pre></details>\n");
    }
    ap_page_put(page, "</main>\n</body>\n</html>\n");
}

ap_status ap_report_html(const struct ap_report_source *source, struct ap_buffer *out,
                         struct ap_error *err)
{
    ap_status status;
    const struct ap_evaluation *e = source->evaluation;
    struct ap_curves curves = {0};
    struct ap_answers_read read = {0};
    struct ap_page page = {.out = out, .err = err};

    AP_TRY(ap_curves_read(&curves, source->db, err));
    if (e)
        AP_TRY(ap_answers_read(&read, source->db, e, ap_arm_find(e, "bare"),
                               ap_arm_find(e, "align"), err));
    put_head(&page, source->title ? source->title : "alignpro");
    if (e)
        put_evaluation(&page, source, &read);
    put_training(&page, &curves);
    if (e)
        ap_html_examples(&page, e, &read);
    put_origin(&page, source);
    status = page.status;
out:
    ap_curves_free(&curves);
    ap_answers_read_free(&read);
    return status;
}
