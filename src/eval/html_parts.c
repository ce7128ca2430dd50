/* Parts of report.html that come from the statistics alone: sentences, what the arms are, the
 * table. Entry points: ap_html_sentences, ap_html_arms, ap_html_table. */
#include "eval/html.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- sentences ---- */

/* A hyphen that begins a number becomes a minus sign. */
static void put_line(struct ap_page *page, char *line)
{
    char *from = line;
    for (char *c = line; *c; c++)
        if (*c == '-' && isdigit((unsigned char)c[1]) && c > line && strchr(" ([", c[-1])) {
            *c = '\0';
            ap_html_text(page, from);
            ap_page_put(page, "−");
            from = c + 1;
        }
    ap_html_text(page, from);
}

void ap_html_lines(struct ap_page *page, char *text, bool has_heading)
{
    char *rest = text, *line;
    bool is_open = false;
    while ((line = strsep(&rest, "\n"))) {
        if (!*line)
            continue;
        if (has_heading && line == text) {
            ap_page_put(page, "<h3>");
            put_line(page, line);
            ap_page_put(page, "</h3>\n");
            continue;
        }
        ap_page_put(page, is_open ? "" : "<ul>\n");
        is_open = true;
        ap_page_put(page, strncmp(line, "Caution", 7) == 0 ? "<li class=\"caution\">" : "<li>");
        put_line(page, line);
        ap_page_put(page, "</li>\n");
    }
    ap_page_put(page, is_open ? "</ul>\n" : "");
}

void ap_html_sentences(struct ap_page *page, const struct ap_evaluation *e)
{
    struct ap_buffer text = {0};
    struct ap_page lines = {.out = &text, .err = page->err};
    for (int j = 0; j <= e->n_judge && page->status == AP_OK; j++) {
        ap_buffer_clear(&text);
        if (j < e->n_judge)
            ap_sentences_of_judge(&lines, e, j);
        else
            ap_sentences_across(&lines, e);
        if (lines.status != AP_OK)
            page->status = lines.status;
        ap_page_put(page, j == 0 ? "<div class=\"columns\">\n" : "");
        ap_page_put(page, j < e->n_judge ? "<div>\n" : "</div>\n");
        if (page->status == AP_OK && text.len > 0)
            ap_html_lines(page, text.data, j < e->n_judge);
        ap_page_put(page, j < e->n_judge ? "</div>\n" : "");
    }
    ap_buffer_free(&text);
}

/* ---- arms ---- */

void ap_html_arms(struct ap_page *page, const struct ap_evaluation *e)
{
    ap_page_put(page, "<dl class=\"arms\">\n");
    for (int a = 0; a < e->n_arm; a++) {
        ap_page_put(page, "<dt>");
        ap_html_text(page, ap_arm_shown(e->arms[0][a].name));
        ap_page_put(page, "</dt><dd>");
        ap_html_text(page, ap_arm_meaning(e->arms[0][a].name));
        ap_page_put(page, "</dd>\n");
    }
    ap_page_put(page, "</dl>\n");
}

/* ---- the table ---- */

enum unit { SCORE, SIGNED_SCORE, PERCENT, NATS, TOKENS };

struct column {
    const char *title, *statistic;
    enum unit unit;
};

static const struct column columns[] = {
    {"over bare", "delta_bare", SIGNED_SCORE},
    {"mean score", "mean", SCORE},
    {"wins against bare", "win_bare", PERCENT},
    {"wins against instruct", "win_instruct", PERCENT},
    {"gap closed from bare", "share_bare", PERCENT},
    {"gap closed from instruct", "share_instruct", PERCENT},
    {"variance", "variance", SCORE},
    {"KL, nats", "kl", NATS},
    {"rewrite tokens", "rewrite_tokens", TOKENS},
    {"answer tokens", "answer_tokens", TOKENS},
    {"answers ended", "answer_ended", PERCENT},
};

static const struct ap_interval *find_statistic(struct ap_arm_statistics *arm, const char *name)
{
    for (int k = 0; k < ap_n_statistics; k++)
        if (strcmp(ap_statistics[k].name, name) == 0)
            return ap_statistic_at(arm, k);
    return NULL;
}

/* Nothing is said by an interval of no width: bare against itself, rlhf's share of its own gap. */
static bool has_range(struct ap_interval x)
{
    return !isnan(x.value) && !isnan(x.low) && x.low < x.high;
}

static void put_cell(struct ap_page *page, const struct column *column, struct ap_interval x,
                     int decimals)
{
    bool sign = column->unit == SIGNED_SCORE, is_percent = column->unit == PERCENT;
    int d = column->unit == NATS ? 2 : column->unit == TOKENS ? 1 : decimals;
    struct ap_interval percent = {100 * x.value, 100 * x.low, 100 * x.high};
    ap_page_put(page, "<td>");
    ap_html_number(page, is_percent ? ap_percent(x.value) : ap_number(x.value, d, sign));
    if (has_range(x)) {
        ap_page_put(page, "<small>");
        ap_html_number(page, ap_range(is_percent ? percent : x, is_percent ? 0 : d));
        ap_page_put(page, "</small>");
    }
    ap_page_put(page, "</td>");
}

void ap_html_table(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    ap_page_put(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>"
                      "<th scope=\"col\">arm</th>");
    for (size_t c = 0; c < AP_LEN(columns); c++)
        ap_page_printf(page, "<th scope=\"col\">%s</th>", columns[c].title);
    ap_page_put(page, "</tr></thead>\n<tbody>\n");
    for (int a = 0; a < e->n_arm; a++) {
        struct ap_arm_statistics arm = e->arms[judge][a];
        bool is_main = strcmp(arm.name, "align") == 0;
        ap_page_printf(page, "<tr%s><th scope=\"row\">", is_main ? " class=\"main\"" : "");
        ap_html_text(page, ap_arm_shown(arm.name));
        ap_page_put(page, "</th>");
        for (size_t c = 0; c < AP_LEN(columns); c++)
            put_cell(page, &columns[c], *find_statistic(&arm, columns[c].statistic),
                     ap_score_decimals(e, judge));
        ap_page_put(page, "</tr>\n");
    }
    ap_page_put(page, "</tbody></table></div>\n");
}
