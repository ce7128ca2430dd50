/* alignpro demo [--dir DIR] [--seed N] [--set key=value]…: the whole method on the bundled world. */
#include "cli_run.h"

#include "alignpro/demo.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETS_MAX = 32 };

static int usage(FILE *to)
{
    fputs("usage: alignpro demo [--dir DIR] [--seed N] [--set KEY=VALUE]...\n"
          "The whole method on a small bundled world, from random weights to report.html.\n"
          "  --dir DIR         where to put data, models and report (default: alignpro-demo)\n"
          "  --seed N          of the data and of training (default: 1)\n"
          "  --set KEY=VALUE   override a key of the demo's recipe\n",
          to);
    return to == stderr ? 2 : 0;
}

static const char introduction[] =
    "A field guide of 16 animals. Its users write hasty, vague, misspelt prompts. A small model (the\n"
    "target) has learnt to answer, and may not be touched. A smaller one (the prompter) learns to\n"
    "rewrite the prompts so that the answers get better, by a reward that was learnt from pairs.\n"
    "Everything starts from random weights, here and now. A true score, which no stage sees,\n"
    "checks the reward's word at the end.\n\n";

static int run_demo(const char *dir, uint64_t seed, const char **sets, size_t n_sets)
{
    struct ap_error err = {0};
    char recipe[4096], text[64];

    if (snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", dir) >= (int)sizeof(recipe)) {
        fprintf(stderr, "alignpro: --dir: the path is longer than %zu bytes\n", sizeof(recipe));
        return 2;
    }
    if (ap_demo_write(dir, seed, &err) != AP_OK) {
        fprintf(stderr, "alignpro: %s\n", err.text);
        return 1;
    }
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
                                            {0}};
    const char *dir = "alignpro-demo", *sets[SETS_MAX + 1];
    unsigned long long seed = 1;
    size_t n_sets = 0;
    char *end;
    int c;
    while ((c = getopt_long(argc, argv, "d:n:s:h", options, NULL)) != -1) {
        if (c == 'h')
            return usage(stdout);
        if (c == 'd')
            dir = optarg;
        else if (c == 'n') {
            seed = strtoull(optarg, &end, 10);
            if (*end || end == optarg || optarg[0] == '-' || seed > INT32_MAX) {
                fprintf(stderr, "alignpro: --seed: got '%s', expected a number from 0 to %d\n",
                        optarg, INT32_MAX);
                return 2;
            }
        } else if (c == 's' && n_sets < SETS_MAX)
            sets[n_sets++] = optarg;
        else
            return usage(stderr);
    }
    return optind == argc ? run_demo(dir, seed, sets, n_sets) : usage(stderr);
}
