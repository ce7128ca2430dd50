/* What every training stage shares (stage.h). Of a step the rows of run.db are written first and
 * the checkpoint after them, so that a checkpoint never stands before metrics that are lost.
 *
 *   CKPT/stage.json   {"n_bad": …, "n_skipped": …, "kl": λ} and what its watch
 *                     holds, beside what the loop's own save writes */
#include "align/stage.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>

#define KEEP_CHECKPOINTS 1
#define STATE_MAX 4096

static struct ap_event event_of(const struct ap_stage *s, ap_event_kind kind, int64_t step)
{
    double seconds = ap_clock_seconds() - s->began;
    return (struct ap_event){.kind = kind,
                             .stage = s->name,
                             .step = step,
                             .n_steps = s->n_steps,
                             .seconds = seconds,
                             .tokens_per_s = seconds > 0 ? (double)s->n_tokens / seconds : 0,
                             .loss = NAN,
                             .reward = NAN,
                             .kl = NAN};
}

static ap_status save_counts(const struct ap_stage *s, const char *folder, struct ap_error *err)
{
    const struct ap_stage_watch *w = &s->watch;
    char text[400];
    int n =
        snprintf(text, sizeof(text),
                 "{\"n_bad\": %d, \"n_skipped\": %lld, \"kl\": %.17g, \"best\": %.17g, "
                 "\"best_step\": %lld, \"n_worse\": %d, \"first_gap\": %.17g, \"warned\": %u}\n",
                 s->n_bad, (long long)s->n_skipped, s->kl, w->best, (long long)w->best_step,
                 w->n_worse, w->first_gap, w->warned);
    return ap_file_write_in(folder, "stage.json", text, (size_t)n, err);
}

static ap_status load_counts(struct ap_stage *s, const char *folder, struct ap_error *err)
{
    char *path = ap_path_join(folder, "stage.json");
    json_t *o = NULL;
    int64_t n_bad = 0, n_worse = 0, warned = 0;
    ap_status status = AP_OK;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", s->name);
    AP_TRY(ap_json_load(path, STATE_MAX, &o, err));
    AP_TRY(ap_json_int(o, "n_bad", path, true, 0, INT32_MAX, &n_bad, err));
    AP_TRY(ap_json_int(o, "n_skipped", path, true, 0, INT64_MAX, &s->n_skipped, err));
    AP_TRY(ap_json_real(o, "kl", path, false, &s->kl, err));
    AP_TRY(ap_json_real(o, "best", path, false, &s->watch.best, err));
    AP_TRY(ap_json_int(o, "best_step", path, false, -1, INT64_MAX, &s->watch.best_step, err));
    AP_TRY(ap_json_int(o, "n_worse", path, false, 0, INT32_MAX, &n_worse, err));
    AP_TRY(ap_json_real(o, "first_gap", path, false, &s->watch.first_gap, err));
    AP_TRY(ap_json_int(o, "warned", path, false, 0, UINT32_MAX, &warned, err));
    s->n_bad = (int)n_bad;
    s->watch.warned = (unsigned)warned;
    s->watch.n_worse = (int)n_worse;
    s->watch.best_saved = s->watch.best_step;
out:
    json_decref(o);
    ap_free(path);
    return status;
}

/* Only a copy is lost. */
static void check_events(const struct ap_stage *s, ap_status status, const struct ap_error *err)
{
    if (status != AP_OK)
        ap_sink_warn(s->sink, s->name,
                     "%s; TensorBoard's copy of this stage ends here, run.db goes on", err->text);
}

static void flush_events(const struct ap_stage *s)
{
    struct ap_error err;
    if (s->events)
        check_events(s, ap_event_file_flush(s->events, &err), &err);
}

/* The newest checkpoint's state, or none: *step says which. */
static ap_status resume(struct ap_stage *s, ap_state_fn load, void *self, int64_t *step,
                        struct ap_error *err)
{
    char *folder = NULL;
    ap_status status = AP_OK;
    *step = 0;
    if (!s->dir)
        return AP_OK;
    AP_TRY(ap_checkpoint_newest(s->dir, s->name, &folder, step, err));
    if (!folder) {
        *step = 0;
        goto out;
    }
    AP_TRY(load_counts(s, folder, err));
    AP_TRY(load(self, folder, err));
out:
    ap_free(folder);
    return status;
}

ap_status ap_stage_begin(struct ap_stage *s, int64_t n_steps, ap_state_fn load, void *self,
                         int64_t *step, struct ap_error *err)
{
    s->began = ap_clock_seconds();
    s->n_steps = n_steps;
    s->n_tokens = s->n_skipped = 0;
    s->n_bad = 0;
    s->watch = (struct ap_stage_watch){.best_step = -1, .best_saved = -1};
    ap_status status = resume(s, load, self, step, err);
    if (status == AP_OK && s->db)
        status = ap_database_rewind(s->db, s->name, *step, err);
    if (status != AP_OK)
        return status;
    struct ap_error lost;
    if (s->events)
        check_events(s, ap_run_dir_events(s->dir, s->name, *step, s->events, &lost), &lost);
    struct ap_event event = event_of(s, AP_EVENT_BEGIN, *step);
    ap_sink_event(s->sink, &event);
    if (*step > 0)
        ap_sink_note(s->sink, s->name, "goes on after step %lld of %lld", (long long)*step,
                     (long long)n_steps);
    return AP_OK;
}

