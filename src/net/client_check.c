/* What can be said of addresses and certificates before anything is sent (client.h). Entry points:
 * ap_client_check_url, ap_client_is_loopback, ap_client_check_ca, ap_client_probe. */
#include "base/buffer.h"
#include "base/file.h"
#include "net/client.h"
#include "net/wire.h"

#include <string.h>
#include <strings.h>

ap_status ap_client_check_url(const char *url, struct ap_error *err)
{
    CURLU *u = curl_url();
    char *part = NULL;
    const char *wrong = NULL;
    if (!u)
        return ap_fail(err, AP_MEMORY, "'%.200s': no memory", url);
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        wrong = "expected http://HOST[:PORT]/v1 or https://…";
    else if (curl_url_get(u, CURLUPART_SCHEME, &part, 0) == CURLUE_OK &&
             strcmp(part, "http") != 0 && strcmp(part, "https") != 0)
        wrong = "expected http:// or https://";
    curl_free(part);
    part = NULL;
    if (!wrong && (curl_url_get(u, CURLUPART_PASSWORD, &part, 0) == CURLUE_OK ||
                   curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK))
        wrong = "expected no name and no password in it: a key would be seen in logs; use key_env "
                "or key_file";
    curl_free(part);
    part = NULL;
    if (!wrong && (curl_url_get(u, CURLUPART_QUERY, &part, 0) == CURLUE_OK ||
                   curl_url_get(u, CURLUPART_FRAGMENT, &part, 0) == CURLUE_OK))
        wrong = "expected no ? and no #: paths are put behind it";
    curl_free(part);
    curl_url_cleanup(u);
    if (wrong && strchr(url, '@')) /* what stands before it may be a password */
        return ap_fail(err, AP_INVALID, "the address with a name before an @ is none, %s", wrong);
    return wrong ? ap_fail(err, AP_INVALID, "'%.200s' is no address, %s", url, wrong) : AP_OK;
}

bool ap_client_is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.", "localhost:", "localhost/", "[::1]"};
    const char *behind = strstr(url, "://"), *host = behind ? behind + 3 : url;
    for (size_t i = 0; i < AP_LEN(hosts); i++)
        if (strncasecmp(host, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return strcasecmp(host, "localhost") == 0;
}

ap_status ap_client_check_ca(const char *ca_file, struct ap_error *err)
{
    enum { CA_MAX = 16 << 20 };
    static const char *const heads[] = {"-----BEGIN CERTIFICATE-----",
                                        "-----BEGIN X509 CERTIFICATE-----",
                                        "-----BEGIN TRUSTED CERTIFICATE-----"};
    struct ap_buffer text = {0};
    bool found = false;
    if (!ca_file || !ca_file[0])
        return AP_OK;
    ap_status status = ap_file_read(ca_file, CA_MAX, &text, err);
    for (size_t i = 0; i < AP_LEN(heads) && status == AP_OK; i++)
        found = found || (text.len > 0 && memmem(text.data, text.len, heads[i], strlen(heads[i])));
    if (status == AP_OK && !found)
        status = ap_fail(err, AP_FORMAT,
                         "%s: holds no certificate, expected some in PEM form (\"%s\"); give the "
                         "certificate of who signed the server's",
                         ca_file, heads[0]);
    ap_buffer_free(&text);
    return status;
}

ap_status ap_client_probe(const char *url, const char *ca_file, struct ap_error *err)
{
    enum { PROBE_MS = 5000 };
    char words[CURL_ERROR_SIZE] = "";
    ap_status status = AP_OK;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *easy = curl_easy_init();
    if (!easy)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for a connection", url));
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)PROBE_MS);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, words);
    ap_wire_trust(easy, ca_file);
    if (ap_client_is_loopback(url))
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    CURLcode code = curl_easy_perform(easy);
    if (code != CURLE_OK)
        status = ap_fail(err, AP_IO, "%s: %s", url, ap_wire_words(words, code));
out:
    curl_easy_cleanup(easy);
    curl_global_cleanup();
    return status;
}
