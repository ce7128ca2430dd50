/* Preference pairs (pairs.h). */
#include "align/pairs.h"

#include "base/memory.h"

void ap_pairs_free(struct ap_pair *pairs, int n)
{
    for (int i = 0; pairs && i < n; i++) {
        ap_sequence_free(&pairs[i].chosen);
        ap_sequence_free(&pairs[i].rejected);
    }
    ap_free(pairs);
}

int ap_pairs_longest(const struct ap_pair *pairs, int n, int least)
{
    for (int i = 0; pairs && i < n; i++)
        if (pairs[i].chosen.n + pairs[i].rejected.n > least)
            least = pairs[i].chosen.n + pairs[i].rejected.n;
    return least;
}
