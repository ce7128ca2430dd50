/* Opening a generator: its memory and its counts (generator.h). Not here: what it does
 * (generator.c). Entry points: ap_generator_open, ap_generator_bytes, ap_generator_close. */
#include "gen/generator_inner.h"

#include "base/memory.h"
#include "gen/sampler.h"

enum { PREFILL_ROWS = 256, SLOTS_MAX = 4096 };

ap_status ap_generator_check_stops(char *const *stop, int n_stop,
                                   const struct ap_tokenizer *tokenizer, struct ap_error *err)
{
    if (n_stop > 0 && !tokenizer)
        return ap_fail(err, AP_INVALID,
                       "generation: stop strings need a tokenizer; give the model's folder a "
                       "tokenizer.json or leave them out");
    for (int i = 0; i < n_stop; i++)
        if (!stop[i][0])
            return ap_fail(err, AP_INVALID,
                           "generation: stop string %d is empty, expected at least one character",
                           i + 1);
    return AP_OK;
}

static ap_status check_options(const struct ap_generator_options *o, struct ap_error *err)
{
    if (o->n_slot < 1 || o->n_slot > SLOTS_MAX)
        return ap_fail(err, AP_INVALID, "generation: batch of %d sequences, expected 1 to %d",
                       o->n_slot, (int)SLOTS_MAX);
    if (o->context < 2)
        return ap_fail(err, AP_INVALID, "generation: context of %d tokens, expected at least 2",
                       o->context);
    if (o->n_end < 0 || o->n_end > AP_GEN_END_MAX)
        return ap_fail(err, AP_INVALID, "generation: %d end tokens, expected at most %d", o->n_end,
                       (int)AP_GEN_END_MAX);
    return ap_generator_check_stops(o->stop, o->n_stop, o->tokenizer, err);
}

static void lay_out(struct ap_generator *g, struct ap_layout *l)
{
    size_t n_slot = (size_t)g->options.n_slot, max_row = (size_t)g->max_row;
    size_t n_vocab = (size_t)g->config.n_vocab, context = (size_t)g->options.context;
    g->slots = ap_layout_take(l, n_slot, sizeof(*g->slots));
    g->said = ap_layout_take(l, n_slot * context, sizeof(*g->said));
    g->logp = ap_layout_take(l, n_slot * context, sizeof(*g->logp));
    g->saved = ap_layout_take(l, n_slot * context, sizeof(*g->saved));
    g->row_id = ap_layout_take(l, max_row, sizeof(*g->row_id));
    g->row_slot = ap_layout_take(l, max_row, sizeof(*g->row_slot));
    g->row_pos = ap_layout_take(l, max_row, sizeof(*g->row_pos));
    g->drawn_slot = ap_layout_take(l, n_slot, sizeof(*g->drawn_slot));
    g->drawn_row = ap_layout_take(l, n_slot, sizeof(*g->drawn_row));
    g->drawn_id = ap_layout_take(l, n_slot, sizeof(*g->drawn_id));
    g->uniform = ap_layout_take(l, n_slot, sizeof(*g->uniform));
    g->drawn_logp = ap_layout_take(l, n_slot, sizeof(*g->drawn_logp));
    g->lse = ap_layout_take(l, n_slot, sizeof(*g->lse));
    g->logits = ap_layout_take(l, n_slot * n_vocab, sizeof(*g->logits));
    g->block = ap_layout_take(l, n_slot * ap_sampler_n_block(g->config.n_vocab), sizeof(*g->block));
    g->heap = ap_layout_take(l, n_slot * n_vocab, sizeof(*g->heap));
    for (size_t i = 0; g->slots && i < n_slot; i++) {
        g->slots[i].said = g->said + i * context;
        g->slots[i].logp = g->logp + i * context;
        g->slots[i].saved = g->saved + i * context;
    }
}

/* A generator without memory. */
static ap_status describe(struct ap_generator *g, const struct ap_config *config,
                          const struct ap_generator_options *options, struct ap_error *err)
{
    ap_status status = check_options(options, err);
    if (status != AP_OK)
        return status;
    *g = (struct ap_generator){.config = *config, .options = *options};
    g->options.end = g->end;
    for (int i = 0; i < options->n_end; i++)
        g->end[i] = options->end[i];
    g->max_row = options->n_slot > PREFILL_ROWS ? options->n_slot : PREFILL_ROWS;
    return AP_OK;
}

ap_status ap_generator_bytes(size_t *out, const struct ap_config *config,
                             const struct ap_generator_options *options, struct ap_error *err)
{
    struct ap_generator g;
    struct ap_layout all = {0};
    size_t kv = 0;
    ap_status status = describe(&g, config, options, err);
    if (status == AP_OK)
        status = ap_kv_bytes(&kv, config, options->n_slot, options->context, g.max_row,
                             options->max_rank, err);
    if (status == AP_OK)
        lay_out(&g, &all);
    *out = ap_sum_bytes(kv, ap_layout_bytes(&all));
    return status;
}

ap_status ap_generator_open(struct ap_generator **out, const struct ap_config *config,
                            const struct ap_generator_options *options, struct ap_error *err)
{
    struct ap_layout all = {0};
    struct ap_generator *g = ap_calloc(1, sizeof(*g));
    ap_status status;
    *out = NULL;
    if (!g)
        return ap_fail(err, AP_MEMORY, "generation: out of memory");
    AP_TRY(describe(g, config, options, err));
    lay_out(g, &all);
    AP_TRY(ap_layout_commit(&all, &g->arena, "generation", err));
    lay_out(g, &all);
    AP_TRY(ap_kv_open(&g->kv, config, options->n_slot, options->context, g->max_row,
                      options->max_rank, err));
    ap_generator_stop(g);
    *out = g;
    g = NULL;
out:
    ap_generator_close(g);
    return status;
}

void ap_generator_close(struct ap_generator *g)
{
    if (!g)
        return;
    for (int i = 0; g->slots && i < g->options.n_slot; i++)
        ap_stop_text_free(&g->slots[i].text);
    ap_kv_close(g->kv);
    ap_arena_free(&g->arena);
    ap_free(g);
}

void ap_generator_counts(const struct ap_generator *g, int64_t *n_decoded, int64_t *n_prefilled)
{
    *n_decoded = g->n_decoded;
    *n_prefilled = g->n_prefilled;
}

int64_t ap_generator_n_steps(const struct ap_generator *g)
{
    return g->n_steps;
}
