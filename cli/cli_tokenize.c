/* alignpro tokenize: text to token ids and back, as JSON lines or for one text. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tokenize {
    struct ap_tokenizer *tokenizer;
    bool special, decode;
};

static int help(void)
{
    puts("usage: alignpro tokenize --model DIR [--special] [--decode] [TEXT]\n"
         "Text to token ids: {\"text\"} lines in, {\"ids\"} lines out. DIR needs tokenizer.json "
         "only.\n"
         "  --model DIR   folder of tokenizer.json and, where present, tokenizer_config.json\n"
         "  --special     add what the tokenizer's own post-processor adds, a BOS for example\n"
         "  --decode      the other way: {\"ids\"} in, {\"text\"} out, special tokens kept\n"
         "  TEXT          one text, or ids with --decode; the answer is plain text");
    return cli_finish(CLI_OK);
}

static ap_status encode(const struct tokenize *c, const char *text, size_t n, struct ap_ids *ids,
                        struct ap_error *err)
{
    struct ap_segment segment = {text, n, AP_SEGMENT_MARKUP};
    return ap_tokenizer_encode(c->tokenizer, &segment, 1, c->special, ids, err);
}

static ap_status encode_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    struct ap_ids ids = {0};
    const char *text = NULL;
    size_t n = 0;
    ap_status status = cli_get_text(in, "text", true, &text, &n, err);
    if (status == AP_OK)
        status = encode(context, text, n, &ids, err);
    if (status == AP_OK)
        status = cli_put(out, "ids", cli_ids_json(ids.data, ids.n), err);
    ap_ids_free(&ids);
    return status;
}

static ap_status decode_line(void *context, const json_t *in, json_t *out, struct ap_error *err)
{
    const struct tokenize *c = context;
    struct ap_ids ids = {0};
    char *text = NULL;
    size_t n = 0;
    ap_status status = cli_get_ids(in, "ids", &ids, err);
    if (status == AP_OK)
        status = ap_tokenizer_decode(c->tokenizer, ids.data, ids.n, false, &text, &n, err);
    if (status == AP_OK)
        status = cli_put(out, "text", json_stringn(text, n), err);
    ap_text_free(text);
    ap_ids_free(&ids);
    return status;
}

static int encode_argument(const struct tokenize *c, const char *text)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    int code = CLI_OK;
    if (encode(c, text, strlen(text), &ids, &err) != AP_OK)
        code = cli_fail(&err);
    for (size_t i = 0; i < ids.n; i++)
        printf("%s%d", i ? " " : "", ids.data[i]);
    if (code == CLI_OK)
        putchar('\n');
    ap_ids_free(&ids);
    return cli_finish(code);
}

/* Numbers between spaces, commas and brackets. */
static ap_status parse_ids(const char *text, struct ap_ids *ids, struct ap_error *err)
{
    static const char between[] = " \t\n,[]";
    ap_status status = AP_OK;
    for (text += strspn(text, between); *text && status == AP_OK; text += strspn(text, between)) {
        char *end;
        errno = 0;
        long value = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : -1;
        if (value < 0 || value > INT32_MAX || errno)
            return cli_error(err, AP_INVALID, "'%.32s' is no token id, expected numbers", text);
        status = ap_ids_push(ids, (int32_t)value, err);
        text = end;
    }
    return status;
}

static int decode_argument(const struct tokenize *c, const char *argument)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    char *text = NULL;
    size_t n = 0;
    int code = CLI_OK;
    if (parse_ids(argument, &ids, &err) != AP_OK ||
        ap_tokenizer_decode(c->tokenizer, ids.data, ids.n, false, &text, &n, &err) != AP_OK) {
        code = cli_fail(&err);
    } else {
        fwrite(text, 1, n, stdout);
        putchar('\n');
    }
    ap_text_free(text);
    ap_ids_free(&ids);
    return cli_finish(code);
}

static int run(struct tokenize *c, const char *text)
{
    if (!text)
        return cli_lines(c->decode ? decode_line : encode_line, c);
    return c->decode ? decode_argument(c, text) : encode_argument(c, text);
}

int cli_tokenize(int argc, char **argv)
{
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},
        {"special", no_argument, NULL, 's'},
        {"decode", no_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tokenize c = {0};
    struct ap_error err = {0};
    const char *model = NULL;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, options)) != -1) {
        switch (option) {
        case 'm':
            model = optarg;
            break;
        case 's':
            c.special = true;
            break;
        case 'd':
            c.decode = true;
            break;
        case 'h':
            return help();
        default:
            return cli_option_error("tokenize", option, argv);
        }
    }
    if (!model)
        return cli_usage_error("tokenize", "--model is missing, expected a folder");
    if (c.special && c.decode)
        return cli_usage_error("tokenize", "--special and --decode exclude each other");
    if (argc - optind > 1)
        return cli_usage_error("tokenize", "%d texts, expected one; put it in quotes",
                               argc - optind);
    if (ap_tokenizer_open(&c.tokenizer, model, &err) != AP_OK)
        return cli_fail(&err);
    int code = run(&c, optind < argc ? argv[optind] : NULL);
    ap_tokenizer_close(c.tokenizer);
    return code;
}
