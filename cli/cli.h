/* What the commands share: JSON lines in and out, messages, exit codes. Only cli/ prints and exits.
 *
 * A command gets argv[0] = its own name and returns the exit code of the program. */
#ifndef CLI_H
#define CLI_H

#include "alignpro/text.h"

#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Make one record's answer: fill the empty object out. An error's text goes out in its place. */
typedef ap_status (*cli_line_fn)(void *context, const json_t *in, json_t *out,
                                 struct ap_error *err);
/* Standard input to standard output, a line out for a line in, each flushed. A line that fails
 * gives
 * {"error"} and, at the end, CLI_FAILED. */
int cli_lines(cli_line_fn fn, void *context);

/* "alignpro: TEXT" on standard error; CLI_FAILED. */
int cli_fail(const struct ap_error *err);
/* "alignpro COMMAND: …; see alignpro COMMAND --help" on standard error; CLI_USAGE. */
int cli_usage_error(const char *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where one of n paths is empty, else CLI_OK. */
int cli_check_paths(const char *command, const char *const *paths, int n);
/* getopt_long's next one, but an empty value ("--dir=") is none: ':', as where it is missing. */
int cli_next_option(int argc, char **argv, const struct option *rows);
/* cli_usage_error for what cli_next_option refused in argv. */
int cli_option_error(const char *command, int option, char **argv);
/* Flush standard output; a full disk or a closed pipe is an error. */
int cli_finish(int code);

/* Fill err and return status. */
ap_status cli_error(struct ap_error *err, ap_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Fields of a record. Where a key is not required and absent or null, the value stays as it is. */
ap_status cli_get_text(const json_t *in, const char *key, bool required, const char **text,
                       size_t *n, struct ap_error *err);
ap_status cli_get_bool(const json_t *in, const char *key, bool *value, struct ap_error *err);
/* Appended to ids; the key must be there. */
ap_status cli_get_ids(const json_t *in, const char *key, struct ap_ids *ids, struct ap_error *err);
/* *messages is allocated (free) and borrows its strings from in. */
ap_status cli_get_messages(const json_t *in, const char *key, struct ap_message **messages,
                           size_t *n, struct ap_error *err);

/* How chats become text: rows for a command's getopt_long table, their help, and what takes one of
 * them: true, false after a message, or *mine = false where the option is another's. */
#define CLI_CHAT_OPTIONS                                                                           \
    {"template", required_argument, NULL, 't'}, {"date", required_argument, NULL, 'd'},            \
    {                                                                                              \
        "special-in-content", required_argument, NULL, 's'                                         \
    }
#define CLI_CHAT_HELP                                                                              \
    "  --template NAME|FILE  auto, plain, llama3, qwen2, phi3, or a .jinja file (its path has a\n" \
    "                        . or a /) to go by (default: auto, the folder's own)\n"               \
    "  --date DATE           what a template prints as today's date; never the clock\n"            \
    "                        (default: 26 Jul 2024)\n"                                             \
    "  --special-in-content markup|text\n"                                                         \
    "                        a special token spelled in a message: markup parses it, as\n"         \
    "                        transformers does; text keeps it text (default: markup)\n"
bool cli_chat_option(struct ap_template_options *chat, const char *command, int option, bool *mine);

/* out[key] = value, which is taken over; NULL is AP_MEMORY. */
ap_status cli_put(json_t *out, const char *key, json_t *value, struct ap_error *err);
/* An array of them; NULL when out of memory. */
json_t *cli_ids_json(const int32_t *ids, size_t n);

int cli_tokenize(int argc, char **argv);
int cli_render(int argc, char **argv);
int cli_inspect(int argc, char **argv);

#endif
