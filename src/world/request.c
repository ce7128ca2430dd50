/* Requests: what a good prompter could turn a user prompt into, and the mediocre rewriting that
 * supervised fine-tuning imitates.
 *
 *   [Please] {Describe|Tell me about|Explain|Write about} the ANIMAL. {Cover|Say} its NAMES.
 * {clauses}
 *
 * Not here: what a clause does to the answer (answer.c).
 * Entry points: ap_world_request_draw, ap_world_rewrite_draw, ap_world_request_best. */
#include "world/guide.h"

#include <string.h>

static const char *const clause_texts[AP_WORLD_CLAUSES] = {
    [AP_WORLD_CHECK] = "Check every fact.", [AP_WORLD_EXACT] = "Be exact.",
    [AP_WORLD_TOPIC] = "Stay on topic.",    [AP_WORLD_SENTENCES] = "Use full sentences.",
    [AP_WORLD_CURIOUS] = "I am curious.",   [AP_WORLD_SCHOOL] = "This is for school.",
    [AP_WORLD_TIME] = "Take your time.",    [AP_WORLD_THANKS] = "Thank you.",
    [AP_WORLD_BRIEF] = "Be brief.",         [AP_WORLD_FUN] = "Make it fun.",
    [AP_WORLD_GUESS] = "Just guess.",       [AP_WORLD_STORY] = "Tell a story.",
};

#define ALL_CLAUSES ((1u << AP_WORLD_CLAUSES) - 1)

/* Up to three clauses in the corpus, so that the target knows what they do together; up to two in
 * the rewriting pairs, so that a prompter has something left to find. */
const struct ap_world_request_kind ap_world_request_corpus = {.6, 3, ALL_CLAUSES, .4};
const struct ap_world_request_kind ap_world_request_mediocre = {.6, 2, ALL_CLAUSES, .35};

/* The text of a request whose intent, clauses (in this order) and courtesy are decided. */
static void write_text(struct ap_world_request *q, int opening, int verb, const char *names,
                       const int32_t *clauses, int n_clauses)
{
    static const char *const openings[4] = {"Describe the %a.", "Tell me about the %a.",
                                            "Explain the %a.", "Write about the %a."};
    static const char *const polite[4] = {"Please describe the %a.", "Please tell me about the %a.",
                                          "Please explain the %a.", "Please write about the %a."};
    static const char *const verbs[2] = {" Cover its %v.", " Say its %v."};
    const char *animal = ap_world_animals[q->intent.animal].name;
    ap_world_line_expand(&q->text, q->please ? polite[opening] : openings[opening], animal, NULL,
                         NULL);
    ap_world_line_expand(&q->text, verbs[verb], NULL, NULL, names);
    for (int i = 0; i < n_clauses; i++)
        ap_world_line_sentence(&q->text, clause_texts[clauses[i]]);
}

void ap_world_request_draw(struct ap_world_request *request, const struct ap_world_intent *intent,
                           const struct ap_world_request_kind *kind, struct ap_random *r)
{
    struct ap_world_line names = {.n = 0};
    int32_t clauses[AP_WORLD_CLAUSES];
    int n_from = 0;
    memset(request, 0, sizeof(*request));
    request->intent = *intent;
    request->please = ap_world_chance(r, kind->please);
    ap_world_names_draw(&names, intent, kind->formal, true, &request->formal, r);
    for (int c = 0; c < AP_WORLD_CLAUSES; c++)
        if (kind->from >> c & 1u)
            clauses[n_from++] = c;
    ap_random_shuffle(r, clauses, n_from);
    int n_clauses = ap_world_pick(r, kind->n_clauses + 1);
    for (int i = 0; i < n_clauses; i++)
        request->clauses |= 1u << clauses[i];
    int opening = ap_world_pick(r, 4), verb = ap_world_pick(r, 2);
    write_text(request, opening, verb, names.s, clauses, n_clauses);
}

static void drop_aspect(struct ap_world_intent *intent, struct ap_random *r)
{
    int at = ap_world_pick(r, intent->n);
    intent->n--;
    for (int i = at; i < intent->n; i++)
        intent->aspects[i] = intent->aspects[i + 1];
}

static void add_aspect(struct ap_world_intent *intent, struct ap_random *r)
{
    int aspect;
    do {
        aspect = ap_world_pick(r, AP_WORLD_ASPECTS);
    } while (ap_world_wants(intent, aspect));
    intent->aspects[intent->n++] = aspect;
}

void ap_world_rewrite_draw(struct ap_world_request *request, const struct ap_world_prompt *prompt,
                           struct ap_random *r)
{
    struct ap_world_intent asked = prompt->intent;
    double u = ap_random_uniform(r);
    if (u < .04 && prompt->distractor >= 0)
        asked.animal = prompt->distractor;
    else if (u < .06)
        asked.animal = ap_world_pick(r, AP_WORLD_ANIMALS);
    if (ap_world_chance(r, .15)) {
        if (asked.n > 1)
            drop_aspect(&asked, r);
    } else if (ap_world_chance(r, .12) && asked.n < AP_WORLD_WANTED_MAX) {
        add_aspect(&asked, r);
    }
    ap_world_request_draw(request, &asked, &ap_world_request_mediocre, r);
}

void ap_world_request_best(struct ap_world_request *request, const struct ap_world_intent *intent)
{
    static const int32_t best[3] = {AP_WORLD_CHECK, AP_WORLD_TOPIC, AP_WORLD_SENTENCES};
    struct ap_world_line names = {.n = 0};
    struct ap_random unused; /* formal names are no matter of chance here */
    ap_random_init(&unused, &(struct ap_stream){.seed = 0});
    memset(request, 0, sizeof(*request));
    request->intent = *intent;
    request->please = true;
    ap_world_names_draw(&names, intent, 1.0, true, &request->formal, &unused);
    for (size_t i = 0; i < AP_LEN(best); i++)
        request->clauses |= 1u << best[i];
    write_text(request, 0, 0, names.s, best, (int)AP_LEN(best));
}
