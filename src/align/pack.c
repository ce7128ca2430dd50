/* Packed batches (pack.h). */
#include "align/pack.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

ap_status ap_pack_init(struct ap_pack *p, int max_row, struct ap_error *err)
{
    *p = (struct ap_pack){.max_row = max_row};
    p->ids = ap_calloc((size_t)max_row, sizeof(*p->ids));
    p->start = ap_calloc((size_t)max_row + 1, sizeof(*p->start));
    p->row = ap_calloc((size_t)max_row, sizeof(*p->row));
    p->target = ap_calloc((size_t)max_row, sizeof(*p->target));
    p->record = ap_calloc((size_t)max_row, sizeof(*p->record));
    if (p->ids && p->start && p->row && p->target && p->record)
        return AP_OK;
    ap_pack_free(p);
    return ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
}

void ap_pack_free(struct ap_pack *p)
{
    ap_free(p->ids);
    ap_free(p->start);
    ap_free(p->row);
    ap_free(p->target);
    ap_free(p->record);
    *p = (struct ap_pack){0};
}

void ap_pack_clear(struct ap_pack *p)
{
    p->n_row = p->n_seq = p->n_target = 0;
}

bool ap_pack_fits(const struct ap_pack *p, int n)
{
    return n <= p->max_row - p->n_row;
}

static void push_sequence(struct ap_pack *p, int n, uint64_t record)
{
    p->record[p->n_seq] = record;
    p->start[p->n_seq++] = p->n_row;
    p->n_row += n;
    p->start[p->n_seq] = p->n_row;
}

void ap_pack_add(struct ap_pack *p, const int32_t *prompt, int n_prompt, const int32_t *answer,
                 int n_answer)
{
    assert(n_prompt >= 1 && ap_pack_fits(p, n_prompt + n_answer));
    int first = p->n_row;
    memcpy(p->ids + first, prompt, (size_t)n_prompt * sizeof(*prompt));
    if (n_answer > 0)
        memcpy(p->ids + first + n_prompt, answer, (size_t)n_answer * sizeof(*answer));
    for (int t = 0; t < n_answer; t++) {
        p->row[p->n_target] = first + n_prompt + t - 1;
        p->target[p->n_target++] = answer[t];
    }
    push_sequence(p, n_prompt + n_answer, 0);
}

void ap_pack_add_marked(struct ap_pack *p, const int32_t *ids, const uint8_t *trained, int n,
                        uint64_t record)
{
    assert(n >= 1 && ap_pack_fits(p, n));
    int first = p->n_row;
    memcpy(p->ids + first, ids, (size_t)n * sizeof(*ids));
    for (int t = 1; trained && t < n; t++)
        if (trained[t]) {
            p->row[p->n_target] = first + t - 1;
            p->target[p->n_target++] = ids[t];
        }
    push_sequence(p, n, record);
}

struct ap_rows ap_pack_rows(const struct ap_pack *p)
{
    return (struct ap_rows){.ids = p->ids, .start = p->start, .n_row = p->n_row, .n_seq = p->n_seq};
}
