/* Commands on a recipe and on what it made. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stddef.h>

int cli_run(int argc, char **argv);
int cli_pretrain(int argc, char **argv);
int cli_sft(int argc, char **argv);
int cli_reward(int argc, char **argv);
int cli_align(int argc, char **argv);
int cli_rlhf(int argc, char **argv);
int cli_dpo(int argc, char **argv);
int cli_ift(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_sweep(int argc, char **argv);
int cli_bound(int argc, char **argv);
int cli_demo(int argc, char **argv);
int cli_rewrite(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_report(int argc, char **argv);
int cli_serve(int argc, char **argv);

struct ap_error;
/* cli_fail, but for an interruption the shell's code for SIGINT. */
int cli_run_fail(const struct ap_error *err);
/* stage NULL: all of the recipe. Prints the summary after eval and what
 * bound found. Returns the exit code. */
int cli_run_recipe(const char *path, const char *const *sets, size_t n_sets, const char *stage);

#endif
