/* Who may ask: keys that clients present, of which only hashes are kept, and how often each may.
 *
 *     NAME SHA256-IN-HEX [REQUESTS-A-MINUTE]      one a line; # begins a comment
 */
#ifndef AP_SERVE_KEYS_H
#define AP_SERVE_KEYS_H

#include "base/error.h"

#include <stdbool.h>

enum { AP_KEY_NAME_MAX = 64, AP_KEY_TEXT_MAX = 80 };

typedef enum ap_key_answer { AP_KEY_KNOWN, AP_KEY_UNKNOWN, AP_KEY_LIMITED } ap_key_answer;

struct ap_keys;
/* AP_INVALID for a file that others may write, AP_FORMAT for a line that is none, or a name twice.
 */
ap_status ap_keys_open(struct ap_keys **out, const char *path, struct ap_error *err);
/* The file as it is now; where it cannot be read, the keys stay as they were. Any thread. */
ap_status ap_keys_reload(struct ap_keys *k, struct ap_error *err);
void ap_keys_close(struct ap_keys *k); /* NULL is fine */

/* Compares with every line, in a time that does not tell where it differs. counted: the request
 * takes one of the key's; LIMITED: none is left, and *retry_after says for how many seconds. `now`
 * is ap_clock_seconds. Any thread. */
ap_key_answer ap_keys_check(struct ap_keys *k, const char *key, bool counted, double now,
                            char name[AP_KEY_NAME_MAX], double *retry_after);

/* A new key of 256 bits from the system, whose hash is appended to the file, made with mode 0600.
 */
ap_status ap_keys_make(const char *path, const char *name, char key[AP_KEY_TEXT_MAX],
                       struct ap_error *err);

#endif
