/* The certificate that the server shows, and its key: two PEM files that may be read again while
 * handshakes go on. Not here: whose certificates are trusted (upstream.h). */
#ifndef AP_SERVE_CERTIFICATE_H
#define AP_SERVE_CERTIFICATE_H

#include "base/error.h"

#include <gnutls/abstract.h>

struct ap_certificate;
/* AP_FORMAT for what is no certificate, no key, or not the key of that certificate. */
ap_status ap_certificate_open(struct ap_certificate **out, const char *cert_file,
                              const char *key_file, struct ap_error *err);
/* The files as they are now; after an error the old pair stays. Any thread. */
ap_status ap_certificate_reload(struct ap_certificate *c, struct ap_error *err);
void ap_certificate_close(struct ap_certificate *c); /* NULL is fine */

/* For a handshake: copies of the current pair, in GnuTLS's memory, so that a reload takes nothing
 * from under it; the session frees them (GNUTLS_CERT_RETR_DEINIT_ALL). 0, or GnuTLS's code of an
 * error, and nothing to be freed. Any thread. */
int ap_certificate_copy(struct ap_certificate *c, gnutls_pcert_st **certs, unsigned *n_cert,
                        gnutls_privkey_t *key);

#endif
