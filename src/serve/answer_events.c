/* Answers of the local target as server-sent events, while they are decoded, between two threads:
 * the engine's appends text to the choice that it is of, the server's makes events of what is
 * there.
 *
 *     engine: text … ─► over      |     server: head ─► events of all that came ─► read, or sleep
 *
 * The engine never waits for a client. What one does not read waits as text, which is bounded as an
 * answer that is not streamed is, by max_new_tokens: a slow client gets fewer, longer events. */
#include "serve/answering.h"

#include "base/memory.h"

#include <string.h>

/* ---- the engine's thread ---- */

/* Under the lock. */
static void announce(struct ap_exchange *e)
{
    struct ap_answer_events *events = &e->answering.events;
    events->news = true;
    if (!events->begun)
        ap_exchange_let_go(e);
    else if (events->asleep)
        ap_exchange_wake(e);
    events->begun = true;
    events->asleep = false;
}

static void on_grew(struct ap_work *w, const char *text, size_t n)
{
    const struct ap_task *task = w->context;
    struct ap_exchange *e = task->exchange;
    struct ap_choice *choice = &e->answering.events.choices[task - e->answering.tasks];
    pthread_mutex_lock(&e->lock);
    if (ap_buffer_append(&choice->text, text, n, NULL) != AP_OK)
        choice->lost = true;
    announce(e);
    pthread_mutex_unlock(&e->lock);
}

static void on_done(struct ap_work *w)
{
    struct ap_task *task = w->context;
    struct ap_exchange *e = task->exchange;
    pthread_mutex_lock(&e->lock);
    atomic_store(&task->over, true);
    announce(e);
    pthread_mutex_unlock(&e->lock);
    ap_exchange_unref(e);
}

/* ---- events ---- */

/* Takes delta and reason; they stand in a chat, text in a completion. */
static json_t *make_choice(const struct ap_exchange *e, size_t i, json_t *delta, const char *text,
                           json_t *reason)
{
    if (ap_answering_is_chat(e))
        return json_pack("{s:i, s:o, s:n, s:o}", "index", (int)i, "delta", delta, "logprobs",
                         "finish_reason", reason);
    json_decref(delta);
    return json_pack("{s:i, s:s, s:n, s:o}", "index", (int)i, "text", text, "logprobs",
                     "finish_reason", reason);
}

/* Takes choices; counted: with the usage. */
static ap_status put_event(struct ap_exchange *e, json_t *choices, bool counted)
{
    struct ap_buffer *out = &e->answering.events.out;
    json_t *event = ap_answering_envelope(e, ap_answering_is_chat(e) ? "chat.completion.chunk"
                                                                     : "text_completion");
    int failed = json_object_set_new(event, "choices", choices);
    if (counted)
        failed |= json_object_set_new(event, "usage", ap_answering_usage(&e->answering));
    char *text = failed ? NULL : json_dumps(event, JSON_COMPACT);
    ap_status status = text ? ap_buffer_printf(out, NULL, "data: %s\n\n", text) : AP_MEMORY;
    free(text);
    json_decref(event);
    return status;
}

/* The first of a choice says whose it is. */
static ap_status put_text(struct ap_exchange *e, size_t i, const char *text)
{
    struct ap_choice *choice = &e->answering.events.choices[i];
    json_t *delta = choice->begun ? json_pack("{s:s}", "content", text)
                                  : json_pack("{s:s, s:s}", "role", "assistant", "content", text);
    choice->begun = true;
    return put_event(e, json_pack("[o]", make_choice(e, i, delta, text, json_null())), false);
}

/* The answer goes no further: no other status can be given any more. */
static ap_status put_undone(struct ap_exchange *e, const struct ap_task *task)
{
    struct ap_answer_events *events = &e->answering.events;
    ap_status status = ap_buffer_puts(&events->out, "data: ", NULL);
    if (status == AP_OK)
        status = ap_reply_put_undone(&events->out, task);
    if (status == AP_OK)
        status = ap_buffer_puts(&events->out, "\n", NULL);
    events->over = events->cut = true;
    return status;
}

static ap_status put_end(struct ap_exchange *e, size_t i)
{
    const struct ap_task *task = &e->answering.tasks[i];
    struct ap_choice *choice = &e->answering.events.choices[i];
    if (task->work.end != AP_WORK_DONE)
        return put_undone(e, task);
    choice->ended = true;
    ap_status status = choice->begun ? AP_OK : put_text(e, i, "");
    if (status != AP_OK)
        return status;
    json_t *reason = json_string(ap_answering_finish_reason(&task->work));
    return put_event(e, json_pack("[o]", make_choice(e, i, json_object(), "", reason)), false);
}

