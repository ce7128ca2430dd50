/* Events of a run as lines and a bar on standard error; Ctrl-C as a request to stop. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "alignpro/progress.h"

#include <stdbool.h>

struct cli_progress {
    struct ap_sink sink; /* hand this to the library */
    bool terminal;       /* a bar that redraws itself; else a line now and then */
    bool drawn;          /* a bar is on the line */
    int64_t first; /* steps that a stage had done when it went on; −1 before its first step */
    double last;   /* clock of the last line */
    volatile sig_atomic_t stop;
};

/* Installs the SIGINT and SIGTERM handler: the first asks for a stop, the second ends the process.
 */
void cli_progress_init(struct cli_progress *p);
/* Leave the bar's line, before anything else is printed. */
void cli_progress_end(struct cli_progress *p);

#endif
