/* A judge that compares two answers: questions out, replies in, each pair twice with the order of
 * its answers swapped. Who replies (a model, a program) stands behind struct ap_asker. */
#ifndef AP_ALIGN_JUDGE_PAIRS_H
#define AP_ALIGN_JUDGE_PAIRS_H

#include "align/judge.h"
#include "base/error.h"
#include "text/template.h"

#include <stdbool.h>

struct ap_asker {
    void *self;
    /* n questions at once; replies[n] come in as NULL and leave as owned texts, NULL where none
     * came (a timeout): that pair has no verdict. A failure says that none will come any more;
     * what is in replies by then is the caller's too. */
    ap_status (*ask)(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err);
    void (*free)(void *self); /* NULL: nothing to free */
};
void ap_asker_free(struct ap_asker *asker); /* also of one that never opened */

struct ap_pair { /* all borrowed */
    const struct ap_message *context;
    size_t n_context;
    const char *x, *arm, *baseline;
};

struct ap_judged {
    ap_outcome outcome;
    char *first, *second; /* owned replies; NULL where missing or never asked */
};
void ap_judged_free(struct ap_judged *judged, int n); /* replies, not the array */

/* Asks for "Verdict: A", "Verdict: B" or "Verdict: tie" on the last line. */
extern const char ap_judge_question[];

/* question with {context} (turns before x, a role and a text each), {prompt}, {a} and {b} put in;
 * what is put in is not looked through again. Other braces stay. The caller frees *out. */
ap_status ap_judge_render(const char *question, const struct ap_pair *pair, bool swapped,
                          char **out, struct ap_error *err);

/* Judges n pairs into out[n], for ap_judged_free also after a failure: what was judged stays. A
 * reply that out holds already (owned; NULL: none) is kept and not asked for again; pairs with
 * equal answers are not asked at all. question NULL: ap_judge_question. */
ap_status ap_judge_pairs(const struct ap_asker *asker, const char *question,
                         const struct ap_pair *pairs, int n, struct ap_judged *out,
                         struct ap_error *err);

#endif
