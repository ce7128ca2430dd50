/* The stages that learn from preference pairs: the rewards, math.md (9), (9a), and dpo, which
 * trains the target itself, math.md (20). */
#include "pipeline/run_inner.h"

#include "align/dpo.h"
#include "align/reward_train.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct pairs {
    struct ap_pair *items;
    int n;
    int64_t n_skipped, n_unpaired;
};

static bool is_implicit(const struct ap_reward_settings *r)
{
    return strcmp(r->kind, "implicit") == 0;
}

/* chat: whole chats, for a classifier; else prompt ++ answer, whose tokens are marked. */
static ap_status make_side(struct ap_run *run, bool chat, const struct ap_lm *lm,
                           const struct ap_example *e, const char *y, struct ap_sequence *out,
                           bool *fits, struct ap_error *err)
{
    return (chat ? ap_sequence_chat : ap_sequence_make)(out, lm->chat, e->context, e->n_context,
                                                        e->prompt, y, lm->context,
                                                        ap_run_too_long(run), fits, err);
}

static ap_status add_pair(struct ap_run *run, bool chat, const struct ap_lm *lm,
                          const struct ap_example *e, struct pairs *out, struct ap_error *err)
{
    struct ap_pair *pair = &out->items[out->n];
    bool fits_chosen = false, fits_rejected = false;
    ap_status status;

    if (!e->chosen || !e->rejected) { /* a document whose pair has no winner keeps its prompt */
        out->n_unpaired++;
        return AP_OK;
    }
    status = make_side(run, chat, lm, e, e->chosen, &pair->chosen, &fits_chosen, err);
    if (status == AP_OK)
        status = make_side(run, chat, lm, e, e->rejected, &pair->rejected, &fits_rejected, err);
    if (status == AP_OK && fits_chosen && fits_rejected) {
        out->n++;
        return AP_OK;
    }
    ap_sequence_free(&pair->chosen);
    ap_sequence_free(&pair->rejected);
    out->n_skipped++;
    return status;
}

/* Where pairs come from, and of a training split which half. */
struct source {
    const char *path; /* "": data.path */
    const char *half; /* all | half-a | half-b */
    bool chat;
};

static bool in_half(const struct source *from, ap_split split, const struct ap_example *e)
{
    return split != AP_SPLIT_TRAIN || strcmp(from->half, "all") == 0 ||
           ap_half_of(e->hash) == (strcmp(from->half, "half-b") == 0);
}

