/* How far prompting can get: plot, sentences and what the terms mean. Entry point: ap_html_bound.
 */
#include "eval/bound_told.h"
#include "eval/html.h"
#include "eval/svg.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

static void put_plot(struct ap_page *page, const struct ap_bound_told *t)
{
    const struct ap_bound *b = &t->bound;
    struct ap_number text[4];
    const struct {
        const char *label, *name;
        struct ap_interval mark;
    } all[] = {{"before", "sft", b->j_sft},
               {"Align-Pro", "align", b->j_trained},
               {"cross-fitted", "other", b->lower},
               {"plug-in", "other", b->plug_in}};
    struct ap_svg_row rows[AP_LEN(all)];
    int n = 0;
    for (size_t i = 0; i < AP_LEN(all); i++) {
        if (isnan(all[i].mark.value))
            continue;
        text[n] = ap_with_range(all[i].mark, 2, false);
        rows[n] = (struct ap_svg_row){
            .label = all[i].label, .name = all[i].name, .mark = all[i].mark, .text = text[n].text};
        n++;
    }
    ap_svg_intervals(
        page,
        &(struct ap_svg_chart){.title = "Reward less the KL leash: where the prompter stands, and "
                                        "the ceiling from both sides",
                               .x_label = "objective (bars: 95% intervals)"},
        rows, n);
}

static void put_sentences(struct ap_page *page, const struct ap_bound_told *t)
{
    struct ap_buffer text = {0};
    if (page->status == AP_OK)
        page->status = ap_bound_sentences(t, &text, page->err);
    for (char *at = text.data, *end; at && *at && (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        ap_page_put(page, "<p>");
        ap_html_text(page, at);
        ap_page_put(page, "</p>\n");
    }
    ap_buffer_free(&text);
}

void ap_html_bound(struct ap_page *page, const struct ap_bound_told *t)
{
    if (!t)
        return;
    ap_page_put(page, "<h2>How far prompting can get</h2>\n<div class=\"plots\">\n");
    put_plot(page, t);
    ap_page_put(page, "</div>\n");
    put_sentences(page, t);
    ap_page_printf(page,
                   "<p class=\"note\">%lld test prompts, %d rewrites of each, %d answers to each "
                   "rewrite, of which %d with log-probabilities; lambda %g; 95%% intervals of %d "
                   "bootstrap resamples over prompts. All of it is in bound.json.</p>\n",
                   (long long)t->n_prompt, t->n_rewrite, t->n_answer, t->n_scored, t->kl,
                   t->n_bootstrap);
}
