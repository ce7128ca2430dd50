/* The table of commands: one row drives dispatch, the list that help prints, and the nearest name.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stddef.h>

struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

extern const struct cli_command cli_commands[]; /* main.c; ends with a NULL name */

/* NULL when there is none. */
const struct cli_command *cli_command_find(const char *name);
/* The name that was meant, by a slip or by its beginning; NULL: it is like none. */
const char *cli_command_nearest(const char *name);

int cli_help(int argc, char **argv);

#endif
