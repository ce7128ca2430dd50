/* Pieces of the tables for programs: an interval as JSON, cells of CSV (RFC 4180). Theirs is
 * report_table.c. */
#ifndef AP_EVAL_REPORT_JSON_H
#define AP_EVAL_REPORT_JSON_H

#include "base/json.h"
#include "eval/report_page.h"

/* {"value", "low", "high"}, each null where it does not exist. A new reference, or NULL. */
json_t *ap_interval_json(const struct ap_interval *x);
void ap_csv_quoted(struct ap_page *page, const char *text);
/* A comma, and the number where it exists. */
void ap_csv_real(struct ap_page *page, double x);

#endif
