/* The changes of a recipe that would make it fit (plan.h). A knob is one kind of change with levels
 * from mild to strong; knobs stand in the order of what they cost the user, from a little time to
 * another method. Each is tried alone, then as many together as it takes, then two by a little
 * each, and every offer is a plan that was made anew and fits. Entry point: ap_plan_changes. */
#include "pipeline/plan.h"

#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BATCH, BATCH_TOKENS, CHECKPOINT, DTYPE, CONTEXT, ADAPTER, KNOBS };
enum { OFFERS = 3, LEVELS_MAX = 24, TOKENS_LEAST = 256, CONTEXT_LEAST = 256, ADAPTER_RANK = 16 };
enum { TEXT_MAX = 1024 }; /* of one offer: every key that the knobs know, and eight rewards */

/* Processes of one program differ by some pages at their start, which are part of the plan: an
 * offer that just fits would be refused to the process that takes it up. */
#define SLACK ((size_t)2 << 20)

struct changing {
    const struct ap_run *run;
    const char *wanted;
    const struct ap_plan_facts *facts;
    size_t room;                   /* SLACK less than there is */
    struct ap_plan base;           /* as the recipe has it */
    int level[KNOBS], most[KNOBS]; /* 0: as it is */
    struct ap_buffer *out;
    int n_offer;
};

/* ---- what a level sets ---- */

/* Sections whose batch_tokens size a stage's tapes. */
static const struct section {
    const char *name;
    const char *stages; /* between blanks; the first is the one that trains */
    size_t optimiser;   /* in struct ap_settings */
} sections[] = {
    {"pretrain", " pretrain ", offsetof(struct ap_settings, pretrain.optimiser)},
    {"reward_train", " reward best-of-n align align-2 align-3 align-4 rlhf eval bound ",
     offsetof(struct ap_settings, reward_train.optimiser)},
    {"sft", " sft sft-2 sft-3 sft-4 ", offsetof(struct ap_settings, sft.optimiser)},
    {"align", " align align-2 align-3 align-4 eval bound ",
     offsetof(struct ap_settings, align.optimiser)},
    {"rlhf", " rlhf ", offsetof(struct ap_settings, rlhf.optimiser)},
    {"dpo", " dpo ", offsetof(struct ap_settings, dpo.optimiser)},
    {"ift", " ift ", offsetof(struct ap_settings, ift.optimiser)},
};

static bool is_too_large(const struct changing *c, const char *stages)
{
    char word[40];
    for (int i = 0; i < c->base.n; i++) {
        snprintf(word, sizeof(word), " %s ", c->base.stages[i].name);
        if (c->base.stages[i].sum > c->room && strstr(stages, word))
            return true;
    }
    return false;
}

/* Adds "--set SECTION.KEY=VALUE". */
static void note(char text[TEXT_MAX], const char *section, const char *key, const char *value)
{
    size_t n = strlen(text);
    snprintf(text + n, TEXT_MAX - n, "%s--set %s.%s=%s", n ? " " : "", section, key, value);
}

static void note_int(char text[TEXT_MAX], const char *section, const char *key, int value)
{
    char digits[16];
    snprintf(digits, sizeof(digits), "%d", value);
    note(text, section, key, digits);
}

static void set_batch_tokens(const struct changing *c, struct ap_settings *s, int level,
                             char text[TEXT_MAX])
{
    for (size_t i = 0; level > 0 && i < AP_LEN(sections); i++) {
        struct ap_optimiser_settings *o = (void *)((char *)s + sections[i].optimiser);
        int value = o->batch_tokens >> level;
        value = value > TOKENS_LEAST ? value : TOKENS_LEAST;
        if (!is_too_large(c, sections[i].stages) || value >= o->batch_tokens)
            continue;
        o->batch_tokens = value;
        note_int(text, sections[i].name, "batch_tokens", value);
    }
}

