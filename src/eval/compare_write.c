/* A comparison for programs: JSON and CSV. Entry points: ap_comparison_json, ap_comparison_csv. */
#include "eval/compare.h"
#include "eval/paper.h"
#include "eval/report_json.h"
#include "eval/report_page.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *runs_json(const struct ap_cell *cell)
{
    json_t *runs = json_array();
    for (int i = 0; i < cell->n_run; i++) {
        char recipe[24];
        snprintf(recipe, sizeof(recipe), "%016" PRIx64, cell->runs[i].recipe);
        if (json_array_append_new(runs,
                                  json_pack("{s:s, s:s, s:s}", "path", cell->runs[i].path, "seeds",
                                            cell->runs[i].seeds, "recipe", recipe)) != 0) {
            json_decref(runs);
            return NULL;
        }
    }
    return runs;
}

static json_t *paper_json(const struct ap_comparison *c, int cell)
{
    const struct ap_paper_cell *p = ap_comparison_paper(c, cell);
    if (!p)
        return json_null();
    return json_pack("{s:s, s:s, s:[f, f, f], s:[f, f, f]}", "data", p->data, "cell", p->cell,
                     "mean", p->mean[0], p->mean[1], p->mean[2], "variance", p->variance[0],
                     p->variance[1], p->variance[2]);
}

static json_t *cell_json(const struct ap_comparison *c, int i)
{
    const struct ap_cell *cell = &c->cells[i];
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "data", cell->data, "prompter",
                     cell->prompter, "target", cell->target, "runs", runs_json(cell), "seeds",
                     ap_seeds_json(cell->evaluation), "judges", ap_judges_json(cell->evaluation),
                     "paper", paper_json(c, i));
}

/* How many cells stand behind each number, where that is not all of them. */
static json_t *counted_arm_json(const struct ap_average *average, int arm)
{
    json_t *o = ap_arm_json(&average->arms[arm]);
    for (int k = 0; o && k < AP_N_STATISTICS; k++) {
        json_t *statistic = json_object_get(o, ap_statistics[k].name);
        json_object_set_new(statistic, "cells", json_integer(average->n_of[arm][k]));
    }
    json_object_del(o, "seeds"); /* the cells have them */
    return o;
}

static json_t *average_json(const struct ap_average *average)
{
    json_t *arms = json_array();
    for (int a = 0; a < average->n_arm; a++)
        if (json_array_append_new(arms, counted_arm_json(average, a)) != 0) {
            json_decref(arms);
            return NULL;
        }
    return json_pack("{s:s?, s:s, s:i, s:o}", "data", average->data, "judge", average->judge,
                     "cells", average->n_cell, "arms", arms);
}

static json_t *comparison_json(const struct ap_comparison *c)
{
    json_t *cells = json_array(), *averages = json_array();
    bool ok = cells && averages;
    for (int i = 0; ok && i < c->n_cell; i++)
        ok = json_array_append_new(cells, cell_json(c, i)) == 0;
    for (int i = 0; ok && i < c->n_average; i++)
        ok = json_array_append_new(averages, average_json(&c->averages[i])) == 0;
    if (ok)
        return json_pack("{s:i, s:i, s:o, s:o}", "bootstrap", c->n_bootstrap, "least_prompts",
                         AP_PROMPTS_LEAST, "cells", cells, "averages", averages);
    json_decref(cells);
    json_decref(averages);
    return NULL;
}

ap_status ap_comparison_json(const struct ap_comparison *c, struct ap_buffer *out,
                             struct ap_error *err)
{
    return ap_json_put(comparison_json(c), "comparison", out, err);
}

static void put_names(struct ap_page *page, const char *data, const char *prompter,
                      const char *target, int n_run)
{
    ap_csv_text(page, data);
    ap_page_put(page, ",");
    ap_csv_text(page, prompter);
    ap_page_put(page, ",");
    ap_csv_text(page, target);
    ap_page_printf(page, ",%d,", n_run);
}

ap_status ap_comparison_csv(const struct ap_comparison *c, struct ap_buffer *out,
                            struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    ap_page_put(&page, "data,prompter,target,runs,judge,arm,prompts,seeds");
    ap_csv_header(&page);
    for (int i = 0; i < c->n_cell; i++) {
        const struct ap_cell *cell = &c->cells[i];
        const struct ap_evaluation *e = cell->evaluation;
        for (int j = 0; j < e->n_judge; j++)
            for (int a = 0; a < e->n_arm; a++) {
                put_names(&page, cell->data, cell->prompter, cell->target, cell->n_run);
                ap_csv_text(&page, e->judges[j]);
                ap_page_put(&page, ",");
                ap_csv_arm(&page, &e->arms[j][a]);
            }
    }
    return page.status;
}
