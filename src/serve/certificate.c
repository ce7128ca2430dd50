/* The server's certificate and key (certificate.h). */
#include "serve/certificate.h"

#include "base/file.h"
#include "base/memory.h"

#include <pthread.h>
#include <string.h>

enum { PEM_MAX = 1 << 20 };

struct ap_certificate {
    char *cert_file, *key_file; /* owned */
    pthread_mutex_t lock;
    gnutls_certificate_credentials_t pair; /* under the lock; NULL: none was read yet */
};

/* ---- reading ---- */

static gnutls_datum_t datum(const struct ap_buffer *text)
{
    return (gnutls_datum_t){(unsigned char *)text->data, (unsigned)text->len};
}

/* GnuTLS puts the chain in order, and sees whether the key belongs to its first certificate. */
static ap_status parse_pair(gnutls_certificate_credentials_t *out, const struct ap_certificate *c,
                            const struct ap_buffer *cert, const struct ap_buffer *key,
                            struct ap_error *err)
{
    const gnutls_datum_t certs = datum(cert), its_key = datum(key);
    int code = gnutls_certificate_allocate_credentials(out);
    if (code < 0)
        return ap_fail(err, AP_MEMORY, "%s: no memory", c->cert_file);
    code =
        gnutls_certificate_set_x509_key_mem2(*out, &certs, &its_key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code >= 0)
        return AP_OK;
    gnutls_certificate_free_credentials(*out);
    *out = NULL;
    return ap_fail(err, AP_FORMAT,
                   "%s and %s are no certificate and its key, expected both in PEM: %s",
                   c->cert_file, c->key_file, gnutls_strerror(code));
}

static ap_status read_pair(gnutls_certificate_credentials_t *out, const struct ap_certificate *c,
                           struct ap_error *err)
{
    struct ap_buffer cert = {0}, key = {0};
    ap_status status;
    AP_TRY(ap_file_read(c->cert_file, PEM_MAX, &cert, err));
    AP_TRY(ap_file_read(c->key_file, PEM_MAX, &key, err));
    AP_TRY(parse_pair(out, c, &cert, &key, err));
out:
    if (key.data)
        explicit_bzero(key.data, key.len);
    ap_buffer_free(&key);
    ap_buffer_free(&cert);
    return status;
}

ap_status ap_certificate_open(struct ap_certificate **out, const char *cert_file,
                              const char *key_file, struct ap_error *err)
{
    struct ap_certificate *c = ap_calloc(1, sizeof(*c));
    ap_status status;
    *out = NULL;
    if (!c)
        return ap_fail(err, AP_MEMORY, "%s: no memory", cert_file);
    pthread_mutex_init(&c->lock, NULL);
    c->cert_file = ap_strdup(cert_file);
    c->key_file = ap_strdup(key_file);
    if (!c->cert_file || !c->key_file)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory", cert_file));
    AP_TRY(read_pair(&c->pair, c, err));
    *out = c;
out:
    if (status != AP_OK)
        ap_certificate_close(c);
    return status;
}

ap_status ap_certificate_reload(struct ap_certificate *c, struct ap_error *err)
{
    gnutls_certificate_credentials_t fresh;
    ap_status status = read_pair(&fresh, c, err);
    if (status != AP_OK)
        return status;
    pthread_mutex_lock(&c->lock);
    gnutls_certificate_credentials_t old = c->pair;
    c->pair = fresh;
    pthread_mutex_unlock(&c->lock);
    gnutls_certificate_free_credentials(old);
    return AP_OK;
}

void ap_certificate_close(struct ap_certificate *c)
{
    if (!c)
        return;
    if (c->pair)
        gnutls_certificate_free_credentials(c->pair);
    pthread_mutex_destroy(&c->lock);
    ap_free(c->cert_file);
    ap_free(c->key_file);
    ap_free(c);
}

/* ---- a handshake ---- */

/* As many certificates as the list has room for: all of them. */
static int import_list(gnutls_pcert_st **certs, gnutls_x509_crt_t *list, unsigned *n)
{
    *certs = gnutls_calloc(*n, sizeof(**certs));
    if (!*certs)
        return GNUTLS_E_MEMORY_ERROR;
    int code = gnutls_pcert_import_x509_list(*certs, list, n, 0);
    if (code < 0)
        gnutls_free(*certs);
    return code;
}

static int copy_certs(gnutls_certificate_credentials_t pair, gnutls_pcert_st **certs, unsigned *n)
{
    gnutls_x509_crt_t *list = NULL;
    unsigned n_list = 0;
    int code = gnutls_certificate_get_x509_crt(pair, 0, &list, &n_list);
    if (code < 0)
        return code;
    *n = n_list;
    code = import_list(certs, list, n);
    for (unsigned i = 0; i < n_list; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return code;
}

static int copy_key(gnutls_certificate_credentials_t pair, gnutls_privkey_t *out)
{
    gnutls_x509_privkey_t key = NULL;
    int code = gnutls_certificate_get_x509_key(pair, 0, &key);
    if (code < 0)
        return code;
    code = gnutls_privkey_init(out);
    if (code >= 0) {
        code = gnutls_privkey_import_x509(*out, key, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE);
        if (code < 0)
            gnutls_privkey_deinit(*out);
    }
    if (code < 0)
        gnutls_x509_privkey_deinit(key);
    return code;
}

int ap_certificate_copy(struct ap_certificate *c, gnutls_pcert_st **certs, unsigned *n_cert,
                        gnutls_privkey_t *key)
{
    pthread_mutex_lock(&c->lock);
    int code = copy_key(c->pair, key);
    if (code >= 0) {
        code = copy_certs(c->pair, certs, n_cert);
        if (code < 0)
            gnutls_privkey_deinit(*key);
    }
    pthread_mutex_unlock(&c->lock);
    return code < 0 ? code : 0;
}