/* Whether the section trains in a stage that is too large, and keeps all activations. */
static bool may_checkpoint(const struct changing *c, const struct section *section)
{
    const struct ap_optimiser_settings *o =
        (const void *)((const char *)c->run->s + section->optimiser);
    const char *end = strchr(section->stages + 1, ' ');
    char stage[16];
    snprintf(stage, sizeof(stage), "%.*s", (int)(end + 1 - section->stages), section->stages);
    return !o->gradient_checkpointing && is_too_large(c, stage);
}

static void set_checkpointing(const struct changing *c, struct ap_settings *s, char text[TEXT_MAX])
{
    for (size_t i = 0; i < AP_LEN(sections); i++) {
        struct ap_optimiser_settings *o = (void *)((char *)s + sections[i].optimiser);
        if (!may_checkpoint(c, &sections[i]))
            continue;
        o->gradient_checkpointing = true;
        note(text, sections[i].name, "gradient_checkpointing", "true");
    }
}

/* The context that the run has now, where sequences are as long as that; 0: not to be lowered. */
static int context_now(const struct changing *c)
{
    const struct ap_settings *s = c->run->s;
    if (s->run.context > 0)
        return s->run.context;
    return c->run->n_position < c->run->context_most ? c->run->n_position : c->run->context_most;
}

static int context_at(const struct changing *c, int level)
{
    const struct ap_settings *s = c->run->s;
    int answers = s->target.max_new_tokens;
    for (int i = 0; i < ap_run_n_passes(c->run); i++)
        if (ap_run_prompter(c->run, i)->max_new_tokens > answers)
            answers = ap_run_prompter(c->run, i)->max_new_tokens;
    int value = context_now(c) >> level, least = 2 * answers;
    least = least > CONTEXT_LEAST ? least : CONTEXT_LEAST;
    return value > least ? value : least;
}

/* The i-th adapter of a recipe, and its section; NULL after the last. */
static struct ap_adapter_settings *adapter_at(struct ap_settings *s, int i, char section[64])
{
    if (i < s->n_prompters) {
        snprintf(section, 64, "prompter.%d", i + 1);
        return &s->prompters[i].adapter;
    }
    i -= s->n_prompters > 0 ? s->n_prompters - 1 : 0;
    if (i == 0 || i == 1) {
        snprintf(section, 64, "%s", i == 0 ? "prompter" : "target");
        return i == 0 ? &s->prompter.adapter : &s->target.adapter;
    }
    if (s->n_rewards == 0 && i == 2) {
        snprintf(section, 64, "reward");
        return &s->reward.adapter;
    }
    if (i - 2 >= s->n_rewards)
        return NULL;
    snprintf(section, 64, "rewards.%.40s", s->rewards[i - 2].name);
    return &s->rewards[i - 2].adapter;
}

static void set_adapters(struct ap_settings *s, char text[TEXT_MAX])
{
    struct ap_adapter_settings *a;
    char section[64];
    for (int i = 0; (a = adapter_at(s, i, section)); i++)
        if (a->rank == 0) {
            a->rank = ADAPTER_RANK;
            a->alpha = 2 * ADAPTER_RANK;
            note_int(text, section, "adapter.rank", ADAPTER_RANK);
        }
}

/* The recipe at c->level, and what to write for it. */
static void apply(const struct changing *c, struct ap_settings *s, char text[TEXT_MAX])
{
    const int *level = c->level;
    *s = *c->run->s;
    text[0] = '\0';
    if (level[BATCH] > 0) {
        s->run.batch = s->run.batch >> level[BATCH] > 1 ? s->run.batch >> level[BATCH] : 1;
        note_int(text, "run", "batch", s->run.batch);
    }
    set_batch_tokens(c, s, level[BATCH_TOKENS], text);
    if (level[CHECKPOINT] > 0)
        set_checkpointing(c, s, text);
    if (level[DTYPE] > 0) {
        static char bf16[] = "bf16";
        s->run.dtype = bf16;
        note(text, "run", "dtype", bf16);
    }
    if (level[CONTEXT] > 0) {
        s->run.context = context_at(c, level[CONTEXT]);
        note_int(text, "run", "context", s->run.context);
    }
    if (level[ADAPTER] > 0)
        set_adapters(s, text);
}

