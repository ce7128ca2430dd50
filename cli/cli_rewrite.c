/* alignpro rewrite: one prompt in, its rewrite out, by the prompter of a run. */
#include "cli_model.h"
#include "cli_run.h"

#include "alignpro/run.h"

#include <stdlib.h>
#include <string.h>

struct rewrite {
    struct ap_rewriter *rewriter;
    struct ap_rewrite_options options; /* record counts the lines */
};

static int help(void)
{
    puts("usage: alignpro rewrite --run DIR [--temperature T] [--seed S] [TEXT]\n"
         "One prompt in, its rewrite out: {\"prompt\"} lines in, {\"rewrite\", \"ended\", "
         "\"fell_back\"} lines out.\n"
         "  --run DIR         a run directory of `alignpro run` or `alignpro demo`\n"
         "  --temperature T   of the prompter (default: 0, the likeliest rewrite)\n"
         "  --seed S          of its random numbers (default: 1)\n"
         "  --threads N       (default: all processors)\n"
         "  TEXT              one prompt; the answer is plain text");
    return cli_finish(CLI_OK);
}

static ap_status rewrite_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    struct rewrite *c = context;
    const char *x = NULL;
    char *text = NULL;
    bool ended, fell_back;
    size_t n;
    ap_status status = cli_get_text(in, "prompt", true, &x, &n, err);
    if (status == AP_OK)
        status = ap_rewrite(c->rewriter, x, &c->options, &text, &ended, &fell_back, err);
    c->options.record++;
    if (status == AP_OK)
        status = cli_put(out, "rewrite", json_string(text), err);
    if (status == AP_OK)
        status = cli_put(out, "ended", json_boolean(ended), err);
    if (status == AP_OK)
        status = cli_put(out, "fell_back", json_boolean(fell_back), err);
    ap_text_free(text);
    return status;
}

static int rewrite_argument(struct rewrite *c, const char *x)
{
    struct ap_error err = {0};
    char *text;
    bool ended, fell_back;
    if (ap_rewrite(c->rewriter, x, &c->options, &text, &ended, &fell_back, &err) != AP_OK)
        return cli_fail(&err);
    puts(text);
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

static int run(struct rewrite *c, const char *dir, int threads, const char *text)
{
    struct ap_error err = {0};
    if (ap_rewriter_open(&c->rewriter, dir, threads, &err) != AP_OK)
        return cli_fail(&err);
    if (strcmp(ap_rewriter_stage(c->rewriter), "align") != 0)
        fprintf(stderr, "alignpro: %s: align is not done; this is the prompter %s\n", dir,
                strcmp(ap_rewriter_stage(c->rewriter), "sft") == 0 ? "after sft"
                                                                   : "before any training");
    int code = text ? rewrite_argument(c, text) : cli_lines(rewrite_line, c);
    ap_rewriter_close(c->rewriter);
    return code;
}

static bool parse_number(const char *text, double max, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= 0 && *out <= max;
}

int cli_rewrite(int argc, char **argv)
{
    static const struct option options[] = {
        {"run", required_argument, NULL, 'r'},  {"temperature", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'}, {"threads", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    struct rewrite c = {.options = {.seed = 1}};
    const char *dir = NULL;
    double value = 0, threads = 0;
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'r')
            dir = optarg;
        else if (option == 't' && !cli_parse_temperature("rewrite", optarg, &c.options.temperature))
            return CLI_USAGE;
        else if (option == 't')
            continue;
        else if (option == 's' && parse_number(optarg, 9e15, &value))
            c.options.seed = (uint64_t)value;
        else if (option == 'j' && parse_number(optarg, 1024, &threads))
            continue;
        else if (option == 'h')
            return help();
        else if (option == 's' || option == 'j')
            return cli_usage_error("rewrite", "'%s' is no number in range", optarg);
        else
            return cli_option_error("rewrite", option, argv);
    }
    if (!dir)
        return cli_usage_error("rewrite", "--run is missing, expected a run directory");
    if (argc - optind > 1)
        return cli_usage_error("rewrite", "%d texts, expected one; put it in quotes",
                               argc - optind);
    return run(&c, dir, (int)threads, optind < argc ? argv[optind] : NULL);
}
