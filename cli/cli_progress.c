/* Progress on standard error (cli_progress.h). */
#include "cli_progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 20 };

static volatile sig_atomic_t *stop_flag; /* a signal handler has nowhere else to look */

static void on_signal(int number)
{
    if (stop_flag && *stop_flag) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    if (stop_flag)
        *stop_flag = 1;
    static const char text[] = "\nstopping after this step (again to stop at once)\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void clear_bar(struct cli_progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

static const char *purpose(const char *stage)
{
    static const char *const rows[][2] = {
        {"pretrain", "a model learns its text from random weights"},
        {"reward", "a reward learns from pairs which answer is better"},
        {"best-of-n", "the untrained prompter writes rewrites, the best are kept"},
        {"sft", "the prompter learns to rewrite from examples"},
        {"sft-2", "the second prompter learns from the same examples"},
        {"sft-3", "the third prompter learns from the same examples"},
        {"sft-4", "the fourth prompter learns from the same examples"},
        {"align", "the prompter learns from the reward; the target is frozen"},
        {"align-2", "the second prompter learns to rewrite what the first writes"},
        {"align-3", "the third prompter learns to rewrite what the second writes"},
        {"align-4", "the fourth prompter learns to rewrite what the third writes"},
        {"rlhf", "the target itself learns from the reward, for comparison"},
        {"dpo", "the target learns from preference pairs, for comparison"},
        {"ift", "the target learns from given answers, for comparison"},
        {"eval", "every arm answers the same held-out prompts"},
        {"judges", "two answers to a prompt are compared, each pair in both orders"},
        {"bound", "many rewrites and answers of held-out prompts, for the ceiling"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i][0], stage) == 0)
            return rows[i][1];
    return "";
}

static void print_time(double seconds)
{
    if (seconds >= 3600)
        fprintf(stderr, "%dh%02dm", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    else if (seconds >= 60)
        fprintf(stderr, "%dm%02ds", (int)(seconds / 60), (int)seconds % 60);
    else
        fprintf(stderr, "%.0fs", seconds);
}

static void print_figures(const struct ap_event *e)
{
    /* the loss of a policy gradient is near 0 by construction and says nothing */
    if (isfinite(e->loss) && !isfinite(e->reward))
        fprintf(stderr, "  loss %.4f", e->loss);
    if (isfinite(e->reward))
        fprintf(stderr, "  reward %+.3f", e->reward);
    if (isfinite(e->kl))
        fprintf(stderr, "  KL %.3f", e->kl);
    if (e->tokens_per_s > 0)
        fprintf(stderr, "  %.0f tokens/s", e->tokens_per_s);
}

static void print_step(struct cli_progress *p, const struct ap_event *e)
{
    double t = now(), pause = p->terminal ? 0.1 : 10;
    int64_t done = e->step;
    if (p->first < 0)
        p->first = done - 1;
    if (t - p->last < pause && done != e->n_steps)
        return;
    p->last = t;
    clear_bar(p);
    fprintf(stderr, "%-9s ", e->stage);
    if (p->terminal) {
        int full = e->n_steps > 0 ? (int)(BAR * done / e->n_steps) : 0;
        for (int i = 0; i < BAR; i++)
            fputc(i < full ? '=' : '.', stderr);
    }
    fprintf(stderr, " %lld/%lld", (long long)done, (long long)e->n_steps);
    print_figures(e);
    if (done < e->n_steps && e->seconds > 0) {
        fputs("  ", stderr);
        print_time(e->seconds / (double)(done - p->first) * (double)(e->n_steps - done));
        fputs(" left", stderr);
    }
    if (p->terminal && done < e->n_steps)
        p->drawn = true;
    else
        fputc('\n', stderr);
}

static void on_event(void *context, const struct ap_event *e)
{
    struct cli_progress *p = context;
    switch (e->kind) {
    case AP_EVENT_BEGIN:
        clear_bar(p);
        p->first = -1;
        fprintf(stderr, "%-9s %s (%lld steps)\n", e->stage, purpose(e->stage),
                (long long)e->n_steps);
        break;
    case AP_EVENT_STEP:
        print_step(p, e);
        break;
    case AP_EVENT_END:
        clear_bar(p);
        fprintf(stderr, "%-9s done in ", e->stage);
        print_time(e->seconds);
        fputc('\n', stderr);
        break;
    case AP_EVENT_SKIP:
        fprintf(stderr, "%-9s is there already\n", e->stage);
        break;
    case AP_EVENT_NOTE:
    case AP_EVENT_WARN:
        clear_bar(p);
        fprintf(stderr, "%-9s %s%s\n", e->stage, e->kind == AP_EVENT_WARN ? "warning: " : "",
                e->text);
        break;
    }
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->drawn)
        fputc('\n', stderr);
    p->drawn = false;
}

void cli_progress_init(struct cli_progress *p)
{
    *p = (struct cli_progress){.terminal = isatty(STDERR_FILENO), .first = -1};
    p->sink = (struct ap_sink){.fn = on_event, .context = p, .stop = &p->stop};
    stop_flag = &p->stop;
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}
