/* alignpro inspect: what a file or a folder holds. */
#include "cli.h"

#include "alignpro/inspect.h"

#include <getopt.h>

static int help(void)
{
    puts("usage: alignpro inspect [--json] [--model DIR] [--format NAME] [--score NAME] PATH\n"
         "What a file or a folder holds, without loading it whole.\n"
         "A data set, JSONL (.gz too) or text: schema, counts, what is dropped and why, lengths\n"
         "(nearest-rank quantiles), score margins, and three examples, which are always the same.\n"
         "  --json         one JSON object\n"
         "  --model DIR    data: lengths in tokens of this folder's tokenizer.json, not in words\n"
         "  --format NAME  data: as the recipe key data.format, instead of recognising it\n"
         "  --score NAME   data: as the recipe key data.score");
    return cli_finish(CLI_OK);
}

int cli_inspect(int argc, char **argv)
{
    static const struct option rows[] = {
        {"json", no_argument, NULL, 'j'},         {"model", required_argument, NULL, 'm'},
        {"format", required_argument, NULL, 'f'}, {"score", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    struct ap_inspect_options options = {0};
    struct ap_error err = {0};
    char *text;
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", rows, NULL)) != -1) {
        switch (option) {
        case 'j':
            options.json = true;
            break;
        case 'm':
            options.model = optarg;
            break;
        case 'f':
            options.format = optarg;
            break;
        case 's':
            options.score = optarg;
            break;
        case 'h':
            return help();
        default:
            return cli_option_error("inspect", option, argv);
        }
    }
    if (argc - optind != 1)
        return cli_usage_error("inspect", "%d paths, expected one", argc - optind);
    if (ap_inspect(argv[optind], &options, &text, &err) != AP_OK)
        return cli_fail(&err);
    fputs(text, stdout);
    ap_text_free(text);
    return cli_finish(CLI_OK);
}
