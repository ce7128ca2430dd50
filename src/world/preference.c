/* Preference data for the reward: two answers to one user prompt, labelled by Bradley-Terry on the
 * true score, beta 2, or, in HelpSteer's shape, each rated from 0 to 4 by five noisy measures.
 *
 * Where the answers come from: a quarter answers a mediocre rewrite, a quarter answers the prompt
 * itself, half is written with random care. The first two quarters are drawn from the process that
 * writes the target's corpus, not from the trained target: that process is the distribution which
 * the target learns, so the pairs show the same strengths and faults, and the data stay a pure
 * function of a seed that needs no trained model and can be written before any stage.
 *
 * Not here: learning from the pairs. Entry points: ap_world_preference_draw,
 * ap_world_rated_draw, ap_world_careless_draw. */
#include "world/guide.h"

#include <math.h>
#include <string.h>

#define LABEL_BETA 2.0
#define SENTENCES_MAX 16

struct sentences {
    struct ap_world_line line[SENTENCES_MAX];
    int n;
};

static struct ap_world_line *add(struct sentences *s, const char *text)
{
    struct ap_world_line *line = &s->line[s->n++];
    line->n = 0;
    ap_world_line_add(line, text);
    return line;
}

/* The words of a sentence in another order, its full stop with whichever word had it. */
static void shuffle_words(struct ap_world_line *line, struct ap_random *r)
{
    enum { WORDS_MAX = 16 };
    struct ap_world_line copy = *line;
    char *words[WORDS_MAX], *rest = NULL;
    int32_t order[WORDS_MAX], n = 0;
    for (char *w = strtok_r(copy.s, " ", &rest); w && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &rest)) {
        order[n] = n;
        words[n++] = w;
    }
    ap_random_shuffle(r, order, n);
    line->n = 0;
    for (int32_t i = 0; i < n; i++)
        ap_world_line_sentence(line, words[order[i]]);
}

/* Statements: wanted aspects left out, values wrong, by lack of care; others put in, now and then
 * with all care. */
static void careless_statements(struct sentences *s, const struct ap_world_intent *intent,
                                double haste, struct ap_random *r)
{
    int animal = intent->animal;
    bool named = true;
    if (ap_world_chance(r, .3 * haste))
        animal = ap_world_other_animal(animal, r);
    for (int i = 0; i < intent->n; i++) {
        if (ap_world_chance(r, .6 * haste))
            continue;
        bool wrong = ap_world_chance(r, .5 * haste);
        ap_world_statement(add(s, ""), animal, intent->aspects[i], named, wrong, r);
        named = false;
    }
    for (int aspect = 0; aspect < AP_WORLD_ASPECTS; aspect++) {
        if (ap_world_wants(intent, aspect) || !ap_world_chance(r, .05 + .15 * haste))
            continue;
        bool wrong = ap_world_chance(r, .5 * haste);
        ap_world_statement(add(s, ""), animal, aspect, named, wrong, r);
        named = false;
    }
}

/* What else goes wrong in haste, and what a policy that chases reward would try: words out of
 * order, the polite sentence too early, a sentence again and again. The last happens without haste
 * too: a reward that saw repetition only beside other faults paid well for a true sentence said
 * three times. */
static void careless_slips(struct sentences *s, double haste, struct ap_random *r)
{
    if (s->n && ap_world_chance(r, .35 * haste))
        shuffle_words(&s->line[ap_world_pick(r, s->n)], r);
    while (s->n && s->n < SENTENCES_MAX / 2 && ap_world_chance(r, .2 + .25 * haste))
        add(s, s->line[ap_world_pick(r, s->n)].s);
    if (ap_world_chance(r, .1 * haste))
        add(s, ap_world_polite);
    while (s->n < SENTENCES_MAX - 3 && ap_world_chance(r, .45 * haste))
        add(s, ap_world_fillers[ap_world_pick(r, AP_WORLD_FILLERS)]);
    if (s->n == 0 || ap_world_chance(r, .15 * haste))
        add(s, ap_world_lazy[ap_world_pick(r, AP_WORLD_LAZY)]);
}

