/* TensorBoard's event files: scalars and texts by step, appended while a run goes on. Only a copy
 * of what run.db holds, for a tool that people have open anyway.
 *
 * A file is never appended to by a second process: whoever goes on begins the next file of the
 * folder, since a killed one may have left half a record. That file begins with the session's
 * start at the step where it goes on, and readers then drop what older files of the folder hold
 * from that step on. */
#ifndef AP_STORE_EVENT_FILE_H
#define AP_STORE_EVENT_FILE_H

#include "base/buffer.h"

#include <stdint.h>

/* A zeroed struct is a closed file. Writing to a closed file does nothing and is AP_OK; a failure
 * closes it, so that nothing follows half a record. */
struct ap_event_file {
    char *path; /* owned; NULL: closed */
    int fd;
    uint64_t size;                            /* bytes written */
    int64_t step;                             /* of the values that wait */
    struct ap_buffer values, message, record; /* what waits; working memory */
};

/* FOLDER/events.out.tfevents.TIME.alignpro.PID.0, made with its folder. TIME is the date in
 * seconds, or one more than that of the folder's newest file: readers go by the order of names.
 * `step` is the first that will be written here. f is zeroed or of an earlier file, which is
 * closed. */
ap_status ap_event_file_open(struct ap_event_file *f, const char *folder, int64_t step,
                             struct ap_error *err);
/* Drops what waits. */
void ap_event_file_close(struct ap_event_file *f);

/* Both wait for a flush, or for a value of another step, and become one event a step. */

/* Kept as a float; what is not finite as one is left out. */
ap_status ap_event_file_scalar(struct ap_event_file *f, int64_t step, const char *tag, double value,
                               struct ap_error *err);
/* Shown by TensorBoard's text page, word for word: every line is indented into Markdown's code. */
ap_status ap_event_file_text(struct ap_event_file *f, int64_t step, const char *tag,
                             const char *text, struct ap_error *err);
/* Hands what waits to the system, where a TensorBoard that looks on finds it. No fsync: a power cut
 * costs the end of a copy. */
ap_status ap_event_file_flush(struct ap_event_file *f, struct ap_error *err);

#endif
