/* A file that travels inside the library: cmake/embed.cmake writes tables of them at build time. */
#ifndef AP_BASE_EMBEDDED_H
#define AP_BASE_EMBEDDED_H

#include <stddef.h>

struct ap_embedded {
    const char *name;          /* without its folder */
    const unsigned char *data; /* n bytes and a NUL */
    size_t n;
};

#endif
