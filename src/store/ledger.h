/* The ledger of what was asked of a paid server: an intent is on the disk before the request is
 * sent, an answer before it is used, and what is answered is never asked for again, in this run,
 * after a crash, or in another run that shares the file. A table of run.db, or of a file of its own
 * (recipe key ledger.path); synchronous=FULL. A handle of its own beside run.db's: between
 * ap_ledger_begin and _commit nobody else writes.
 *
 *     sends = answers (0 or 1) + refused + lost + in flight, or unknown after a kill
 */
#ifndef AP_STORE_LEDGER_H
#define AP_STORE_LEDGER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AP_LEDGER_KEY 65 /* SHA-256 in hex, with its terminator */

struct ap_ledger_answer {
    char *text;                /* owned: ap_ledger_answer_free */
    char *finish;              /* owned: the server's finish_reason; "" for none */
    bool refused;              /* a content filter's refusal */
    int64_t n_prompt, n_token; /* as the server counted; −1: it did not say */
    double usd;                /* by the recipe's prices; 0 without */
    double seconds;            /* of the attempt that brought it */
};
void ap_ledger_answer_free(struct ap_ledger_answer *a);

struct ap_ledger_sums { /* of one `run` and `who` */
    int64_t n_key;      /* distinct requests intended */
    int64_t n_send, n_answer, n_refused, n_lost;
    int64_t n_unknown;         /* sends − answers − refused − lost: in flight, or at a kill */
    int64_t n_filtered;        /* answers that are refusals of a content filter */
    int64_t n_uncounted;       /* answers whose server does not say how many tokens they took */
    int64_t n_prompt, n_token; /* of the answers */
    double usd;
    int64_t reserved_tokens; /* of what is lost, unknown or uncounted: it may have been bought */
    double reserved_usd;
};

struct ap_ledger;
/* run: whose budget it is, an absolute run directory; copied. */
ap_status ap_ledger_open(struct ap_ledger **out, const char *path, const char *run,
                         struct ap_error *err);
/* To find and sum only: nothing is written or locked. *out is NULL where there is no ledger yet. */
ap_status ap_ledger_open_read(struct ap_ledger **out, const char *path, const char *run,
                              struct ap_error *err);
void ap_ledger_close(struct ap_ledger *l); /* NULL is fine */
ap_status ap_ledger_begin(struct ap_ledger *l, struct ap_error *err);
ap_status ap_ledger_commit(struct ap_ledger *l, struct ap_error *err);

/* Whether the key has an answer; *out is filled only then. */
ap_status ap_ledger_find(struct ap_ledger *l, const char *key, struct ap_ledger_answer *out,
                         bool *found, struct ap_error *err);
/* One more send of the key, reserving so much. what: the request, for a person to read. */
ap_status ap_ledger_intend(struct ap_ledger *l, const char *key, const char *who, const char *what,
                           int64_t tokens, double usd, struct ap_error *err);
/* The last send brought nothing: refused (not bought), or lost (perhaps bought). */
ap_status ap_ledger_miss(struct ap_ledger *l, const char *key, bool refused, struct ap_error *err);
ap_status ap_ledger_answer(struct ap_ledger *l, const char *key, const struct ap_ledger_answer *a,
                           struct ap_error *err);

/* Makes the key this handle's alone among all processes that have the ledger open, until it is
 * released or the process ends, however it ends; *mine is false where another has it. Who asks for
 * an answer claims its key first, then looks whether the answer has come meanwhile. A lock in an
 * empty file beside the ledger, "PATH-asking" (claims.h); key: of hex digits. */
ap_status ap_ledger_claim(struct ap_ledger *l, const char *key, bool *mine, struct ap_error *err);
void ap_ledger_release(struct ap_ledger *l, const char *key); /* NULL: all that it claimed */
/* True once, with a line for the user: claims hold less than they say, on this file system or as
 * their file was deleted. */
bool ap_ledger_warns(struct ap_ledger *l, struct ap_error *line);

ap_status ap_ledger_sum(struct ap_ledger *l, const char *who, struct ap_ledger_sums *out,
                        struct ap_error *err);

#endif
