/* The plan as the user sees it, and the refusal of what does not fit (plan.h). */
#include "pipeline/plan.h"

#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>

#define GIB 1073741824.0

/* Under "memory, GiB". */
static const char *const titles[AP_PLAN_PARTS] = {
    [AP_PLAN_MAPPED] = "mapped",       [AP_PLAN_WEIGHTS] = "weights",
    [AP_PLAN_ADAPTERS] = "adapters",   [AP_PLAN_GRADIENTS] = "gradients",
    [AP_PLAN_OPTIMISER] = "optimiser", [AP_PLAN_ACTIVATIONS] = "activations",
    [AP_PLAN_CACHES] = "caches",       [AP_PLAN_DATA] = "data",
    [AP_PLAN_PROCESS] = "process",
};

const char *ap_plan_size(size_t bytes, char out[32])
{
    if (bytes == SIZE_MAX)
        snprintf(out, 32, "more than can be counted");
    else if ((double)bytes >= GIB)
        snprintf(out, 32, "%.2f GiB", (double)bytes / GIB);
    else
        snprintf(out, 32, "%.0f MiB", (double)bytes / 1048576.0);
    return out;
}

static ap_status put_cell(struct ap_buffer *out, size_t bytes, int width, bool small,
                          struct ap_error *err)
{
    double unit = small ? 1048576.0 : GIB;
    if (bytes == 0)
        return ap_buffer_printf(out, err, " %*s", width, "-");
    return ap_buffer_printf(out, err, " %*.*f", width, small ? 0 : 2, (double)bytes / unit);
}

static int width_of(int part)
{
    int n = 0;
    while (titles[part][n])
        n++;
    return n < 7 ? 7 : n;
}

ap_status ap_plan_write(const struct ap_plan *plan, const struct ap_room *room,
                        struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    bool small = (double)plan->peak < 4 * GIB;
    char peak[32], has[32];
    AP_TRY(ap_buffer_printf(out, err, "%-11s", small ? "memory, MiB" : "memory, GiB"));
    for (int i = 0; i < AP_PLAN_PARTS; i++)
        AP_TRY(ap_buffer_printf(out, err, " %*s", width_of(i), titles[i]));
    AP_TRY(ap_buffer_printf(out, err, " %8s\n", "sum"));
    for (int k = 0; k < plan->n; k++) {
        const struct ap_plan_stage *s = &plan->stages[k];
        AP_TRY(ap_buffer_printf(out, err, "%-11s", s->name));
        for (int i = 0; i < AP_PLAN_PARTS; i++)
            AP_TRY(put_cell(out, s->part[i], width_of(i), small, err));
        AP_TRY(put_cell(out, s->sum, 8, small, err));
        AP_TRY(ap_buffer_puts(out, "\n", err));
    }
    if (plan->n == 0)
        AP_TRY(ap_buffer_puts(out, "every stage is done already\n", err));
    else
        AP_TRY(ap_buffer_printf(out, err, "peak %s in %s; there are %s (%s)\n",
                                ap_plan_size(plan->peak, peak), plan->stages[plan->at].name,
                                ap_plan_size(room->bytes, has), room->why));
out:
    return status;
}

struct ap_room ap_plan_room(const struct ap_run *run, const struct ap_plan_facts *facts)
{
    struct ap_room room = ap_process_room("");
    room.bytes = ap_sum_bytes(room.bytes, facts->process);
    size_t most = (size_t)run->s->run.memory;
    if (most > 0 && (run->plan_only || most < room.bytes)) /* a plan may be for another machine */
        room = (struct ap_room){most, "run.memory"};
    return room;
}

ap_status ap_plan_check(const struct ap_run *run, const char *wanted, const struct ap_plan *plan,
                        const struct ap_room *room, struct ap_error *err)
{
    struct ap_buffer changes = {0};
    char peak[32], has[32];
    if (plan->peak <= room->bytes)
        return AP_OK;
    ap_status status = ap_plan_changes(run, wanted, &plan->facts, room->bytes, &changes, err);
    if (status == AP_OK)
        status = ap_fail(err, AP_LIMIT, "memory: %s needs %s, but there are %s (%s); %s",
                         plan->stages[plan->at].name, ap_plan_size(plan->peak, peak),
                         ap_plan_size(room->bytes, has), room->why,
                         changes.len ? changes.data
                                     : "no change of batch sizes, checkpointing, context, dtype "
                                       "or adapters makes it fit: take smaller models or a "
                                       "larger machine");
    ap_buffer_free(&changes);
    return status;
}
