/* Learning-rate schedules. Entry point: ap_schedule_lr. */
#include "train/optimiser.h"

#include <math.h>
#include <string.h>

double ap_schedule_lr(const struct ap_optimiser_settings *settings, int64_t step, int64_t n_steps)
{
    const double lr = settings->lr, end = settings->lr_end;
    const int64_t n_warmup = llround(settings->warmup * (double)n_steps);
    if (step < n_warmup)
        return lr * (double)(step + 1) / (double)n_warmup;
    const int64_t last = n_steps - 1 - n_warmup; /* steps from the end of the warm-up to the last */
    const double t = last > 0 ? fmin(1, (double)(step - n_warmup) / (double)last) : 0;
    if (strcmp(settings->schedule, "cosine") == 0)
        return lr * (end + (1 - end) * (1 + cos(M_PI * t)) / 2);
    if (strcmp(settings->schedule, "linear") == 0)
        return lr * (end + (1 - end) * (1 - t));
    return lr;
}
