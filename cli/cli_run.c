/* alignpro run | pretrain | sft | reward | align | rlhf | dpo | ift | eval | bound RECIPE
 * [--set key=value]… */
#include "cli_run.h"

#include "cli.h"
#include "cli_progress.h"

#include "alignpro/recipe.h"
#include "alignpro/run.h"

#include <string.h>

enum { SETS_MAX = 64 };

static int help(const char *command)
{
    printf("usage: alignpro %s RECIPE [--set KEY=VALUE]... [--dry-run]\n"
           "%s"
           "  --set KEY=VALUE   override a key of the recipe, --set align.kl=0.02\n"
           "  --dry-run         print the memory that it will take, and run nothing\n"
           "%s"
           "`alignpro help KEY` explains a key. The same command goes on where it was stopped.\n",
           command,
           strcmp(command, "run") == 0
               ? "Every stage of a recipe, each skipped when its result exists.\n"
               : "One stage of a recipe, after the stages that it needs.\n",
           strcmp(command, "eval") == 0
               ? "  --noise           also on noisy prompts, --set eval.noise=0,5%,10%,20%\n"
               : "");
    return cli_finish(CLI_OK);
}

/* An interruption is the user's wish: the shell's code for SIGINT, not a failure's. */
int cli_run_fail(const struct ap_error *err)
{
    int code = cli_fail(err);
    return err->status == AP_INTERRUPTED ? 130 : code;
}

static int print_summary(struct ap_run *run)
{
    struct ap_error err = {0};
    char *text;
    if (ap_run_summary(run, &text, &err) != AP_OK)
        return cli_run_fail(&err);
    printf("\n%s\nThe full report: %s/report.html\n", text, ap_run_directory(run));
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

static int print_bound(struct ap_run *run)
{
    struct ap_error err = {0};
    char *text;
    if (ap_run_bound_text(run, &text, &err) != AP_OK)
        return cli_run_fail(&err);
    printf("\n%s\nAll numbers: %s/bound.json\n", text, ap_run_directory(run));
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

int cli_run_recipe(const char *path, const char *const *sets, size_t n_sets, const char *stage)
{
    struct ap_error err = {0};
    struct ap_recipe *recipe;
    struct ap_run *run = NULL;
    struct cli_progress progress;
    int code = 0;

    if (ap_recipe_open(&recipe, path, sets, n_sets, &err) != AP_OK)
        return cli_run_fail(&err);
    cli_progress_init(&progress);
    ap_status status = ap_run_open(&run, recipe, stage, &progress.sink, &err);
    if (status == AP_OK)
        status = ap_run_stage(run, stage, &err);
    cli_progress_end(&progress);
    if (status != AP_OK)
        code = cli_run_fail(&err);
    else if (!stage || strcmp(stage, "eval") == 0)
        code = print_summary(run);
    else if (strcmp(stage, "bound") == 0)
        code = print_bound(run);
    ap_run_close(run);
    ap_recipe_close(recipe);
    return code;
}

/* The plan on standard output; 1 when it does not fit. */
static int plan_recipe(const char *path, const char *const *sets, size_t n_sets, const char *stage)
{
    struct ap_error err = {0};
    struct ap_recipe *recipe;
    struct cli_progress progress;
    char *text = NULL;

    if (ap_recipe_open(&recipe, path, sets, n_sets, &err) != AP_OK)
        return cli_run_fail(&err);
    cli_progress_init(&progress);
    ap_status status = ap_run_plan(recipe, stage, &progress.sink, &text, &err);
    cli_progress_end(&progress);
    if (text)
        fputs(text, stdout);
    ap_text_free(text);
    ap_recipe_close(recipe);
    return cli_finish(status == AP_OK ? CLI_OK : cli_run_fail(&err));
}

static bool stage_is_eval(const char *stage)
{
    return stage && strcmp(stage, "eval") == 0;
}

static int command(const char *name, const char *stage, int argc, char **argv)
{
    static const struct option options[] = {{"set", required_argument, NULL, 's'},
                                            {"dry-run", no_argument, NULL, 'd'},
                                            {"noise", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *sets[SETS_MAX];
    size_t n_sets = 0;
    bool dry = false;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help(name);
        dry = dry || option == 'd';
        if (option == 'd')
            continue;
        if (option == 'n' && !stage_is_eval(stage))
            return cli_usage_error(name, "--noise is an option of eval");
        if (option != 's' && option != 'n')
            return cli_option_error(name, option, argv);
        if (n_sets == SETS_MAX)
            return cli_usage_error(name, "more than %d --set; put them into the recipe", SETS_MAX);
        sets[n_sets++] = option == 'n' ? "eval.noise=0,5%,10%,20%" : optarg;
    }
    if (optind != argc - 1)
        return cli_usage_error(name, "%d recipes, expected one", argc - optind);
    int code = cli_check_paths(name, (const char *const *)argv + optind, 1);
    if (code != CLI_OK)
        return code;
    return dry ? plan_recipe(argv[optind], sets, n_sets, stage)
               : cli_run_recipe(argv[optind], sets, n_sets, stage);
}

int cli_run(int argc, char **argv)
{
    return command("run", NULL, argc, argv);
}

int cli_pretrain(int argc, char **argv)
{
    return command("pretrain", "pretrain", argc, argv);
}

int cli_sft(int argc, char **argv)
{
    return command("sft", "sft", argc, argv);
}

int cli_reward(int argc, char **argv)
{
    return command("reward", "reward", argc, argv);
}

int cli_align(int argc, char **argv)
{
    return command("align", "align", argc, argv);
}

int cli_rlhf(int argc, char **argv)
{
    return command("rlhf", "rlhf", argc, argv);
}

int cli_dpo(int argc, char **argv)
{
    return command("dpo", "dpo", argc, argv);
}

int cli_ift(int argc, char **argv)
{
    return command("ift", "ift", argc, argv);
}

int cli_eval(int argc, char **argv)
{
    return command("eval", "eval", argc, argv);
}

int cli_bound(int argc, char **argv)
{
    return command("bound", "bound", argc, argv);
}
