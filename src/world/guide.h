/* Inside view of the world: its vocabulary and the generators that world.h's files are made with.
 * For src/world and its tests; other layers use world.h. */
#ifndef AP_WORLD_GUIDE_H
#define AP_WORLD_GUIDE_H

#include "base/random.h"
#include "world/world.h"

#include <stddef.h>

/* ---- vocabulary: facts.c ---- */

#define AP_WORLD_ANIMALS 16
#define AP_WORLD_ASPECTS 5
#define AP_WORLD_WANTED_MAX 3 /* aspects of an intent */
#define AP_WORLD_INTENTS 400  /* 16 animals x 25 sets of 1 to 3 aspects */
#define AP_WORLD_TEST_INTENTS 55
#define AP_WORLD_VALID_INTENTS 25

struct ap_world_animal {
    const char *name;
    const char *fact[AP_WORLD_ASPECTS]; /* by aspect */
};

struct ap_world_aspect {
    const char *formal;
    const char *colloquial[3];
    const char *named, *pronoun; /* sentences; %a stands for the animal, %v for the value */
};

extern const struct ap_world_animal ap_world_animals[AP_WORLD_ANIMALS];
extern const struct ap_world_aspect ap_world_aspects[AP_WORLD_ASPECTS];

#define AP_WORLD_FILLERS 5
#define AP_WORLD_LAZY 3
extern const char *const ap_world_fillers[AP_WORLD_FILLERS];
extern const char *const ap_world_lazy[AP_WORLD_LAZY];
extern const char ap_world_polite[];

/* What the system message of Orca's shape asks of the guide's manner. */
typedef enum ap_world_voice {
    AP_WORLD_NO_VOICE, /* no system message */
    AP_WORLD_KIND,     /* courtesy is worth twice as much */
    AP_WORLD_FACTS,    /* courtesy costs */
    AP_WORLD_VOICES
} ap_world_voice;

extern const char *const ap_world_voice_names[AP_WORLD_VOICES]; /* in meta; NULL for none */
extern const char *const ap_world_systems[AP_WORLD_VOICES];     /* the messages; NULL for none */

/* What somebody wants to know, and under which system message. */
struct ap_world_intent {
    ap_world_voice voice;
    int animal;
    int n;                            /* 1 to 3 */
    int aspects[AP_WORLD_WANTED_MAX]; /* distinct, in the order of asking */
};

/* Number of a name, or -1. */
int ap_world_animal_find(const char *name, size_t n);
int ap_world_aspect_find(const char *formal);
bool ap_world_wants(const struct ap_world_intent *intent, int aspect);

/* Intents in a fixed order, their aspects in the table's order; index forgets the order of asking.
 */
void ap_world_intent_at(struct ap_world_intent *intent, int index);
int ap_world_intent_index(const struct ap_world_intent *intent);

typedef enum ap_world_split {
    AP_WORLD_TRAIN = 1,
    AP_WORLD_VALID = 2,
    AP_WORLD_TEST = 4,
    AP_WORLD_ALL = 7
} ap_world_split;

/* Ranked by the hash of their spelling: the first 55 intents are test, the next 25 valid. Holds for
 * every seed, so that a setting chosen on one seed never saw another seed's test intents. */
struct ap_world_splits {
    ap_world_split of[AP_WORLD_INTENTS];
};
void ap_world_splits_init(struct ap_world_splits *splits);

/* 1, 2 or 3 aspects with weights 2:5:4, in random order, of one of the splits in the mask `from`.
 */
void ap_world_intent_draw(struct ap_world_intent *intent, const struct ap_world_splits *splits,
                          unsigned from, struct ap_random *r);

/* ---- bounded text: line.c ---- */

#define AP_WORLD_LINE_MAX 1024

/* A line of the world's text. Every generator's longest output fits with room to spare; more is a
 * programmer's error and asserts. */
struct ap_world_line {
    char s[AP_WORLD_LINE_MAX]; /* terminated */
    size_t n;
};

void ap_world_line_add(struct ap_world_line *line, const char *text);
/* %a, %d, %v in pattern stand for the arguments (NULL where the pattern has none). */
void ap_world_line_expand(struct ap_world_line *line, const char *pattern, const char *a,
                          const char *d, const char *v);
/* text as a sentence of its own, after a space where the line has some text. */
void ap_world_line_sentence(struct ap_world_line *line, const char *text);
bool ap_world_chance(struct ap_random *r, double p);
int ap_world_pick(struct ap_random *r, int n);                                 /* 0 ... n-1 */
int ap_world_pick_weighted(struct ap_random *r, const double *weights, int n); /* sum 1 */

/* ---- user prompts: prompt.c ---- */

typedef enum ap_world_style {
    AP_WORLD_TERSE,
    AP_WORLD_VAGUE,
    AP_WORLD_NOISY,
    AP_WORLD_RAMBLE,
    AP_WORLD_PLAIN,
    AP_WORLD_STYLES
} ap_world_style;

extern const char *const ap_world_style_names[AP_WORLD_STYLES];

struct ap_world_prompt {
    struct ap_world_intent intent;
    ap_world_style style;
    int distractor; /* the animal a ramble mentions first; -1 in the other styles */
    struct ap_world_line text;
};

/* Style by its share in the shape; drawn as one style. */
void ap_world_prompt_draw(struct ap_world_prompt *prompt, const struct ap_world_intent *intent,
                          ap_world_shape shape, struct ap_random *r);
