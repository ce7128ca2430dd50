/* alignpro demo: the whole method on the bundled world, or its data alone. */
#include "cli_run.h"

#include "cli.h"

#include "alignpro/demo.h"

#include <stdbool.h>
#include <stdlib.h>

enum { SETS_MAX = 32 };

static int help(void)
{
    puts("usage: alignpro demo [--dir DIR] [--seed N] [--shape NAME] [--set KEY=VALUE]...\n"
         "       alignpro demo --data-only [--dir DIR] [--seed N] [--shape NAME] [--rewrites N]\n"
         "The whole method on a small bundled world, from random weights to report.html.\n"
         "  --dir DIR         where to put data, models and report (default: alignpro-demo)\n"
         "  --seed N          of the data and of training (default: 1)\n"
         "  --shape NAME      whose shape prompts and preference data have: ultrafeedback "
         "(default),\n"
         "                    helpsteer (answers with five scores) or orca (system messages)\n"
         "  --data-only       write DIR/data and stop\n"
         "  --rewrites N      how many examples of rewriting to write (default: 10000)\n"
         "  --set KEY=VALUE   override a key of the demo's recipe");
    return cli_finish(CLI_OK);
}

static const char introduction[] =
    "A field guide of 16 animals. Its users write hasty, vague, misspelt prompts. A small model "
    "(the\n"
    "target) has learnt to answer, and may not be touched. A smaller one (the prompter) learns to\n"
    "rewrite the prompts so that the answers get better, by a reward that was learnt from pairs.\n"
    "Everything starts from random weights, here and now. A true score, which no stage sees,\n"
    "checks the reward's word at the end. Six stages, some five minutes on two processors:\n"
    "pretrain (the target), reward, sft (the prompter), align, rlhf (for comparison), eval.\n\n";

static int write_data(const char *dir, const struct ap_demo_data *data)
{
    struct ap_error err = {0};
    char folder[4096];
    if (snprintf(folder, sizeof(folder), "%s/data", dir) >= (int)sizeof(folder))
        return cli_usage_error("demo", "--dir: the path is longer than %zu bytes", sizeof(folder));
    if (ap_demo_check(dir, data, NULL, 0, &err) != AP_OK ||
        ap_demo_write_data(folder, data, &err) != AP_OK)
        return cli_fail(&err);
    printf("%s\n", folder);
    return cli_finish(CLI_OK);
}

static int run_demo(const char *dir, const struct ap_demo_data *data, const char **sets,
                    size_t n_sets)
{
    struct ap_error err = {0};
    char recipe[4096], text[64];

    if (snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", dir) >= (int)sizeof(recipe))
        return cli_usage_error("demo", "--dir: the path is longer than %zu bytes", sizeof(recipe));
    snprintf(text, sizeof(text), "run.seed=%llu", (unsigned long long)data->seed);
    sets[n_sets++] = text;
    if (ap_demo_check(dir, data, sets, n_sets, &err) != AP_OK ||
        ap_demo_write(dir, data, &err) != AP_OK)
        return cli_fail(&err);
    fputs(introduction, stdout);
    fflush(stdout);
    return cli_run_recipe(recipe, sets, n_sets, NULL);
}

/* A whole number from 0 to most, or −1. */
static int64_t number(const char *text, int64_t most)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    return *end || end == text || text[0] == '-' || value > (unsigned long long)most
               ? -1
               : (int64_t)value;
}

int cli_demo(int argc, char **argv)
{
    enum { REWRITES_MOST = 1000000 };
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},      {"seed", required_argument, NULL, 'n'},
        {"shape", required_argument, NULL, 'S'},    {"data-only", no_argument, NULL, 'o'},
        {"rewrites", required_argument, NULL, 'r'}, {"set", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    struct ap_demo_data data = {.shape = "ultrafeedback", .seed = 1};
    const char *dir = "alignpro-demo", *sets[SETS_MAX + 1];
    bool data_only = false;
    size_t n_sets = 0;
    int64_t value;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        if (option == 'd')
            dir = optarg;
        else if (option == 'S')
            data.shape = optarg;
        else if (option == 'o')
            data_only = true;
        else if (option == 'n') {
            if ((value = number(optarg, INT32_MAX)) < 0)
                return cli_usage_error("demo", "--seed: got '%s', expected a number from 0 to %d",
                                       optarg, INT32_MAX);
            data.seed = (uint64_t)value;
        } else if (option == 'r') {
            if ((value = number(optarg, REWRITES_MOST)) < 1)
                return cli_usage_error("demo",
                                       "--rewrites: got '%s', expected a number from 1 to %d",
                                       optarg, REWRITES_MOST);
            data.n_rewrites = value;
        } else if (option == 's' && n_sets < SETS_MAX)
            sets[n_sets++] = optarg;
        else
            return cli_option_error("demo", option, argv);
    }
    if (optind != argc)
        return cli_usage_error("demo", "'%s' is not expected", argv[optind]);
    if (data_only && n_sets > 0)
        return cli_usage_error("demo", "--set: with --data-only there is no recipe to override");
    return data_only ? write_data(dir, &data) : run_demo(dir, &data, sets, n_sets);
}
