/* The rollout table: allocation, appending, forgetting. Nothing is allocated after init but what
 * the texts need. Entry points: ap_rollout_init, ap_rollout_add, ap_rollout_clear, ap_rollout_free.
 */
#include "align/rollout.h"

#include "base/memory.h"

#include <string.h>

/* Every column in double, in one place for init and free. */
#define COLUMNS(X)                                                                                 \
    X(logp_old)                                                                                    \
    X(logp_ref)                                                                                    \
    X(logp)                                                                                        \
    X(entropy)                                                                                     \
    X(value_old)                                                                                   \
    X(value)                                                                                       \
    X(advantage)                                                                                   \
    X(returns)                                                                                     \
    X(dlogp)                                                                                       \
    X(dentropy)                                                                                    \
    X(dvalue)

ap_status ap_rollout_init(struct ap_rollout *r, int max_row, size_t max_token, struct ap_error *err)
{
    *r = (struct ap_rollout){.max_row = max_row, .max_token = max_token};
    if (max_row < 1 || max_token < 1)
        return ap_fail(err, AP_INVALID, "rollout of %d rows and %zu tokens: expected at least one",
                       max_row, max_token);
    bool whole = (r->rows = ap_calloc((size_t)max_row, sizeof(*r->rows))) &&
                 (r->score_row = ap_calloc((size_t)max_row, sizeof(*r->score_row))) &&
                 (r->ids = ap_calloc(max_token, sizeof(*r->ids)));
#define X(column) whole = whole && (r->column = ap_calloc(max_token, sizeof(*r->column)));
    COLUMNS(X)
#undef X
    if (whole)
        return AP_OK;
    ap_rollout_free(r);
    return ap_fail(err, AP_MEMORY,
                   "rollout of %d rows and %zu tokens: out of memory; lower the number of prompts, "
                   "rewrites or new tokens of a step",
                   max_row, max_token);
}

size_t ap_rollout_bytes(int max_row, size_t max_token)
{
    const struct ap_rollout *r = NULL;
    size_t sum = ap_calloc_bytes((size_t)max_row, sizeof(*r->rows) + sizeof(*r->score_row)) +
                 ap_calloc_bytes(max_token, sizeof(*r->ids));
#define X(column) sum += ap_calloc_bytes(max_token, sizeof(*r->column));
    COLUMNS(X)
#undef X
    return sum;
}

void ap_rollout_clear(struct ap_rollout *r)
{
    for (int i = 0; i < r->n_row; i++) {
        ap_free(r->rows[i].text);
        ap_free(r->rows[i].answer);
    }
    if (r->rows)
        memset(r->rows, 0, (size_t)r->n_row * sizeof(*r->rows));
    r->n_row = 0;
    r->n_token = 0;
}

void ap_rollout_free(struct ap_rollout *r)
{
    ap_rollout_clear(r);
    ap_free(r->rows);
    ap_free(r->score_row);
    ap_free(r->ids);
#define X(column) ap_free(r->column);
    COLUMNS(X)
#undef X
    *r = (struct ap_rollout){0};
}

static ap_status check_room(const struct ap_rollout *r, int n, struct ap_error *err)
{
    if (n < 1)
        return ap_fail(err, AP_INVALID, "rollout row %d: %d tokens, expected at least one",
                       r->n_row, n);
    if (r->n_row < r->max_row && (size_t)n <= r->max_token - r->n_token)
        return AP_OK;
    return ap_fail(err, AP_LIMIT,
                   "rollout: a row of %d tokens does not fit beside %d rows and %zu tokens "
                   "(room for %d rows and %zu tokens)",
                   n, r->n_row, r->n_token, r->max_row, r->max_token);
}

ap_status ap_rollout_add(struct ap_rollout *r, int32_t prompt, uint64_t record, int sample,
                         const int32_t *ids, int n, bool ended, char *text, struct ap_error *err)
{
    ap_status status = check_room(r, n, err);
    if (status != AP_OK) {
        ap_free(text);
        return status;
    }
    r->rows[r->n_row++] = (struct ap_rollout_row){.prompt = prompt,
                                                  .record = record,
                                                  .sample = sample,
                                                  .first = r->n_token,
                                                  .n = n,
                                                  .ended = ended,
                                                  .n_empty = text && !text[0],
                                                  .n_fault = !ended || (text && !text[0]),
                                                  .text = text};
    memcpy(r->ids + r->n_token, ids, (size_t)n * sizeof(*ids));
    r->n_token += (size_t)n;
    return AP_OK;
}
