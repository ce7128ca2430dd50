/* The rewards of a run, their normalisers and their sum, math.md (9), (9a) (run_inner.h). */
#include "pipeline/stage_share.h"

#include "align/reward_http.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { N_NORMALISE = 256 }; /* bare answers that fix gain and bias, math.md (9) */

struct ap_reward_stage ap_run_reward_stage(const struct ap_reward_settings *r)
{
    struct ap_reward_stage stage;
    snprintf(stage.name, sizeof(stage.name), "reward%s%s", r->name ? "-" : "",
             r->name ? r->name : "");
    return stage;
}

void ap_run_reward_close(struct ap_run_reward *r)
{
    ap_reward_free(&r->reward);
    for (int i = 0; i < r->n; i++) {
        ap_reward_free(&r->members[i].reward);
        ap_owned_role_free(&r->members[i].policy);
        ap_owned_role_free(&r->members[i].reference);
    }
    *r = (struct ap_run_reward){0};
}

/* ---- opening ---- */

/* A reward that was trained elsewhere: a classifier's folder, or an adapter's. */
static ap_status open_trained(const char *folder, struct ap_lm *lm, struct ap_owned_role *out,
                              struct ap_error *err)
{
    ap_status status;
    char *adapter = ap_path_join(folder, "adapter_config.json");
    *out = (struct ap_owned_role){.role.weights = lm->weights};
    if (adapter && ap_file_exists(adapter)) {
        status = ap_adapter_load(&out->adapter, lm->weights, folder, err);
        out->role.adapter = out->adapter;
    } else {
        status = ap_weights_load(&out->weights, folder, lm->weights->context,
                                 lm->weights->table.dtype, err);
        out->role.weights = out->weights;
    }
    ap_free(adapter);
    return status;
}

