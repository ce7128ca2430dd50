/* The loop over JSON lines and what it needs. Entry points: cli_lines, cli_get_text and its
 * neighbours, cli_put, cli_fail, cli_usage_error. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX ((size_t)64 << 20)

ap_status cli_error(struct ap_error *err, ap_status status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err->status = status;
    return status;
}

int cli_fail(const struct ap_error *err)
{
    fprintf(stderr, "alignpro: %s\n", err->text);
    return CLI_FAILED;
}

int cli_usage_error(const char *command, const char *fmt, ...)
{
    char text[AP_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "alignpro %s: %s; see alignpro %s --help\n", command, text, command);
    return CLI_USAGE;
}

int cli_check_paths(const char *command, const char *const *paths, int n)
{
    for (int i = 0; i < n; i++)
        if (!paths[i][0])
            return cli_usage_error(command, "argument %d is empty, expected a path", i + 1);
    return CLI_OK;
}

/* A file named "" is the folder where the program was started, or what stands there by luck. */
int cli_next_option(int argc, char **argv, const struct option *rows)
{
    int option = getopt_long(argc, argv, ":h", rows, NULL);
    return optarg && !optarg[0] ? ':' : option;
}

int cli_option_error(const char *command, int option, char **argv)
{
    const char *given = argv[optind - 1][0] ? argv[optind - 1] : argv[optind - 2];
    return option == ':' ? cli_usage_error(command, "the option %s needs a value", given)
                         : cli_usage_error(command, "the option %s is unknown", given);
}

int cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "alignpro: cannot write the output: %s\n", strerror(errno));
    return CLI_FAILED;
}

/* ---- fields ---- */

static const json_t *find(const json_t *in, const char *key)
{
    const json_t *value = json_object_get(in, key);
    return json_is_null(value) ? NULL : value;
}

ap_status cli_get_text(const json_t *in, const char *key, bool required, const char **text,
                       size_t *n, struct ap_error *err)
{
    const json_t *value = find(in, key);
    if (!value && !required)
        return AP_OK;
    if (!json_is_string(value))
        return cli_error(err, AP_FORMAT, "\"%s\" is %s, expected a string", key,
                         value ? "of another type" : "missing");
    size_t length = json_string_length(value);
    if (!n && memchr(json_string_value(value), '\0', length))
        return cli_error(err, AP_FORMAT, "\"%s\" holds a NUL character; remove it", key);
    *text = json_string_value(value);
    if (n)
        *n = length;
    return AP_OK;
}

ap_status cli_get_bool(const json_t *in, const char *key, bool *value, struct ap_error *err)
{
    const json_t *found = find(in, key);
    if (!found)
        return AP_OK;
    if (!json_is_boolean(found))
        return cli_error(err, AP_FORMAT, "\"%s\" is of another type, expected true or false", key);
    *value = json_is_true(found);
    return AP_OK;
}

ap_status cli_get_ids(const json_t *in, const char *key, struct ap_ids *ids, struct ap_error *err)
{
    const json_t *list = find(in, key);
    ap_status status = AP_OK;
    if (!json_is_array(list))
        return cli_error(err, AP_FORMAT, "\"%s\" is %s, expected an array of token ids", key,
                         list ? "of another type" : "missing");
    for (size_t i = 0; i < json_array_size(list) && status == AP_OK; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX)
            return cli_error(err, AP_FORMAT, "\"%s\"[%zu] is no token id, expected 0 or more", key,
                             i);
        status = ap_ids_push(ids, (int32_t)value, err);
    }
    return status;
}

/* What a chat of transformers may carry and no template here writes. */
static ap_status refuse(const json_t *o, const char *const *keys, size_t n_keys, size_t number,
                        struct ap_error *err)
{
    char message[32] = "";
    if (number)
        snprintf(message, sizeof(message), "message %zu: ", number);
    for (size_t i = 0; i < n_keys; i++)
        if (find(o, keys[i]))
            return cli_error(err, AP_UNSUPPORTED,
                             "%s\"%s\" is not supported; leave it out, only roles and contents are "
                             "rendered",
                             message, keys[i]);
    return AP_OK;
}

static ap_status read_message(const json_t *o, size_t number, struct ap_message *out,
                              struct ap_error *err)
{
    static const char *const tools[] = {"tool_calls", "tool_call_id", "function_call"};
    ap_status status = refuse(o, tools, sizeof(tools) / sizeof(tools[0]), number, err);
    if (status == AP_OK)
        status = cli_get_text(o, "role", true, &out->role, NULL, err);
    return status == AP_OK ? cli_get_text(o, "content", true, &out->content, NULL, err) : status;
}

