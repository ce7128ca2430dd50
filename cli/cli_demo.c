/* alignpro demo [--dir DIR] [--seed N] [--set key=value]…: the whole method on the bundled world.
 */
#include "cli_run.h"

#include "cli.h"

#include "alignpro/demo.h"

#include <getopt.h>
#include <stdlib.h>

enum { SETS_MAX = 32 };

static int help(void)
{
    puts("usage: alignpro demo [--dir DIR] [--seed N] [--set KEY=VALUE]...\n"
         "The whole method on a small bundled world, from random weights to report.html.\n"
         "  --dir DIR         where to put data, models and report (default: alignpro-demo)\n"
         "  --seed N          of the data and of training (default: 1)\n"
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

static int run_demo(const char *dir, uint64_t seed, const char **sets, size_t n_sets)
{
    struct ap_error err = {0};
    char recipe[4096], text[64];

    if (snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", dir) >= (int)sizeof(recipe))
        return cli_usage_error("demo", "--dir: the path is longer than %zu bytes", sizeof(recipe));
    if (ap_demo_write(dir, seed, &err) != AP_OK)
        return cli_fail(&err);
    fputs(introduction, stdout);
    fflush(stdout);
    snprintf(text, sizeof(text), "run.seed=%llu", (unsigned long long)seed);
    sets[n_sets++] = text;
    return cli_run_recipe(recipe, sets, n_sets, NULL);
}

int cli_demo(int argc, char **argv)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"seed", required_argument, NULL, 'n'},
                                            {"set", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *dir = "alignpro-demo", *sets[SETS_MAX + 1];
    unsigned long long seed = 1;
    size_t n_sets = 0;
    char *end;
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h')
            return help();
        if (option == 'd')
            dir = optarg;
        else if (option == 'n') {
            seed = strtoull(optarg, &end, 10);
            if (*end || end == optarg || optarg[0] == '-' || seed > INT32_MAX)
                return cli_usage_error("demo", "--seed: got '%s', expected a number from 0 to %d",
                                       optarg, INT32_MAX);
        } else if (option == 's' && n_sets < SETS_MAX)
            sets[n_sets++] = optarg;
        else
            return cli_option_error("demo", option, argv);
    }
    if (optind != argc)
        return cli_usage_error("demo", "'%s' is not expected", argv[optind]);
    return run_demo(dir, seed, sets, n_sets);
}
