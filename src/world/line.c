/* Bounded text and the few draws that every generator of the world makes.
 * Entry points: ap_world_line_*, ap_world_chance, ap_world_pick*. */
#include "world/guide.h"

#include <assert.h>
#include <string.h>

static void add_bytes(struct ap_world_line *line, const char *text, size_t n)
{
    assert(line->n + n < AP_WORLD_LINE_MAX);
    memcpy(line->s + line->n, text, n);
    line->n += n;
    line->s[line->n] = '\0';
}

void ap_world_line_add(struct ap_world_line *line, const char *text)
{
    add_bytes(line, text, strlen(text));
}

void ap_world_line_expand(struct ap_world_line *line, const char *pattern, const char *a,
                          const char *d, const char *v)
{
    for (const char *p = pattern; *p; p++) {
        if (*p != '%') {
            add_bytes(line, p, 1);
            continue;
        }
        p++;
        ap_world_line_add(line, *p == 'a' ? a : *p == 'd' ? d : v);
    }
}

void ap_world_line_sentence(struct ap_world_line *line, const char *text)
{
    if (line->n)
        add_bytes(line, " ", 1);
    ap_world_line_add(line, text);
}

bool ap_world_chance(struct ap_random *r, double p)
{
    return ap_random_uniform(r) < p;
}

int ap_world_pick(struct ap_random *r, int n)
{
    return (int)ap_random_below(r, (uint32_t)n);
}

int ap_world_pick_weighted(struct ap_random *r, const double *weights, int n)
{
    double u = ap_random_uniform(r);
    for (int i = 0; i < n - 1; i++) {
        if (u < weights[i])
            return i;
        u -= weights[i];
    }
    return n - 1;
}
