/* Sweeps: a recipe run as a whole for each value of a key, stages that do not depend on it once. */
#ifndef ALIGNPRO_SWEEP_H
#define ALIGNPRO_SWEEP_H

#include "alignpro/api.h"
#include "alignpro/error.h"
#include "alignpro/progress.h"

#include <stddef.h>

AP_API_BEGIN

struct ap_sweep;

/* recipe: a path. grid: n_grid of "align.kl=0.01,0.05"; of several keys every combination, at most
 * 32. A comma inside brackets or quotes parts no values. overrides: "KEY=VALUE", as in
 * ap_recipe_open. Everything is looked at before anything runs: AP_INVALID for a key that is
 * unknown, given twice or may not be swept, for no value and for values that repeat (0.05 and 5e-2
 * do, too), and whatever a recipe is refused for. The texts are copied, sink is borrowed until
 * close. */
ap_status ap_sweep_open(struct ap_sweep **out, const char *recipe, const char *const *grid,
                        size_t n_grid, const char *const *overrides, size_t n_overrides,
                        const struct ap_sink *sink, struct ap_error *err);
void ap_sweep_close(struct ap_sweep *sweep); /* NULL is fine */

/* Each run in RUN/sweep/KEY=VALUE, RUN the recipe's run.dir, with stages taken over from those of
 * the others that are there (run.from). After each, RUN/sweep/report.html, sweep.json and sweep.csv
 * tell what is done. The first run that fails names itself and ends the sweep; the same call goes
 * on from there, as after AP_INTERRUPTED. */
ap_status ap_sweep_run(struct ap_sweep *sweep, struct ap_error *err);

/* What ap_sweep_run would run, and each run's plan as of ap_run_plan, without what runs that are
 * there have already; nothing is made or trained. *text and AP_LIMIT as there: of the first run
 * that does not fit. */
ap_status ap_sweep_plan(struct ap_sweep *sweep, char **text, struct ap_error *err);

/* A table, and the knee of each judge. Allocated (ap_text_free). */
ap_status ap_sweep_summary(const struct ap_sweep *sweep, char **text, struct ap_error *err);
/* RUN/sweep; borrowed. */
const char *ap_sweep_directory(const struct ap_sweep *sweep);

AP_API_END

#endif
