/* A conversation with a program of the user's (program.h): questions as JSON lines on its standard
 * input, answers as JSON lines on its standard output, in any order.
 *
 *     questions ─► send ─► stdin  ┐
 *     answers   ◄─ line ◄─ stdout ├ one poll: whichever pipe is full, the others go on
 *     notes     ◄─ tail ◄─ stderr ┘
 *
 * An answer names its question by a number that the process is never asked twice, so that a line
 * too many can be taken for no other's. What breaks the protocol ends the call at once; a program
 * that ended is started once more a call. Entry points: ap_program_open, ap_program_ask. */
#include "align/program.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    ANSWER_MAX = 1 << 16, /* bytes of a line that comes back */
    SEND_AHEAD = 1 << 16, /* bytes of questions made before they are sent */
    CHUNK = 1 << 14,
    NOTES_MAX = 20, /* lines of standard error that are passed on */
    TAIL_MAX = 400, /* bytes of it that an error shows */
    LOOK_MS = 50    /* between two questions whether the call goes on */
};

/* Seconds that a program has between closing its output and its end. */
static const double grace = 1;

struct ap_program {
    struct ap_program_kind kind;
    char *argv[AP_LIST_MAX + 3]; /* owned, NULL-terminated */
    char *shown;                 /* the command in messages; owned */
    char *folder;                /* owned */
    double timeout;
    struct ap_program_watch *watch;
    const struct ap_sink *sink;
    struct ap_child child;
    int64_t next_id; /* of the first item of the next call */
    struct ap_buffer send;
    size_t n_sent;         /* bytes of send */
    struct ap_buffer line; /* of standard output, not whole yet */
    struct ap_buffer note; /* of standard error, not whole yet */
    struct ap_buffer tail; /* last bytes of standard error, lines parted by " | " */
    int n_note;
};

/* One call. */
struct batch {
    struct ap_program *c;
    const struct ap_program_call *call;
    int n, n_have;
    int next; /* the item whose question is made next */
    bool *have;
    int64_t first_id;
    double deadline;
    struct ap_error *err;
};

void ap_program_free(struct ap_program *c)
{
    if (!c)
        return;
    ap_child_close(&c->child, grace);
    for (size_t i = 0; i < AP_LEN(c->argv); i++)
        ap_free(c->argv[i]);
    ap_free(c->shown);
    ap_free(c->folder);
    ap_buffer_free(&c->send);
    ap_buffer_free(&c->line);
    ap_buffer_free(&c->note);
    ap_buffer_free(&c->tail);
    ap_free(c);
}

/* ---- errors: the command, what happened, what it said last ---- */

static ap_status refuse(const struct ap_program *c, ap_status status, const char *what,
                        const char *expected, struct ap_error *err)
{
    bool said = c->tail.len > 0;
    return ap_fail(err, status, "%s command '%s': %s, expected %s%s%s", c->kind.name, c->shown,
                   what, expected, said ? "; it said last: " : "", said ? c->tail.data : "");
}

static ap_status bad_answer(const struct batch *b, const char *line, const char *why)
{
    char what[256];
    snprintf(what, sizeof(what), "answered '%.150s', %s", line, why);
    return refuse(b->c, AP_FORMAT, what, b->c->kind.expected, b->err);
}

/* ---- questions ---- */

static ap_status add_question(struct batch *b, int i)
{
    json_t *question = b->call->question(b->call->self, i, b->first_id + i);
    ap_status status = AP_MEMORY;
    char *text = question ? json_dumps(question, JSON_COMPACT) : NULL;
    if (text)
        status = ap_buffer_printf(&b->c->send, b->err, "%s\n", text);
    else
        ap_fail(b->err, status, "%s command '%s': no memory for a question; free some",
                b->c->kind.name, b->c->shown);
    free(text);
    json_decref(question);
    return status;
}

