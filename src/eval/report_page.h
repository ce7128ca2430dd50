/* What the report's files share: a buffer whose first failure sticks, so that a page reads as a
 * page and is checked once at its end; numbers as people read them. Not part of the contract
 * (report.h). */
#ifndef AP_EVAL_REPORT_PAGE_H
#define AP_EVAL_REPORT_PAGE_H

#include "eval/report.h"

struct ap_page {
    struct ap_buffer *out; /* borrowed */
    struct ap_error *err;
    ap_status status; /* the first failure; nothing is written after it */
};

void ap_page_put(struct ap_page *page, const char *text);
void ap_page_printf(struct ap_page *page, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define AP_NUMBER_MAX 80
struct ap_number {
    char text[AP_NUMBER_MAX];
};

/* "-" for NaN; never "-0.00". sign: '+' before what is above zero. */
struct ap_number ap_number(double value, int decimals, bool sign);
/* "89%". */
struct ap_number ap_percent(double share);
/* "[1.29, 1.59]"; "" when there is none. */
struct ap_number ap_range(struct ap_interval x, int decimals);
/* "+1.44 [1.29, 1.59]", "89% [86, 92]"; the number alone when there is no interval. */
struct ap_number ap_with_range(struct ap_interval x, int decimals, bool sign);
struct ap_number ap_percent_with_range(struct ap_interval x);
/* "1.44 ± 0.15": half the interval's width; the number alone when there is no interval. */
struct ap_number ap_with_margin(struct ap_interval x, int decimals, bool sign);

/* Decimals that suit numbers of a size, and the scores of a judge: 2 for numbers about 1. */
int ap_scale_decimals(double scale);
int ap_score_decimals(const struct ap_evaluation *e, int judge);
/* Index of an arm, of a judge, −1 when it is not there. */
int ap_arm_find(const struct ap_evaluation *e, const char *arm);
int ap_judge_find(const struct ap_evaluation *e, const char *judge);
/* Of the passes before this one (align-1, align-2 …, align) the last that is there; −1: none. */
int ap_arm_before(const struct ap_evaluation *e, int arm);

/* A text in quotes; the columns of the statistics and the end of their line; an arm's name,
 * prompts, seeds and statistics with the end of the line. */
void ap_csv_text(struct ap_page *page, const char *text);
/* A comma, and the number where it exists. */
void ap_csv_real(struct ap_page *page, double x);
void ap_csv_header(struct ap_page *page);
void ap_csv_arm(struct ap_page *page, const struct ap_arm_statistics *arm);

/* "Align-Pro beats bare by 0.41 ± 0.07; RLHF is ahead by 0.09 ± 0.06; 82% [74, 91] of the gap is
 * closed.": one line. rlhf: NULL where there is no such arm. */
void ap_sentence_headline(struct ap_page *page, const struct ap_arm_statistics *align,
                          const struct ap_arm_statistics *rlhf, int decimals);
/* The sentences of one judge, one a line, and those across judges. */
void ap_sentences_of_judge(struct ap_page *page, const struct ap_evaluation *e, int judge);
void ap_sentences_across(struct ap_page *page, const struct ap_evaluation *e);
/* Of the judges that compare; ap_sentences_across has them. */
void ap_sentences_of_verdicts(struct ap_page *page, const struct ap_evaluation *e);

#endif
