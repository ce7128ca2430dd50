/* The list of all test prompts: a prompt is an element that opens on its rewrites, as changes of
 * it, and on every arm's answer and scores. Without a script the list is simply all there. Entry
 * point: ap_html_prompts. */
#include "eval/html_prompts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ANSWER_MAX 2000 /* bytes of an answer that the page shows */
#define SUMMARY_MAX 160 /* of a prompt in its closed element */

/* Search and order; no text of the page is ever taken for markup. */
const char ap_html_script[] =
    "(function(){'use strict';\n"
    "var list=document.getElementById('prompts');if(!list)return;\n"
    "var rows=Array.prototype.slice.call(list.children),\n"
    "bar=document.getElementById('finder'),find=document.getElementById('find'),\n"
    "order=document.getElementById('order'),count=document.getElementById('found'),\n"
    "texts=rows.map(function(r){return r.textContent.toLowerCase();});\n"
    "bar.hidden=false;\n"
    "function search(){var words=find.value.toLowerCase().split(/\\s+/),n=0;\n"
    "rows.forEach(function(r,i){var hit=words.every(function(w){return texts[i].indexOf(w)>=0;});\n"
    "r.hidden=!hit;if(hit)n+=1;});\n"
    "count.textContent=n+' of '+rows.length;}\n"
    "function gain(r){var g=parseFloat(r.getAttribute('data-gain'));return isNaN(g)?0:g;}\n"
    "function sort(){var way=order.value,sorted=rows.slice();\n"
    "if(way==='gain')sorted.sort(function(a,b){return gain(b)-gain(a);});\n"
    "if(way==='loss')sorted.sort(function(a,b){return gain(a)-gain(b);});\n"
    "sorted.forEach(function(r){list.appendChild(r);});}\n"
    "find.addEventListener('input',search);order.addEventListener('change',sort);search();sort();\n"
    "})();\n";

static void put_quote(struct ap_page *page, const char *text)
{
    ap_page_put(page, "<blockquote dir=\"auto\">");
    if (text && text[0])
        ap_html_text_max(page, text, ANSWER_MAX);
    else
        ap_page_put(page, "<span class=\"none\">(empty)</span>");
    ap_page_put(page, "</blockquote>\n");
}

static void put_arm(struct ap_page *page, const struct ap_evaluation *e,
                    const struct ap_prompt_row *row, int arm)
{
    const struct ap_prompt_answer *x = &row->arms[arm];
    ap_page_put(page, "<div><p class=\"what\"><b>");
    ap_html_text(page, ap_arm_shown(e->arms[0][arm].name));
    ap_page_put(page, "</b>");
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, j ? ", " : " ");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, " ");
        ap_html_number(page, ap_number(x->scores[j], ap_score_decimals(e, j), false));
    }
    ap_page_put(page, "</p>\n");
    if (x->rewrite) {
        ap_page_put(page, "<blockquote dir=\"auto\" class=\"diff\">");
        ap_html_diff(page, row->prompt ? row->prompt : "", x->rewrite);
        ap_page_put(page, "</blockquote>\n");
    }
    put_quote(page, x->answer);
    ap_page_put(page, "</div>\n");
}

static double gain_of(const struct ap_evaluation *e, const struct ap_prompt_row *row)
{
    int align = ap_arm_find(e, "align"), bare = ap_arm_find(e, "bare");
    return align >= 0 && bare >= 0 ? row->arms[align].scores[0] - row->arms[bare].scores[0] : NAN;
}

static void put_prompt(struct ap_page *page, const struct ap_evaluation *e,
                       const struct ap_prompt_row *row)
{
    double gain = gain_of(e, row);
    ap_page_put(page, "<details class=\"prompt\"");
    if (isfinite(gain))
        ap_page_printf(page, " data-gain=\"%.6g\"", gain);
    ap_page_printf(page, "><summary><span class=\"number\">%" PRIu64 "</span> <b>", row->record);
    ap_html_number(page, ap_number(gain, ap_score_decimals(e, 0), true));
    ap_page_put(page, "</b> <span dir=\"auto\">");
    ap_html_text_max(page, row->prompt, SUMMARY_MAX);
    ap_page_put(page, "</span></summary>\n");
    if (row->prompt && strlen(row->prompt) > SUMMARY_MAX)
        put_quote(page, row->prompt);
    ap_page_put(page, "<div class=\"pair\">\n");
    for (int a = 0; a < e->n_arm; a++)
        put_arm(page, e, row, a);
    ap_page_put(page, "</div>\n</details>\n");
}

static const char finder[] =
    "<div id=\"finder\" hidden><label>Search <input id=\"find\" type=\"search\"></label> "
    "<label>Order <select id=\"order\"><option value=\"record\">as in the test set</option>"
    "<option value=\"gain\">largest gain first</option>"
    "<option value=\"loss\">largest loss first</option></select></label> "
    "<span id=\"found\" class=\"note\"></span></div>\n<div id=\"prompts\">\n";

void ap_html_prompts(struct ap_page *page, const struct ap_evaluation *e,
                     const struct ap_prompt_rows *rows)
{
    if (rows->n == 0)
        return;
    size_t before = page->out->len, i = 0;
    ap_page_put(page, "<h2>All test prompts</h2>\n<p class=\"note\">Each with its number, what "
                      "Align-Pro gains over bare under ");
    ap_html_text(page, e->judges[0]);
    ap_page_printf(page,
                   ", and, opened, every arm's rewrite as a change of it (<del>gone</del> "
                   "<ins>come</ins>), answer and scores; seed %lld.</p>\n",
                   (long long)e->seeds[0]);
    ap_page_put(page, finder);
    for (; i < rows->n && page->out->len - before < AP_PROMPTS_BYTES_MAX; i++)
        put_prompt(page, e, &rows->items[i]);
    ap_page_put(page, "</div>\n");
    if (i < rows->n || rows->n_more > 0)
        ap_page_printf(page,
                       "<p class=\"caution\">%zu more test prompts are left out, so that this page "
                       "stays one that a browser opens; all are in run.db.</p>\n",
                       rows->n - i + rows->n_more);
}