void ap_world_careless_draw(struct ap_world_line *answer, const struct ap_world_intent *intent,
                            struct ap_random *r)
{
    struct sentences s = {.n = 0};
    double haste = ap_random_uniform(r); /* 0: written with all care */
    memset(answer, 0, sizeof(*answer));
    careless_statements(&s, intent, haste, r);
    careless_slips(&s, haste, r);
    if (ap_world_chance(
            r, .5)) /* courtesy does not go with care, so that the reward tells them apart */
        add(&s, ap_world_polite);
    for (int i = 0; i < s.n; i++)
        ap_world_line_sentence(answer, s.line[i].s);
    if (ap_world_chance(r, .1 * haste)) { /* cut off */
        answer->n -= 1 + (size_t)ap_world_pick(r, (int)(answer->n / 2));
        answer->s[answer->n] = '\0';
    }
}

static void draw_answer(struct ap_world_line *answer, const struct ap_world_prompt *prompt,
                        struct ap_random *r)
{
    struct ap_world_manner manner;
    double u = ap_random_uniform(r);
    if (u < .25) {
        struct ap_world_request request;
        ap_world_rewrite_draw(&request, prompt, r);
        ap_world_manner_of_request(&manner, &request);
        ap_world_answer_draw(answer, &request.intent, &manner, r);
    } else if (u < .5) {
        ap_world_manner_of_prompt(&manner, prompt);
        ap_world_answer_draw(answer, &prompt->intent, &manner, r);
    } else {
        ap_world_careless_draw(answer, &prompt->intent, r);
    }
}

/* Two answers that differ, and what they are worth. */
static void draw_two(struct ap_world_line answers[2], struct ap_world_verdict verdicts[2],
                     const struct ap_world_prompt *prompt, struct ap_random *r)
{
    do {
        draw_answer(&answers[0], prompt, r);
        draw_answer(&answers[1], prompt, r);
    } while (!strcmp(answers[0].s, answers[1].s));
    for (int i = 0; i < 2; i++)
        ap_world_judge(&verdicts[i], &prompt->intent, answers[i].s, true);
}

void ap_world_preference_draw(struct ap_world_preference *pair,
                              const struct ap_world_prompt *prompt, struct ap_random *r)
{
    struct ap_world_line answers[2];
    struct ap_world_verdict v[2];
    draw_two(answers, v, prompt, r);
    bool keep = ap_world_chance(r, 1.0 / (1.0 + exp(-LABEL_BETA * (v[0].score - v[1].score))));
    pair->chosen = answers[keep ? 0 : 1];
    pair->rejected = answers[keep ? 1 : 0];
    pair->score_chosen = v[keep ? 0 : 1].score;
    pair->score_rejected = v[keep ? 1 : 0].score;
}

const char *const ap_world_rating_names[AP_WORLD_RATINGS] = {
    "helpfulness", "correctness", "coherence", "complexity", "verbosity"};

/* What a rater gives to what deserves x of 4: half of the time he is off by up to one. */
static int rate(double x, struct ap_random *r)
{
    double noise = 2 * (ap_random_uniform(r) - .5);
    double rating = floor(x + (ap_world_chance(r, .5) ? noise : 0) + .5);
    return (int)(rating < 0 ? 0 : rating > 4 ? 4 : rating);
}

void ap_world_rated_draw(struct ap_world_rated rated[2], const struct ap_world_prompt *prompt,
                         struct ap_random *r)
{
    struct ap_world_line answers[2];
    struct ap_world_verdict v[2];
    draw_two(answers, v, prompt, r);
    for (int i = 0; i < 2; i++) {
        const double wanted = prompt->intent.n, stated = v[i].right + v[i].wrong;
        const double deserved[AP_WORLD_RATINGS] = {
            v[i].score * 4 / 4.5, /* the best answer has 4.5 */
            4 * v[i].right / wanted - v[i].wrong - v[i].off,
            4 - 2 * v[i].garbled - v[i].off - .5 * v[i].extra,
            stated + .5 * v[i].extra,
            stated + v[i].extra + v[i].lazy + v[i].polite,
        };
        rated[i].answer = answers[i];
        rated[i].score = v[i].score;
        for (int k = 0; k < AP_WORLD_RATINGS; k++)
            rated[i].rating[k] = rate(deserved[k], r);
    }
}
