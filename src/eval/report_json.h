/* Parts of eval.json that a comparison is written with, too. New references; NULL when a name is
 * not UTF-8 or memory is out. */
#ifndef AP_EVAL_REPORT_JSON_H
#define AP_EVAL_REPORT_JSON_H

#include "base/json.h"
#include "eval/report.h"

/* {"value", "low", "high"}, each null where it does not exist. */
json_t *ap_interval_json(const struct ap_interval *x);
json_t *ap_arm_json(const struct ap_arm_statistics *arm);
json_t *ap_judges_json(const struct ap_evaluation *e); /* the list under "judges" */
json_t *ap_seeds_json(const struct ap_evaluation *e);
/* root is taken over; NULL is AP_INVALID. what: for the message. */
ap_status ap_json_put(json_t *root, const char *what, struct ap_buffer *out, struct ap_error *err);

#endif