/* Questions of what is not answered yet, when all that were made are sent. */
static ap_status refill(struct batch *b)
{
    struct ap_program *c = b->c;
    ap_status status = AP_OK;
    if (c->n_sent < c->send.len)
        return AP_OK;
    ap_buffer_clear(&c->send);
    c->n_sent = 0;
    for (; status == AP_OK && b->next < b->n && c->send.len < SEND_AHEAD; b->next++)
        if (!b->have[b->next])
            status = add_question(b, b->next);
    return status;
}

static ap_status send_some(struct batch *b)
{
    struct ap_program *c = b->c;
    ssize_t n = ap_child_write(&c->child, c->send.data + c->n_sent, c->send.len - c->n_sent);
    if (n > 0)
        c->n_sent += (size_t)n;
    else if (n < 0 && errno == EPIPE)
        ap_child_close_in(&c->child); /* it may still answer what it read, or be at its end */
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        return ap_fail_errno(b->err, errno, "%s command '%s': cannot be written to", c->kind.name,
                             c->shown);
    return AP_OK;
}

/* ---- answers ---- */

/* Why a line is no answer to an open question; NULL: it is one, and was taken. */
static const char *take_object(struct batch *b, const json_t *answer)
{
    const json_t *number = json_object_get(answer, "id");
    if (!json_is_object(answer))
        return "which is no JSON object";
    if (!json_is_integer(number))
        return "which has no \"id\" that is a whole number";
    int64_t id = json_integer_value(number);
    if (id < 0 || id >= b->first_id + b->n)
        return "whose id was never asked";
    if (id < b->first_id || b->have[id - b->first_id])
        return "whose id was answered already";
    const char *why = b->call->answer(b->call->self, (int)(id - b->first_id), answer);
    b->have[id - b->first_id] = !why;
    return why;
}

static ap_status take_answer(struct batch *b, const char *line, size_t n)
{
    json_t *answer = NULL;
    ap_status status = ap_json_parse(line, n, "answer", &answer, NULL);
    const char *why = status == AP_MEMORY ? "which no memory was left for"
                      : status != AP_OK   ? "which is no JSON object"
                                          : take_object(b, answer);
    json_decref(answer);
    if (why)
        return bad_answer(b, line, why);
    b->n_have++;
    b->deadline = ap_clock_seconds() + b->c->timeout;
    return AP_OK;
}

static ap_status take_output(struct batch *b, const char *data, size_t n)
{
    struct ap_buffer *line = &b->c->line;
    ap_status status = AP_OK;
    while (n > 0 && status == AP_OK) {
        const char *newline = memchr(data, '\n', n);
        size_t used = newline ? (size_t)(newline - data) + 1 : n;
        if (line->len + used > ANSWER_MAX) {
            status =
                line->len ? AP_OK : ap_buffer_append(line, data, 160 < used ? 160 : used, NULL);
            return status == AP_OK ? bad_answer(b, line->data, "a line of over 65536 bytes")
                                   : status;
        }
        status = ap_buffer_append(line, data, used, b->err);
        if (status == AP_OK && newline) {
            line->data[--line->len] = '\0';
            status = take_answer(b, line->data, line->len);
            ap_buffer_clear(line);
        }
        data += used;
        n -= used;
    }
    return status;
}

/* *ended: its output is closed. A last line without its end is a line. */
static ap_status read_output(struct batch *b, bool *ended)
{
    char chunk[CHUNK];
    struct ap_program *c = b->c;
    ssize_t n = read(c->child.out, chunk, sizeof(chunk));
    *ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (n > 0)
        return take_output(b, chunk, (size_t)n);
    return *ended && c->line.len > 0 ? take_output(b, "\n", 1) : AP_OK;
}

/* ---- standard error ---- */

