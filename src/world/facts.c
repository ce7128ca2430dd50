/* The world's vocabulary: 16 animals by 5 aspects, the names people use for them, the sentences
 * that state them, the 400 intents and their splits. Not here: drawing texts (prompt.c, request.c,
 * answer.c). Entry points: the tables, ap_world_intent_draw, ap_world_splits_init. */
#include "world/guide.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* home, food, colour, lifespan in years, young. Near enough to nature that a reader can check an
 * answer without the table; few values, so that a wrong one is always a plausible one. */
const struct ap_world_animal ap_world_animals[AP_WORLD_ANIMALS] = {
    {"otter", {"rivers", "fish", "brown", "ten", "pup"}},
    {"fox", {"burrows", "mice", "red", "five", "kit"}},
    {"bear", {"forests", "fish", "black", "twenty", "cub"}},
    {"wolf", {"mountains", "meat", "grey", "ten", "pup"}},
    {"deer", {"forests", "leaves", "brown", "fifteen", "fawn"}},
    {"goat", {"mountains", "grass", "white", "fifteen", "kid"}},
    {"horse", {"plains", "grass", "brown", "twenty", "foal"}},
    {"camel", {"deserts", "leaves", "golden", "forty", "calf"}},
    {"whale", {"oceans", "krill", "blue", "eighty", "calf"}},
    {"owl", {"forests", "mice", "white", "ten", "chick"}},
    {"duck", {"rivers", "seeds", "brown", "five", "chick"}},
    {"frog", {"rivers", "insects", "green", "ten", "tadpole"}},
    {"bat", {"caves", "insects", "black", "twenty", "pup"}},
    {"lion", {"plains", "meat", "golden", "fifteen", "cub"}},
    {"rabbit", {"burrows", "grass", "grey", "five", "kit"}},
    {"parrot", {"forests", "seeds", "red", "forty", "chick"}},
};

const struct ap_world_aspect ap_world_aspects[AP_WORLD_ASPECTS] = {
    {"home", {"place", "spot", "house"}, "The %a lives in %v.", "It lives in %v."},
    {"food", {"grub", "snacks", "meals"}, "The %a eats %v.", "It eats %v."},
    {"colour", {"looks", "shade", "coat"}, "The %a is %v.", "It is %v."},
    {"lifespan",
     {"age", "life length", "time on earth"},
     "The %a lives for %v years.",
     "It lives for %v years."},
    {"young",
     {"babies", "little ones", "baby name"},
     "The young of the %a is a %v.",
     "Its young is a %v."},
};

const char *const ap_world_fillers[AP_WORLD_FILLERS] = {
    "Animals are fun.",       "Nature is full of wonders.",     "There is so much to say.",
    "Many people love them.", "You can see one in many books.",
};
const char *const ap_world_lazy[AP_WORLD_LAZY] = {
    "I am not sure.",
    "That is hard to say.",
    "You could look it up.",
};
const char ap_world_polite[] = "I hope this helps!";

/* Sets of 1 to 3 aspects, as bits, in the order of their numbers. */
#define N_SETS (AP_WORLD_INTENTS / AP_WORLD_ANIMALS)
static const unsigned char aspect_sets[N_SETS] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26, 28};

const char *const ap_world_voice_names[AP_WORLD_VOICES] = {
    [AP_WORLD_KIND] = "kind", [AP_WORLD_FACTS] = "facts"};

const char *const ap_world_systems[AP_WORLD_VOICES] = {
    [AP_WORLD_KIND] = "You are a kind guide. End with a warm word.",
    [AP_WORLD_FACTS] = "You are a fact book. No small talk."};

int ap_world_animal_find(const char *name, size_t n)
{
    for (int a = 0; a < AP_WORLD_ANIMALS; a++)
        if (strlen(ap_world_animals[a].name) == n && !memcmp(ap_world_animals[a].name, name, n))
            return a;
    return -1;
}

int ap_world_aspect_find(const char *formal)
{
    for (int a = 0; a < AP_WORLD_ASPECTS; a++)
        if (!strcmp(ap_world_aspects[a].formal, formal))
            return a;
    return -1;
}

bool ap_world_wants(const struct ap_world_intent *intent, int aspect)
{
    for (int i = 0; i < intent->n; i++)
        if (intent->aspects[i] == aspect)
            return true;
    return false;
}

void ap_world_intent_at(struct ap_world_intent *intent, int index)
{
    assert(index >= 0 && index < AP_WORLD_INTENTS);
    unsigned set = aspect_sets[index % N_SETS];
    *intent = (struct ap_world_intent){.animal = index / N_SETS};
    for (int a = 0; a < AP_WORLD_ASPECTS; a++)
        if (set >> a & 1u)
            intent->aspects[intent->n++] = a;
}

int ap_world_intent_index(const struct ap_world_intent *intent)
{
    unsigned set = 0;
    for (int i = 0; i < intent->n; i++)
        set |= 1u << intent->aspects[i];
    for (int s = 0; s < N_SETS; s++)
        if (aspect_sets[s] == set)
            return intent->animal * N_SETS + s;
    assert(!"an intent has one to three distinct aspects");
    return -1;
}

static uint64_t intent_hash(int index)
{
    struct ap_world_intent intent;
    char text[96];
    ap_world_intent_at(&intent, index);
    int n = snprintf(text, sizeof(text), "%s", ap_world_animals[intent.animal].name);
    for (int i = 0; i < intent.n; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, " %s",
                      ap_world_aspects[intent.aspects[i]].formal);
    return ap_hash(text, (size_t)n);
}

void ap_world_splits_init(struct ap_world_splits *splits)
{
    uint64_t hash[AP_WORLD_INTENTS];
    for (int i = 0; i < AP_WORLD_INTENTS; i++)
        hash[i] = intent_hash(i);
    for (int i = 0; i < AP_WORLD_INTENTS; i++) {
        int rank = 0;
        for (int j = 0; j < AP_WORLD_INTENTS; j++)
            rank += hash[j] < hash[i] || (hash[j] == hash[i] && j < i);
        splits->of[i] = rank < AP_WORLD_TEST_INTENTS                            ? AP_WORLD_TEST
                        : rank < AP_WORLD_TEST_INTENTS + AP_WORLD_VALID_INTENTS ? AP_WORLD_VALID
                                                                                : AP_WORLD_TRAIN;
    }
}

void ap_world_intent_draw(struct ap_world_intent *intent, const struct ap_world_splits *splits,
                          unsigned from, struct ap_random *r)
{
    static const double weights[AP_WORLD_WANTED_MAX] = {2.0 / 11, 5.0 / 11, 4.0 / 11};
    intent->voice = AP_WORLD_NO_VOICE;
    do {
        int32_t order[AP_WORLD_ASPECTS] = {0, 1, 2, 3, 4};
        intent->animal = ap_world_pick(r, AP_WORLD_ANIMALS);
        intent->n = 1 + ap_world_pick_weighted(r, weights, AP_WORLD_WANTED_MAX);
        ap_random_shuffle(r, order, AP_WORLD_ASPECTS);
        for (int i = 0; i < intent->n; i++)
            intent->aspects[i] = order[i];
    } while (!((unsigned)splits->of[ap_world_intent_index(intent)] & from));
}
