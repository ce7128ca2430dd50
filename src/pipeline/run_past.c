/* Opening the directory of a run that is over, or goes on elsewhere (run_past.h). */
#include "pipeline/run_past.h"

#include "base/memory.h"

ap_status ap_past_run_open(struct ap_past_run *p, const char *run_dir, const char *const *overrides,
                           size_t n_overrides, struct ap_error *err)
{
    ap_status status;
    char *path = ap_path_join(run_dir, "recipe.yaml");
    char *database = ap_path_join(run_dir, "run.db");
    *p = (struct ap_past_run){.run.dir = {.path = ap_strdup(run_dir), .lock.fd = -1}};
    if (p->run.dir.path)
        ap_path_trim(p->run.dir.path);
    if (!path || !database || !p->run.dir.path)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", run_dir);
    else if (!ap_file_exists(path) || !ap_file_exists(database))
        status = ap_fail(err, AP_NOT_FOUND,
                         "%s: is no run directory (it has no %s), expected what `alignpro run "
                         "RECIPE` made: the recipe's run.dir",
                         run_dir, ap_file_exists(path) ? "run.db" : "recipe.yaml");
    else
        status = ap_recipe_open(&p->recipe, path, overrides, n_overrides, err);
    if (status == AP_OK) {
        p->run.recipe = p->recipe;
        p->run.s = ap_recipe_settings(p->recipe);
    }
    ap_free(path);
    ap_free(database);
    return status;
}

void ap_past_run_close(struct ap_past_run *p)
{
    ap_run_models_free(&p->run);
    ap_recipe_close(p->recipe);
    ap_free(p->run.dir.path);
    *p = (struct ap_past_run){0};
}

const char *ap_past_run_stage(const struct ap_past_run *p)
{
    bool align = true, sft = true;
    for (int pass = 0; pass < ap_run_n_passes(&p->run); pass++) {
        const char *from = ap_run_pass_sft(&p->run, pass);
        align = align && ap_stage_done(&p->run.dir, ap_run_pass_stage(pass));
        sft = sft && from && ap_stage_done(&p->run.dir, from);
    }
    return align ? "align" : sft ? "sft" : NULL;
}