static void end_note(struct ap_program *c)
{
    size_t n = c->note.len;
    if (n == 0)
        return;
    if (c->n_note < NOTES_MAX)
        ap_sink_note(c->sink, c->kind.name, "%s%s", c->note.data,
                     c->n_note == NOTES_MAX - 1 ? " (more of it is not shown)" : "");
    c->n_note++;
    if (c->tail.len > 0)
        (void)ap_buffer_puts(&c->tail, " | ", NULL);
    (void)ap_buffer_append(&c->tail, c->note.data, n, NULL);
    if (c->tail.len > TAIL_MAX) {
        memmove(c->tail.data, c->tail.data + c->tail.len - TAIL_MAX, TAIL_MAX + 1);
        c->tail.len = TAIL_MAX;
    }
    ap_buffer_clear(&c->note);
}

/* What waits there. What does not fit in memory is dropped: these are only words. */
static void read_words(struct ap_program *c)
{
    char chunk[CHUNK];
    ssize_t n = read(c->child.err, chunk, sizeof(chunk));
    for (ssize_t i = 0; i < n; i++) {
        if (chunk[i] == '\n')
            end_note(c);
        else if (c->note.len < TAIL_MAX && chunk[i] != '\0')
            (void)ap_buffer_append(&c->note, &chunk[i], 1, NULL);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end_note(c);
        close(c->child.err);
        c->child.err = -1;
    }
}

/* ---- the conversation ---- */

static ap_status start(struct ap_program *c, struct ap_error *err)
{
    ap_buffer_clear(&c->line);
    ap_buffer_clear(&c->note);
    ap_buffer_clear(&c->send);
    c->n_sent = 0;
    ap_status status = ap_child_start(&c->child, c->argv, c->folder, err);
    return status == AP_OK ? AP_OK : ap_fail_prefix(err, status, "%s command", c->kind.name);
}

static ap_status timed_out(const struct batch *b)
{
    char what[128];
    if (b->c->watch)
        b->c->watch->silent = true;
    snprintf(what, sizeof(what), "gave no answer for %g seconds, with %d of %d questions open",
             b->c->timeout, b->n - b->n_have, b->n);
    return refuse(b->c, AP_IO, what,
                  "a line for each question as soon as it is answered; let the program flush its "
                  "output after each line, or raise its timeout",
                  b->err);
}

static bool goes_on(const struct ap_program *c)
{
    return !c->watch || c->watch->go_on(c->watch->self);
}

static ap_status given_up(const struct batch *b)
{
    return ap_fail(b->err, AP_INTERRUPTED, "%s command '%s': nobody waits for its answers any more",
                   b->c->kind.name, b->c->shown);
}

/* One wait for whichever pipe is ready, and what it brings. */
static ap_status exchange(struct batch *b, bool *ended)
{
    struct ap_program *c = b->c;
    ap_status status = refill(b);
    double left = fmin(fmax(ceil((b->deadline - ap_clock_seconds()) * 1000), 0), INT_MAX);
    struct pollfd pipes[] = {{c->n_sent < c->send.len ? c->child.in : -1, POLLOUT, 0},
                             {c->child.out, POLLIN, 0},
                             {c->child.err, POLLIN, 0}};
    if (status != AP_OK)
        return status;
    int wait_ms = c->watch && left > LOOK_MS ? LOOK_MS : (int)left;
    if (poll(pipes, AP_LEN(pipes), wait_ms) < 0)
        return errno == EINTR ? AP_OK
                              : ap_fail_errno(b->err, errno, "%s command '%s': cannot be read",
                                              c->kind.name, c->shown);
    if (left == 0 && !pipes[1].revents) /* after a stop of our own an answer may be waiting */
        return timed_out(b);
    if (pipes[2].revents)
        read_words(c);
    if (pipes[0].revents)
        status = send_some(b);
    if (status == AP_OK && pipes[1].revents)
        status = read_output(b, ended);
    return status;
}

/* *ended: the program closed its output with questions open. */
static ap_status converse(struct batch *b, bool *ended)
{
    ap_status status = AP_OK;
    *ended = false;
    b->next = 0;
    b->deadline = ap_clock_seconds() + b->c->timeout;
    if (b->c->child.pid == 0)
        status = start(b->c, b->err);
    while (status == AP_OK && b->n_have < b->n && !*ended)
        status = goes_on(b->c) ? exchange(b, ended) : given_up(b);
    return status;
}

