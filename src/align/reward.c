/* What all rewards share (reward.h): normalisation, the guard on their numbers. */
#include "align/reward.h"

#include "align/target.h"

#include <math.h>

void ap_reward_free(struct ap_reward *r)
{
    if (r->self)
        r->free(r->self);
    *r = (struct ap_reward){0};
}

struct ap_scored ap_scored_answer(const struct ap_message *context, size_t n_context, const char *x,
                                  const struct ap_answer *answer)
{
    return (struct ap_scored){context,        n_context,    x, answer->text, answer->ended,
                              answer->scored, answer->score};
}

ap_status ap_reward_score(const struct ap_reward *r, const struct ap_scored *items, int n,
                          double *out, struct ap_error *err)
{
    ap_status status = r->score(r->self, items, n, out, err);
    for (int i = 0; status == AP_OK && i < n; i++) {
        if (!isfinite(out[i]))
            return ap_fail(err, AP_NUMERIC,
                           "reward: the score of the answer '%.60s' is %g, expected a finite "
                           "number; the reward model has diverged: train it with a lower lr",
                           items[i].y, out[i]);
        out[i] = items[i].scored ? items[i].score : r->gain * out[i] + r->bias;
    }
    return status;
}

void ap_reward_normalise(struct ap_reward *r, const double *raw, int n)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++)
        mean += raw[i] / n;
    for (int i = 0; i < n; i++)
        variance += (raw[i] - mean) * (raw[i] - mean) / n;
    r->gain = variance > 1e-12 ? 1 / sqrt(variance) : 1;
    r->bias = -mean * r->gain;
}
