/* The true score: an honest parser of the answer's text against the facts. It reads every sentence,
 * puts it into exactly one class, and knows nothing of how the answer was made.
 *
 *   right     a wanted aspect, stated truly about the animal, for the first time
 *   wrong     a false value about the animal, wanted or not
 *   off       a sentence that names another animal ("It ..." after it is unasked, so extra)
 *   extra     unasked, repeated, filler; the polite sentence anywhere but last
 *   lazy      "I am not sure." and its like
 *   garbled   anything else, a cut-off last sentence included
 *
 * Not here: learned rewards. Entry points: ap_world_score, ap_world_kept, ap_world_judge. */
#include "world/guide.h"

#include "base/json.h"

#include <ctype.h>
#include <string.h>

/* Bounds a hostile meta or a run-away answer: an answer is read up to here, the rest is one garbled
 * sentence. */
#define SENTENCES_MAX 1000

struct reader {
    const struct ap_world_intent *intent;
    struct ap_world_verdict *verdict;
    int subject;     /* the animal that "It" stands for */
    unsigned stated; /* bit a: aspect a was stated truly already */
};

/* Does the sentence s[0..n) follow the pattern? %a and %v each match one lower-case word. */
static bool match(const char *pattern, const char *s, size_t n, const char **a, size_t *n_a,
                  const char **v, size_t *n_v)
{
    size_t at = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p != '%') {
            if (at >= n || s[at++] != *p)
                return false;
            continue;
        }
        size_t first = at;
        while (at < n && islower((unsigned char)s[at]))
            at++;
        if (*++p == 'a') {
            *a = s + first;
            *n_a = at - first;
        } else {
            *v = s + first;
            *n_v = at - first;
        }
    }
    return at == n;
}

/* Is it a value that some animal has for the aspect? */
static bool known_value(int aspect, const char *v, size_t n)
{
    for (int a = 0; a < AP_WORLD_ANIMALS; a++) {
        const char *fact = ap_world_animals[a].fact[aspect];
        if (strlen(fact) == n && !memcmp(fact, v, n))
            return true;
    }
    return false;
}

static void count_statement(struct reader *r, int aspect, const char *v, size_t n)
{
    const char *truth = ap_world_animals[r->intent->animal].fact[aspect];
    if (strlen(truth) != n || memcmp(truth, v, n) != 0) {
        r->verdict->wrong++;
    } else if (!ap_world_wants(r->intent, aspect) || r->stated >> aspect & 1u) {
        r->verdict->extra++;
    } else {
        r->verdict->right++;
        r->stated |= 1u << aspect;
    }
}

static bool read_statement(struct reader *r, const char *s, size_t n)
{
    for (int aspect = 0; aspect < AP_WORLD_ASPECTS; aspect++) {
        const char *a = NULL, *v = NULL;
        size_t n_a = 0, n_v = 0;
        bool named = match(ap_world_aspects[aspect].named, s, n, &a, &n_a, &v, &n_v);
        if (!named && !match(ap_world_aspects[aspect].pronoun, s, n, &a, &n_a, &v, &n_v))
            continue;
        int animal = named ? ap_world_animal_find(a, n_a) : r->subject;
        if (animal < 0 || !known_value(aspect, v, n_v))
            return false;
        r->subject = animal;
        if (animal == r->intent->animal)
            count_statement(r, aspect, v, n_v);
        else if (named)
            r->verdict->off++;
        else
            r->verdict->extra++;
        return true;
    }
    return false;
}

static bool is_one_of(const char *const *texts, int n_texts, const char *s, size_t n)
{
    for (int i = 0; i < n_texts; i++)
        if (strlen(texts[i]) == n && !memcmp(texts[i], s, n))
            return true;
    return false;
}

static void read_sentence(struct reader *r, const char *s, size_t n, bool last)
{
    static const char *const polite[1] = {ap_world_polite};
    struct ap_world_verdict *v = r->verdict;
    if (is_one_of(polite, 1, s, n)) {
        v->polite = last;
        v->extra += !last;
    } else if (is_one_of(ap_world_fillers, AP_WORLD_FILLERS, s, n)) {
        v->extra++;
    } else if (is_one_of(ap_world_lazy, AP_WORLD_LAZY, s, n)) {
        v->lazy++;
    } else if (!read_statement(r, s, n)) {
        v->garbled++;
    }
}

/* Length of the sentence at s: up to a full stop, '!' or '?' that ends a word, or to the end. */
static size_t sentence_length(const char *s)
{
    for (size_t i = 0; s[i]; i++)
        if (strchr(".!?", s[i]) && (!s[i + 1] || isspace((unsigned char)s[i + 1])))
            return i + 1;
    return strlen(s);
}

static const char *skip_space(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    return s;
}

