/* The page at / : one HTML text without anything from elsewhere. */
#ifndef AP_SERVE_PAGE_H
#define AP_SERVE_PAGE_H

/* Static. *policy: the Content-Security-Policy that it is sent with. */
const char *ap_page(const char **policy);

#endif
