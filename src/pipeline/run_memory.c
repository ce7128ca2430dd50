/* The memory plan in the life of a run: made and checked at opening, compared with what was
 * measured when a stage ends (plan.h). */
#include "pipeline/plan.h"

#include "base/memory.h"
#include "base/process.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- at opening ---- */

static void show(const struct ap_run *run, char *text)
{
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        ap_sink_note(run->sink, "memory", "%s", line);
        *end = '\n';
    }
}

ap_status ap_run_plan_memory(struct ap_run *run, const char *wanted, struct ap_buffer *text,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_room room;
    if (!(run->plan = ap_calloc(1, sizeof(*run->plan))))
        return ap_fail(err, AP_MEMORY, "plan: out of memory");
    AP_TRY(ap_plan_measure(run, wanted, &run->plan->facts, err));
    AP_TRY(ap_plan_make(run, run->s, wanted, run->plan, err));
    room = ap_plan_room(run, &run->plan->facts);
    AP_TRY(ap_plan_write(run->plan, &room, text, err));
    if (run->plan_only)
        AP_TRY(ap_run_asks(run, wanted, text, err));
    else if (run->plan->n > 0)
        show(run, text->data);
    status = ap_plan_check(run, wanted, run->plan, &room, err);
out:
    return status;
}

/* ---- while it runs ---- */

static void *watch(void *context)
{
    struct ap_run_watch *w = context;
    while (!atomic_load(&w->stop)) {
        size_t now = ap_process_memory();
        if (now > atomic_load(&w->most))
            atomic_store(&w->most, now);
        nanosleep(&(struct timespec){.tv_nsec = 4000000}, NULL);
    }
    return NULL;
}

/* Signals are the other threads'. Without the thread only a new peak of the process is seen. */
void ap_run_watch_begin(struct ap_run *run)
{
    struct ap_run_watch *w = &run->watch;
    sigset_t all, before;
    ap_process_trim(); /* what earlier stages freed is not this one's */
    atomic_store(&w->most, 0);
    atomic_store(&w->stop, false);
    w->before = ap_process_peak();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->running = pthread_create(&w->thread, NULL, watch, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ap_run_watch_end(struct ap_run *run)
{
    struct ap_run_watch *w = &run->watch;
    atomic_store(&w->stop, true);
    if (w->running)
        pthread_join(w->thread, NULL);
    w->running = false;
}

/* What the plan has for a stage; sft samples and then trains. */
static size_t planned(const struct ap_plan *plan, const char *stage)
{
    size_t most = 0;
    for (int i = 0; i < plan->n; i++) {
        const struct ap_plan_stage *s = &plan->stages[i];
        bool same = strcmp(s->name, stage) == 0 ||
                    (strcmp(stage, "sft") == 0 && strcmp(s->name, "best-of-n") == 0);
        most = same && s->sum > most ? s->sum : most;
    }
    return most;
}

/* Beside the stage's DONE and not among the metrics: runs of one recipe differ in it. */
static ap_status write_file(const struct ap_run *run, const char *stage, size_t plan, size_t most,
                            struct ap_error *err)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "{\"planned\": %zu, \"peak\": %zu}\n", plan, most);
    return ap_run_dir_write(&run->dir, stage, "memory.json", text, (size_t)n, err);
}

ap_status ap_run_report_memory(struct ap_run *run, const char *stage, struct ap_error *err)
{
    size_t peak = ap_process_peak(), plan = planned(run->plan, stage);
    size_t most = peak > run->watch.before ? peak : atomic_load(&run->watch.most);
    char expected[32], found[32];
    if (!plan || !most)
        return AP_OK;
    ap_sink_note(run->sink, stage, "took %s of memory at its peak, %s were planned",
                 ap_plan_size(most, found), ap_plan_size(plan, expected));
    return write_file(run, stage, plan, most, err);
}
