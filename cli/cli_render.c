/* alignpro render: chats to text and token ids by the model's template, as JSON lines or for one
 * user message. */
#include "cli.h"

#include <stdlib.h>

static int help(void)
{
    puts("usage: alignpro render --model DIR [OPTION]... [TEXT]\n"
         "Chats to text and ids: {\"messages\", \"add_generation_prompt\"} lines in, {\"text\", "
         "\"ids\"}\n"
         "lines out. DIR needs tokenizer.json and tokenizer_config.json only.\n"
         "  --model DIR           folder of the tokenizer\n" CLI_CHAT_HELP
         "  TEXT                  one user message; its text for a model to answer");
    return cli_finish(CLI_OK);
}

static ap_status render_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    const struct ap_template *tpl = context;
    struct ap_message *messages = NULL;
    struct ap_ids ids = {0};
    bool prompt = false;
    char *text = NULL;
    size_t n_messages = 0, n = 0;
    ap_status status = cli_get_bool(in, "add_generation_prompt", &prompt, err);
    if (status == AP_OK)
        status = cli_get_messages(in, "messages", &messages, &n_messages, err);
    if (status == AP_OK)
        status = ap_template_render(tpl, messages, n_messages, prompt, &text, &n, &ids, err);
    if (status == AP_OK)
        status = cli_put(out, "text", json_stringn(text, n), err);
    if (status == AP_OK)
        status = cli_put(out, "ids", cli_ids_json(ids.data, ids.n), err);
    ap_text_free(text);
    ap_ids_free(&ids);
    free(messages);
    return status;
}

static int render_argument(const struct ap_template *tpl, const char *content)
{
    struct ap_message message = {"user", content};
    struct ap_error err = {0};
    char *text = NULL;
    size_t n = 0;
    if (ap_template_render(tpl, &message, 1, true, &text, &n, NULL, &err) != AP_OK)
        return cli_fail(&err);
    fwrite(text, 1, n, stdout);
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

static int run(const char *model, const struct ap_template_options *options, const char *text)
{
    struct ap_error err = {0};
    struct ap_tokenizer *tokenizer = NULL;
    struct ap_template *tpl = NULL;
    int code;
    if (ap_tokenizer_open(&tokenizer, model, &err) != AP_OK ||
        ap_template_open(&tpl, tokenizer, options, &err) != AP_OK)
        code = cli_fail(&err);
    else
        code = text ? render_argument(tpl, text) : cli_lines(render_line, tpl);
    ap_template_close(tpl);
    ap_tokenizer_close(tokenizer);
    return code;
}

int cli_render(int argc, char **argv)
{
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},
        CLI_CHAT_OPTIONS,
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct ap_template_options chosen = {0};
    const char *model = NULL;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        bool mine;
        if (option == 'h')
            return help();
        if (!cli_chat_option(&chosen, "render", option, &mine))
            return CLI_USAGE;
        if (option == 'm')
            model = optarg;
        else if (!mine)
            return cli_option_error("render", option, argv);
    }
    if (!model)
        return cli_usage_error("render", "--model is missing, expected a folder");
    if (argc - optind > 1)
        return cli_usage_error("render", "%d texts, expected one; put it in quotes", argc - optind);
    return run(model, &chosen, optind < argc ? argv[optind] : NULL);
}
