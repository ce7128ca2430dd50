/* The reward that a program of the user's gives (reward.h): what its questions and answers hold.
 * How they are exchanged: program.h. Entry point: ap_reward_command. */
#include "align/reward.h"

#include <math.h>

static const struct ap_program_kind kind = {
    "reward", "one line {\"id\": n, \"score\": number} for each question; correct the program"};

struct scoring { /* one call of score */
    const struct ap_scored *items;
    double *out;
};

static json_t *context_json(const struct ap_scored *item)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < item->n_context; i++) {
        json_t *turn = json_pack("{s:s, s:s}", "role", item->context[i].role, "content",
                                 item->context[i].content);
        if (!turn || json_array_append_new(list, turn) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *question(void *self, int i, int64_t id)
{
    const struct scoring *s = self;
    const struct ap_scored *item = &s->items[i];
    json_t *context = context_json(item);
    return context ? json_pack("{s:I, s:s, s:s, s:o, s:b}", "id", (json_int_t)id, "prompt", item->x,
                               "response", item->y, "context", context, "ended", item->ended)
                   : NULL;
}

static const char *answer(void *self, int i, const json_t *answer)
{
    const struct scoring *s = self;
    const json_t *value = json_object_get(answer, "score");
    double score = json_number_value(value);
    if (!json_is_number(value) || !isfinite(score))
        return "which has no \"score\" that is a finite number";
    s->out[i] = score;
    return NULL;
}

static ap_status command_score(void *self, const struct ap_scored *items, int n, double *out,
                               struct ap_error *err)
{
    struct scoring s = {items, out};
    return ap_program_ask(self, &(struct ap_program_call){&s, n, question, answer}, err);
}

static void command_free(void *self)
{
    ap_program_free(self);
}

ap_status ap_reward_command(struct ap_reward *out, const struct ap_command *command,
                            const struct ap_sink *sink, struct ap_error *err)
{
    struct ap_program *program;
    ap_status status = ap_program_open(&program, &kind, command, sink, err);
    *out = (struct ap_reward){.gain = 1};
    if (status == AP_OK)
        *out = (struct ap_reward){
            .self = program, .score = command_score, .free = command_free, .gain = 1};
    return status;
}
