/* Lines of a head (header.h). */
#include "serve/header.h"

#include <string.h>

bool ap_header_is_name(const char *name, size_t n)
{
    return n > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "!#$%&'*+-.^_`|~") >= n;
}

bool ap_header_is_value(const char *value)
{
    for (const char *c = value; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return false;
    return true;
}
