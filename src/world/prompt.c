/* What users type: one intent in five styles, most of them worse than a guide deserves.
 * Not here: how well the target answers them (answer.c).
 * Entry points: ap_world_prompt_draw, ap_world_prompt_draw_style, ap_world_names_draw. */
#include "world/guide.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#define N_FORMS 4

struct style_row {
    double formal; /* probability of a formal name */
    bool with_and; /* "age and food", or "age, food" */
    const char
        *forms[N_FORMS]; /* %a the animal, %v the names, %d the distractor with its article */
};

static const double style_shares[AP_WORLD_SHAPES][AP_WORLD_STYLES] = {
    [AP_WORLD_ULTRAFEEDBACK] = {.25, .25, .20, .20, .10},
    [AP_WORLD_HELPSTEER] = {.10, .35, .10, .35, .10},
    [AP_WORLD_ORCA] = {.25, .25, .20, .20, .10}};

const char *const ap_world_style_names[AP_WORLD_STYLES] = {"terse", "vague", "noisy", "ramble",
                                                           "plain"};

static const struct style_row style_rows[AP_WORLD_STYLES] = {
    {.35, false, {"%a %v", "%a %v?", "%a %v pls", "%a, %v"}},
    {.15,
     true,
     {"can you say stuff on the %a, %v", "i want to know stuff on the %a, %v",
      "say something on the %a, like %v", "what about the %a, %v and so on"}},
    {.30,
     true,
     {"what is the %a %v??", "tell me the %v of the %a!!", "whats with the %a and its %v??",
      "need to know about %a %v now"}},
    {.20,
     true,
     {"my son saw %d today. anyway the %a, %v?", "we read about %d last week. now the %a, %v?",
      "%d is on my shirt, funny right. so the %a, %v?",
      "i used to draw %d a lot. but tell me the %a, %v"}},
    {1.0,
     true,
     {"Tell me about the %a: its %v.", "Describe the %a: its %v.", "Explain the %a: its %v.",
      "Write about the %a: its %v."}},
};

void ap_world_names_draw(struct ap_world_line *names, const struct ap_world_intent *intent,
                         double formal, bool with_and, unsigned *formal_mask, struct ap_random *r)
{
    for (int i = 0; i < intent->n; i++) {
        const struct ap_world_aspect *aspect = &ap_world_aspects[intent->aspects[i]];
        bool is_formal = ap_world_chance(r, formal);
        int which = ap_world_pick(r, 3);
        if (i)
            ap_world_line_add(names, with_and && i == intent->n - 1 ? " and " : ", ");
        ap_world_line_add(names, is_formal ? aspect->formal : aspect->colloquial[which]);
        if (is_formal && formal_mask)
            *formal_mask |= 1u << intent->aspects[i];
    }
}

/* Start of the word that letter i belongs to, and its length in *n. */
static size_t word_at(const struct ap_world_line *text, size_t i, size_t *n)
{
    size_t first = i, last = i;
    while (first > 0 && isalpha((unsigned char)text->s[first - 1]))
        first--;
    while (isalpha((unsigned char)text->s[last]))
        last++;
    *n = last - first;
    return first;
}

/* Position of a letter with a letter on both sides, or 0 where the text has none. */
static size_t inner_letter(const struct ap_world_line *text, struct ap_random *r)
{
    size_t n_inner = 0, n;
    for (size_t i = 1; i + 1 < text->n; i++) {
        size_t first = isalpha((unsigned char)text->s[i]) ? word_at(text, i, &n) : i;
        n_inner += first < i && i + 1 < first + n;
    }
    if (n_inner == 0)
        return 0;
    size_t wanted = ap_random_below(r, (uint32_t)n_inner);
    for (size_t i = 1;; i++) {
        size_t first = isalpha((unsigned char)text->s[i]) ? word_at(text, i, &n) : i;
        if (first < i && i + 1 < first + n && wanted-- == 0)
            return i;
    }
}

void ap_world_typo(struct ap_world_line *text, struct ap_random *r)
{
    size_t at = inner_letter(text, r), n;
    char *s = text->s;
    if (at == 0)
        return;
    size_t first = word_at(text, at, &n);
    bool can_swap = at + 2 < first + n; /* its right neighbour is an inner letter too */
    switch (ap_world_pick(r, 4)) {
    case 0: /* deleted */
        memmove(s + at, s + at + 1, text->n - at);
        text->n--;
        return;
    case 1:
        if (can_swap) {
            char letter = s[at];
            s[at] = s[at + 1];
            s[at + 1] = letter;
            return;
        }
        /* fall through */
    case 2: /* doubled */
        assert(text->n + 1 < AP_WORLD_LINE_MAX);
        memmove(s + at + 1, s + at, text->n - at + 1);
        text->n++;
        return;
    default: /* another letter */
        s[at] = (char)('a' + (s[at] - 'a' + 1 + ap_world_pick(r, 25)) % 26);
    }
}

void ap_world_prompt_draw_style(struct ap_world_prompt *prompt,
                                const struct ap_world_intent *intent, ap_world_style style,
                                struct ap_random *r)
{
    const struct style_row *row = &style_rows[style];
    struct ap_world_line names = {.n = 0}, distractor = {.n = 0};
    memset(prompt, 0, sizeof(*prompt));
    prompt->intent = *intent;
    prompt->style = style;
    prompt->distractor = -1;
    if (style == AP_WORLD_RAMBLE) {
        prompt->distractor = ap_world_other_animal(intent->animal, r);
        const char *name = ap_world_animals[prompt->distractor].name;
        ap_world_line_add(&distractor, strchr("aeiou", name[0]) ? "an " : "a ");
        ap_world_line_add(&distractor, name);
    }
    ap_world_names_draw(&names, intent, row->formal, row->with_and, NULL, r);
    ap_world_line_expand(&prompt->text, row->forms[ap_world_pick(r, N_FORMS)],
                         ap_world_animals[intent->animal].name, distractor.s, names.s);
    if (style == AP_WORLD_NOISY) {
        ap_world_typo(&prompt->text, r);
        if (ap_world_chance(r, .5))
            ap_world_typo(&prompt->text, r);
    }
}

void ap_world_prompt_draw(struct ap_world_prompt *prompt, const struct ap_world_intent *intent,
                          ap_world_shape shape, struct ap_random *r)
{
    int style = ap_world_pick_weighted(r, style_shares[shape], AP_WORLD_STYLES);
    ap_world_prompt_draw_style(prompt, intent, (ap_world_style)style, r);
}
