/* The weighted sum of rewards (reward.h). */
#include "align/reward.h"

#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct sum_reward {
    struct ap_reward_part parts[AP_REWARDS_MAX];
    int n;
};

/* A server's client says its name by itself. */
static void name_part(const struct ap_reward_part *part, ap_status status, struct ap_error *err)
{
    char name[80];
    int n = snprintf(name, sizeof(name), "rewards.%s", part->name ? part->name : "");
    bool is_there = err && strncmp(err->text, name, (size_t)n) == 0 && err->text[n] &&
                    strchr(":.", err->text[n]);
    if (part->name && !is_there)
        ap_fail_prefix(err, status, "%s", name);
}

static ap_status sum_score(void *self, const struct ap_scored *items, int n, double *out,
                           struct ap_error *err)
{
    const struct sum_reward *s = self;
    ap_status status = AP_OK;
    double *score = ap_calloc((size_t)n + 1, sizeof(*score));
    if (!score)
        return ap_fail(err, AP_MEMORY, "reward: %d scores: out of memory", n);
    memset(out, 0, (size_t)n * sizeof(*out));
    for (int k = 0; k < s->n && status == AP_OK; k++) {
        const struct ap_reward_part *part = &s->parts[k];
        if (part->weight == 0) /* one that only judges */
            continue;
        status = ap_reward_score(part->reward, items, n, score, err);
        if (status != AP_OK)
            name_part(part, status, err);
        for (int i = 0; i < n && status == AP_OK; i++)
            out[i] += part->weight * score[i];
    }
    ap_free(score);
    return status;
}

static double range_of(const struct sum_reward *s)
{
    double range = 0;
    for (int k = 0; k < s->n; k++) {
        const struct ap_reward_part *part = &s->parts[k];
        if (part->weight != 0 && part->reward->range == 0)
            return 0;
        range += fabs(part->weight * part->reward->gain) * part->reward->range;
    }
    return range;
}

ap_status ap_reward_sum(struct ap_reward *out, const struct ap_reward_part *parts, int n,
                        struct ap_error *err)
{
    struct sum_reward *s = ap_calloc(1, sizeof(*s));
    *out = (struct ap_reward){.gain = 1};
    assert(n >= 1 && n <= AP_REWARDS_MAX);
    if (!s)
        return ap_fail(err, AP_MEMORY, "reward: out of memory");
    memcpy(s->parts, parts, (size_t)n * sizeof(*parts));
    s->n = n;
    *out = (struct ap_reward){
        .self = s, .score = sum_score, .free = ap_free, .gain = 1, .range = range_of(s)};
    return AP_OK;
}