void ap_world_prompt_draw_style(struct ap_world_prompt *prompt,
                                const struct ap_world_intent *intent, ap_world_style style,
                                struct ap_random *r);
/* One inner letter of one word deleted, swapped with its neighbour, doubled or changed. */
void ap_world_typo(struct ap_world_line *text, struct ap_random *r);
/* The names of an intent's aspects, each formal with probability formal; *formal_mask (may be NULL)
 * gets a bit for each formal one. The last separator is " and " or, as in the terse style, ", ". */
void ap_world_names_draw(struct ap_world_line *names, const struct ap_world_intent *intent,
                         double formal, bool with_and, unsigned *formal_mask, struct ap_random *r);

/* ---- requests: request.c ---- */

typedef enum ap_world_clause {
    AP_WORLD_CHECK,
    AP_WORLD_EXACT,
    AP_WORLD_TOPIC,
    AP_WORLD_SENTENCES,
    AP_WORLD_CURIOUS,
    AP_WORLD_SCHOOL,
    AP_WORLD_TIME,
    AP_WORLD_THANKS,
    AP_WORLD_BRIEF,
    AP_WORLD_FUN,
    AP_WORLD_GUESS,
    AP_WORLD_STORY,
    AP_WORLD_CLAUSES
} ap_world_clause;

struct ap_world_request {
    struct ap_world_intent intent; /* what the request asks, which a bad rewrite gets wrong */
    unsigned formal;               /* bit a: aspect a goes by its formal name */
    unsigned clauses;              /* bit c: clause c stands in the text */
    bool please;
    struct ap_world_line text;
};

/* How requests are drawn. */
struct ap_world_request_kind {
    double formal; /* probability of a formal name */
    int n_clauses; /* 0 to this many, each number as likely */
    unsigned from; /* clauses to draw from */
    double please;
};

extern const struct ap_world_request_kind ap_world_request_corpus, ap_world_request_mediocre;

void ap_world_request_draw(struct ap_world_request *request, const struct ap_world_intent *intent,
                           const struct ap_world_request_kind *kind, struct ap_random *r);
/* The mediocre rewriting that SFT imitates: sometimes another animal, an aspect dropped or added.
 */
void ap_world_rewrite_draw(struct ap_world_request *request, const struct ap_world_prompt *prompt,
                           struct ap_random *r);
/* The best request there is: please, formal names, and the three clauses that do most. */
void ap_world_request_best(struct ap_world_request *request, const struct ap_world_intent *intent);

/* ---- the target's answers: answer.c ---- */

struct ap_world_manner {
    double cover[AP_WORLD_ASPECTS]; /* probability that a wanted aspect is stated */
    double err;                     /* that a statement is wrong */
    double fill;                    /* that one more filler follows */
    double close;                   /* that the answer ends politely */
    double off;                     /* that it is about another animal */
    double lazy;                    /* that a lazy sentence stands in the facts' place */
    int off_animal;                 /* which other animal; -1 for any */
};

void ap_world_manner_of_prompt(struct ap_world_manner *m, const struct ap_world_prompt *prompt);
void ap_world_manner_of_request(struct ap_world_manner *m, const struct ap_world_request *request);
void ap_world_answer_draw(struct ap_world_line *answer, const struct ap_world_intent *intent,
                          const struct ap_world_manner *m, struct ap_random *r);
/* A statement about the animal, its value another animal's where `wrong`; as "It ..." unless named.
 */
void ap_world_statement(struct ap_world_line *sentence, int animal, int aspect, bool named,
                        bool wrong, struct ap_random *r);
/* Any animal but this one. */
int ap_world_other_animal(int animal, struct ap_random *r);

/* ---- the true score: score.c ---- */

struct ap_world_verdict {
    int right;   /* wanted aspects stated truly about the animal */
    int wrong;   /* false statements about it */
    int off;     /* sentences that name another animal */
    int extra;   /* unasked, repeated, filler */
    int garbled; /* sentences that are none of the world's */
    int lazy;
    bool polite; /* the last sentence is the polite one */
    bool ended;
    double score;
};

void ap_world_judge(struct ap_world_verdict *verdict, const struct ap_world_intent *intent,
                    const char *answer, bool ended);

/* ---- preference pairs: preference.c ---- */

struct ap_world_preference {
    struct ap_world_line chosen, rejected;
    double score_chosen, score_rejected; /* true scores, for tests; not written */
};

/* An answer with the five scores of HelpSteer's schema, in its order: helpfulness, correctness,
 * coherence, complexity, verbosity. */
#define AP_WORLD_RATINGS 5
struct ap_world_rated {
    struct ap_world_line answer;
    int rating[AP_WORLD_RATINGS]; /* 0 to 4 */
    double score;                 /* true score, for tests; not written */
};
extern const char *const ap_world_rating_names[AP_WORLD_RATINGS];

/* Two answers to a prompt that differ, from the process of the pairs, each rated with noise. */
void ap_world_rated_draw(struct ap_world_rated rated[2], const struct ap_world_prompt *prompt,
                         struct ap_random *r);

void ap_world_preference_draw(struct ap_world_preference *pair,
                              const struct ap_world_prompt *prompt, struct ap_random *r);
/* An answer written with random care: the half of the answers that no model wrote. */
void ap_world_careless_draw(struct ap_world_line *answer, const struct ap_world_intent *intent,
                            struct ap_random *r);

#endif
