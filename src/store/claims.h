/* Claims on keys among processes: who asks for what at this moment. A key is a byte of an empty
 * file, "DATABASE-asking"; a claim is an open-file-description lock on it, which the kernel drops
 * with the process, whatever ends it. The kernel keeps the locks of a file in one sorted list: a
 * few hundred at a time are fine, many thousands are not.
 */
#ifndef AP_STORE_CLAIMS_H
#define AP_STORE_CLAIMS_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct ap_claims {
    char *path; /* owned; NULL: nothing was claimed yet */
    int fd;     /* −1: it is not open */
    off_t *held;
    int n_held, n_room;
    int unlockable; /* the errno by which the file system takes no locks; 0: it does */
    bool told;      /* ap_claims_warns has, of that */
    bool replaced;  /* the file is another one than it was; until ap_claims_warns tells */
};

void ap_claims_init(struct ap_claims *c);
void ap_claims_free(struct ap_claims *c); /* releases all */

/* *mine: nobody else has the key; it is this one's until it is released. The file is made with the
 * rights and the owner of `database`, beside it; where it was deleted or replaced meanwhile, what
 * is held is claimed in the new one. Where the file system takes no locks everything is mine. key:
 * of hex digits. */
ap_status ap_claims_take(struct ap_claims *c, const char *database, const char *key, bool *mine,
                         struct ap_error *err);
void ap_claims_release(struct ap_claims *c, const char *key); /* NULL: all that are held */

/* True once, with a line for the user: the file system takes no locks, or another file is there. */
bool ap_claims_warns(struct ap_claims *c, struct ap_error *line);

#endif
