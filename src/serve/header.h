/* Lines of a head, as all servers read them alike (RFC 9110, 5.1 and 5.5): what is none of these is
 * one line here and two elsewhere, or another. */
#ifndef AP_SERVE_HEADER_H
#define AP_SERVE_HEADER_H

#include <stdbool.h>
#include <stddef.h>

bool ap_header_is_name(const char *name, size_t n); /* a token */
bool ap_header_is_value(const char *value);         /* no control characters but tabs */

#endif
