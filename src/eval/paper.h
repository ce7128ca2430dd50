/* What Align-Pro's authors report (arXiv 2501.03486): bars read off their figure, so ±0.005. Other
 * models, another reward, another scale: to be set beside, never to be subtracted. */
#ifndef AP_EVAL_PAPER_H
#define AP_EVAL_PAPER_H

#include "eval/compare.h"

struct ap_paper_cell {
    const char *data, *cell;     /* "UltraFeedback", "P1-F1" */
    double mean[3], variance[3]; /* no fine-tuning, Align-Pro, RLHF */
};
extern const struct ap_paper_cell ap_paper_cells[];
extern const int ap_n_paper_cells;

/* The paper's cell of a data set (its name in any case of letters), prompter and target 0 or 1; −1
 * stands for any, and the first counts. NULL where it has none. */
const struct ap_paper_cell *ap_paper_find(const char *data, int prompter, int target);
/* The one that stands beside a cell: prompters and targets are matched in the order in which the
 * comparison meets them, where the cell's data set has two of each; NULL otherwise. */
const struct ap_paper_cell *ap_comparison_paper(const struct ap_comparison *c, int cell);
/* The share of the gap closed, from its means. */
double ap_paper_share(const struct ap_paper_cell *cell);

#endif
