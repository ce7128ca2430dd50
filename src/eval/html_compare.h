/* What the page of one run and that of a comparison share beside html.h. */
#ifndef AP_EVAL_HTML_COMPARE_H
#define AP_EVAL_HTML_COMPARE_H

#include "eval/compare.h"
#include "eval/html.h"

/* The table in the paper's layout under one judge. */
void ap_html_layout(struct ap_page *page, const struct ap_comparison *c, const char *judge);

#endif
