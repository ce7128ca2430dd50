/* A program as a judge that compares (asker_command.h). How lines are exchanged: program.h. */
#include "align/asker_command.h"

#include "base/memory.h"

#include <string.h>

enum { FRUITLESS_MAX = 2 };

static const struct ap_program_kind kind = {
    "judge", "one line {\"id\": n, \"reply\": text} for each question; correct the program"};

struct asker {
    struct ap_program *program;
    const struct ap_sink *sink;
    int n_fruitless; /* calls in a row without a reply */
};

struct asking { /* one call of ask */
    char *const *questions;
    char **replies;
    int n_reply;
};

static json_t *question(void *self, int i, int64_t id)
{
    const struct asking *a = self;
    return json_pack("{s:I, s:s}", "id", (json_int_t)id, "question", a->questions[i]);
}

static const char *answer(void *self, int i, const json_t *answer)
{
    struct asking *a = self;
    const char *text = json_string_value(json_object_get(answer, "reply"));
    if (!text)
        return "which has no \"reply\" that is a text";
    if (!(a->replies[i] = ap_strdup(text)))
        return "which no memory was left for";
    a->n_reply++;
    return NULL;
}

static ap_status ask(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err)
{
    struct asker *a = self;
    struct ap_error lost;
    struct asking asking = {questions, replies, 0};
    if (a->n_fruitless >= FRUITLESS_MAX)
        return AP_OK;
    ap_status status =
        ap_program_ask(a->program, &(struct ap_program_call){&asking, n, question, answer}, &lost);
    a->n_fruitless = asking.n_reply > 0 ? 0 : a->n_fruitless + 1;
    if (status == AP_IO) {
        ap_sink_warn(a->sink, kind.name, "%s; the %d open question%s no reply%s", lost.text,
                     n - asking.n_reply, n - asking.n_reply == 1 ? " has" : "s have",
                     a->n_fruitless >= FRUITLESS_MAX ? ", and it is asked no more" : "");
        return AP_OK;
    }
    return status == AP_OK ? AP_OK : ap_fail(err, status, "%s", lost.text);
}

static void asker_free(void *self)
{
    struct asker *a = self;
    ap_program_free(a->program);
    ap_free(a);
}

ap_status ap_asker_command(struct ap_asker *out, const struct ap_command *command,
                           const struct ap_sink *sink, struct ap_error *err)
{
    struct asker *a = ap_calloc(1, sizeof(*a));
    *out = (struct ap_asker){0};
    if (!a)
        return ap_fail(err, AP_MEMORY, "judge command: no memory; free some");
    a->sink = sink;
    ap_status status = ap_program_open(&a->program, &kind, command, sink, err);
    if (status != AP_OK) {
        ap_free(a);
        return status;
    }
    *out = (struct ap_asker){a, ask, asker_free};
    return AP_OK;
}
