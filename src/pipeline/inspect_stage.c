/* A stage's folder RUN/STAGE (inspect_stage.h). Entry points: ap_stage_look, ap_inspect_stage. */
#include "pipeline/inspect_stage.h"

#include "base/memory.h"
#include "store/run_dir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool has(const struct ap_run_dir *dir, const char *stage, const char *name)
{
    char *path = ap_run_dir_path(dir, stage, name);
    bool there = path && ap_file_exists(path);
    ap_free(path);
    return there;
}

/* DONE is one line of ours; of anything else its beginning is shown. */
static void read_facts(struct ap_stage_view *v, const struct ap_inspected *p)
{
    struct ap_buffer text = {0};
    char *path = ap_path_join(p->path, "DONE");
    if (path && ap_file_read(path, 4096, &text, NULL) == AP_OK && text.len)
        snprintf(v->facts, sizeof(v->facts), "%.*s", (int)strcspn(text.data, "\n"), text.data);
    ap_buffer_free(&text);
    ap_free(path);
}

static void read_normaliser(struct ap_stage_view *v, const struct ap_inspected *p)
{
    json_t *o = NULL;
    if (ap_inspect_json(p, "normaliser.json", &o, NULL) != AP_OK)
        return;
    v->normalised = true;
    v->gain = json_number_value(json_object_get(o, "gain"));
    v->bias = json_number_value(json_object_get(o, "bias"));
    json_decref(o);
}

ap_status ap_stage_look(struct ap_stage_view *v, const char *run_dir, const char *stage,
                        struct ap_error *err)
{
    struct ap_run_dir dir = {.path = (char *)(uintptr_t)run_dir, .lock = {.fd = -1}};
    char *folder = ap_run_dir_path(&dir, stage, ""), *newest = NULL, *final = NULL;
    uint64_t n_files;
    ap_status status = AP_OK;
    *v = (struct ap_stage_view){.step = -1, .best = -1};
    snprintf(v->name, sizeof(v->name), "%s", stage);
    if (!folder) {
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", run_dir);
        goto out;
    }
    struct ap_inspected p = {.path = folder, .is_folder = true};
    v->there = ap_file_exists(folder);
    if (!v->there)
        goto out;
    AP_TRY(ap_checkpoint_newest(&dir, stage, &newest, &v->step, err));
    v->step = newest ? v->step : -1;
    AP_TRY(ap_best_newest(&dir, stage, &v->best, err));
    v->done = ap_stage_done(&dir, stage);
    v->filling = has(&dir, stage, AP_CHECKPOINT_NEW) || has(&dir, stage, AP_BEST_NEW) ||
                 has(&dir, stage, AP_FINAL_NEW);
    AP_TRY(ap_dir_size(folder, &v->bytes, &n_files, err));
    if ((final = ap_path_join(folder, "final")))
        ap_inspect_result(final, v->result);
    read_facts(v, &p);
    read_normaliser(v, &p);
out:
    ap_free(final);
    ap_free(newest);
    ap_free(folder);
    return status;
}

const char *ap_stage_state(const struct ap_stage_view *v, char out[96])
{
    char whole[32] = "";
    if (v->n_steps > 0)
        snprintf(whole, sizeof(whole), " of %" PRId64, v->n_steps);
    if (v->done)
        snprintf(out, 96, "done");
    else if (v->step >= 0)
        snprintf(out, 96, "at step %" PRId64 "%s", v->step, whole);
    else
        snprintf(out, 96, v->there ? "begun, no checkpoint yet" : "not begun");
    return out;
}

json_t *ap_stage_json(const struct ap_stage_view *v)
{
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:s?, s:b, s:I}", "stage", v->name, "state",
                          v->done    ? "done"
                          : v->there ? "begun"
                                     : "not begun",
                          "checkpoint", v->step >= 0 ? json_integer(v->step) : json_null(), "steps",
                          v->n_steps ? json_integer(v->n_steps) : json_null(), "result",
                          v->result[0] ? v->result : NULL, "filling", v->filling, "bytes",
                          (json_int_t)v->bytes);
    json_t *facts = v->facts[0] ? json_loads(v->facts, 0, NULL) : NULL;
    if (facts)
        json_object_set_new(o, "facts", facts);
    if (v->best >= 0)
        json_object_set_new(o, "best", json_integer(v->best));
    if (v->normalised)
        json_object_set_new(o, "normaliser",
                            json_pack("{s:f, s:f}", "gain", v->gain, "bias", v->bias));
    return o;
}

/* ---- the folder by itself ---- */

ap_status ap_inspect_stage(const struct ap_inspected *p, const struct ap_inspect_options *options,
                           struct ap_buffer *out, struct ap_error *err)
{
    struct ap_tell t;
    struct ap_stage_view v;
    struct ap_error e = {0};
    char text[96];
    ap_tell_begin(&t, p->path, "stage", "stage of a run", err);
    if (ap_tell_fine(&t, ap_stage_look(&v, p->path, ".", &e), &e)) {
        ap_tell_line(&t, "state", "%s", ap_stage_state(&v, text));
        if (v.facts[0])
            ap_tell_line(&t, "DONE holds", "%s", v.facts);
        ap_tell_line(&t, "result", "%s", v.result[0] ? v.result : "none in final/");
        if (v.step >= 0)
            ap_tell_line(&t, "checkpoint", "ckpt/step-%08" PRId64 ", whole", v.step);
        if (v.best >= 0)
            ap_tell_line(&t, "best", "best/step-%08" PRId64 ", whole: did best on valid prompts",
                         v.best);
        if (v.filling)
            ap_tell_line(&t, "half made",
                         "a checkpoint or result (*.tmp): being written, or "
                         "left by a process that was killed");
        if (v.normalised)
            ap_tell_line(&t, "normaliser", "gain %.6g, bias %.6g", v.gain, v.bias);
        json_t *o = ap_stage_json(&v);
        json_object_del(o, "stage");
        if (t.o && o)
            json_object_update(t.o, o);
        json_decref(o);
    }
    ap_tell_size(&t, p->path);
    return ap_tell_end(&t, options->json, out);
}
