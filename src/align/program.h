/* A program of the user's that answers questions: JSON lines {"id", …} out, {"id", …} back, in any
 * order (docs/formats.md, "A reward of your own"). What the lines hold beside the id is the
 * caller's: a reward asks for scores, a judge for replies. */
#ifndef AP_ALIGN_PROGRAM_H
#define AP_ALIGN_PROGRAM_H

#include "base/json.h"
#include "base/progress.h"
#include "store/settings.h"

/* Who waits while a program is asked. */
struct ap_program_watch {
    void *self;
    bool (*go_on)(void *self); /* asked several times a second; false: the call ends */
    bool silent;               /* set by a call that ended because no answer came in time;
                                  whoever watches clears it */
};

struct ap_command {
    char *const *words; /* one: a line for /bin/sh; several: a program and its arguments. n ≥ 1, at
                           most AP_LIST_MAX */
    int n;
    const char *folder;             /* absolute; where it works */
    double timeout;                 /* most seconds without an answer while questions are open */
    struct ap_program_watch *watch; /* borrowed as long as the program; NULL: nobody */
};

struct ap_program_kind {  /* static texts */
    const char *name;     /* "reward": in messages and before what the program says */
    const char *expected; /* of an answer, for messages */
};

struct ap_program_call {
    void *self;
    int n;
    /* The i-th question under that id, a new reference; NULL without memory. */
    json_t *(*question)(void *self, int i, int64_t id);
    /* Takes the answer to it, an object; or says why it is none, a static clause. */
    const char *(*answer)(void *self, int i, const json_t *answer);
};

struct ap_program;
/* Started at once, so that one that is not there is found early; kept between calls. */
ap_status ap_program_open(struct ap_program **out, const struct ap_program_kind *kind,
                          const struct ap_command *command, const struct ap_sink *sink,
                          struct ap_error *err);
/* One that ends in a call is started once more. AP_FORMAT: an answer that is none; AP_IO: it went
 * silent, or ended twice; AP_INTERRUPTED: the watch ended it. What was answered by then was taken.
 * The next call starts it afresh. */
ap_status ap_program_ask(struct ap_program *c, const struct ap_program_call *call,
                         struct ap_error *err);
void ap_program_free(struct ap_program *c); /* NULL is fine */

#endif
