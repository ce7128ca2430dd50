/* Pieces of report.html: escaped text, and the parts that html.c puts together. Writing goes
 * through struct ap_page (report_page.h), whose first failure sticks. */
#ifndef AP_EVAL_HTML_H
#define AP_EVAL_HTML_H

#include "eval/report_page.h"

#include <stdbool.h>

/* Text from data: markup escaped, what is not UTF-8 or no character of a page replaced by U+FFFD.
 * The only way that prompts, answers, names and recipes reach the page. NULL is nothing. */
void ap_html_text(struct ap_page *page, const char *text);
/* The same, at most max bytes (cut between characters), with a note of what was cut. */
void ap_html_text_max(struct ap_page *page, const char *text, size_t max);
/* The first n bytes. */
void ap_html_text_n(struct ap_page *page, const char *text, size_t n);
/* `to` as a change of `from`: <del> and <ins> around words. */
void ap_html_diff(struct ap_page *page, const char *from, const char *to);
/* A number of report_page.h with a minus sign for its hyphen. */
void ap_html_number(struct ap_page *page, struct ap_number number);

extern const char ap_html_style[];   /* the style sheet */
extern const char ap_html_reading[]; /* how to read a table: a paragraph */
/* A page up to its heading; script as below, style: rules of its own. */
void ap_html_begin(struct ap_page *page, const char *title, const char *style, const char *script);
/* From the doctype to the heading and what the method is. script: the one that the page may run,
 * known to the browser by its hash; NULL for none. ap_html_end puts it in and closes the page. */
void ap_html_head(struct ap_page *page, const char *title, const char *script);
void ap_html_end(struct ap_page *page, const char *script);
/* Lines of sentences as a list, the first as a heading when there is one. text is cut up. */
void ap_html_lines(struct ap_page *page, char *text, bool has_heading);

#define AP_VALID_PREFIX "valid_" /* of metrics on valid prompts */
/* One metric of a stage over its steps. */
struct ap_curve {
    char stage[32], name[32];
    double *step, *value; /* owned; finite values only */
    size_t n, cap;
};
struct ap_curves {
    struct ap_curve *items; /* owned */
    size_t n, cap;
};
ap_status ap_curves_read(struct ap_curves *out, struct ap_database *db, struct ap_error *err);
const struct ap_curve *ap_curves_find(const struct ap_curves *c, const char *stage,
                                      const char *name); /* NULL when absent */
void ap_curves_free(struct ap_curves *c);

/* The scores of an arm under a judge. */
struct ap_scores {
    double *values; /* owned; finite */
    size_t n, cap;
};
/* A test prompt with the answers of the two arms that are set side by side. */
struct ap_example {
    uint64_t record;
    double difference;                   /* second arm's score minus the first's, first judge */
    char *prompt, *rewrite, *answers[2]; /* owned; NULL where there is none */
    double scores[AP_JUDGES_MAX][2];     /* NaN for none */
};
#define AP_EXAMPLES_MAX 10
struct ap_answers_read {
    struct ap_scores scores[AP_JUDGES_MAX][AP_ARMS_MAX];
    int64_t seed;                                /* that of the examples */
    struct ap_example examples[AP_EXAMPLES_MAX]; /* the best first; then the worst, worst first */
    int n_best, n_worst;
};
/* Scores of every arm of e, and the examples: `right` against `left` (indices of arms; −1: none).
 */
ap_status ap_answers_read(struct ap_answers_read *out, struct ap_database *db,
                          const struct ap_evaluation *e, int left, int right, struct ap_error *err);
void ap_answers_read_free(struct ap_answers_read *r);

void ap_html_sentences(struct ap_page *page, const struct ap_evaluation *e);
void ap_html_table(struct ap_page *page, const struct ap_evaluation *e, int judge);
void ap_html_arms(struct ap_page *page, const struct ap_evaluation *e);
void ap_html_curves(struct ap_page *page, const struct ap_curves *curves);
void ap_html_comparison(struct ap_page *page, const struct ap_evaluation *e,
                        const struct ap_answers_read *read);
void ap_html_verdicts(struct ap_page *page, const struct ap_evaluation *e); /* nothing without */
void ap_html_noise(struct ap_page *page, const struct ap_evaluation *e); /* nothing without noise */
/* What a reader should be careful about, as a list; nothing where there is nothing. */
void ap_html_cautions(struct ap_page *page, const struct ap_report_source *source);
void ap_html_texts(struct ap_page *page, const struct ap_report_source *source);
void ap_html_watch(struct ap_page *page, const struct ap_curves *curves);
struct ap_bound_told;
void ap_html_bound(struct ap_page *page, const struct ap_bound_told *t); /* nothing for NULL */
void ap_html_examples(struct ap_page *page, const struct ap_evaluation *e,
                      const struct ap_answers_read *read);

#endif
