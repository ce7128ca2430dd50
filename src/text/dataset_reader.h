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
    const char *shape;         /* for messages: "{prompt, chosen, rejected}" */
    const char *const *all;    /* keys that all stand in a record of it; NULL ends them */
    const char *const *any;    /* and one of these; NULL: none needed */
    const char *const *lists;  /* those of `all` that hold arrays; NULL: none */
    const char *const *scores; /* what data.score may be, its default first; NULL: no choice */
    /* A record; where is "file:line". AP_FORMAT and AP_LIMIT make the line a malformed one. NULL
     * for the format text, whose lines are no records. */
    ap_status (*record)(struct ap_dataset_reader *r, const json_t *o, const char *where,
                        uint64_t number, struct ap_error *err);
    /* After the last line; NULL: nothing to do. */
    ap_status (*end)(struct ap_dataset_reader *r, struct ap_error *err);
};

/* Row by name, or NULL. */
const struct ap_dataset_format *ap_dataset_format_named(const char *name);
/* "auto, pairs, ... or text". */
void ap_dataset_format_names(char *out, size_t n_out);
/* Whether the format takes this data.score; one without a choice takes any. */
ap_status ap_dataset_check_score(const struct ap_dataset_format *format, const char *score,
                                 struct ap_error *err);
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
/* What a record took is given back when nothing of it is kept: mark before, rewind after. */
struct ap_dataset_mark {
    struct ap_text_pool_mark pool;
    size_t n, n_scored, n_documents; /* kept, and waiting */
};
struct ap_dataset_mark ap_dataset_mark(const struct ap_dataset_reader *r);
void ap_dataset_rewind(struct ap_dataset_reader *r, const struct ap_dataset_mark *mark);
/* Count what gives no example. AP_OK. */
ap_status ap_dataset_drop(struct ap_dataset_reader *r, ap_drop why);

/* ---- what records are made of; where: "file:line" ---- */

/* Required or optional text at a key, copied; *out stays as it is where it is absent. */
ap_status ap_dataset_keep_key(struct ap_dataset_reader *r, const json_t *o, const char *key,
                              bool required, char **out, const char *where, struct ap_error *err);
/* e->meta: "meta" as the JSON text that it is. */
ap_status ap_dataset_read_meta(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                               const char *where, struct ap_error *err);
/* The prompt must not be empty. */
ap_status ap_dataset_check_prompt(const struct ap_example *e, const char *where,
                                  struct ap_error *err);
/* A score: a number within a million either way; *out stays as it is where it is absent. */
ap_status ap_dataset_read_score(const json_t *o, const char *key, bool required, double *out,
                                const char *where, struct ap_error *err);
ap_status ap_dataset_check_range(const char *key, double value, const char *where,
                                 struct ap_error *err);
/* The difference of the two scores where a pair has both ("score_chosen" and "score_rejected", or
 * another spelling); *margin stays as it is where it has not. */
ap_status ap_dataset_read_margin(const json_t *o, double *margin, bool *tie, const char *where,
                                 struct ap_error *err);

/* The turns of a chat, in storage. */
struct ap_turns {
    struct ap_message *items;
    size_t n;
};
/* An empty chat with room for n turns. */
ap_status ap_turns_room(struct ap_dataset_reader *r, struct ap_turns *t, size_t n,
                        const char *where, struct ap_error *err);
/* e->context from a text "system", unless empty, and the list of messages at `key`; both optional.
 */
ap_status ap_turns_context(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           struct ap_example *e, const char *where, struct ap_error *err);
/* math.md (15a): the last turn, which must be the user's, is e->prompt, those before e->context. */
ap_status ap_turns_prompt(struct ap_example *e, const struct ap_turns *t, const char *where,
                          struct ap_error *err);
/* Two chats that end in an assistant turn each: a pair of answers when all before is the same, else
 * dropped. Shortens chosen by its answer. */
ap_status ap_turns_pair(struct ap_dataset_reader *r, struct ap_turns *chosen,
                        const struct ap_turns *rejected, struct ap_example *e, const char *where,
                        struct ap_error *err);
/* HelpSteer2's prompts: e->context and e->prompt from turns parted by "<extra_id_1>User" and
 * "<extra_id_1>Assistant" on lines of their own; a prompt without is one turn. */
ap_status ap_turns_marked(struct ap_dataset_reader *r, const char *prompt, struct ap_example *e,
                          const char *where, struct ap_error *err);

/* ---- the formats' records and ends (struct ap_dataset_format) ---- */

#define AP_RECORD(name)                                                                            \
    ap_status name(struct ap_dataset_reader *r, const json_t *o, const char *where,                \
                   uint64_t number, struct ap_error *err)
AP_RECORD(ap_pairs_record); /* dataset_records.c */
AP_RECORD(ap_rewrites_record);
AP_RECORD(ap_prompts_record);
AP_RECORD(ap_orca_record);
AP_RECORD(ap_preference_record);
AP_RECORD(ap_alpaca_record);
AP_RECORD(ap_messages_record); /* dataset_chats.c */
AP_RECORD(ap_sharegpt_record);
AP_RECORD(ap_chat_pairs_record);
AP_RECORD(ap_transcripts_record);   /* dataset_transcripts.c */
AP_RECORD(ap_ultrafeedback_record); /* dataset_ultrafeedback.c */
AP_RECORD(ap_helpsteer_record);     /* dataset_helpsteer.c */
#undef AP_RECORD
ap_status ap_helpsteer_end(struct ap_dataset_reader *r, struct ap_error *err);
extern const char *const ap_helpsteer_scores[]; /* their default first; NULL ends them */
extern const char *const ap_ultrafeedback_scores[];

/* The format text (dataset_documents.c). */
ap_status ap_documents_line(struct ap_dataset_reader *r, const char *text, size_t n,
                            uint64_t number, struct ap_error *err);
ap_status ap_documents_end(struct ap_dataset_reader *r, struct ap_error *err);

#endif
