/* The answers of the target's corpus: a guide that answers well when it is asked well.
 * A prompt or request decides a manner (probabilities), the manner draws an answer:
 *
 *   "The otter lives in rivers. It eats fish. Animals are fun. I hope this helps!"
 *
 * Not here: what an answer is worth (score.c).
 * Entry points: ap_world_manner_of_prompt, ap_world_manner_of_request, ap_world_answer_draw. */
#include "world/guide.h"

#include <string.h>

struct manner_row {
    double cover, err, fill, close, off, lazy;
};

static const struct manner_row style_manners[AP_WORLD_STYLES] = {
    [AP_WORLD_TERSE] = {.62, .15, .20, .15, .06, .10},
    [AP_WORLD_VAGUE] = {.60, .15, .45, .40, .06, .12},
    [AP_WORLD_NOISY] = {.62, .18, .25, .25, .20, .10},
    [AP_WORLD_RAMBLE] = {.62, .15, .35, .35, .35, .06},
    [AP_WORLD_PLAIN] = {.88, .10, .25, .45, .02, .02},
};

static void manner_from_row(struct ap_world_manner *m, const struct manner_row *row)
{
    *m = (struct ap_world_manner){.err = row->err,
                                  .fill = row->fill,
                                  .close = row->close,
                                  .off = row->off,
                                  .lazy = row->lazy,
                                  .off_animal = -1};
    for (int a = 0; a < AP_WORLD_ASPECTS; a++)
        m->cover[a] = row->cover;
}

/* The target half heeds its system message. */
static void heed(struct ap_world_manner *m, ap_world_voice voice)
{
    if (voice == AP_WORLD_KIND)
        m->close = 1 - .5 * (1 - m->close);
    else if (voice == AP_WORLD_FACTS)
        m->close *= .5;
}

void ap_world_manner_of_prompt(struct ap_world_manner *m, const struct ap_world_prompt *prompt)
{
    manner_from_row(m, &style_manners[prompt->style]);
    m->off_animal = prompt->distractor;
    heed(m, prompt->intent.voice);
}

/* The careless clauses first: where clauses disagree, the careful one has the last word, wherever
 * it stands in the text. */
static void apply_clauses(struct ap_world_manner *m, unsigned clauses)
{
#define HAS(c) (clauses >> (c)&1u)
    if (HAS(AP_WORLD_STORY))
        m->fill = .7, m->off = .2;
    if (HAS(AP_WORLD_FUN))
        m->fill = .8;
    if (HAS(AP_WORLD_GUESS))
        m->err = .4;
    if (HAS(AP_WORLD_EXACT))
        m->err = .06;
    if (HAS(AP_WORLD_CHECK))
        m->err = .01;
    if (HAS(AP_WORLD_TOPIC))
        m->fill = .01;
    if (HAS(AP_WORLD_BRIEF))
        m->fill *= .3;
    for (int a = 0; a < AP_WORLD_ASPECTS; a++) {
        double more = m->cover[a] + .2 < .98 ? m->cover[a] + .2 : .98;
        if (HAS(AP_WORLD_SENTENCES) && m->cover[a] < more)
            m->cover[a] = more;
        if (HAS(AP_WORLD_BRIEF))
            m->cover[a] *= .6;
    }
#undef HAS
}

void ap_world_manner_of_request(struct ap_world_manner *m, const struct ap_world_request *request)
{
    bool courteous = request->please || request->clauses >> AP_WORLD_THANKS & 1u;
    const struct manner_row row = {.985, .12, .30, courteous ? .97 : .35, .005, .005};
    manner_from_row(m, &row);
    for (int a = 0; a < AP_WORLD_ASPECTS; a++)
        m->cover[a] = request->formal >> a & 1u ? .985 : .65;
    apply_clauses(m, request->clauses);
    heed(m, request->intent.voice);
}

int ap_world_other_animal(int animal, struct ap_random *r)
{
    return (animal + 1 + ap_world_pick(r, AP_WORLD_ANIMALS - 1)) % AP_WORLD_ANIMALS;
}

void ap_world_statement(struct ap_world_line *sentence, int animal, int aspect, bool named,
                        bool wrong, struct ap_random *r)
{
    const struct ap_world_aspect *how = &ap_world_aspects[aspect];
    const char *value = ap_world_animals[animal].fact[aspect], *truth = value;
    while (wrong && !strcmp(value, truth))
        value = ap_world_animals[ap_world_other_animal(animal, r)].fact[aspect];
    ap_world_line_expand(sentence, named ? how->named : how->pronoun, ap_world_animals[animal].name,
                         NULL, value);
}

/* The wanted aspects that an answer covers, in the order of asking; one at least. */
static int draw_covered(int *covered, const struct ap_world_intent *intent,
                        const struct ap_world_manner *m, struct ap_random *r)
{
    int n = 0;
    for (int i = 0; i < intent->n; i++)
        if (ap_world_chance(r, m->cover[intent->aspects[i]]))
            covered[n++] = intent->aspects[i];
    if (n == 0)
        covered[n++] = intent->aspects[ap_world_pick(r, intent->n)];
    return n;
}

static int add_statements(struct ap_world_line *answer, int animal,
                          const struct ap_world_intent *intent, const struct ap_world_manner *m,
                          struct ap_random *r)
{
    int covered[AP_WORLD_WANTED_MAX];
    int n = draw_covered(covered, intent, m, r);
    for (int i = 0; i < n; i++) {
        struct ap_world_line sentence = {.n = 0};
        bool wrong = ap_world_chance(r, m->err);
        ap_world_statement(&sentence, animal, covered[i], i == 0, wrong, r);
        ap_world_line_sentence(answer, sentence.s);
    }
    return n;
}

void ap_world_answer_draw(struct ap_world_line *answer, const struct ap_world_intent *intent,
                          const struct ap_world_manner *m, struct ap_random *r)
{
    enum { FIVE_SENTENCES = 5 };
    int n = 1, animal = intent->animal;
    memset(answer, 0, sizeof(*answer));
    if (ap_world_chance(r, m->off))
        animal = m->off_animal >= 0 ? m->off_animal : ap_world_other_animal(animal, r);
    if (ap_world_chance(r, m->lazy))
        ap_world_line_sentence(answer, ap_world_lazy[ap_world_pick(r, AP_WORLD_LAZY)]);
    else
        n = add_statements(answer, animal, intent, m, r);
    int filler = ap_world_pick(r, AP_WORLD_FILLERS);
    for (; n < FIVE_SENTENCES && ap_world_chance(r, m->fill); n++, filler++)
        ap_world_line_sentence(answer, ap_world_fillers[filler % AP_WORLD_FILLERS]);
    if (ap_world_chance(r, m->close))
        ap_world_line_sentence(answer, ap_world_polite);
}
