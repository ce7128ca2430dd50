/* The schema of HelpSteer and HelpSteer2: several answers to a prompt, a line each, with five
 * scores. All pairs within a prompt, wherever its lines stand, ordered by one of the scores. Entry
 * points: ap_helpsteer_record, ap_helpsteer_end. */
#include "text/dataset_reader.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <string.h>

#define ANSWERS_MAX 256 /* of one prompt: bounds the number of pairs */

const char *const ap_helpsteer_scores[] = {"helpfulness", "correctness", "coherence",
                                           "complexity",  "verbosity",   NULL};

/* One line. Those of one prompt form a list in the order of the file. */
struct ap_scored {
    struct ap_example chat; /* prompt and context */
    char *response;         /* in storage */
    uint64_t hash;          /* of the prompt as it stands in the file */
    double score;
    uint64_t number;   /* line */
    size_t next, last; /* the following one and, in the first, the last one; 0 for none */
    size_t n;          /* in the first: how many there are */
    bool first;
};

static ap_status grow(struct ap_dataset_reader *r, struct ap_error *err)
{
    if (r->n_scored < r->scored_cap)
        return AP_OK;
    size_t cap = r->scored_cap ? 2 * r->scored_cap : 256;
    struct ap_scored *grown = ap_realloc(r->scored, r->n_scored, cap, sizeof(*grown));
    if (!grown)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %zu answers", r->path, cap);
    r->scored = grown;
    r->scored_cap = cap;
    return AP_OK;
}

ap_status ap_helpsteer_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                              uint64_t number, struct ap_error *err)
{
    const char *score = r->options->score;
    const char *wanted = score && strcmp(score, "auto") != 0 ? score : ap_helpsteer_scores[0];
    const char *prompt = NULL, *response = NULL;
    struct ap_scored s = {.number = number};
    ap_status status;
    AP_TRY(ap_json_text(o, "prompt", where, true, &prompt, NULL, err));
    AP_TRY(ap_json_text(o, "response", where, true, &response, NULL, err));
    AP_TRY(ap_turns_marked(r, prompt, &s.chat, where, err));
    for (const char *const *key = ap_helpsteer_scores; *key; key++) {
        double value = 0;
        AP_TRY(ap_dataset_read_score(o, *key, true, &value, where, err));
        if (!strcmp(*key, wanted))
            s.score = value;
    }
    AP_TRY(grow(r, err));
    s.hash = ap_hash(prompt, strlen(prompt));
    AP_TRY(ap_dataset_keep(r, response, strlen(response), &s.response, err));
    r->scored[r->n_scored++] = s;
out:
    return status;
}

/* By hash, against chance by the last turn as well. */
static bool same_prompt(const struct ap_scored *a, const struct ap_scored *b)
{
    return a->hash == b->hash && a->chat.n_context == b->chat.n_context &&
           !strcmp(a->chat.prompt, b->chat.prompt);
}

/* Link the answers of each prompt: a hash table from prompt to its first line. */
static ap_status link_prompts(struct ap_dataset_reader *r, struct ap_error *err)
{
    size_t n_slots = 16;
    while (n_slots < 2 * r->n_scored)
        n_slots *= 2;
    size_t *slot = ap_calloc(n_slots, sizeof(*slot)); /* index + 1; 0 for empty */
    if (!slot)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %zu answers", r->path, r->n_scored);
    for (size_t i = 0; i < r->n_scored; i++) {
        struct ap_scored *s = &r->scored[i], *first = NULL;
        size_t k = s->hash & (n_slots - 1);
        for (; slot[k]; k = (k + 1) & (n_slots - 1)) {
            first = &r->scored[slot[k] - 1];
            if (same_prompt(first, s))
                break;
        }
        if (!slot[k]) {
            slot[k] = i + 1;
            s->first = true;
            s->last = i;
            s->n = 1;
            continue;
        }
        r->scored[first->last].next = i;
        first->last = i;
        first->n++;
    }
    ap_free(slot);
    return AP_OK;
}

static ap_status add_pair(struct ap_dataset_reader *r, const struct ap_scored *a,
                          const struct ap_scored *b, struct ap_error *err)
{
    if (a->score == b->score)
        return ap_dataset_drop(r, AP_DROP_TIE);
    const struct ap_scored *better = a->score > b->score ? a : b, *worse = better == a ? b : a;
    struct ap_example e = a->chat;
    e.chosen = better->response;
    e.rejected = worse->response;
    e.margin = better->score - worse->score;
    return ap_dataset_add(r, &e, err);
}

ap_status ap_helpsteer_end(struct ap_dataset_reader *r, struct ap_error *err)
{
    ap_status status = link_prompts(r, err);
    for (size_t i = 0; i < r->n_scored && status == AP_OK; i++) {
        if (!r->scored[i].first)
            continue;
        if (r->scored[i].n > ANSWERS_MAX)
            return ap_fail(err, AP_LIMIT,
                           "%s:%llu: its prompt has %zu answers, over the limit of %d; is this "
                           "HelpSteer?",
                           r->path, (unsigned long long)r->scored[i].number, r->scored[i].n,
                           ANSWERS_MAX);
        if (r->scored[i].n == 1)
            ap_dataset_drop(r, AP_DROP_UNPAIRED);
        for (size_t a = i, b; (b = r->scored[a].next) != 0; a = r->scored[a].next)
            for (; b && status == AP_OK; b = r->scored[b].next)
                status = add_pair(r, &r->scored[a], &r->scored[b], err);
    }
    return status;
}
