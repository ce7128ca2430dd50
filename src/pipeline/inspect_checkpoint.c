/* A checkpoint RUN/STAGE/ckpt/step-N: what a stage goes on from. Entry point:
 * ap_inspect_checkpoint. */
#include "pipeline/inspect_folder.h"

#include "base/file.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void tell_step(struct ap_tell *t, const struct ap_inspected *p)
{
    json_t *done = NULL, *stage = NULL;
    bool whole = ap_inspected_has(p, "DONE");
    struct ap_error e = {0};
    ap_tell_set(t, "whole", json_boolean(whole));
    ap_tell_line(t, "state", "%s",
                 whole ? "whole (DONE is there)"
                       : "not whole: DONE is missing; a run does not go on from "
                         "it");
    if (whole && ap_tell_fine(t, ap_inspect_json(p, "DONE", &done, &e), &e)) {
        json_int_t step = json_integer_value(json_object_get(done, "step"));
        ap_tell_line(t, "step", "%" JSON_INTEGER_FORMAT " steps are done", step);
        ap_tell_set(t, "step", json_integer(step));
    }
    if (ap_inspected_has(p, "stage.json") &&
        ap_tell_fine(t, ap_inspect_json(p, "stage.json", &stage, &e), &e)) {
        json_int_t skipped = json_integer_value(json_object_get(stage, "n_skipped"));
        double kl = json_number_value(json_object_get(stage, "kl"));
        ap_tell_line(t, "skipped", "%" JSON_INTEGER_FORMAT " updates that were not finite",
                     skipped);
        if (kl > 0)
            ap_tell_line(t, "kl weight", "%.6g in the next step", kl);
        ap_tell_set(t, "skipped", json_integer(skipped));
        ap_tell_set(t, "kl_weight", json_real(kl));
    }
    json_decref(stage);
    json_decref(done);
}

/* Of "policy" or "critic": what is trained, and its optimiser's two moments. */
static void tell_learner(struct ap_tell *t, const struct ap_inspected *p, const char *name)
{
    char result[96], file[64], size[32];
    struct ap_safetensors f = {0};
    struct ap_error e = {0};
    json_t *o = json_object();
    char *folder = ap_path_join(p->path, name);
    snprintf(file, sizeof(file), "%s-optimiser.safetensors", name);
    char *path = ap_path_join(p->path, file);
    if (folder && ap_file_exists(folder)) {
        ap_inspect_result(folder, result);
        ap_tell_line(t, name, "%s, in %s/", result[0] ? result : "nothing that is known", name);
        json_object_set_new(o, "result", result[0] ? json_string(result) : json_null());
    } else
        ap_tell_line(t, name, "missing");
    if (path && ap_file_exists(path) && ap_tell_fine(t, ap_safetensors_open(&f, path, &e), &e)) {
        ap_tell_line(t, "optimiser", "Adam's moments of %d tensors, %s", (f.n - 1) / 2,
                     ap_inspect_size(f.map.size, size));
        json_object_set_new(o, "optimiser_tensors", json_integer((f.n - 1) / 2));
        json_object_set_new(o, "optimiser_bytes", json_integer((json_int_t)f.map.size));
    } else if (path && !ap_file_exists(path))
        ap_tell_line(t, "optimiser", "missing");
    ap_tell_set(t, name, o);
    ap_safetensors_close(&f);
    ap_free(path);
    ap_free(folder);
}

ap_status ap_inspect_checkpoint(const struct ap_inspected *p,
                                const struct ap_inspect_options *options, struct ap_buffer *out,
                                struct ap_error *err)
{
    struct ap_tell t;
    ap_tell_begin(&t, p->path, "checkpoint", "checkpoint of a stage", err);
    tell_step(&t, p);
    tell_learner(&t, p, "policy");
    if (ap_inspected_has(p, "critic"))
        tell_learner(&t, p, "critic");
    ap_tell_line(&t, "data order",
                 "and random numbers are not kept: functions of seed, stage and step");
    ap_tell_size(&t, p->path);
    return ap_tell_end(&t, options->json, out);
}