/* It closed its output. The first time in a call it may be started again; *how tells of its end. */
static ap_status bury(struct batch *b, bool again, char how[64])
{
    struct ap_program *c = b->c;
    char what[192];
    bool gone = ap_child_ended(&c->child, grace, how);
    while (c->child.err >= 0 && poll(&(struct pollfd){c->child.err, POLLIN, 0}, 1, 0) > 0)
        read_words(c);
    end_note(c);
    ap_child_close(&c->child, 0);
    if (gone && again)
        return AP_OK;
    snprintf(what, sizeof(what), "%s%s%s with %d of %d questions open",
             gone ? "ended twice (last: " : "closed its standard output and goes on running",
             gone ? how : "", gone ? ")" : "", b->n - b->n_have, b->n);
    return refuse(c, AP_IO, what, "a program that answers until its standard input ends", b->err);
}

ap_status ap_program_ask(struct ap_program *c, const struct ap_program_call *call,
                         struct ap_error *err)
{
    const int n = call->n;
    ap_status status = AP_OK;
    struct batch b = {.c = c, .call = call, .n = n, .first_id = c->next_id, .err = err};
    b.have = ap_calloc((size_t)n + 1, sizeof(*b.have));
    if (!b.have)
        return ap_fail(err, AP_MEMORY, "%s command '%s': out of memory", c->kind.name, c->shown);
    for (bool again = true; b.n_have < n; again = false) {
        bool ended;
        char how[64];
        AP_TRY(converse(&b, &ended));
        if (ended && b.n_have < n) {
            AP_TRY(bury(&b, again, how));
            ap_sink_warn(c->sink, c->kind.name, "command '%s' ended (%s); it is started again",
                         c->shown, how);
        }
    }
out:
    c->next_id += n;
    ap_free(b.have);
    if (status != AP_OK) /* what it may still say belongs to no later call */
        ap_child_close(&c->child, 0);
    return status;
}

/* ---- opening ---- */

/* One text is a line for the shell, several are a program and its arguments. */
static ap_status copy_command(struct ap_program *c, const struct ap_command *command)
{
    struct ap_buffer shown = {0};
    int n = 0;
    bool shell = command->n == 1, fine = true;
    if (shell) {
        c->argv[n++] = ap_strdup("/bin/sh");
        c->argv[n++] = ap_strdup("-c");
    }
    for (int i = 0; i < command->n && fine; i++) {
        c->argv[n++] = ap_strdup(command->words[i]);
        fine = ap_buffer_printf(&shown, NULL, "%s%.120s", i ? " " : "", command->words[i]) == AP_OK;
    }
    for (int i = 0; i < n; i++)
        fine = fine && c->argv[i];
    c->shown = fine ? ap_strndup(shown.data, shown.len < 200 ? shown.len : 200) : NULL;
    c->folder = ap_strdup(command->folder);
    ap_buffer_free(&shown);
    return c->shown && c->folder ? AP_OK : AP_MEMORY;
}

ap_status ap_program_open(struct ap_program **out, const struct ap_program_kind *kind,
                          const struct ap_command *command, const struct ap_sink *sink,
                          struct ap_error *err)
{
    struct ap_program *c = ap_calloc(1, sizeof(*c));
    ap_status status = AP_MEMORY;
    *out = NULL;
    if (c) {
        c->kind = *kind;
        c->child = AP_CHILD_NONE;
        c->timeout = command->timeout;
        c->watch = command->watch;
        c->sink = sink;
        status = copy_command(c, command);
    }
    if (status != AP_OK)
        ap_fail(err, status, "%s command: out of memory", kind->name);
    else
        status = start(c, err);
    if (status != AP_OK) {
        ap_program_free(c);
        return status;
    }
    *out = c;
    return AP_OK;
}
