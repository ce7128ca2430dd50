/* alignpro generate: a model's continuations and answers, as JSON lines or for one prompt. */
#include "cli_model.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { STOPS_MAX = 32 };

static int help(void)
{
    puts("usage: alignpro generate --model DIR [--adapter DIR] [--context N] [--max-new-tokens N]\n"
         "                         [--temperature T] [--seed S] [--stop TEXT]... [TEXT]\n"
         "Continuations: {\"ids\"}, {\"prompt\"} (raw text) or {\"messages\"} (by the chat "
         "template)\n"
         "lines in, {\"ids\", \"text\", \"stop\": \"end\" | \"length\" | \"string\"} lines out. "
         "ids hold the\n"
         "end token, text does not.\n" CLI_MODEL_HELP
         "  --max-new-tokens N    (default: 128; never past the context)\n"
         "  --temperature T       0 takes the likeliest token (default: 0)\n"
         "  --top-k N             draw from the N likeliest tokens; 0 for all (default: 0)\n"
         "  --top-p P             draw from the likeliest tokens that make up P (default: 1)\n"
         "  --min-p P             only tokens at least P times as likely as the likeliest "
         "(default: 0)\n"
         "  --repetition-penalty R\n"
         "                        of tokens that stand in the prompt or the answer (default: 1)\n"
         "  --seed S              of the random numbers; a line's own are a function of S and its\n"
         "                        number (default: 0)\n"
         "  --stop TEXT           end before this text; may be given several times\n"
         "  TEXT                  one raw prompt; the answer is plain text");
    return cli_finish(CLI_OK);
}

struct generate {
    struct ap_engine_options model;
    struct ap_engine *engine;
    struct ap_generation_options options; /* record counts the lines */
    const char *stop[STOPS_MAX];
};

static ap_status encode_chat(const struct ap_engine *e, const json_t *in, struct ap_ids *ids,
                             struct ap_error *err)
{
    const struct ap_template *tpl;
    struct ap_message *messages = NULL;
    size_t n = 0;
    ap_status status = cli_get_messages(in, "messages", &messages, &n, err);
    if (status == AP_OK)
        status = ap_engine_template(e, &tpl, err);
    if (status == AP_OK)
        status = ap_template_render(tpl, messages, n, true, NULL, NULL, ids, err);
    free(messages);
    return status;
}

static ap_status read_prompt(const struct ap_engine *e, const json_t *in, struct ap_ids *ids,
                             struct ap_error *err)
{
    static const char *const keys[] = {"ids", "prompt", "messages"};
    const char *text = NULL;
    size_t which = 0, n = 0;
    ap_status status = cli_one_of(in, keys, 3, &which, err);
    if (status != AP_OK)
        return status;
    if (which == 0)
        return cli_get_ids(in, "ids", ids, err);
    if (which == 2)
        return encode_chat(e, in, ids, err);
    status = cli_get_text(in, "prompt", true, &text, &n, err);
    return status == AP_OK ? cli_encode(e, text, n, ids, err) : status;
}

static ap_status generate_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    struct generate *c = context;
    struct ap_ids ids = {0};
    struct ap_generation g = {0};
    ap_status status = read_prompt(c->engine, in, &ids, err);
    if (status == AP_OK)
        status = ap_engine_generate(c->engine, ids.data, ids.n, &c->options, &g, err);
    c->options.record++;
    if (status == AP_OK)
        status = cli_put(out, "ids", cli_ids_json(g.ids, g.n), err);
    if (status == AP_OK && g.text)
        status = cli_put(out, "text", json_stringn(g.text, g.n_text), err);
    if (status == AP_OK)
        status = cli_put(out, "stop", json_string(g.stop), err);
    ap_generation_free(&g);
    ap_ids_free(&ids);
    return status;
}

static int generate_argument(struct generate *c, const char *prompt)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    struct ap_generation g = {0};
    ap_status status = cli_encode(c->engine, prompt, strlen(prompt), &ids, &err);
    if (status == AP_OK)
        status = ap_engine_generate(c->engine, ids.data, ids.n, &c->options, &g, &err);
    ap_ids_free(&ids);
    if (status != AP_OK)
        return cli_fail(&err);
    fwrite(g.text, 1, g.n_text, stdout);
    putchar('\n');
    ap_generation_free(&g);
    return cli_finish(CLI_OK);
}

enum { MAX_NEW = CLI_OWN_OPTION, TEMPERATURE, TOP_K, TOP_P, MIN_P, PENALTY, SEED, STOP };

static bool add_stop(struct generate *c, const char *text)
{
    if (c->options.n_stop == STOPS_MAX) {
        cli_usage_error("generate", "more than %d --stop", STOPS_MAX);
        return false;
    }
    c->stop[c->options.n_stop++] = text;
    c->options.stop = c->stop;
    return true;
}

static bool take_option(struct generate *c, int option, char **argv)
{
    struct ap_generation_options *o = &c->options;
    long long n = 0;
    bool good;
    switch (option) {
    case MAX_NEW:
        good = cli_parse_int("generate", "--max-new-tokens", optarg, 1, INT_MAX, &n);
        o->max_new_tokens = (int)n;
        return good;
    case TEMPERATURE:
        return cli_parse_temperature("generate", optarg, &o->temperature);
    case TOP_K:
        good = cli_parse_int("generate", "--top-k", optarg, 0, INT_MAX, &n);
        o->top_k = (int)n;
        return good;
    case TOP_P:
        return cli_parse_real("generate", "--top-p", optarg, 1e-6, 1, &o->top_p);
    case MIN_P:
        return cli_parse_real("generate", "--min-p", optarg, 0, 1, &o->min_p);
    case PENALTY:
        return cli_parse_real("generate", "--repetition-penalty", optarg, 0.01, 100,
                              &o->repetition_penalty);
    case SEED:
        good = cli_parse_int("generate", "--seed", optarg, 0, LLONG_MAX, &n);
        o->seed = (uint64_t)n;
        return good;
    case STOP:
        return add_stop(c, optarg);
    default:
        return cli_model_option(&c->model, "generate", option, argv) == CLI_OK;
    }
}

int cli_generate(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_MODEL_OPTIONS,
        {"max-new-tokens", required_argument, NULL, MAX_NEW},
        {"temperature", required_argument, NULL, TEMPERATURE},
        {"top-k", required_argument, NULL, TOP_K},
        {"top-p", required_argument, NULL, TOP_P},
        {"min-p", required_argument, NULL, MIN_P},
        {"repetition-penalty", required_argument, NULL, PENALTY},
        {"seed", required_argument, NULL, SEED},
        {"stop", required_argument, NULL, STOP},
        {NULL, 0, NULL, 0},
    };
    struct generate c = {0};
    struct ap_error err = {0};
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        if (option == 'h')
            return help();
        if (!take_option(&c, option, argv))
            return CLI_USAGE;
    }
    if (!c.model.model)
        return cli_usage_error("generate", "--model is missing, expected a folder");
    if (argc - optind > 1)
        return cli_usage_error("generate", "%d texts, expected one; put it in quotes",
                               argc - optind);
    if (ap_engine_open(&c.engine, &c.model, &err) != AP_OK)
        return cli_fail(&err);
    int code = optind < argc ? generate_argument(&c, argv[optind]) : cli_lines(generate_line, &c);
    ap_engine_close(c.engine);
    return code;
}
