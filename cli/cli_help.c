/* alignpro help [COMMAND | KEY]: the commands, one command's options, or what a recipe key means.
 */
#include "cli.h"
#include "cli_command.h"

#include "alignpro/recipe.h"

#include <string.h>

static int list_commands(void)
{
    puts("alignpro: align a language model that nobody may touch, by learning to rewrite its "
         "prompts\n"
         "\n"
         "usage: alignpro COMMAND [OPTION]...\n");
    for (const struct cli_command *c = cli_commands; c->name; c++)
        printf("  %-10s %s\n", c->name, c->summary);
    puts(
        "\n"
        "  alignpro help COMMAND   its options\n"
        "  alignpro help KEY       a recipe key, align.kl say, or a section: type, range, default\n"
        "  alignpro help keys      every recipe key\n"
        "  alignpro --version");
    return cli_finish(CLI_OK);
}

/* A key, a section, or every key (NULL). A word with a dot was not meant for a command. */
static int explain_key(const char *key)
{
    struct ap_error err = {0}, both = {0};
    char *text;
    if (ap_recipe_help(key, &text, &err) == AP_OK) {
        fputs(text, stdout);
        ap_text_free(text);
        return cli_finish(CLI_OK);
    }
    if (err.status != AP_NOT_FOUND || !key || strchr(key, '.'))
        return cli_fail(&err);
    const char *nearest = cli_command_nearest(key);
    cli_error(&both, err.status, "no command is called %.100s%s%s; %s", key,
              nearest ? "; the nearest is " : "", nearest ? nearest : "", err.text);
    return cli_fail(&both);
}

int cli_help(int argc, char **argv)
{
    static char help_option[] = "--help";
    if (argc > 2)
        return cli_usage_error("help", "%d names, expected one command or recipe key", argc - 1);
    if (argc < 2 || strcmp(argv[1], help_option) == 0 || strcmp(argv[1], "help") == 0)
        return list_commands();
    if (!argv[1][0])
        return cli_usage_error("help", "the name is empty, expected a command or recipe key");
    if (strcmp(argv[1], "keys") == 0)
        return explain_key(NULL);
    /* A name that is both, "eval" say, gets the options and then the keys. */
    const struct cli_command *command = cli_command_find(argv[1]);
    if (!command)
        return explain_key(argv[1]);
    char *with_help[] = {argv[1], help_option, NULL};
    int code = command->run(2, with_help);
    struct ap_error err = {0};
    char *text;
    if (code != CLI_OK || ap_recipe_help(argv[1], &text, &err) != AP_OK)
        return code;
    printf("\nrecipe keys of %s:\n%s", argv[1], text);
    ap_text_free(text);
    return cli_finish(CLI_OK);
}
