/* Examples read from JSONL (.gz too) or plain text, whatever schema they came in, and their splits.
 * Not here: tokens (sequence.h). */
#ifndef AP_TEXT_DATASET_H
#define AP_TEXT_DATASET_H

#include "alignpro/text.h"

#include "base/error.h"

/* One record. Strings are owned by the data set; absent ones are NULL. */
struct ap_example {
    uint64_t record;            /* its own number in the data set, from 0, in file order */
    uint64_t hash;              /* ap_hash of context and prompt: decides the split */
    struct ap_message *context; /* system prompt and earlier turns, math.md (15a) */
    size_t n_context;
    char *prompt; /* x, the last user turn */
    char *answer; /* what supervised training imitates: "rewrite", "response" or the last assistant
                     turn */
    char *chosen, *rejected; /* a preference pair */
    double margin;           /* difference of the scores where the schema has them, else 0 */
    char *meta;              /* JSON text of the record's "meta" key, handed to judges unread */
};

/* Why something well-formed gives no example. Each is counted, and told with the other counts. */
typedef enum ap_drop {
    AP_DROP_TIE,      /* a pair of equal scores, or alike in `prefer` (whose example is kept) */
    AP_DROP_SAME,     /* a pair of identical answers */
    AP_DROP_UNPAIRED, /* fewer than two answers with a score */
    AP_DROP_CONTEXT,  /* the chosen and the rejected answer are to different chats */
    AP_DROP_TURNS,    /* a transcript that does not end in a user turn and its answer */
    AP_DROP_LIMIT,    /* past `limit` */
    AP_DROP_N
} ap_drop;
/* "equal scores". */
const char *ap_drop_text(ap_drop drop);

struct ap_dataset {
    struct ap_example *examples; /* n of them; NULL where on_example took them */
    size_t n, cap;
    const char *format; /* which one it was: a name of data.format; NULL before the first record */
    uint64_t n_lines;   /* records read: lines that are not blank, elements, or documents of text */
    uint64_t n_bad;     /* of them malformed */
    uint64_t n_dropped[AP_DROP_N];
    struct ap_text_pool *storage; /* owns every string */
};

typedef enum ap_split { AP_SPLIT_TRAIN, AP_SPLIT_VALID, AP_SPLIT_TEST, AP_SPLIT_ALL } ap_split;

struct ap_dataset_options {
    const char *format; /* "auto" or a row of dataset_formats.c */
    const char
        *score;       /* helpsteer, ultrafeedback: what orders the answers; NULL, "auto": default */
    double bad_lines; /* share of lines in [0, 1] that may be malformed */
    uint64_t limit;   /* most examples; 0 for all */
    /* format text: documents separated by a line <|endoftext|>. The prompt is the first `opening`
     * sentences, the answer the document's own continuation. With the PCRE2 pattern `prefer`, the
     * pair is that continuation and one of another document (of the next 16, the first that differs
     * in whether it matches); the chosen one matches. Where none differs the example is kept
     * without a pair and counted as a tie. */
    int opening;
    const char *prefer;
    /* Called for every malformed line with its one-line message (file:line: …); may be NULL. */
    void (*on_bad)(void *context, const char *message);
    void *on_bad_context;
    /* When set, each example is given to it instead of being kept, so that a file of any size is
     * read in little memory (formats that wait for partners keep their texts to the end). The
     * example's strings live until it returns. Another status than AP_OK ends the reading. */
    ap_status (*on_example)(void *context, const struct ap_example *e, struct ap_error *err);
    void *on_example_context;
};

/* A missing, empty or binary file, another schema, and too many bad lines are errors that name
 * file:line. The caller frees with ap_dataset_free, also after an error. */
ap_status ap_dataset_read(struct ap_dataset *d, const char *path,
                          const struct ap_dataset_options *options, struct ap_error *err);
void ap_dataset_free(struct ap_dataset *d);
/* "387 examples of 500 records; dropped: 310 equal scores; 2 malformed": what there is, no more. */
void ap_dataset_counts(const struct ap_dataset *d, char *out, size_t n_out);

/* Split of a prompt hash for fractions that sum to 1: a prompt is in exactly one. */
ap_split ap_split_of(uint64_t hash, double train, double valid);
/* 0 or 1: which of two halves a prompt is in, whatever its split. */
int ap_half_of(uint64_t hash);

/* Indices of the examples of a split, in file order; unique_prompts keeps the first of each hash.
 * *index is allocated (ap_free). */
ap_status ap_dataset_select(const struct ap_dataset *d, ap_split split, double train, double valid,
                            bool unique_prompts, int32_t **index, size_t *n, struct ap_error *err);

#endif