/* What came of a choice since it was looked at. */
static ap_status put_choice(struct ap_exchange *e, size_t i)
{
    struct ap_choice *choice = &e->answering.events.choices[i];
    pthread_mutex_lock(&e->lock);
    struct ap_buffer text = choice->text;
    choice->text = (struct ap_buffer){0};
    bool over = atomic_load(&e->answering.tasks[i].over);
    ap_status status = choice->lost ? AP_MEMORY : AP_OK;
    pthread_mutex_unlock(&e->lock);
    if (status == AP_OK && text.len > 0)
        status = put_text(e, i, text.data);
    if (status == AP_OK && over && !choice->ended)
        status = put_end(e, i);
    ap_buffer_free(&text);
    return status;
}

static ap_status put_done(struct ap_exchange *e)
{
    struct ap_answering *a = &e->answering;
    ap_status status = a->usage ? put_event(e, json_array(), true) : AP_OK;
    if (status == AP_OK)
        status = ap_buffer_puts(&a->events.out, "data: [DONE]\n\n", NULL);
    a->events.over = true;
    return status;
}

/* Of all that came. */
static void make_events(struct ap_exchange *e)
{
    struct ap_answer_events *events = &e->answering.events;
    size_t n_ended = 0;
    ap_status status = AP_OK;
    for (size_t i = 0; i < e->answering.n_task && status == AP_OK && !events->over; i++) {
        status = put_choice(e, i);
        n_ended += events->choices[i].ended;
    }
    if (status == AP_OK && !events->over && n_ended == e->answering.n_task)
        status = put_done(e);
    if (status != AP_OK)
        events->over = events->cut = true;
}

/* ---- the reader ---- */

/* Whether anything came; else the connection sleeps until it does. */
static bool take_news(struct ap_exchange *e)
{
    struct ap_answer_events *events = &e->answering.events;
    pthread_mutex_lock(&e->lock);
    bool news = events->news;
    events->news = false;
    events->asleep = !news;
    if (!news)
        ap_exchange_sleep(e);
    pthread_mutex_unlock(&e->lock);
    return news;
}

static ssize_t read_events(void *context, uint64_t position, char *out, size_t n)
{
    struct ap_exchange *e = context;
    struct ap_answer_events *events = &e->answering.events;
    (void)position;
    while (events->n_out == events->out.len && !events->over) {
        if (!take_news(e))
            return 0;
        ap_buffer_clear(&events->out);
        events->n_out = 0;
        make_events(e);
    }
    size_t left = events->out.len - events->n_out, taken = left < n ? left : n;
    if (left == 0)
        return events->cut ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    memcpy(out, events->out.data + events->n_out, taken);
    events->n_out += taken;
    return (ssize_t)taken;
}

/* The first text is there, or a work is over: what has failed by now can still be said by status.
 */
static void step_head(struct ap_exchange *e)
{
    const struct ap_answering *a = &e->answering;
    bool undone = false;
    for (size_t i = 0; i < a->n_task && !undone; i++)
        undone = atomic_load(&a->tasks[i].over) && ap_reply_undone(e, &a->tasks[i]);
    if (!undone)
        ap_reply_reader(e, 200, AP_TYPE_EVENTS, read_events);
    ap_reply_mark(e);
}

void ap_answer_events_begin(struct ap_exchange *e)
{
    struct ap_answering *a = &e->answering;
    a->events.choices = ap_calloc(a->n_task, sizeof(*a->events.choices));
    if (!a->events.choices) {
        ap_reply_error(e, 500, NULL, "no memory");
        return;
    }
    for (size_t i = 0; i < a->n_task; i++) {
        a->tasks[i].work.grew = on_grew;
        a->tasks[i].work.done = on_done;
    }
    e->step = step_head;
    ap_exchange_hold(e); /* until something is announced */
    if (ap_exchange_submit_growing(e, a->tasks, a->n_task))
        return;
    pthread_mutex_lock(&e->lock);
    announce(e);
    pthread_mutex_unlock(&e->lock);
}

void ap_answer_events_free(struct ap_exchange *e)
{
    struct ap_answering *a = &e->answering;
    for (size_t i = 0; i < a->n_task && a->events.choices; i++)
        ap_buffer_free(&a->events.choices[i].text);
    ap_free(a->events.choices);
    ap_buffer_free(&a->events.out);
}