/* How often something may be halved before it is `least`. */
static int halvings(int value, int least)
{
    int n = 0;
    while (value > least && n < LEVELS_MAX) {
        value = (value + 1) / 2;
        n++;
    }
    return n;
}

static void count_levels(struct changing *c)
{
    struct ap_settings adapters = *c->run->s; /* looked at only */
    const struct ap_settings *s = c->run->s;
    const struct ap_adapter_settings *a;
    char section[64];
    c->most[BATCH] = halvings(s->run.batch, 1);
    for (size_t i = 0; i < AP_LEN(sections); i++) {
        const struct ap_optimiser_settings *o =
            (const void *)((const char *)s + sections[i].optimiser);
        int n = halvings(o->batch_tokens, TOKENS_LEAST);
        if (is_too_large(c, sections[i].stages) && n > c->most[BATCH_TOKENS])
            c->most[BATCH_TOKENS] = n;
        if (may_checkpoint(c, &sections[i]))
            c->most[CHECKPOINT] = 1;
    }
    while (c->most[CONTEXT] < LEVELS_MAX &&
           context_at(c, c->most[CONTEXT] + 1) < context_at(c, c->most[CONTEXT]))
        c->most[CONTEXT]++;
    c->most[DTYPE] = strcmp(s->run.dtype, "f32") == 0;
    for (int i = 0; (a = adapter_at(&adapters, i, section)); i++)
        if (a->rank == 0)
            c->most[ADAPTER] = 1;
}

/* ---- trying ---- */

static void shorten(struct ap_plan_texts *t, int context)
{
    t->longest = t->longest < context ? t->longest : context;
}

/* Texts under a shorter context are no longer than that. */
static struct ap_plan_facts facts_at(const struct changing *c, int context)
{
    struct ap_plan_facts f = *c->facts;
    shorten(&f.pretrain, context);
    shorten(&f.sft, context);
    shorten(&f.pairs, 2 * context);
    shorten(&f.align, context - c->run->s->prompter.max_new_tokens);
    shorten(&f.rlhf, context - c->run->s->target.max_new_tokens);
    shorten(&f.dpo, 2 * context);
    shorten(&f.ift, context);
    shorten(&f.best_of, context);
    shorten(&f.eval_target, context - c->run->s->target.max_new_tokens);
    shorten(&f.eval_prompter, context - c->run->s->prompter.max_new_tokens);
    shorten(&f.bound_target, context - c->run->s->target.max_new_tokens);
    shorten(&f.bound_prompter, context - c->run->s->prompter.max_new_tokens);
    for (int i = 0; i < c->run->s->n_judges; i++)
        shorten(&f.judges[i], context - c->run->s->judges[i].max_new_tokens);
    return f;
}

/* The peak at c->level; text: what it sets. */
static ap_status peak_at(const struct changing *c, size_t *peak, char text[TEXT_MAX],
                         struct ap_error *err)
{
    struct ap_settings s;
    struct ap_plan plan = {.facts = *c->facts};
    apply(c, &s, text);
    if (c->level[CONTEXT] > 0)
        plan.facts = facts_at(c, s.run.context);
    ap_status status = ap_plan_make(c->run, &s, c->wanted, &plan, err);
    *peak = plan.peak;
    return status;
}

/* Lowers one knob, the others standing, to its mildest level that fits. *fits: whether any does. */
static ap_status settle(struct changing *c, int knob, bool *fits, struct ap_error *err)
{
    char text[TEXT_MAX];
    size_t peak;
    *fits = false;
    for (c->level[knob] = 0; c->level[knob] <= c->most[knob]; c->level[knob]++) {
        ap_status status = peak_at(c, &peak, text, err);
        if (status != AP_OK)
            return status;
        if ((*fits = peak <= c->room))
            return AP_OK;
    }
    c->level[knob] = c->most[knob];
    return AP_OK;
}

