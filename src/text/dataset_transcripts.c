/* Chats written into one text: Anthropic's hh-rlhf transcripts, and the marks by which HelpSteer2
 * parts the turns of a prompt. Entry points: ap_transcripts_record, ap_turns_marked. */
#include "text/dataset_reader.h"

#include "base/error.h"
#include "text/space.h"

#include <string.h>

struct mark {
    const char *text, *role;
};

/* The next of two marks from `text` on, or NULL; *which is set where there is one. */
static const char *find_mark(const char *text, const struct mark marks[2], size_t *which)
{
    const char *a = strstr(text, marks[0].text), *b = strstr(text, marks[1].text);
    *which = !a || (b && b < a);
    return *which ? b : a;
}

static size_t count_marks(const char *text, const struct mark marks[2])
{
    size_t n = 0, which;
    while ((text = find_mark(text, marks, &which)) != NULL) {
        text += strlen(marks[which].text);
        n++;
    }
    return n;
}

static ap_status put_turn(struct ap_dataset_reader *r, struct ap_turns *t, const char *role,
                          const char *text, size_t n, struct ap_error *err)
{
    char *content;
    ap_status status = ap_dataset_keep(r, text, n, &content, err);
    if (status == AP_OK)
        t->items[t->n++] = (struct ap_message){role, content};
    return status;
}

/* Turns from `text`, whose first is of role `first`; a turn ends where the next mark begins. strip:
 * without the white space around them. */
static ap_status split_turns(struct ap_dataset_reader *r, const char *text, const char *first,
                             const struct mark marks[2], bool strip, struct ap_turns *t,
                             const char *where, struct ap_error *err)
{
    const char *role = first;
    ap_status status = ap_turns_room(r, t, count_marks(text, marks) + 1, where, err);
    while (status == AP_OK && text) {
        size_t which = 0, skip, n;
        const char *next = find_mark(text, marks, &which);
        n = next ? (size_t)(next - text) : strlen(text);
        skip = strip ? ap_space_prefix(text, n) : 0;
        size_t size = strip ? n - skip - ap_space_suffix(text + skip, n - skip) : n;
        status = put_turn(r, t, role, text + skip, size, err);
        text = next ? next + strlen(marks[which].text) : NULL;
        role = marks[which].role;
    }
    return status;
}

/* ---- hh-rlhf ---- */

static ap_status read_transcript(struct ap_dataset_reader *r, const json_t *o, const char *key,
                                 struct ap_turns *t, const char *where, struct ap_error *err)
{
    static const struct mark marks[] = {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};
    const char *text = NULL;
    ap_status status = ap_json_text(o, key, where, true, &text, NULL, err);
    if (status != AP_OK)
        return status;
    text += ap_space_prefix(text, strlen(text));
    for (size_t i = 0; i < AP_LEN(marks); i++) {
        size_t n = strlen(marks[i].text + 2);
        if (!strncmp(text, marks[i].text + 2, n))
            return split_turns(r, text + n, marks[i].role, marks, true, t, where, err);
    }
    return ap_fail(err, AP_FORMAT,
                   "%s: \"%s\" is no transcript, expected it to begin with \"\\n\\nHuman: \"",
                   where, key);
}

/* Whether the last two turns are the user's and its answer. */
static bool ends_in_answer(const struct ap_turns *t)
{
    return t->n >= 2 && !strcmp(t->items[t->n - 1].role, "assistant") &&
           !strcmp(t->items[t->n - 2].role, "user");
}

ap_status ap_transcripts_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                                uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    struct ap_turns chosen, rejected;
    ap_status status;
    (void)number;
    AP_TRY(read_transcript(r, o, "chosen", &chosen, where, err));
    AP_TRY(read_transcript(r, o, "rejected", &rejected, where, err));
    if (!ends_in_answer(&chosen) || !ends_in_answer(&rejected))
        return ap_dataset_drop(r, AP_DROP_TURNS);
    AP_TRY(ap_dataset_read_meta(r, o, &e, where, err));
    AP_TRY(ap_turns_pair(r, &chosen, &rejected, &e, where, err));
out:
    return status;
}

/* ---- HelpSteer2 ---- */

ap_status ap_turns_marked(struct ap_dataset_reader *r, const char *prompt, struct ap_example *e,
                          const char *where, struct ap_error *err)
{
    static const struct mark marks[] = {{"\n<extra_id_1>User\n", "user"},
                                        {"\n<extra_id_1>Assistant\n", "assistant"}};
    struct ap_turns t;
    ap_status status = split_turns(r, prompt, "user", marks, false, &t, where, err);
    return status == AP_OK ? ap_turns_prompt(e, &t, where, err) : status;
}