static ap_status open_model_reward(struct ap_run *run, struct ap_run_member *out,
                                   struct ap_error *err)
{
    const struct ap_reward_settings *r = out->settings;
    int batch_tokens = run->s->reward_train.optimiser.batch_tokens;
    struct ap_lm *lm;
    ap_status status = ap_run_lm(run, r->model, &lm, err);
    if (status != AP_OK)
        return status;
    status = r->trained[0] ? open_trained(r->trained, lm, &out->policy, err)
                           : ap_run_role(run, lm, &r->adapter, ap_run_reward_stage(r).name,
                                         &out->policy, err);
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

static ap_status open_http_reward(struct ap_run *run, struct ap_run_member *out,
                                  struct ap_error *err)
{
    const struct ap_reward_settings *r = out->settings;
    struct ap_remote *remote;
    ap_status status =
        ap_run_remote(run, ap_reward_section(r).name, &r->http, r->timeout, &remote, err);
    return status == AP_OK ? ap_reward_http(&out->reward, remote, r, err) : status;
}

static ap_status open_member(struct ap_run *run, struct ap_run_member *out, struct ap_error *err)
{
    const struct ap_reward_settings *r = out->settings;
    struct ap_command command = {r->command, r->n_command, r->folder, r->timeout, run->patience};
    ap_status status = strcmp(r->kind, "rule") == 0
                           ? ap_reward_rule(&out->reward, r->rule, r->pattern, r->length, err)
                       : strcmp(r->kind, "command") == 0
                           ? ap_reward_command(&out->reward, &command, run->sink, err)
                       : strcmp(r->kind, "http") == 0 ? open_http_reward(run, out, err)
                                                      : open_model_reward(run, out, err);
    if (status != AP_OK && r->name)
        ap_fail_prefix(err, status, "rewards.%s", r->name);
    return status;
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

/* The target's bare answers to training prompts. Owned: bare_free. */
struct bare {
    struct ap_prompts prompts;
    struct ap_answer answers[N_NORMALISE];
    struct ap_scored items[N_NORMALISE];
};

static void bare_free(struct bare *bare)
{
    if (!bare)
        return;
    ap_answers_free(bare->answers, N_NORMALISE);
    ap_prompts_free(&bare->prompts);
    ap_free(bare);
}

static ap_status answer_bare(struct ap_run *run, struct bare *bare, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_lm *lm;
    struct ap_target target = {0};
    struct ap_target_request requests[N_NORMALISE] = {0};
    struct ap_prompts *p = &bare->prompts;

    AP_TRY(ap_run_target_lm(run, &lm, err));
    AP_TRY(ap_run_prompts(run, run->s->align.path, AP_SPLIT_TRAIN, lm, NULL,
                          run->s->target.max_new_tokens, N_NORMALISE, p, err));
    AP_TRY(ap_run_target(run, lm, &(struct ap_role){lm ? lm->weights : NULL, NULL}, &target, err));
    for (int i = 0; i < p->n; i++)
        requests[i] = (struct ap_target_request){.context = p->items[i].context,
                                                 .n_context = p->items[i].n_context,
                                                 .prompt = p->items[i].x,
                                                 .stream = {.seed = (uint64_t)run->s->run.seed,
                                                            .stage = ap_stream_stage("normalise"),
                                                            .record = p->items[i].record}};
    AP_TRY(target.answer(target.self, requests, p->n, 1, bare->answers, err));
    for (int i = 0; i < p->n; i++)
        bare->items[i] = ap_scored_answer(p->items[i].context, p->items[i].n_context, p->items[i].x,
                                          &bare->answers[i]);
out:
    ap_target_free(&target);
    return status;
}

/* *bare: answered at the first need, kept for the next member. */
static ap_status fix_normaliser(struct ap_run *run, const char *path, struct ap_run_member *m,
                                struct bare **bare, struct ap_error *err)
{
    ap_status status = AP_OK;
    double raw[N_NORMALISE];
    struct ap_buffer text = {0};

    if (!*bare) {
        if (!(*bare = ap_calloc(1, sizeof(**bare))))
            return ap_fail(err, AP_MEMORY, "reward: out of memory");
        AP_TRY(answer_bare(run, *bare, err));
    }
    int n = (*bare)->prompts.n;
    AP_TRY(ap_reward_score(&m->reward, (*bare)->items, n, raw, err));
    ap_reward_normalise(&m->reward, raw, n);
    AP_TRY(ap_buffer_printf(&text, err, "{\"gain\": %.17g, \"bias\": %.17g, \"answers\": %d}\n",
                            m->reward.gain, m->reward.bias, n));
    AP_TRY(ap_file_write(path, text.data, text.len, err));
    ap_sink_note(run->sink, ap_run_reward_stage(m->settings).name,
                 "fixed so that %d bare answers have mean 0 and variance 1 (gain %.4g, bias %.4g)",
                 n, m->reward.gain, m->reward.bias);
out:
    ap_buffer_free(&text);
    return status;
}

/* What another run fixed from the same, or what this one fixes. */
static ap_status make_normaliser(struct ap_run *run, const char *path, struct ap_run_member *m,
                                 struct bare **bare, struct ap_error *err)
{
    bool taken;
    ap_status status = ap_share_take_normaliser(run, m->settings, &taken, err);
    if (status != AP_OK || taken)
        return status == AP_OK ? read_normaliser(path, &m->reward, err) : status;
    status = ap_share_keep_normaliser(run, m->settings, err);
    return status == AP_OK ? fix_normaliser(run, path, m, bare, err) : status;
}

static ap_status normalise(struct ap_run *run, bool fix, struct ap_run_member *m,
                           struct bare **bare, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_reward_stage stage = ap_run_reward_stage(m->settings);
    char *folder = ap_run_dir_path(&run->dir, stage.name, ""), *path = NULL;

    if (!folder || !(path = ap_path_join(folder, "normaliser.json")))
        status = ap_fail(err, AP_MEMORY, "reward: out of memory");
    else if (ap_file_exists(path))
        status = read_normaliser(path, &m->reward, err);
    else if (fix) {
        status = ap_dir_make(folder, err);
        if (status == AP_OK)
            status = make_normaliser(run, path, m, bare, err);
    }
    ap_free(path);
    ap_free(folder);
    return status;
}

ap_status ap_run_reward_open(struct ap_run *run, bool fix, struct ap_run_reward *out,
                             struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    struct ap_reward_part parts[AP_REWARDS_MAX];
    struct bare *bare = NULL;
    ap_status status = AP_OK;
    *out = (struct ap_run_reward){0};
    for (int i = 0; i < n; i++) {
        struct ap_run_member *m = &out->members[out->n++];
        m->settings = &r[i];
        AP_TRY(open_member(run, m, err));
        if (r[i].normalise)
            AP_TRY(normalise(run, fix || n > 1, m, &bare, err));
        parts[i] = (struct ap_reward_part){&m->reward, r[i].weight, r[i].name};
    }
    AP_TRY(ap_reward_sum(&out->reward, parts, n, err));
out:
    bare_free(bare);
    if (status != AP_OK)
        ap_run_reward_close(out);
    return status;
}

ap_status ap_run_reward_range(struct ap_run *run, double *range, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    struct ap_reward_part parts[AP_REWARDS_MAX];
    struct ap_run_reward asked = {0};
    struct bare *none = NULL; /* nothing is fixed here */
    ap_status status = AP_OK;
    *range = 0;
    for (int i = 0; i < n; i++) {
        if (r[i].weight == 0)
            continue;
        if (strcmp(r[i].kind, "rule") != 0)
            goto out;
        struct ap_run_member *m = &asked.members[asked.n];
        m->settings = &r[i];
        parts[asked.n++] = (struct ap_reward_part){&m->reward, r[i].weight, r[i].name};
        AP_TRY(open_member(run, m, err));
        if (r[i].normalise)
            AP_TRY(normalise(run, false, m, &none, err));
    }
    if (asked.n > 0)
        AP_TRY(ap_reward_sum(&asked.reward, parts, asked.n, err));
    *range = asked.reward.range;
out:
    ap_run_reward_close(&asked);
    return status;
}
