/* Reports of what runs hold already: no model is loaded or run. */
#ifndef ALIGNPRO_REPORT_H
#define ALIGNPRO_REPORT_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stddef.h>

AP_API_BEGIN

/* RUN/report.html, eval.json, eval.csv and eval.tex anew from RUN/run.db. *text: the summary, as
 * ap_run_summary gives it; allocated (ap_text_free). AP_NOT_FOUND for what is no run, and before an
 * evaluation (the message names the command that makes it); AP_BUSY while a process has the run. */
ap_status ap_report_run(const char *run_dir, char **text, struct ap_error *err);

/* Runs side by side into OUT/report.html, compare.json, compare.csv and compare.tex; out_dir is
 * made where it is not there. Runs are one cell of the table when their recipes give them the same
 * labels (label.data, label.prompter, label.target), and then its seeds: they must differ in
 * nothing but seeds, and have the same test prompts, arms and judges; what does not is AP_INVALID,
 * and nothing is written. *text: sentences; allocated. 1 to AP_REPORT_RUNS_MAX runs; they are read
 * as they stand, also while one goes on. */
#define AP_REPORT_RUNS_MAX 256
ap_status ap_report_compare(const char *const *run_dirs, size_t n, const char *out_dir, char **text,
                            struct ap_error *err);

AP_API_END

#endif
