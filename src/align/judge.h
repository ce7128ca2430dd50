/* A pairwise judge's words: what its reply says, and what its two replies on a pair come to.
 * math.md section 3: each pair is asked twice with the order swapped, and a pair on which the judge
 * contradicts itself is a tie. Pure functions of texts; who asks, and how, is the caller's. */
#ifndef AP_ALIGN_JUDGE_H
#define AP_ALIGN_JUDGE_H

#include <stdint.h>

typedef enum ap_verdict {
    AP_VERDICT_NONE, /* no reply, or one that says nothing well-formed */
    AP_VERDICT_A,
    AP_VERDICT_B,
    AP_VERDICT_TIE,
} ap_verdict;

/* What a reply says; NULL (a reply that is missing) says nothing. Either the whole reply is A, B or
 * tie, or the last line with "Verdict: A" or "[[A]]" decides; any case, markdown emphasis allowed.
 * Nothing but punctuation may follow on that line ("Verdict: A good answer" is none), and two
 * different verdicts on it are none. Any bytes that end in NUL; linear in their number. */
ap_verdict ap_verdict_parse(const char *reply);

typedef enum ap_outcome {
    AP_OUTCOME_NONE,          /* a reply is missing or unparsable: the pair has no verdict */
    AP_OUTCOME_WIN,           /* the arm's answer, both times */
    AP_OUTCOME_LOSS,          /* the baseline's, both times */
    AP_OUTCOME_TIE,           /* a tie, both times */
    AP_OUTCOME_CONTRADICTION, /* two verdicts that differ: counts as a tie */
    AP_OUTCOME_SAME,          /* equal answers, never asked: a tie by definition */
    AP_OUTCOME_COUNT,
} ap_outcome;

/* "none", "win" … "same". */
const char *ap_outcome_name(ap_outcome outcome);

/* first: of the question where A is the arm's answer; second: where A is the baseline's. */
ap_outcome ap_outcome_of(ap_verdict first, ap_verdict second);

/* Of one pair what it adds to the win rate: 1, 1/2, 0; NaN for NONE. */
double ap_outcome_points(ap_outcome outcome);

struct ap_outcome_shares {
    int64_t n;       /* pairs, with and without verdict */
    double win_rate; /* over the pairs with a verdict, ties one half; NaN where not to be shown */
    double contradicted; /* of all pairs; NaN without any */
    double bad;          /* without verdict, of all pairs; NaN without any */
};

/* counts by outcome, none negative. A share without verdict above max_bad, in [0, 1], leaves no win
 * rate: what is left of the pairs is no fair sample of them. */
struct ap_outcome_shares ap_outcome_sum(const int64_t counts[AP_OUTCOME_COUNT], double max_bad);

#endif
