/* All test prompts with what every arm made of them, for the page's searchable list. */
#ifndef AP_EVAL_HTML_PROMPTS_H
#define AP_EVAL_HTML_PROMPTS_H

#include "eval/html.h"

#define AP_PROMPTS_SHOWN_MAX 4000
#define AP_PROMPTS_BYTES_MAX ((size_t)8 << 20) /* of the page; the rest is left to run.db */

/* One answer of one arm, under the first seed. */
struct ap_prompt_answer {
    char *rewrite, *answer;       /* owned; NULL where there is none */
    double scores[AP_JUDGES_MAX]; /* NaN for none */
};
struct ap_prompt_row {
    uint64_t record;
    char *prompt; /* owned */
    struct ap_prompt_answer arms[AP_ARMS_MAX];
};
struct ap_prompt_rows {
    struct ap_prompt_row *items; /* owned; by record, ascending */
    size_t n, cap;
    size_t n_more; /* prompts past the ceiling, which are not here */
};
ap_status ap_prompt_rows_read(struct ap_prompt_rows *out, struct ap_database *db,
                              const struct ap_evaluation *e, struct ap_error *err);
void ap_prompt_rows_free(struct ap_prompt_rows *rows);

/* A list with one element a prompt that opens; search and order where scripts run. */
void ap_html_prompts(struct ap_page *page, const struct ap_evaluation *e,
                     const struct ap_prompt_rows *rows);
extern const char ap_html_script[]; /* the only script of the page */

#endif