static ap_status write_checkpoint(struct ap_stage *s, int64_t n_done, ap_state_fn save, void *self,
                                  struct ap_error *err)
{
    char *folder = NULL;
    ap_status status = AP_OK;
    AP_TRY(ap_checkpoint_begin(s->dir, s->name, &folder, err));
    AP_TRY(save(self, folder, err));
    AP_TRY(save_counts(s, folder, err));
    AP_TRY(ap_checkpoint_commit(s->dir, s->name, folder, n_done, KEEP_CHECKPOINTS, err));
    s->watch.best_saved = s->watch.best_step;
out:
    ap_free(folder);
    return status;
}

static ap_status interrupted(const struct ap_stage *s, int64_t n_done, struct ap_error *err)
{
    if (!s->dir)
        return ap_fail(
            err, AP_INTERRUPTED,
            "%s: stopped after step %lld of %lld as asked; it keeps no run directory, so "
            "it starts afresh next time",
            s->name, (long long)n_done, (long long)s->n_steps);
    return ap_fail(err, AP_INTERRUPTED,
                   "%s: stopped after step %lld of %lld as asked, and saved in %s; run the same "
                   "command again to go on from there",
                   s->name, (long long)n_done, (long long)s->n_steps, s->dir->path);
}

ap_status ap_stage_step(struct ap_stage *s, int64_t step, double loss, double reward, double kl,
                        int64_t n_tokens, ap_state_fn save, void *self, struct ap_error *err)
{
    const int64_t n_done = step + 1;
    const bool due = s->checkpoint_every > 0 && n_done % s->checkpoint_every == 0;
    s->n_tokens += n_tokens;
    flush_events(s);
    struct ap_event event = event_of(s, AP_EVENT_STEP, n_done);
    event.loss = loss;
    event.reward = reward;
    event.kl = kl;
    ap_sink_event(s->sink, &event);
    const bool stop = ap_sink_stopped(s->sink);
    if (s->dir && (stop || due)) {
        ap_status status = write_checkpoint(s, n_done, save, self, err);
        if (status != AP_OK)
            return status;
    }
    return stop ? interrupted(s, n_done, err) : AP_OK;
}

/* Whether the newest checkpoint is that of so many steps. */
static bool is_saved(const struct ap_stage *s, int64_t n_done)
{
    char *folder = NULL;
    int64_t newest = -1;
    ap_status status = ap_checkpoint_newest(s->dir, s->name, &folder, &newest, NULL);
    bool saved = status == AP_OK && folder && newest == n_done;
    ap_free(folder);
    return saved;
}

ap_status ap_stage_cut(struct ap_stage *s, ap_status why, int64_t step, ap_state_fn save,
                       void *self, struct ap_error *err)
{
    struct ap_error lost;
    if (!s->dir || step == 0 || why == AP_NUMERIC) /* what is not finite is not worth keeping */
        return why;
    if (!is_saved(s, step) && write_checkpoint(s, step, save, self, &lost) != AP_OK) {
        ap_sink_warn(s->sink, s->name, "step %lld could not be saved: %s", (long long)step,
                     lost.text);
        return why;
    }
    return why == AP_INTERRUPTED ? interrupted(s, step, err) : why;
}

ap_status ap_stage_metric(struct ap_stage *s, int64_t step, const char *name, double value,
                          struct ap_error *err)
{
    if (!s->db || !isfinite(value))
        return AP_OK;
    struct ap_error lost;
    if (s->events)
        check_events(s, ap_event_file_scalar(s->events, step, name, value, &lost), &lost);
    return ap_database_metric(s->db, s->name, step, name, value, err);
}

ap_status ap_stage_bad(struct ap_stage *s, int64_t step, const char *tensor, struct ap_error *err)
{
    s->n_bad++;
    s->n_skipped++;
    if (s->n_bad >= s->max_bad_steps)
        return ap_fail(
            err, AP_NUMERIC,
            "%s: step %lld: %s is not finite, expected numbers; %d updates in a row were "
            "lost to this; lower the learning rate (lr) or the gradient clip",
            s->name, (long long)step, tensor, s->n_bad);
    ap_sink_warn(s->sink, s->name, "step %lld: %s is not finite; the update is skipped",
                 (long long)step, tensor);
    return AP_OK;
}

void ap_stage_good(struct ap_stage *s)
{
    s->n_bad = 0;
}

void ap_stage_end(struct ap_stage *s)
{
    flush_events(s);
    struct ap_event event = event_of(s, AP_EVENT_END, s->n_steps);
    ap_sink_event(s->sink, &event);
}
