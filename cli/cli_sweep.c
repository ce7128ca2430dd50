/* alignpro sweep RECIPE KEY=V1,V2,… … [--set KEY=VALUE]… */
#include "cli_run.h"

#include "cli.h"
#include "cli_progress.h"

#include "alignpro/sweep.h"

enum { SETS_MAX = 64 };

static int help(void)
{
    puts("usage: alignpro sweep RECIPE KEY=V1,V2,... [KEY2=...]... [--set KEY=VALUE]...\n"
         "                      [--dry-run]\n"
         "The recipe as a whole for each value, in RUN/sweep/KEY=VALUE; stages that do not depend\n"
         "on the key are trained once. Of several keys every combination. Ends with a table, and\n"
         "RUN/sweep/report.html draws reward against KL and names the knee.\n"
         "  --set KEY=VALUE   override a key of the recipe in every run\n"
         "  --dry-run         print the runs and the memory that each will take, and run nothing\n"
         "Say, alignpro sweep recipe.yaml align.kl=0.005,0.02,0.1,0.5. The same command goes on\n"
         "where it was stopped.");
    return cli_finish(CLI_OK);
}

static int print_summary(const struct ap_sweep *sweep)
{
    struct ap_error err = {0};
    char *text;
    if (ap_sweep_summary(sweep, &text, &err) != AP_OK)
        return cli_run_fail(&err);
    printf("\n%s\nThe full report: %s/report.html\n", text, ap_sweep_directory(sweep));
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

static int sweep_recipe(const char *recipe, const char *const *grid, size_t n_grid,
                        const char *const *sets, size_t n_sets, bool dry)
{
    struct ap_error err = {0};
    struct ap_sweep *sweep = NULL;
    struct cli_progress progress;
    char *plan = NULL;
    cli_progress_init(&progress);
    ap_status status =
        ap_sweep_open(&sweep, recipe, grid, n_grid, sets, n_sets, &progress.sink, &err);
    if (status == AP_OK)
        status = dry ? ap_sweep_plan(sweep, &plan, &err) : ap_sweep_run(sweep, &err);
    cli_progress_end(&progress);
    if (plan)
        fputs(plan, stdout);
    ap_text_free(plan);
    int code = status != AP_OK ? cli_run_fail(&err) : dry ? CLI_OK : print_summary(sweep);
    ap_sweep_close(sweep);
    return cli_finish(code);
}

int cli_sweep(int argc, char **argv)
{
    static const struct option options[] = {{"set", required_argument, NULL, 's'},
                                            {"dry-run", no_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *sets[SETS_MAX];
    size_t n_sets = 0;
    bool dry = false;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        dry = dry || option == 'd';
        if (option == 'd')
            continue;
        if (option != 's')
            return cli_option_error("sweep", option, argv);
        if (n_sets == SETS_MAX)
            return cli_usage_error("sweep", "more than %d --set; put them into the recipe",
                                   SETS_MAX);
        sets[n_sets++] = optarg;
    }
    if (argc - optind < 2)
        return cli_usage_error("sweep", "expected a recipe and KEY=V1,V2,…");
    int code = cli_check_paths("sweep", (const char *const *)argv + optind, 1);
    if (code != CLI_OK)
        return code;
    return sweep_recipe(argv[optind], (const char *const *)argv + optind + 1,
                        (size_t)(argc - optind - 1), sets, n_sets, dry);
}