void ap_world_judge(struct ap_world_verdict *verdict, const struct ap_world_intent *intent,
                    const char *answer, bool ended)
{
    static const double courtesy[AP_WORLD_VOICES] = {
        [AP_WORLD_NO_VOICE] = .5, [AP_WORLD_KIND] = 1, [AP_WORLD_FACTS] = -.5};
    struct reader r = {intent, verdict, intent->animal, 0};
    const char *s = skip_space(answer);
    memset(verdict, 0, sizeof(*verdict));
    verdict->ended = ended;
    for (int i = 0; *s; i++) {
        size_t n = i < SENTENCES_MAX ? sentence_length(s) : strlen(s);
        const char *next = skip_space(s + n);
        read_sentence(&r, s, n, !*next);
        s = next;
    }
    verdict->score = 4.0 * verdict->right / intent->n - verdict->wrong - verdict->off -
                     0.5 * verdict->extra - verdict->garbled - 0.5 * verdict->lazy +
                     (verdict->polite ? courtesy[intent->voice] : 0.0) - (ended ? 0.0 : 1.0);
}

static ap_status read_aspects(struct ap_world_intent *intent, const json_t *aspects,
                              struct ap_error *err)
{
    size_t n = json_array_size(aspects);
    if (n < 1 || n > AP_WORLD_WANTED_MAX)
        return ap_fail(err, AP_FORMAT, "meta: aspects must be a list of 1 to %d names",
                       AP_WORLD_WANTED_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(aspects, i));
        int aspect = name ? ap_world_aspect_find(name) : -1;
        if (aspect < 0 || ap_world_wants(intent, aspect))
            return ap_fail(err, AP_FORMAT,
                           "meta: aspects[%zu] is %s, expected home, food, colour, lifespan or "
                           "young, each at most once",
                           i, name ? name : "not a text");
        intent->aspects[intent->n++] = aspect;
    }
    return AP_OK;
}

static ap_status read_voice(struct ap_world_intent *intent, const json_t *meta,
                            struct ap_error *err)
{
    const char *name = NULL;
    ap_status status = ap_json_text(meta, "voice", "meta", false, &name, NULL, err);
    if (status != AP_OK || !name)
        return status;
    for (int v = AP_WORLD_NO_VOICE + 1; v < AP_WORLD_VOICES; v++)
        if (!strcmp(name, ap_world_voice_names[v])) {
            intent->voice = (ap_world_voice)v;
            return AP_OK;
        }
    return ap_fail(err, AP_FORMAT, "meta: voice is '%s', expected kind or facts", name);
}

static ap_status intent_of_meta(struct ap_world_intent *intent, const char *meta,
                                struct ap_error *err)
{
    json_t *root = NULL;
    const char *animal = "";
    size_t n = 0;
    ap_status status;
    *intent = (struct ap_world_intent){.n = 0};
    AP_TRY(ap_json_parse(meta, strlen(meta), "meta", &root, err));
    AP_TRY(ap_json_text(root, "animal", "meta", true, &animal, &n, err));
    intent->animal = ap_world_animal_find(animal, n);
    if (intent->animal < 0) {
        status = ap_fail(err, AP_FORMAT,
                         "meta: animal '%s' is none of the world's; use the files that "
                         "the demo writes",
                         animal);
        goto out;
    }
    AP_TRY(read_aspects(intent, json_object_get(root, "aspects"), err));
    status = read_voice(intent, root, err);
out:
    json_decref(root);
    return status;
}

ap_status ap_world_score(const char *meta, const char *answer, bool ended, double *score,
                         struct ap_error *err)
{
    struct ap_world_intent intent;
    struct ap_world_verdict verdict;
    ap_status status = intent_of_meta(&intent, meta, err);
    if (status != AP_OK)
        return status;
    ap_world_judge(&verdict, &intent, answer, ended);
    *score = verdict.score;
    return AP_OK;
}

/* Does the word or phrase occur in text, not inside a longer word? */
static bool names_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = strstr(text, word); s; s = strstr(s + 1, word))
        if ((s == text || !isalpha((unsigned char)s[-1])) && !isalpha((unsigned char)s[n]))
            return true;
    return false;
}

static bool names_aspect(const char *text, int aspect)
{
    const struct ap_world_aspect *names = &ap_world_aspects[aspect];
    bool named = names_word(text, names->formal);
    for (int i = 0; i < 3; i++)
        named = named || names_word(text, names->colloquial[i]);
    return named;
}

ap_status ap_world_kept(const char *meta, const char *rewrite, bool *animal, bool *aspects,
                        struct ap_error *err)
{
    struct ap_world_intent intent;
    ap_status status = intent_of_meta(&intent, meta, err);
    if (status != AP_OK)
        return status;
    *animal = *aspects = true;
    for (int a = 0; a < AP_WORLD_ANIMALS; a++)
        *animal &= names_word(rewrite, ap_world_animals[a].name) == (a == intent.animal);
    for (int a = 0; a < AP_WORLD_ASPECTS; a++)
        *aspects &= names_aspect(rewrite, a) == ap_world_wants(&intent, a);
    return AP_OK;
}
