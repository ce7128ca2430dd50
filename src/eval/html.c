/* report.html, put together: sentences, tables, plots, examples, all prompts, and what made them.
 * One page that needs nothing else and runs nothing but its search; a content policy in its head
 * says so to the browser, too. Entry point: ap_report_html. */
#include "base/sha256.h"
#include "eval/html_compare.h"
#include "eval/html_prompts.h"

#include <inttypes.h>
#include <string.h>

/* The policy names the script by its hash: no other one would run, whatever came into the page. */
static void put_policy(struct ap_page *page, const char *script)
{
    ap_page_put(page, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'");
    if (script) {
        struct ap_sha256 s;
        unsigned char digest[32];
        char hash[AP_SHA256_BASE64];
        ap_sha256_init(&s);
        ap_sha256_add(&s, script, strlen(script));
        ap_sha256_end(&s, digest);
        ap_sha256_base64(digest, hash);
        ap_page_printf(page, "; script-src 'sha256-%s'", hash);
    }
    ap_page_put(page, "\">\n");
}

void ap_html_begin(struct ap_page *page, const char *title, const char *style, const char *script)
{
    ap_page_put(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put_policy(page, script);
    ap_page_put(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<title>");
    ap_html_text(page, title);
    ap_page_put(page, "</title>\n<style>\n");
    ap_page_put(page, ap_html_style);
    ap_page_put(page, style);
    ap_page_put(page, "</style>\n</head>\n<body>\n<main>\n<h1>");
    ap_html_text(page, title);
    ap_page_put(page, "</h1>\n");
}

void ap_html_head(struct ap_page *page, const char *title, const char *script)
{
    ap_html_begin(page, title, "", script);
    ap_page_put(page,
                "<p>A small model, the prompter, rewrites each prompt. The target, a "
                "language model that stays as it is, answers the rewrite. A reward scores the "
                "answer against the original prompt, and the prompter learns from that by "
                "reinforcement.</p>\n");
}

void ap_html_end(struct ap_page *page, const char *script)
{
    ap_page_put(page, "</main>\n");
    if (script) {
        ap_page_put(page, "<script>");
        ap_page_put(page, script);
        ap_page_put(page, "</script>\n");
    }
    ap_page_put(page, "</body>\n</html>\n");
}

const char ap_html_reading[] =
    "<p class=\"note\">Below each number its 95% interval: a bootstrap over test prompts and, "
    "where "
    "there are several, seeds, the same resamples for every arm; none for fewer than 10 prompts. "
    "<b>over bare</b>: paired difference of means. <b>wins</b>: share of "
    "comparisons won on the same prompt and seed, ties one half. <b>gap closed</b>: the arm's gain "
    "as a share of RLHF's; empty when RLHF shows no clear gain. <b>variance</b>: of the scores of "
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
    ap_page_put(page, ap_html_reading);
}

static void put_layout(struct ap_page *page, const struct ap_report_source *source)
{
    const struct ap_evaluation *e = source->evaluation;
    ap_page_put(page, "<h2>In the paper's layout</h2>\n");
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, "<h3>Judged by ");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, "</h3>\n");
        ap_html_layout(page, source->alone, e->judges[j]);
    }
}

static void put_evaluation(struct ap_page *page, const struct ap_report_source *source,
                           const struct ap_answers_read *read)
{
    const struct ap_evaluation *e = source->evaluation;
    ap_page_put(page, "<h2>What came out</h2>\n");
    ap_html_sentences(page, e);
    ap_html_cautions(page, source);
    if (source->alone)
        put_layout(page, source);
    put_numbers(page, e);
    ap_page_put(page, "<h2>The arms side by side</h2>\n");
    ap_html_comparison(page, e, read);
    ap_html_noise(page, e);
    ap_html_verdicts(page, e);
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

static void put_hashes(struct ap_page *page, const struct ap_report_source *source)
{
    if (source->fingerprint)
        ap_page_printf(page,
                       "<p>Recipe %016" PRIx64 ": a hash of every value that changes results. ",
                       source->fingerprint);
    if (source->n_hash == 0) {
        ap_page_put(page, source->fingerprint ? "</p>\n" : "");
        return;
    }
    ap_page_put(page, source->fingerprint ? "" : "<p>");
    ap_page_put(page, "Files by SHA-256, as sha256sum prints it:</p>\n"
                      "<div class=\"scroll\" tabindex=\"0\"><table class=\"files\">\n<tbody>\n");
    for (int i = 0; i < source->n_hash; i++) {
        ap_page_put(page, "<tr><th scope=\"row\">");
        ap_html_text(page, source->hashes[i].what);
        ap_page_put(page, "</th><td>");
        ap_html_text(page, source->hashes[i].path);
        ap_page_put(page, "</td><td>");
        ap_html_text(page, source->hashes[i].hash);
        ap_page_put(page, "</td></tr>\n");
    }
    ap_page_put(page, "</tbody></table></div>\n");
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
    if (source->seeds) {
        ap_page_put(page, "Seeds of training: ");
        ap_html_text(page, source->seeds);
        ap_page_put(page, ". ");
    }
    if (e) {
        ap_page_printf(page, "Sampling seed%s of the evaluation: ", e->n_seed == 1 ? "" : "s");
        for (int i = 0; i < e->n_seed; i++)
            ap_page_printf(page, "%s%" PRId64, i ? ", " : "", e->seeds[i]);
        ap_page_printf(page, ". Bootstrap resamples: %d. ", e->n_bootstrap);
    }
    ap_page_put(page, "All answers and scores are in run.db beside this page.</p>\n");
    if (source->bought) {
        ap_page_put(page, "<p>Bought of servers. ");
        ap_html_text(page, source->bought);
        ap_page_put(page, ".</p>\n");
    }
    put_hashes(page, source);
    if (source->recipe) {
        ap_page_put(page, "<details><summary>The recipe, resolved</summary>\n<pre>");
        ap_html_text(page, source->recipe);
        ap_page_put(page, "</pre></details>\n");
    }
}

ap_status ap_report_html(const struct ap_report_source *source, struct ap_buffer *out,
                         struct ap_error *err)
{
    ap_status status;
    const struct ap_evaluation *e = source->evaluation;
    struct ap_curves curves = {0};
    struct ap_answers_read read = {0};
    struct ap_prompt_rows prompts = {0};
    struct ap_page page = {.out = out, .err = err};

    AP_TRY(ap_curves_read(&curves, source->db, err));
    if (e) {
        AP_TRY(ap_answers_read(&read, source->db, e, ap_arm_find(e, "bare"),
                               ap_arm_find(e, "align"), err));
        AP_TRY(ap_prompt_rows_read(&prompts, source->db, e, err));
    }
    ap_html_head(&page, source->title ? source->title : "alignpro", e ? ap_html_script : NULL);
    if (e)
        put_evaluation(&page, source, &read);
    ap_html_bound(&page, source->bound);
    put_training(&page, &curves);
    if (e) {
        ap_html_examples(&page, e, &read);
        ap_html_prompts(&page, e, &prompts);
    }
    put_origin(&page, source);
    ap_html_end(&page, e ? ap_html_script : NULL);
    status = page.status;
out:
    ap_curves_free(&curves);
    ap_answers_read_free(&read);
    ap_prompt_rows_free(&prompts);
    return status;
}
