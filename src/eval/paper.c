/* The paper's table, and which of its cells stands beside one of ours.
 * Entry points: ap_paper_find, ap_comparison_paper. */
#include "eval/paper.h"

#include <string.h>
#include <strings.h>

/* math.md section 4. P1: Phi-3.5-Instruct, P2: Qwen-2.5-1.5B-Instruct. */
const struct ap_paper_cell ap_paper_cells[] = {
    {"UltraFeedback", "P1-F1", {.390, 1.126, 1.367}, {1.872, 1.142, 1.799}},
    {"UltraFeedback", "P1-F2", {.695, 1.330, 1.402}, {1.844, 1.418, 1.791}},
    {"UltraFeedback", "P2-F1", {.457, 1.129, 1.397}, {2.241, 1.215, 1.925}},
    {"UltraFeedback", "P2-F2", {.703, 1.400, 1.480}, {2.193, 1.373, 1.941}},
    {"Orca", "P1-F1", {1.590, 1.850, 2.455}, {1.909, 1.222, 1.440}},
    {"Orca", "P1-F2", {1.959, 2.375, 2.611}, {1.887, 1.401, 1.651}},
    {"Orca", "P2-F1", {1.122, 1.434, 2.181}, {1.977, 1.333, 1.311}},
    {"Orca", "P2-F2", {1.822, 2.053, 2.408}, {1.658, 1.118, 1.365}},
    {"HelpSteer", "P1-F1", {.111, .733, .845}, {.983, .867, .818}},
    {"HelpSteer", "P1-F2", {.253, .706, 1.001}, {1.137, .750, .888}},
    {"HelpSteer", "P2-F1", {.195, .812, .950}, {1.071, .723, .968}},
    {"HelpSteer", "P2-F2", {.291, .847, .965}, {.945, .610, .857}},
};
const int ap_n_paper_cells = AP_LEN(ap_paper_cells);

const struct ap_paper_cell *ap_paper_find(const char *data, int prompter, int target)
{
    for (int i = 0; i < ap_n_paper_cells; i++) {
        const struct ap_paper_cell *p = &ap_paper_cells[i];
        if (strcasecmp(p->data, data) == 0 && (prompter < 0 || p->cell[1] - '1' == prompter) &&
            (target < 0 || p->cell[4] - '1' == target))
            return p;
    }
    return NULL;
}

static const char *name_of(const struct ap_cell *cell, bool target)
{
    return target ? cell->target : cell->prompter;
}

/* The place of the cell's name among those of its data set, in the order met; *n of them. */
static int place_of(const struct ap_comparison *c, int cell, bool target, int *n)
{
    int place = -1;
    *n = 0;
    const char *data = c->cells[cell].data;
    for (int i = 0, k; i < c->n_cell; i++) {
        if (strcmp(c->cells[i].data, data) != 0)
            continue;
        for (k = 0; k < i; k++)
            if (strcmp(c->cells[k].data, data) == 0 &&
                strcmp(name_of(&c->cells[k], target), name_of(&c->cells[i], target)) == 0)
                break;
        if (k < i)
            continue;
        if (strcmp(name_of(&c->cells[i], target), name_of(&c->cells[cell], target)) == 0)
            place = *n;
        ++*n;
    }
    return place;
}

const struct ap_paper_cell *ap_comparison_paper(const struct ap_comparison *c, int cell)
{
    int n_prompter, n_target, prompter = place_of(c, cell, false, &n_prompter),
                              target = place_of(c, cell, true, &n_target);
    if (n_prompter != 2 || n_target != 2)
        return NULL;
    return ap_paper_find(c->cells[cell].data, prompter, target);
}

double ap_paper_share(const struct ap_paper_cell *cell)
{
    return (cell->mean[1] - cell->mean[0]) / (cell->mean[2] - cell->mean[0]);
}
