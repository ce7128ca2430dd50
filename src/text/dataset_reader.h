/* Inside of reading a data set: what the formats share. Not the public interface (dataset.h). */
#ifndef AP_TEXT_DATASET_READER_H
#define AP_TEXT_DATASET_READER_H

#include "base/buffer.h"
#include "base/json.h"
#include "text/dataset.h"
#include "text/text_pool.h"

struct ap_scored;   /* dataset_helpsteer.c: answers with scores, until their prompt is complete */
struct ap_document; /* dataset_documents.c: documents, until they have partners */

struct ap_dataset_reader {
    struct ap_dataset *d;
    const char *path;
    const struct ap_dataset_options *options;
    const struct ap_dataset_format *format; /* NULL until detected */
    char first_bad[AP_ERROR_TEXT_MAX];      /* message of the first malformed line */
    uint64_t n_seen;                        /* lines of the file, blank ones too */
    struct ap_scored *scored;
    size_t n_scored, scored_cap;
    struct ap_document *document;
    size_t n_documents, documents_cap;
    struct ap_buffer pending; /* lines of the document being read */
    uint64_t pending_line;    /* number of its first line */
};

/* A schema. A further one is a row in the table of dataset_formats.c. */
struct ap_dataset_format {
    const char *name;
    const char *shape;      /* for messages: "{prompt, chosen, rejected}" */
    const char *const *all; /* keys that all stand in a record of it; NULL ends them */
    const char *const *any; /* and one of these; NULL: none needed */
    /* A record; where is "file:line". AP_FORMAT and AP_LIMIT make the line a malformed one. NULL
     * for the format text, whose lines are no records. */
    ap_status (*record)(struct ap_dataset_reader *r, const json_t *o, const char *where,
                        uint64_t number, struct ap_error *err);
    /* After the last line; NULL: nothing to do. */
    ap_status (*end)(struct ap_dataset_reader *r, struct ap_error *err);
};

/* Row by name, or NULL. */
const struct ap_dataset_format *ap_dataset_format_named(const char *name);
/* Row whose keys a record has; AP_FORMAT lists the keys and the shapes that are known. */
ap_status ap_dataset_format_detect(const struct ap_dataset_format **out, const json_t *o,
                                   const char *where, struct ap_error *err);

ap_status ap_dataset_reader_init(struct ap_dataset_reader *r, struct ap_dataset *d,
                                 const char *path, const struct ap_dataset_options *options,
                                 struct ap_error *err);
/* One line without its newline. AP_OK for a malformed one too, which is counted and reported. */
ap_status ap_dataset_reader_line(struct ap_dataset_reader *r, const char *text, size_t n,
                                 uint64_t number, struct ap_error *err);
/* Everything was read: what waited is put together, and the share of malformed lines judged. */
ap_status ap_dataset_reader_end(struct ap_dataset_reader *r, struct ap_error *err);
void ap_dataset_reader_free(struct ap_dataset_reader *r);

/* Count and report a malformed line whose message stands in err. */
void ap_dataset_bad(struct ap_dataset_reader *r, const struct ap_error *err);
/* Copy a text into the data set's storage. */
ap_status ap_dataset_keep(struct ap_dataset_reader *r, const char *text, size_t n, char **out,
                          struct ap_error *err);
/* Take an example whose strings are in storage: numbers and hashes it, drops a pair of equal
 * answers, and keeps to the limit. */
ap_status ap_dataset_add(struct ap_dataset_reader *r, struct ap_example *e, struct ap_error *err);
/* A record is done with: where examples are not kept, neither are its strings, unless some wait. */
void ap_dataset_passed(struct ap_dataset_reader *r);
/* Count what gives no example. AP_OK. */
ap_status ap_dataset_drop(struct ap_dataset_reader *r, ap_drop why);

/* The format helpsteer (dataset_helpsteer.c). */
ap_status ap_helpsteer_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                              uint64_t number, struct ap_error *err);
ap_status ap_helpsteer_end(struct ap_dataset_reader *r, struct ap_error *err);
extern const char *const ap_helpsteer_scores[]; /* the five attributes; NULL ends them */

/* The format text (dataset_documents.c). */
ap_status ap_documents_line(struct ap_dataset_reader *r, const char *text, size_t n,
                            uint64_t number, struct ap_error *err);
ap_status ap_documents_end(struct ap_dataset_reader *r, struct ap_error *err);

#endif
