/* What the samples of stage_bound.c say: sentences, RUN/bound.json. Runs no model.
 * Entry points: ap_run_bound_tell, ap_run_bound_write, ap_run_bound_text. */
#include "pipeline/run_inner.h"

#include "base/memory.h"
#include "eval/bound_told.h"

#include <math.h>

ap_status ap_run_bound_tell(struct ap_run *run, struct ap_bound_told *out, struct ap_error *err)
{
    const struct ap_bound_settings *s = &run->s->bound;
    static const char no_align[] = "the recipe has no align section",
                      no_rlhf[] = "the recipe has no rlhf section to stand for pi*",
                      no_logp_at_all[] = "this target gives no log-probabilities";
    struct ap_bound_read read = {0};
    double range;
    ap_status status;
    AP_TRY(ap_bound_read(&read, run->db, err));
    AP_TRY(ap_run_reward_range(run, &range, err));
    if ((read.r_max_known = range > 0))
        read.r_max = range;
    AP_TRY(ap_bound_tell(out, &read, s->kl, s->bootstrap, (uint64_t)s->seed, err));
    const char *no_logp = ap_run_no_logp(run);
    if (!no_logp && read.n_scored == 0) /* bound.scored asks for one at least */
        no_logp = no_logp_at_all;
    out->no_trained = ap_run_bound_has_align(run) ? NULL : no_align;
    out->no_disturbs = no_logp;
    out->no_lacks = !ap_run_bound_has_rlhf(run) ? no_rlhf : no_logp;
out:
    ap_bound_read_free(&read);
    return status;
}

ap_status ap_run_bound_write(struct ap_run *run, struct ap_error *err)
{
    ap_status status;
    struct ap_bound_told told;
    struct ap_buffer text = {0};
    AP_TRY(ap_run_bound_tell(run, &told, err));
    AP_TRY(ap_bound_json(&told, &text, err));
    AP_TRY(ap_file_write_in(run->dir.path, "bound.json", text.data, text.len, err));
out:
    ap_buffer_free(&text);
    return status;
}

ap_status ap_run_bound_text(struct ap_run *run, char **text, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_bound_told told;
    struct ap_buffer out = {0};
    *text = NULL;
    if (!ap_run_bound_done(run))
        return ap_fail(err, AP_NOT_FOUND, "%s: there is no bound yet; run bound first",
                       run->dir.path);
    AP_TRY(ap_run_bound_tell(run, &told, err));
    AP_TRY(ap_bound_sentences(&told, &out, err));
    *text = out.data;
    out = (struct ap_buffer){0};
out:
    ap_buffer_free(&out);
    return status;
}
