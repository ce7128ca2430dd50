/* An evaluation as CSV (RFC 4180). Entry points: ap_evaluation_csv, and the parts in report_page.h.
 */
#include "eval/report_page.h"

#include <math.h>

void ap_csv_text(struct ap_page *page, const char *text)
{
    ap_page_put(page, "\"");
    for (; *text; text++)
        ap_page_printf(page, *text == '"' ? "\"\"" : "%c", *text);
    ap_page_put(page, "\"");
}

void ap_csv_real(struct ap_page *page, double x)
{
    if (isfinite(x))
        ap_page_printf(page, ",%.15g", x);
    else
        ap_page_put(page, ",");
}

void ap_csv_header(struct ap_page *page)
{
    for (int k = 0; k < ap_n_statistics; k++)
        ap_page_printf(page, ",%s,%s_low,%s_high", ap_statistics[k].name, ap_statistics[k].name,
                       ap_statistics[k].name);
    ap_page_put(page, "\n");
}

void ap_csv_arm(struct ap_page *page, const struct ap_arm_statistics *arm)
{
    struct ap_arm_statistics copy = *arm;
    ap_csv_text(page, arm->name);
    ap_page_printf(page, ",%lld,%d", (long long)arm->n_prompt, arm->n_seed);
    for (int k = 0; k < ap_n_statistics; k++) {
        const struct ap_interval *x = ap_statistic_at(&copy, k);
        ap_csv_real(page, x->value);
        ap_csv_real(page, x->low);
        ap_csv_real(page, x->high);
    }
    ap_page_put(page, "\n");
}

ap_status ap_evaluation_csv(const struct ap_evaluation *e, struct ap_buffer *out,
                            struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    ap_page_put(&page, "judge,arm,prompts,seeds");
    ap_csv_header(&page);
    for (int j = 0; j < e->n_judge; j++)
        for (int a = 0; a < e->n_arm; a++) {
            ap_csv_text(&page, e->judges[j]);
            ap_page_put(&page, ",");
            ap_csv_arm(&page, &e->arms[j][a]);
        }
    return page.status;
}
