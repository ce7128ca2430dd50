/* The two large members of a tokenizer.json, model.vocab and model.merges, read from the text as it
 * stands: a tree of JSON values of half a million texts takes several times as long to make as the
 * tables that they are for. Not here: everything else in the file, which base/json.h parses. */
#ifndef AP_TEXT_MODEL_TEXT_H
#define AP_TEXT_MODEL_TEXT_H

#include "base/json.h"

/* A place in a JSON text, and where that ends. A zeroed one is at the end of an empty text. */
struct ap_json_cursor {
    const char *at, *end; /* borrowed */
    bool broken;          /* what stands there is no JSON */
};

/* Step over white space and c, where c is next. */
bool ap_json_take(struct ap_json_cursor *cursor, char c);
/* Between the members of an array or object that ends in `close`: whether another one follows.
 * first: none was read yet. Anything but a comma or `close` breaks the cursor. */
bool ap_json_more(struct ap_json_cursor *cursor, char close, bool first);
/* A string into out, whose contents go: UTF-8, NULs allowed. false where no whole string is next.
 */
bool ap_json_string(struct ap_json_cursor *cursor, struct ap_buffer *out, ap_status *status,
                    struct ap_error *err);
/* false where the next value is no integer of 64 bits. */
bool ap_json_integer(struct ap_json_cursor *cursor, int64_t *out);

struct ap_model_text {
    struct ap_json_cursor vocab, merges; /* at `{` and `[` */
    /* Members of them, if they are of the shapes that a tokenizer.json has: then each is one string
     * or one list of two. Others are found when they are read. */
    size_t n_vocab, n_merges;
    char *dump[2]; /* owned: their texts, where they do not stand in the file as plain members */
};

/* root is the file's tree, in which the two members are empty where they were found in the text,
 * and whole where not. The text must outlive m. Text that is not JSON is AP_FORMAT with its line;
 * within the two members that is found when they are read, as a broken cursor. where: its name. */
ap_status ap_model_text_open(struct ap_model_text *m, json_t **root, const char *text, size_t n,
                             const char *where, struct ap_error *err);
void ap_model_text_close(struct ap_model_text *m);

#endif
