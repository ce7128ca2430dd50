/* The reward of a run and its normaliser, math.md (9), (9a) (run_inner.h). */
#include "pipeline/run_inner.h"

#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { N_NORMALISE = 256 }; /* bare answers that fix gain and bias, math.md (9) */

void ap_run_reward_close(struct ap_run_reward *r)
{
    ap_reward_free(&r->reward);
    ap_owned_role_free(&r->policy);
    ap_owned_role_free(&r->reference);
}

/* A reward that was trained elsewhere: a classifier's folder, or an adapter's. */
static ap_status open_trained(struct ap_run *run, struct ap_lm *lm, struct ap_owned_role *out,
                              struct ap_error *err)
{
    const char *folder = run->s->reward.trained;
    ap_status status;
    char *adapter = ap_path_join(folder, "adapter_config.json");
    *out = (struct ap_owned_role){.role.weights = lm->weights};
    if (adapter && ap_file_exists(adapter)) {
        status = ap_adapter_load(&out->adapter, lm->weights, folder, err);
        out->role.adapter = out->adapter;
    } else {
        status = ap_weights_load(&out->weights, folder, lm->weights->context, err);
        out->role.weights = out->weights;
    }
    ap_free(adapter);
    return status;
}

static ap_status open_model_reward(struct ap_run *run, struct ap_run_reward *out,
                                   struct ap_error *err)
{
    const struct ap_reward_settings *r = &run->s->reward;
    int batch_tokens = run->s->reward_train.optimiser.batch_tokens;
    struct ap_lm *lm;
    ap_status status = ap_run_lm(run, r->model, &lm, err);
    if (status != AP_OK)
        return status;
    status = r->trained[0] ? open_trained(run, lm, &out->policy, err)
                           : ap_run_role(run, lm, &r->adapter, "reward", &out->policy, err);
    if (status != AP_OK)
        return status;
    if (strcmp(r->kind, "classifier") == 0)
        return ap_reward_classifier(&out->reward, lm, &out->policy.role, batch_tokens, err);
    status = ap_run_role(run, lm, &r->adapter, NULL, &out->reference, err);
    if (status != AP_OK)
        return status;
    return ap_reward_implicit(&out->reward, lm, &out->policy.role, &out->reference.role, r->beta,
                              r->floor, batch_tokens, err);
}

/* ---- the normaliser ---- */

static ap_status read_normaliser(const char *path, struct ap_reward *r, struct ap_error *err)
{
    json_t *root = NULL;
    ap_status status = ap_json_load(path, 4096, &root, err);
    if (status == AP_OK)
        status = ap_json_real(root, "gain", path, true, &r->gain, err);
    if (status == AP_OK)
        status = ap_json_real(root, "bias", path, true, &r->bias, err);
    json_decref(root);
    return status;
}

static ap_status score_bare(struct ap_run *run, struct ap_reward *r, double *raw, int *n,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_lm *lm;
    struct ap_prompts prompts = {0};
    struct ap_target target = {0};
    struct ap_target_request requests[N_NORMALISE] = {0};
    struct ap_answer answers[N_NORMALISE] = {0};
    struct ap_scored items[N_NORMALISE] = {0};

    AP_TRY(ap_run_lm(run, run->s->target.model, &lm, err));
    AP_TRY(ap_run_prompts(run, run->s->align.path, AP_SPLIT_TRAIN, lm, NULL,
                          run->s->target.max_new_tokens, N_NORMALISE, &prompts, err));
    AP_TRY(ap_run_target(run, lm, &(struct ap_role){lm->weights, NULL}, &target, err));
    for (int i = 0; i < prompts.n; i++)
        requests[i] = (struct ap_target_request){.context = prompts.items[i].context,
                                                 .n_context = prompts.items[i].n_context,
                                                 .prompt = prompts.items[i].x,
                                                 .stream = {.seed = (uint64_t)run->s->run.seed,
                                                            .stage = ap_stream_stage("normalise"),
                                                            .record = prompts.items[i].record}};
    AP_TRY(target.answer(target.self, requests, prompts.n, 1, answers, err));
    for (int i = 0; i < prompts.n; i++)
        items[i] = (struct ap_scored){prompts.items[i].context, prompts.items[i].n_context,
                                      prompts.items[i].x, answers[i].text, answers[i].ended};
    AP_TRY(ap_reward_score(r, items, prompts.n, raw, err));
    *n = prompts.n;
out:
    ap_answers_free(answers, N_NORMALISE);
    ap_target_free(&target);
    ap_prompts_free(&prompts);
    return status;
}

static ap_status fix_normaliser(struct ap_run *run, const char *path, struct ap_reward *r,
                                struct ap_error *err)
{
    ap_status status = AP_OK;
    double raw[N_NORMALISE];
    struct ap_buffer text = {0};
    int n = 0;

    AP_TRY(score_bare(run, r, raw, &n, err));
    ap_reward_normalise(r, raw, n);
    AP_TRY(ap_buffer_printf(&text, err, "{\"gain\": %.17g, \"bias\": %.17g, \"answers\": %d}\n",
                            r->gain, r->bias, n));
    AP_TRY(ap_file_write(path, text.data, text.len, err));
    ap_sink_note(run->sink, "reward",
                 "fixed so that %d bare answers have mean 0 and variance 1 (gain %.4g, bias %.4g)",
                 n, r->gain, r->bias);
out:
    ap_buffer_free(&text);
    return status;
}

static ap_status normalise(struct ap_run *run, bool fix, struct ap_reward *r, struct ap_error *err)
{
    ap_status status = AP_OK;
    char *folder = ap_run_dir_path(&run->dir, "reward", ""), *path = NULL;

    if (!folder || !(path = ap_path_join(folder, "normaliser.json")))
        status = ap_fail(err, AP_MEMORY, "reward: out of memory");
    else if (ap_file_exists(path))
        status = read_normaliser(path, r, err);
    else if (fix) {
        status = ap_dir_make(folder, err);
        if (status == AP_OK)
            status = fix_normaliser(run, path, r, err);
    }
    ap_free(path);
    ap_free(folder);
    return status;
}

ap_status ap_run_reward_open(struct ap_run *run, bool fix, struct ap_run_reward *out,
                             struct ap_error *err)
{
    const struct ap_reward_settings *r = &run->s->reward;
    ap_status status;
    *out = (struct ap_run_reward){0};
    status = strcmp(r->kind, "rule") == 0
                 ? ap_reward_rule(&out->reward, r->rule, r->pattern, r->length, err)
             : strcmp(r->kind, "command") == 0
                 ? ap_reward_command(
                       &out->reward,
                       &(struct ap_command){r->command, r->n_command, r->folder, r->timeout},
                       run->sink, err)
                 : open_model_reward(run, out, err);
    if (status == AP_OK && r->normalise)
        status = normalise(run, fix, &out->reward, err);
    if (status != AP_OK)
        ap_run_reward_close(out);
    return status;
}
