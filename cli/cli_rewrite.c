/* alignpro rewrite: one prompt in, its rewrite out, by the prompter of a run. */
#include "cli_model.h"
#include "cli_run.h"

#include "alignpro/run.h"

#include <stdlib.h>
#include <string.h>

enum { SETS_MAX = 64 };

struct rewrite {
    struct ap_rewriter *rewriter;
    const char *sets[SETS_MAX]; /* guard.KEY=VALUE */
    size_t n_sets;
    bool strict;                       /* --fallback error */
    struct ap_rewrite_options options; /* record counts the lines */
};

static int help(void)
{
    puts("usage: alignpro rewrite --run DIR [--temperature T] [--seed S] [--set "
         "guard.KEY=VALUE]...\n"
         "                        [--fallback x|error] [TEXT]\n"
         "One prompt in, its rewrite out; without TEXT, or with -, {\"prompt\"} lines in, "
         "{\"rewrite\", \"ended\", "
         "\"fell_back\"} lines out.\n"
         "  --run DIR         a run directory of `alignpro run` or `alignpro demo`\n"
         "  --temperature T   of the prompter (default: 0, the likeliest rewrite)\n"
         "  --seed S          of its random numbers (default: 1)\n"
         "  --set KEY=VALUE   a key of guard over the recipe's, --set guard.protect=url,number;\n"
         "                    `alignpro help guard` lists them;\n"
         "                    text.special_in_content=markup reads special tokens that a prompt\n"
         "                    spells, which are text otherwise\n"
         "  --fallback WHAT   where a guard fires or the rewrite is empty: x (the default) gives "
         "the\n"
         "                    prompt back and says why, error gives no text and fails\n"
         "  --threads N       (default: all processors)\n"
         "  TEXT              one prompt; the answer is plain text");
    return cli_finish(CLI_OK);
}

/* The rewrite, or x where --fallback lets it stand in. */
static ap_status rewrite(struct rewrite *c, const char *x, struct ap_rewritten *out,
                         struct ap_error *err)
{
    ap_status status = ap_rewrite(c->rewriter, x, &c->options, out, err);
    if (status == AP_OK && out->guard[0] && c->strict) {
        ap_text_free(out->text);
        out->text = NULL;
        return cli_error(err, AP_INVALID, "guard %s: %s; --fallback x gives the prompt back",
                         out->guard, out->why);
    }
    return status;
}

static ap_status rewrite_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    struct rewrite *c = context;
    struct ap_rewritten made = {0};
    const char *x = NULL;
    ap_status status = cli_get_text(in, "prompt", true, &x, NULL, err);
    if (status == AP_OK)
        status = rewrite(c, x, &made, err);
    c->options.record++;
    if (status == AP_OK)
        status = cli_put(out, "rewrite", json_string(made.text), err);
    if (status == AP_OK)
        status = cli_put(out, "ended", json_boolean(made.ended), err);
    if (status == AP_OK)
        status = cli_put(out, "fell_back", json_boolean(made.guard[0] != '\0'), err);
    if (status == AP_OK && made.guard[0])
        status = cli_put(out, "guard", json_string(made.guard), err);
    if (status == AP_OK && made.guard[0])
        status = cli_put(out, "why", json_string(made.why), err);
    ap_text_free(made.text);
    return status;
}

static int rewrite_argument(struct rewrite *c, const char *x)
{
    struct ap_error err = {0};
    struct ap_rewritten made;
    if (rewrite(c, x, &made, &err) != AP_OK)
        return cli_fail(&err);
    if (made.guard[0])
        fprintf(stderr, "alignpro: guard %s: %s; this is the prompt as it is\n", made.guard,
                made.why);
    puts(made.text);
    ap_text_free(made.text);
    return cli_finish(CLI_OK);
}

static int run(struct rewrite *c, const char *dir, int threads, const char *text)
{
    struct ap_error err = {0};
    if (ap_rewriter_open(&c->rewriter, dir, c->sets, c->n_sets, threads, &err) != AP_OK)
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

/* The options that need no more than themselves; false when the value is a wrong one, which is
 * said.
 */
static bool take_option(struct rewrite *c, int option, double *threads)
{
    double seed;
    switch (option) {
    case 't':
        return cli_parse_temperature("rewrite", optarg, &c->options.temperature);
    case 'g':
        if (c->n_sets < SETS_MAX) {
            c->sets[c->n_sets++] = optarg;
            return true;
        }
        cli_usage_error("rewrite", "more than %d --set; put them into the recipe", SETS_MAX);
        return false;
    case 'f':
        c->strict = strcmp(optarg, "error") == 0;
        if (c->strict || strcmp(optarg, "x") == 0)
            return true;
        cli_usage_error("rewrite", "--fallback is '%s', expected x or error", optarg);
        return false;
    case 's':
        if (parse_number(optarg, 9e15, &seed)) {
            c->options.seed = (uint64_t)seed;
            return true;
        }
        break;
    default:
        if (parse_number(optarg, 1024, threads))
            return true;
    }
    cli_usage_error("rewrite", "'%s' is no number in range", optarg);
    return false;
}

int cli_rewrite(int argc, char **argv)
{
    static const struct option options[] = {
        {"run", required_argument, NULL, 'r'},      {"temperature", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'},     {"set", required_argument, NULL, 'g'},
        {"fallback", required_argument, NULL, 'f'}, {"threads", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    struct rewrite c = {.options = {.seed = 1}};
    const char *dir = NULL;
    double threads = 0;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        if (option == '?' || option == ':')
            return cli_option_error("rewrite", option, argv);
        if (option == 'r')
            dir = optarg;
        else if (!take_option(&c, option, &threads))
            return CLI_USAGE;
    }
    if (!dir)
        return cli_usage_error("rewrite", "--run is missing, expected a run directory");
    if (argc - optind > 1)
        return cli_usage_error("rewrite", "%d texts, expected one; put it in quotes",
                               argc - optind);
    bool lines = optind == argc || strcmp(argv[optind], "-") == 0;
    return run(&c, dir, (int)threads, lines ? NULL : argv[optind]);
}