static ap_status make_pairs(struct ap_run *run, const struct source *from, const struct ap_lm *lm,
                            ap_split split, struct pairs *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_dataset *d;
    int32_t *index = NULL;
    size_t n, n_in = 0;
    const char *path = from->path[0] ? from->path : run->s->data.path;
    AP_TRY(ap_run_dataset(run, path, &d, err));
    AP_TRY(ap_run_select(run, d, split, false, &index, &n, err));
    if (!(out->items = ap_calloc(n ? n : 1, sizeof(*out->items)))) {
        status = ap_fail(err, AP_MEMORY, "%s: %zu pairs: out of memory", path, n);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        if (in_half(from, split, &d->examples[index[i]])) {
            AP_TRY(add_pair(run, from->chat, lm, &d->examples[index[i]], out, err));
            n_in++;
        }
    if (n > 0 && n_in == 0)
        status = ap_fail(err, AP_INVALID,
                         "%s: none of its %zu training pairs is in %s (by hash of the prompt); "
                         "leave pairs out, or add prompts",
                         path, n, from->half);
    else if (n > 0 && out->n_unpaired == (int64_t)n_in)
        status = ap_fail(err, AP_FORMAT,
                         "%s: none of its records is a preference pair, expected {\"prompt\", "
                         "\"chosen\", \"rejected\"} or scored answers (data.format: helpsteer)",
                         path);
    if (out->n_skipped > 0)
        ap_sink_note(run->sink, "data", "%s: %lld pairs longer than the context were skipped", path,
                     (long long)out->n_skipped);
out:
    ap_free(index);
    return status;
}

/* What trains: an adapter with a head, a whole classifier, or (implicit) a policy. */
static ap_status open_policy(struct ap_run *run, const struct ap_reward_settings *r,
                             struct ap_lm *lm, struct ap_owned_role *out, struct ap_error *err)
{
    uint64_t seed = (uint64_t)run->s->run.seed;
    ap_status status;

    if (is_implicit(r))
        return ap_run_policy(run, lm, &r->adapter, NULL, out, err);
    *out = (struct ap_owned_role){.role.weights = lm->weights};
    if (r->adapter.rank > 0) {
        status = ap_adapter_new(&out->adapter, lm->weights, &r->adapter, true, seed, err);
        out->role.adapter = out->adapter;
    } else {
        status = ap_weights_as_classifier(&out->weights, lm->weights, seed, err);
        out->role.weights = out->weights;
    }
    return status;
}

/* Training and held-out pairs with their accuracy at the end. */
struct paired {
    struct pairs train, valid;
    double accuracy;
};

static ap_status make_both(struct ap_run *run, const struct source *from, const struct ap_lm *lm,
                           struct paired *out, struct ap_error *err)
{
    ap_status status = make_pairs(run, from, lm, AP_SPLIT_TRAIN, &out->train, err);
    return status == AP_OK ? make_pairs(run, from, lm, AP_SPLIT_VALID, &out->valid, err) : status;
}

static void paired_free(struct paired *p)
{
    ap_pairs_free(p->train.items, p->train.n);
    ap_pairs_free(p->valid.items, p->valid.n);
}

static ap_status finish(struct ap_run *run, const char *stage, const struct ap_lm *lm,
                        const struct ap_role *role, const struct paired *p, struct ap_error *err)
{
    char json[160];
    if (isfinite(p->accuracy))
        ap_sink_note(run->sink, stage, "puts %.0f of %d held-out pairs in the right order (%.1f%%)",
                     p->accuracy * p->valid.n, p->valid.n, 100 * p->accuracy);
    snprintf(json, sizeof(json), "{\"pairs\": %d, \"valid\": %d, \"accuracy\": %.6f}", p->train.n,
             p->valid.n, isfinite(p->accuracy) ? p->accuracy : -1);
    return ap_run_finish(run, stage, lm, role, json, err);
}

static ap_status train_head(struct ap_run *run, struct ap_stage *stage, const struct ap_lm *lm,
                            const struct ap_role *role, struct paired *p, struct ap_error *err)
{
    struct ap_reward_train_options options = {.lm = lm,
                                              .role = *role,
                                              .pairs = p->train.items,
                                              .n = p->train.n,
                                              .valid = p->valid.items,
                                              .n_valid = p->valid.n,
                                              .settings = &run->s->reward_train};
    return ap_reward_train(stage, &options, &p->accuracy, err);
}

static ap_status train_one(struct ap_run *run, const struct ap_reward_settings *r, const char *name,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_reward_train_settings *t = &run->s->reward_train;
    const struct source from = {t->path, r->pairs, !is_implicit(r)};
    struct ap_stage stage = ap_run_begin(run, name);
    struct ap_lm *lm;
    struct ap_owned_role policy = {0};
    struct paired p = {.accuracy = NAN};

    AP_TRY(ap_run_lm(run, r->model, &lm, err));
    AP_TRY(make_both(run, &from, lm, &p, err));
    AP_TRY(open_policy(run, r, lm, &policy, err));
    if (is_implicit(r)) {
        struct ap_dpo_options options = {.lm = lm,
                                         .role = policy.role,
                                         .reference = {lm->weights, NULL},
                                         .weights = {.beta = r->beta, .margin = t->margin},
                                         .pairs = p.train.items,
                                         .n = p.train.n,
                                         .valid = p.valid.items,
                                         .n_valid = p.valid.n,
                                         .epochs = t->epochs,
                                         .batch = t->batch,
                                         .optimiser = &t->optimiser};
        AP_TRY(ap_dpo(&stage, &options, &p.accuracy, err));
    } else
        AP_TRY(train_head(run, &stage, lm, &policy.role, &p, err));
    AP_TRY(finish(run, name, lm, &policy.role, &p, err));
out:
    paired_free(&p);
    ap_owned_role_free(&policy);
    return status;
}

/* Of several rewards each has a stage of its own, whose DONE stands before that of them all. */
ap_status ap_run_stage_reward(struct ap_run *run, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = AP_OK;
    char json[64];

    for (int i = 0; i < n; i++) {
        const struct ap_reward_stage stage = ap_run_reward_stage(&r[i]);
        if (ap_reward_is_trained(&r[i]) && !ap_stage_done(&run->dir, stage.name))
            AP_TRY(train_one(run, &r[i], stage.name, err));
    }
    snprintf(json, sizeof(json), "{\"rewards\": %d}", n);
    if (run->s->n_rewards > 0)
        AP_TRY(ap_stage_finish(&run->dir, "reward", json, err));
out:
    return status;
}

/* ---- dpo ---- */

ap_status ap_run_stage_dpo(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_dpo_settings *s = &run->s->dpo;
    struct ap_stage stage = ap_run_begin(run, "dpo");
    struct ap_lm *lm;
    struct ap_owned_role policy = {0};
    struct paired p = {.accuracy = NAN};

    AP_TRY(ap_run_lm(run, run->s->target.model, &lm, err));
    AP_TRY(make_both(run, &(struct source){s->path, "all", false}, lm, &p, err));
    AP_TRY(ap_run_policy(run, lm, &run->s->target.adapter, NULL, &policy, err));
    struct ap_dpo_options options = {.lm = lm,
                                     .role = policy.role,
                                     .reference = {lm->weights, NULL},
                                     .weights = {.beta = s->beta,
                                                 .label_smoothing = s->label_smoothing,
                                                 .nll_weight = s->nll_weight},
                                     .pairs = p.train.items,
                                     .n = p.train.n,
                                     .valid = p.valid.items,
                                     .n_valid = p.valid.n,
                                     .epochs = s->epochs,
                                     .batch = s->batch,
                                     .optimiser = &s->optimiser};
    AP_TRY(ap_dpo(&stage, &options, &p.accuracy, err));
    AP_TRY(finish(run, "dpo", lm, &policy.role, &p, err));
out:
    paired_free(&p);
    ap_owned_role_free(&policy);
    return status;
}
