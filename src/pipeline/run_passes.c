/* The prompters of a run, which rewrite one after another: settings, stages and roles of each pass,
 * counted from 0 (run_inner.h). One prompter is one pass. */
#include "pipeline/run_inner.h"

#include "text/sequence.h"

#include <string.h>

static const char *const sft_stages[] = {"sft", "sft-2", "sft-3", "sft-4"};
static const char *const align_stages[] = {"align", "align-2", "align-3", "align-4"};
_Static_assert(AP_LEN(sft_stages) == AP_PROMPTERS_MAX && AP_LEN(align_stages) == AP_PROMPTERS_MAX,
               "AP_PROMPTERS_MAX");

int ap_run_n_passes(const struct ap_run *run)
{
    int n;
    ap_settings_prompters(run->s, &n);
    return n;
}

const struct ap_prompter_settings *ap_run_prompter(const struct ap_run *run, int pass)
{
    int n;
    return &ap_settings_prompters(run->s, &n)[pass];
}

const char *ap_run_pass_meta(const struct ap_run *run, int pass)
{
    const char *text = ap_run_prompter(run, pass)->meta_prompt;
    return strcmp(text, "default") == 0 ? ap_meta_prompt_default : text;
}

const char *ap_run_pass_stage(int pass)
{
    return align_stages[pass];
}

static bool same_start(const struct ap_prompter_settings *a, const struct ap_prompter_settings *b)
{
    const struct ap_adapter_settings *x = &a->adapter, *y = &b->adapter;
    return strcmp(a->model, b->model) == 0 && strcmp(a->meta_prompt, b->meta_prompt) == 0 &&
           x->rank == y->rank && x->alpha == y->alpha && strcmp(x->targets, y->targets) == 0 &&
           x->rslora == y->rslora && x->dropout == y->dropout;
}

/* The first pass that starts alike. */
static int sft_pass(const struct ap_run *run, int pass)
{
    int first = 0;
    while (!same_start(ap_run_prompter(run, first), ap_run_prompter(run, pass)))
        first++;
    return first;
}

const char *ap_run_pass_sft(const struct ap_run *run, int pass)
{
    return strcmp(run->s->sft.source, "none") == 0 ? NULL : sft_stages[sft_pass(run, pass)];
}

bool ap_run_wants_sft(const struct ap_run *run, int pass)
{
    return pass < ap_run_n_passes(run) && ap_run_pass_sft(run, pass) == sft_stages[pass];
}

bool ap_run_wants_align(const struct ap_run *run, int pass)
{
    return pass == 0 || (pass < ap_run_n_passes(run) && !ap_settings_joint(run->s));
}

int ap_run_pass_of(const char *stage)
{
    for (int i = 0; i < AP_PROMPTERS_MAX; i++)
        if (strcmp(stage, sft_stages[i]) == 0 || strcmp(stage, align_stages[i]) == 0)
            return i;
    return -1;
}

bool ap_run_is_align(const char *stage)
{
    return strncmp(stage, "align", strlen("align")) == 0;
}

int ap_run_arm_passes(const struct ap_run *run, const char *arm)
{
    int pass = strncmp(arm, "align-", strlen("align-")) == 0 ? arm[6] - '0' : 0;
    return pass > 0 ? pass : ap_run_n_passes(run);
}

bool ap_run_has_align_arm(const struct ap_run *run)
{
    for (int i = 0; i < run->s->eval.n_arms; i++)
        if (ap_run_is_align(run->s->eval.arms[i]))
            return true;
    return false;
}

ap_status ap_run_pass_rewriter(struct ap_run *run, int pass, const struct ap_lm *lm,
                               const struct ap_role *role, double temperature, int n_slot,
                               struct ap_target *out, struct ap_error *err)
{
    struct ap_target_options options = {.max_new_tokens =
                                            ap_run_prompter(run, pass)->max_new_tokens,
                                        .sampling = {.temperature = temperature, .top_p = 1},
                                        .n_slot = n_slot};
    return ap_target_local(out, lm, role, &options, err);
}
