/* The page (page.h). */
#include "serve/page.h"

#include "base/error.h"
#include "serve/page_files.h"

#include <string.h>

const char ap_page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct {
    const char *path, *file, *type;
} parts[] = {
    {"/", "page.html", "text/html; charset=utf-8"},
    {"/page.css", "page.css", "text/css; charset=utf-8"},
    {"/page.js", "page.js", "text/javascript; charset=utf-8"},
};

static const char *text_of(const char *file)
{
    for (int i = 0; i < ap_n_page_files; i++)
        if (strcmp(ap_page_files[i].name, file) == 0)
            return (const char *)ap_page_files[i].data;
    return NULL;
}

const char *ap_page(const char *path, const char **type)
{
    for (size_t i = 0; i < AP_LEN(parts); i++) {
        if (strcmp(parts[i].path, path) != 0)
            continue;
        *type = parts[i].type;
        return text_of(parts[i].file);
    }
    return NULL;
}