ap_status cli_get_messages(const json_t *in, const char *key, struct ap_message **messages,
                           size_t *n, struct ap_error *err)
{
    static const char *const tools[] = {"tools", "documents", "functions"};
    const json_t *list = find(in, key);
    *messages = NULL;
    *n = 0;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cli_error(err, AP_FORMAT,
                         "\"%s\" is %s, expected an array of {\"role\", \"content\"}", key,
                         !list                  ? "missing"
                         : !json_is_array(list) ? "of another type"
                                                : "empty");
    ap_status status = refuse(in, tools, sizeof(tools) / sizeof(tools[0]), 0, err);
    if (status != AP_OK)
        return status;
    *messages = calloc(json_array_size(list), sizeof(**messages));
    if (!*messages)
        return cli_error(err, AP_MEMORY, "no memory for the messages");
    for (; *n < json_array_size(list) && status == AP_OK; ++*n)
        status = read_message(json_array_get(list, *n), *n + 1, *messages + *n, err);
    if (status != AP_OK) {
        free(*messages);
        *messages = NULL;
    }
    return status;
}

bool cli_chat_option(struct ap_template_options *chat, const char *command, int option, bool *mine)
{
    *mine = true;
    switch (option) {
    case 't':
        if (strpbrk(optarg, "./"))
            chat->file = optarg;
        else
            chat->name = optarg;
        return true;
    case 'd':
        chat->date = optarg;
        return true;
    case 's':
        chat->content_is_text = !strcmp(optarg, "text");
        if (chat->content_is_text || !strcmp(optarg, "markup"))
            return true;
        cli_usage_error(command, "--special-in-content is '%s', expected markup or text", optarg);
        return false;
    default:
        *mine = false;
        return true;
    }
}

ap_status cli_put(json_t *out, const char *key, json_t *value, struct ap_error *err)
{
    if (!value || json_object_set_new(out, key, value) != 0)
        return cli_error(err, AP_MEMORY, "no memory for \"%s\"", key);
    return AP_OK;
}

json_t *cli_ids_json(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* ---- lines ---- */

struct line {
    char *data; /* owned; a NUL after n bytes */
    size_t n, cap;
    bool too_long; /* the rest of it was passed over */
};

static bool put_byte(struct line *line, char byte)
{
    if (line->n + 2 > line->cap) {
        size_t cap = line->cap ? 2 * line->cap : 4096;
        char *grown = realloc(line->data, cap);
        if (!grown)
            return false;
        line->data = grown;
        line->cap = cap;
    }
    line->data[line->n++] = byte;
    line->data[line->n] = '\0';
    return true;
}

/* False at the end of the input. */
static bool read_line(struct line *line)
{
    int c = getc_unlocked(stdin);
    if (c == EOF)
        return false;
    line->n = 0;
    line->too_long = false;
    for (; c != EOF && c != '\n'; c = getc_unlocked(stdin))
        line->too_long = line->too_long || line->n >= LINE_BYTES_MAX || !put_byte(line, (char)c);
    return true;
}

static ap_status parse_line(const struct line *line, json_t **in, struct ap_error *err)
{
    json_error_t why;
    if (line->too_long)
        return cli_error(err, AP_LIMIT, "is longer than %zu bytes, or than memory; split it",
                         LINE_BYTES_MAX);
    *in = json_loadb(line->n ? line->data : "", line->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                     &why);
    if (!*in)
        return cli_error(err, AP_FORMAT, "is not JSON at column %d: %s", why.column, why.text);
    if (!json_is_object(*in))
        return cli_error(err, AP_FORMAT, "is no JSON object, expected {...}");
    return AP_OK;
}

/* The answer to one line, or {"error"}. NULL when even that has no memory. */
static json_t *answer_line(const struct line *line, unsigned long long number, cli_line_fn fn,
                           void *context, bool *failed)
{
    struct ap_error err = {0};
    json_t *in = NULL, *out = json_object();
    ap_status status = parse_line(line, &in, &err);
    if (status == AP_OK && out)
        status = fn(context, in, out, &err);
    if (status != AP_OK && out) {
        *failed = true;
        json_object_clear(out);
        json_t *text = json_sprintf("line %llu: %s", number, err.text);
        /* a message that quotes half a character is no JSON text */
        json_object_set_new(out, "error",
                            text ? text : json_sprintf("line %llu: is malformed", number));
    }
    json_decref(in);
    return out;
}

int cli_lines(cli_line_fn fn, void *context)
{
    struct line line = {0};
    bool failed = false, broken = false;
    for (unsigned long long number = 1; !broken && read_line(&line); number++) {
        json_t *out = answer_line(&line, number, fn, context, &failed);
        broken = !out || json_dumpf(out, stdout, 0) != 0 || putc('\n', stdout) == EOF ||
                 fflush(stdout) != 0;
        json_decref(out);
    }
    free(line.data);
    if (ferror(stdin)) {
        fprintf(stderr, "alignpro: cannot read the input: %s\n", strerror(errno));
        failed = true;
    }
    return cli_finish(failed || broken ? CLI_FAILED : CLI_OK);
}
