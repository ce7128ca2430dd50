/* What writes a page: the program, the compiler, the operations of this processor, and the
 * libraries as they are loaded. */
#include "pipeline/run_inner.h"

#include "alignpro/version.h"

#include "tensor/ops.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <curl/curl.h>
#include <jansson.h>
#include <libfyaml.h>
#include <microhttpd.h>
#include <oneapi/dnnl/dnnl.h>
#include <pcre2.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#ifdef __clang__
static const char compiler[] = "clang " __clang_version__;
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

struct ap_versions ap_run_versions(void)
{
    struct ap_versions out;
    const struct ap_ops *ops;
    const dnnl_version_t *dnnl = dnnl_version();
    char pcre[64] = "";
    const char *name = ap_ops_cpu(&ops, NULL) == AP_OK ? ops->name : "no operations";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof(pcre))
        pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    pcre[strcspn(pcre, " ")] = '\0'; /* its date */
    snprintf(
        out.text, sizeof(out.text),
        "%s (compiled by %.80s, computing on %s; oneDNN %d.%d.%d, SQLite %s, Jansson %s, libfyaml "
        "%s, PCRE2 %s, utf8proc %s, zlib %s, libcurl %s, libmicrohttpd %s)",
        ap_version(), compiler, name, dnnl->major, dnnl->minor, dnnl->patch, sqlite3_libversion(),
        jansson_version_str(), fy_library_version(), pcre, utf8proc_version(), zlibVersion(),
        curl_version_info(CURLVERSION_NOW)->version, MHD_get_version());
    return out;
}
