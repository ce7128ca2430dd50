/* The page (page.h). */
#include "serve/page.h"

static const char html[] =
    "<!doctype html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>alignpro</title></head>\n"
    "<body><h1>alignpro serve</h1>\n"
    "<p>This server rewrites prompts. Its routes: POST /v1/chat/completions, /v1/completions,\n"
    "/v1/rewrite, /v1/score; GET /v1/models, /healthz, /metrics.</p>\n"
    "</body></html>\n";

const char *ap_page(const char **policy)
{
    *policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    return html;
}
