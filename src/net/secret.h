/* A key that nobody may read: where it comes from, and how it is kept out of what we write. Not
 * here: what it is sent with (client.h). */
#ifndef AP_NET_SECRET_H
#define AP_NET_SECRET_H

#include "base/error.h"

#include <stdbool.h>

struct ap_secret {
    char *text; /* owned; NULL: there is none */
};

/* From the environment variable `env`, or from a file that only its owner may read (0600), whose
 * white space at the ends is left out; both empty: *out has none. who: "target", for messages.
 * AP_NOT_FOUND: the variable is not set, the file not there; AP_INVALID: others may read the file,
 * or what is there can be no header. From then on the process writes no core. */
ap_status ap_secret_open(struct ap_secret *out, const char *env, const char *file, const char *who,
                         struct ap_error *err);
void ap_secret_free(struct ap_secret *s); /* overwrites it first */

/* Whether text holds the key; every byte of it becomes '*', in place. */
bool ap_secret_hide(const struct ap_secret *s, char *text);

#endif
