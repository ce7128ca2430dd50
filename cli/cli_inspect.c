/* alignpro inspect: what a file or a folder holds. */
#include "cli.h"

#include "alignpro/inspect.h"

static int help(void)
{
    puts(
        "usage: alignpro inspect [--json] [--model DIR] [--format NAME] [--score NAME] PATH\n"
        "What a file or a folder holds, without loading it whole:\n"
        "  data set        JSONL (.gz too) or text: schema, counts, what is dropped and why,\n"
        "                  lengths (nearest-rank quantiles), score margins, three examples, which\n"
        "                  are always the same\n"
        "  model folder    sizes, parameters, memory it will take, whether the files hold what\n"
        "                  config.json says, tokenizer, chat template\n"
        "  adapter folder  rank, targets, what is refused and why, whether it fits its base\n"
        "  safetensors, GGUF\n"
        "                  tensors, types, metadata, from the header alone\n"
        "  run directory, RUN/STAGE, RUN/STAGE/ckpt/step-N\n"
        "                  how far each stage is, results, last metrics, mean scores, what was\n"
        "                  bought from servers; also while the run goes on\n"
        "Exit status 1, after the report, where something is damaged or does not fit together.\n"
        "  --json         one JSON object; its keys: docs/formats.md\n"
        "  --model DIR    data: lengths in tokens of this folder's tokenizer.json, not in words;\n"
        "                 adapter: the base model to compare with\n"
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
    while ((option = cli_next_option(argc, argv, rows)) != -1) {
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
    int code = cli_check_paths("inspect", (const char *const *)argv + optind, 1);
    if (code != CLI_OK)
        return code;
    ap_status status = ap_inspect(argv[optind], &options, &text, &err);
    if (text)
        fputs(text, stdout);
    ap_text_free(text);
    if (status == AP_OK)
        return cli_finish(CLI_OK);
    fflush(stdout);
    return cli_fail(&err);
}