/* One that stands there already is left out. */
static ap_status offer(struct changing *c, struct ap_error *err)
{
    char text[TEXT_MAX], size[32];
    size_t peak;
    ap_status status = peak_at(c, &peak, text, err);
    if (status != AP_OK)
        return status;
    snprintf(text + strlen(text), sizeof(text) - strlen(text), " (%s)", ap_plan_size(peak, size));
    if (c->n_offer > 0 && strstr(c->out->data, text))
        return AP_OK;
    return ap_buffer_printf(c->out, err, "%s%s", c->n_offer++ == 0 ? "it fits with " : ", or with ",
                            text);
}

/* Every knob of the set at its strongest, then each from the costliest down to the mildest that
 * still fits. A set that needs only some of its knobs was offered before. */
static ap_status try_set(struct changing *c, unsigned set, struct ap_error *err)
{
    bool fits = true;
    memset(c->level, 0, sizeof(c->level));
    for (int k = 0; k < KNOBS; k++)
        c->level[k] = set & 1u << k ? c->most[k] : 0;
    for (int k = KNOBS - 1; k >= 0 && fits; k--) {
        if (!(set & 1u << k))
            continue;
        ap_status status = settle(c, k, &fits, err);
        if (status != AP_OK)
            return status;
        fits = fits && c->level[k] > 0;
    }
    return fits ? offer(c, err) : AP_OK;
}

/* Every knob of the set at its mildest, then the least costly one as far as it must go: half of
 * two things where all of one was offered before. None of them may be left out. */
static ap_status try_mix(struct changing *c, unsigned set, struct ap_error *err)
{
    char text[TEXT_MAX];
    size_t peak = SIZE_MAX;
    int first = __builtin_ctz(set);
    ap_status status = AP_OK;
    for (int k = 0; k < KNOBS; k++)
        c->level[k] = set >> k & 1u && c->most[k] > 0;
    while (status == AP_OK && c->level[first] > 0 && c->level[first] <= c->most[first]) {
        status = peak_at(c, &peak, text, err);
        if (peak <= c->room)
            break;
        c->level[first]++;
    }
    if (c->level[first] > c->most[first])
        return status;
    for (int k = 0; k < KNOBS; k++) {
        int level = c->level[k];
        if (status != AP_OK || !(set >> k & 1u))
            continue;
        if ((c->level[k] = 0) == level)
            return AP_OK;
        status = peak_at(c, &peak, text, err);
        c->level[k] = level;
        if (peak <= c->room)
            return status;
    }
    return status == AP_OK ? offer(c, err) : status;
}

static int count_bits(unsigned set)
{
    return __builtin_popcount(set);
}

ap_status ap_plan_changes(const struct ap_run *run, const char *wanted,
                          const struct ap_plan_facts *facts, size_t room, struct ap_buffer *out,
                          struct ap_error *err)
{
    struct changing c = {.run = run,
                         .wanted = wanted,
                         .facts = facts,
                         .room = room > SLACK ? room - SLACK : 0,
                         .base = {.facts = *facts},
                         .out = out};
    ap_status status = ap_plan_make(run, run->s, wanted, &c.base, err);
    if (status != AP_OK)
        return status;
    count_levels(&c);
    for (int n = 1; n <= KNOBS; n++)
        for (unsigned set = 1; set < 1u << KNOBS; set++)
            if (status == AP_OK && count_bits(set) == n && c.n_offer < OFFERS)
                status = try_set(&c, set, err);
    for (unsigned set = 1; set < 1u << KNOBS; set++)
        if (status == AP_OK && count_bits(set) == 2 && c.n_offer < OFFERS)
            status = try_mix(&c, set, err);
    return status;
}
