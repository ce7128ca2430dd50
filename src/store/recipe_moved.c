/* Addresses of servers, which a run may have others of than it had before: who answers there is for
 * its user to know, and is said. Entry point: ap_recipe_moved. */
#include "store/recipe.h"

#include "base/buffer.h"

#include <string.h>

static bool same_addresses(const struct ap_http_settings *a, const struct ap_http_settings *b)
{
    bool same = a->n_url == b->n_url;
    for (int i = 0; same && i < a->n_url; i++)
        same = strcmp(a->url[i], b->url[i]) == 0;
    return same;
}

static ap_status put_addresses(const struct ap_http_settings *h, struct ap_buffer *out,
                               struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < h->n_url && status == AP_OK; i++)
        status = ap_buffer_printf(out, err, "%s%.200s", i ? ", " : "", h->url[i]);
    return status;
}

/* The one of that name; false: there is none. */
static bool find_server(const struct ap_settings *s, const char *name, struct ap_server *out)
{
    for (int i = 0; ap_settings_server(s, i, out); i++)
        if (strcmp(out->section.name, name) == 0)
            return true;
    return false;
}

static ap_status put_moved(const struct ap_server *was, const struct ap_server *is,
                           struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    AP_TRY(ap_buffer_printf(out, err, "%s%s.url was ", out->len ? "; " : "", is->section.name));
    AP_TRY(put_addresses(was->http, out, err));
    AP_TRY(ap_buffer_puts(out, ", is now ", err));
    AP_TRY(put_addresses(is->http, out, err));
    AP_TRY(ap_buffer_puts(out, ": it must serve the same model", err));
out:
    return status;
}

/* What the ledger has stands under the name. */
static ap_status put_renamed(const struct ap_settings *was, const struct ap_settings *is,
                             struct ap_buffer *out, struct ap_error *err)
{
    if (!ap_settings_remote(was) || !ap_settings_remote(is) ||
        strcmp(was->target.name, is->target.name) == 0)
        return AP_OK;
    return ap_buffer_printf(out, err,
                            "%starget.name was %.200s, is now %.200s: no answer that was bought "
                            "under the other name is found in the ledger",
                            out->len ? "; " : "", was->target.name, is->target.name);
}

ap_status ap_recipe_moved(const struct ap_recipe *was, const struct ap_recipe *is,
                          struct ap_buffer *out, struct ap_error *err)
{
    const struct ap_settings *a = ap_recipe_settings(was), *b = ap_recipe_settings(is);
    struct ap_server before, now;
    ap_status status = ap_buffer_puts(out, "", err);
    for (int i = 0; status == AP_OK && ap_settings_server(b, i, &now); i++)
        if (find_server(a, now.section.name, &before) && before.http->n_url > 0 &&
            now.http->n_url > 0 && !same_addresses(before.http, now.http))
            status = put_moved(&before, &now, out, err);
    return status == AP_OK ? put_renamed(a, b, out, err) : status;
}
