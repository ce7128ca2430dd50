/* A judge that is a program of the user's: JSON lines {"id", "question"} out, {"id", "reply"} back
 * (docs/formats.md, "A judge that compares"). */
#ifndef AP_ALIGN_ASKER_COMMAND_H
#define AP_ALIGN_ASKER_COMMAND_H

#include "align/judge_pairs.h"
#include "align/program.h"

/* Started at once. A silence over command->timeout, or its second end in a call, leaves what is
 * open without replies, with a warning; after two calls in a row without a single reply it is asked
 * no more. A line that is no reply is AP_FORMAT: the program is wrong, not slow. */
ap_status ap_asker_command(struct ap_asker *out, const struct ap_command *command,
                           const struct ap_sink *sink, struct ap_error *err);

#endif
