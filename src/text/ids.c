/* Growing arrays of token ids. Entry points: ap_ids_push, ap_ids_free. */
#include "alignpro/text.h"

#include "base/error.h"
#include "base/memory.h"

void ap_ids_free(struct ap_ids *ids)
{
    ap_free(ids->data);
    *ids = (struct ap_ids){0};
}

ap_status ap_ids_push(struct ap_ids *ids, int32_t id, struct ap_error *err)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? 2 * ids->cap : 32;
        int32_t *grown = ap_realloc(ids->data, ids->n, cap, sizeof(*grown));
        if (!grown)
            return ap_fail(err, AP_MEMORY, "no memory for %zu token ids; free some", cap);
        ids->data = grown;
        ids->cap = cap;
    }
    ids->data[ids->n++] = id;
    return AP_OK;
}
