/* The continuous batcher (generator.h). Not here: choosing a token (sampler.c), stop strings
 * (stop_text.c), memory (generator_open.c).
 *
 * A slot is a row of the cache. One step is one forward pass over
 *
 *     | one row for every running slot | rows of prompts being prefilled, as many as fit |
 *
 * The first sample of a request prefills all of its prompt but the last token; the other samples
 * take a copy. Then each sample runs: it feeds its last token (first the prompt's) and draws the
 * next. Requests begin in order, so the slot that prefilled keeps the prompt's cache until the last
 * sample of the request has begun: nobody else is given the slot before. They come from a feed, one
 * whenever a slot is free; those of ap_generate are a list.
 *
 *     free ─► prefill ─┐                     free ─► wait ─► run (copy when the donor is ready)
 *     free ────────────┴► run ─► free        free ─► run        (copy at once, or none at all when
 *                                                                it is the donor's own slot)
 * Entry points: ap_generate, ap_generate_step. */
#include "gen/generator_inner.h"

#include "gen/sampler.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { PARALLEL_LOGITS = 1 << 16 };

struct run { /* one step */
    struct ap_generator *g;
    const struct ap_role *role;
    const struct ap_gen_feed *feed;
    int n_row, n_drawn;
    struct ap_error *err;
};

/* -- checking a call -- */

static ap_status check_role(const struct ap_generator *g, const struct ap_role *role,
                            struct ap_error *err)
{
    const struct ap_config *a = &g->config, *b = &role->weights->config;
    if (a->n_vocab != b->n_vocab || a->width != b->width || a->n_layer != b->n_layer ||
        a->n_head != b->n_head || a->n_kv_head != b->n_kv_head || a->head_dim != b->head_dim ||
        a->n_ffn != b->n_ffn)
        return ap_fail(err, AP_INVALID,
                       "generation: the model has another shape than the generator was opened for");
    if (role->adapter && role->adapter->rank > g->options.max_rank)
        return ap_fail(err, AP_INVALID, "generation: adapter of rank %d, expected at most %d",
                       role->adapter->rank, g->options.max_rank);
    if (g->options.context > role->weights->context)
        return ap_fail(err, AP_INVALID,
                       "generation: context of %d tokens, but the model was loaded for %d",
                       g->options.context, role->weights->context);
    return AP_OK;
}

static ap_status check_request(const struct ap_generator *g, const struct ap_gen_request *r,
                               int64_t number, struct ap_error *err)
{
    if (r->n_prompt < 1)
        return ap_fail(err, AP_INVALID,
                       "generation: prompt %lld is empty, expected a token or more",
                       (long long)number);
    if (r->n_samples < 1 || r->max_new_tokens < 1)
        return ap_fail(err, AP_INVALID,
                       "generation: prompt %lld asks for %d samples of %d tokens, expected 1 or "
                       "more",
                       (long long)number, r->n_samples, r->max_new_tokens);
    if (r->n_prompt >= g->options.context)
        return ap_fail(err, AP_LIMIT,
                       "the prompt has %d tokens and leaves no room for an answer in a context of "
                       "%d; shorten it or raise the context",
                       r->n_prompt, g->options.context);
    for (int t = 0; t < r->n_prompt; t++)
        if (r->prompt[t] < 0 || r->prompt[t] >= g->config.n_vocab)
            return ap_fail(err, AP_INVALID,
                           "token id %d at position %d of the prompt, expected 0 to %d "
                           "(vocab_size in config.json)",
                           r->prompt[t], t, g->config.n_vocab - 1);
    return AP_OK;
}

/* -- slots -- */

static bool reads_text(const struct ap_gen_work *w)
{
    return w->n_stop > 0 || w->text_wanted;
}

static ap_status start_running(struct run *run, int s)
{
    struct ap_generator *g = run->g;
    struct ap_slot *slot = &g->slots[s];
    const struct ap_gen_work *w = &slot->work;
    slot->state = AP_SLOT_RUN;
    slot->n_filled = w->request.n_prompt - 1;
    slot->next = w->request.prompt[w->request.n_prompt - 1];
    if (!reads_text(w))
        return AP_OK;
    return ap_stop_text_begin(&slot->text, g->options.tokenizer, w->stop, w->n_stop, run->err);
}

static ap_status start_copy(struct run *run, int s, int donor)
{
    int n_shared = run->g->slots[s].work.request.n_prompt - 1;
    if (s != donor && n_shared > 0)
        ap_kv_copy(run->g->kv, donor, s, n_shared);
    return start_running(run, s);
}

/* The next sample of g->next. */
static ap_status start_sample(struct run *run, int s)
{
    struct ap_generator *g = run->g;
    struct ap_slot *slot = &g->slots[s];
    const struct ap_gen_request *r = &g->next.request;
    int room = g->options.context - r->n_prompt;
    struct ap_stream stream = r->stream;
    stream.sample += (uint32_t)g->next_sample;
    ap_random_init(&slot->random, &stream);
    slot->work = g->next;
    slot->number = g->next_number;
    slot->sample = g->next_sample;
    memcpy(slot->said, r->prompt, (size_t)r->n_prompt * sizeof(*slot->said));
    slot->ids = slot->said + r->n_prompt;
    slot->n_filled = 0;
    slot->n_new = 0;
    slot->max_new = r->max_new_tokens < room ? r->max_new_tokens : room;

    bool first = g->next_sample++ == 0;
    if (first)
        g->donor = s;
    if (first && r->n_prompt > 1) {
        slot->state = AP_SLOT_PREFILL;
        return AP_OK;
    }
    if (!first && g->slots[g->donor].state == AP_SLOT_PREFILL) {
        slot->state = AP_SLOT_WAIT;
        return AP_OK;
    }
    return start_copy(run, s, g->donor);
}

static ap_status check_work(const struct ap_generator *g, const struct ap_gen_work *w,
                            int64_t number, struct ap_error *err)
{
    ap_status status = ap_sampling_check(&w->sampling, err);
    assert(!w->text_wanted || g->options.tokenizer);
    if (status == AP_OK)
        status = ap_generator_check_stops(w->stop, w->n_stop, g->options.tokenizer, err);
    return status == AP_OK ? check_request(g, &w->request, number, err) : status;
}

/* All its samples, begun or not. */
static void end_work(struct ap_generator *g, int64_t number)
{
    for (int s = 0; s < g->options.n_slot; s++)
        if (g->slots[s].state != AP_SLOT_FREE && g->slots[s].number == number)
            g->slots[s].state = AP_SLOT_FREE;
    if (g->next_number == number)
        g->next_sample = g->n_sample;
}

/* It is told, and the step goes on, where the feed wants to be told. */
static ap_status fail_work(struct run *run, void *tag, int64_t number, ap_status status)
{
    if (!run->feed->failed)
        return status;
    end_work(run->g, number);
    run->feed->failed(run->feed->self, tag, run->err);
    return AP_OK;
}

/* Another work becomes the next one. *found false: there is none now. */
static ap_status take_work(struct run *run, bool *found)
{
    struct ap_generator *g = run->g;
    ap_status status = AP_OK;
    do {
        *found = run->feed->next(run->feed->self, &g->next);
        if (!*found)
            return AP_OK;
        g->next_sample = 0;
        g->n_sample = g->next.request.n_samples;
        g->next_number++;
        status = check_work(g, &g->next, g->next_number, run->err);
        if (status != AP_OK) {
            status = fail_work(run, g->next.tag, g->next_number, status);
            *found = false;
        }
    } while (status == AP_OK && !*found);
    return status;
}

static void drop_works(struct run *run)
{
    struct ap_generator *g = run->g;
    for (int s = 0; run->feed->drop && s < g->options.n_slot; s++)
        if (g->slots[s].state != AP_SLOT_FREE &&
            run->feed->drop(run->feed->self, g->slots[s].work.tag))
            end_work(g, g->slots[s].number);
}

/* Works to slots that are free. Returns whether any slot is at work through *busy. */
static ap_status fill_slots(struct run *run, bool *busy)
{
    struct ap_generator *g = run->g;
    ap_status status = AP_OK;
    bool more = true;
    *busy = false;
    for (int s = 0; s < g->options.n_slot && status == AP_OK; s++) {
        if (g->slots[s].state == AP_SLOT_FREE && g->next_sample == g->n_sample && more)
            status = take_work(run, &more);
        if (status == AP_OK && g->slots[s].state == AP_SLOT_FREE && g->next_sample < g->n_sample)
            status = start_sample(run, s);
        *busy = *busy || g->slots[s].state != AP_SLOT_FREE;
    }
    return status;
}

void ap_generator_stop(struct ap_generator *g)
{
    for (int s = 0; s < g->options.n_slot; s++)
        g->slots[s].state = AP_SLOT_FREE;
    g->next_sample = g->n_sample = 0;
    g->next_number = -1;
}

/* -- a step -- */

static void put_row(struct run *run, int32_t id, int s, int pos)
{
    struct ap_generator *g = run->g;
    g->row_id[run->n_row] = id;
    g->row_slot[run->n_row] = s;
    g->row_pos[run->n_row++] = pos;
}

static void compose_rows(struct run *run)
{
    struct ap_generator *g = run->g;
    run->n_row = run->n_drawn = 0;
    for (int s = 0; s < g->options.n_slot; s++) {
        if (g->slots[s].state != AP_SLOT_RUN)
            continue;
        g->drawn_slot[run->n_drawn] = s;
        g->drawn_row[run->n_drawn++] = run->n_row;
        put_row(run, g->slots[s].next, s, g->slots[s].n_filled++);
    }
    for (int s = 0; s < g->options.n_slot; s++) {
        struct ap_slot *slot = &g->slots[s];
        if (slot->state != AP_SLOT_PREFILL)
            continue;
        const struct ap_gen_request *r = &slot->work.request;
        while (run->n_row < g->max_row && slot->n_filled < r->n_prompt - 1) {
            put_row(run, r->prompt[slot->n_filled], s, slot->n_filled);
            slot->n_filled++;
            g->n_prefilled++;
        }
    }
}

static ap_status release_prefilled(struct run *run)
{
    struct ap_generator *g = run->g;
    ap_status status = AP_OK;
    for (int s = 0; s < g->options.n_slot && status == AP_OK; s++) {
        struct ap_slot *slot = &g->slots[s];
        if (slot->state != AP_SLOT_PREFILL || slot->n_filled < slot->work.request.n_prompt - 1)
            continue;
        status = start_running(run, s);
        for (int i = 0; i < g->options.n_slot && status == AP_OK; i++)
            if (g->slots[i].state == AP_SLOT_WAIT && g->slots[i].number == slot->number)
                status = start_copy(run, i, s);
    }
    return status;
}

/* The i-th drawn row, on its own. Its logits stay as they are: the token's log-probability is read
 * from them. */
static void draw_row(struct run *run, int i)
{
    struct ap_generator *g = run->g;
    struct ap_slot *slot = &g->slots[g->drawn_slot[i]];
    const struct ap_sampling *sampling = &slot->work.sampling;
    int n_vocab = g->config.n_vocab, n_said = (int)(slot->ids - slot->said) + slot->n_new;
    float *logits = g->logits + (size_t)i * (size_t)n_vocab;
    double penalty = sampling->repetition_penalty;
    bool penalised = penalty != 0 && penalty != 1;
    struct ap_sampler_scratch scratch = {g->block + (size_t)i * ap_sampler_n_block(n_vocab),
                                         g->heap + (size_t)i * (size_t)n_vocab};
    if (penalised)
        ap_penalise(logits, slot->said, n_said, penalty, slot->saved);
    g->drawn_id[i] = ap_sample_token(logits, n_vocab, sampling, g->uniform[i], &scratch);
    if (penalised)
        ap_unpenalise(logits, slot->said, n_said, slot->saved);
}

static double drawn_temperature(const struct ap_generator *g, int i)
{
    double temperature = g->slots[g->drawn_slot[i]].work.sampling.temperature;
    return temperature != 0 ? temperature : 1;
}

/* Of the drawn tokens; rows of one temperature that stand together at once. */
static void read_logp(struct run *run)
{
    struct ap_generator *g = run->g;
    const size_t n_vocab = (size_t)g->config.n_vocab;
    for (int i = 0, end; i < run->n_drawn; i = end) {
        const double temperature = drawn_temperature(g, i);
        for (end = i + 1; end < run->n_drawn && drawn_temperature(g, end) == temperature; end++)
            ;
        run->role->weights->ops->logprob(g->drawn_logp + i, NULL, g->lse + i,
                                         g->logits + (size_t)i * n_vocab, g->drawn_id + i, end - i,
                                         g->config.n_vocab, (float)temperature);
    }
}

/* The tokens of the running slots: one uniform each, then rows at once, each on its own. */
static ap_status draw(struct run *run)
{
    struct ap_generator *g = run->g;
    int n = run->n_drawn;
    ap_status status = AP_OK;
    if (n == 0)
        return AP_OK;
    ap_decode_logits(g->kv, run->role, g->drawn_row, n, g->logits);
    for (int i = 0; i < n; i++) {
        struct ap_slot *slot = &g->slots[g->drawn_slot[i]];
        if (slot->work.sampling.temperature != 0)
            g->uniform[i] = ap_random_uniform(&slot->random);
    }
#pragma omp parallel for schedule(static) if (n > 1 &&                                             \
                                              n * (int64_t)g->config.n_vocab > PARALLEL_LOGITS)
    for (int i = 0; i < n; i++)
        draw_row(run, i);
    read_logp(run);
    for (int i = 0; i < n && status == AP_OK; i++) {
        const struct ap_slot *slot = &g->slots[g->drawn_slot[i]];
        if (isfinite(g->drawn_logp[i]) || slot->state == AP_SLOT_FREE)
            continue;
        status = ap_fail(run->err, AP_NUMERIC,
                         "the logits after token %d of prompt %lld hold NaN or Inf, expected "
                         "finite numbers; look at the model's weights and adapter",
                         slot->n_filled - 1, (long long)slot->number);
        status = fail_work(run, slot->work.tag, slot->number, status);
    }
    return status;
}

static bool is_end(const struct ap_generator *g, int32_t id)
{
    for (int i = 0; i < g->options.n_end; i++)
        if (g->end[i] == id)
            return true;
    return false;
}

/* Whether the sample ends with the token id, and how. */
static ap_status judge(struct run *run, struct ap_slot *slot, int32_t id, bool *done,
                       struct ap_generated *out)
{
    bool end = is_end(run->g, id), full = slot->n_new == slot->max_new, hit = false;
    bool reads = reads_text(&slot->work);
    ap_status status = AP_OK;
    if (reads && !end)
        status = ap_stop_text_push(&slot->text, id, &hit, &out->n_text, run->err);
    if (status == AP_OK && reads && (end || full) && !hit)
        status = ap_stop_text_finish(&slot->text, &hit, &out->n_text, run->err);
    out->stop = hit ? AP_STOP_STRING : end ? AP_STOP_END : AP_STOP_LENGTH;
    *done = hit || end || full;
    return status;
}

/* What the last token settled of the sample's text. */
static void tell_text(struct run *run, struct ap_slot *slot, size_t n_before)
{
    const struct ap_stop_text *text = &slot->text;
    if (slot->work.text_wanted && text->n_settled > n_before)
        run->feed->grew(run->feed->self, slot->work.tag, slot->sample, text->text.data,
                        text->n_settled);
}

static ap_status deliver(struct run *run)
{
    struct ap_generator *g = run->g;
    for (int i = 0; i < run->n_drawn; i++) {
        struct ap_slot *slot = &g->slots[g->drawn_slot[i]];
        struct ap_generated out = {.ids = slot->ids, .logp = slot->logp};
        size_t n_settled = slot->text.n_settled;
        bool done;
        if (slot->state == AP_SLOT_FREE)
            continue; /* it failed */
        slot->ids[slot->n_new] = slot->next = g->drawn_id[i];
        slot->logp[slot->n_new++] = g->drawn_logp[i];
        g->n_decoded++;
        ap_status status = judge(run, slot, g->drawn_id[i], &done, &out);
        if (status == AP_OK && done) {
            out.n = slot->n_new;
            slot->state = AP_SLOT_FREE;
            status = run->feed->done(run->feed->self, slot->work.tag, slot->sample, &out);
        } else if (status == AP_OK) {
            tell_text(run, slot, n_settled);
        }
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

static ap_status step(struct run *run)
{
    struct ap_generator *g = run->g;
    ap_status status;
    compose_rows(run);
    AP_TRY(ap_decode(g->kv, run->role, g->row_id, g->row_slot, g->row_pos, run->n_row, run->err));
    g->n_steps++;
    AP_TRY(draw(run));
    AP_TRY(deliver(run));
    AP_TRY(release_prefilled(run));
out:
    return status;
}

ap_status ap_generate_step(struct ap_generator *g, const struct ap_role *role,
                           const struct ap_gen_feed *feed, bool *busy, struct ap_error *err)
{
    struct ap_error none; /* messages are handed on also where the caller wants none */
    struct run run = {.g = g, .role = role, .feed = feed, .err = err ? err : &none};
    ap_status status;
    *busy = false;
    AP_TRY(check_role(g, role, err));
    drop_works(&run);
    AP_TRY(fill_slots(&run, busy));
    if (*busy)
        AP_TRY(step(&run));
out:
    if (status != AP_OK)
        ap_generator_stop(g);
    return status;
}

/* -- a list of requests -- */

struct list {
    const struct ap_generator *g;
    const struct ap_sampling *sampling;
    const struct ap_gen_request *requests;
    int n, next;
    ap_generated_fn fn;
    void *context;
};

static bool next_of_list(void *self, struct ap_gen_work *out)
{
    struct list *list = self;
    if (list->next == list->n)
        return false;
    const struct ap_gen_request *r = &list->requests[list->next++];
    *out = (struct ap_gen_work){.request = *r,
                                .sampling = *list->sampling,
                                .stop = list->g->options.stop,
                                .n_stop = list->g->options.n_stop,
                                .tag = (void *)r};
    return true;
}

static ap_status done_of_list(void *self, void *tag, int sample, const struct ap_generated *g)
{
    struct list *list = self;
    const struct ap_gen_request *r = tag;
    return list->fn(list->context, (int)(r - list->requests), sample, g);
}

ap_status ap_generate(struct ap_generator *g, const struct ap_role *role,
                      const struct ap_sampling *sampling, const struct ap_gen_request *requests,
                      int n_requests, ap_generated_fn fn, void *context, struct ap_error *err)
{
    struct list list = {g, sampling, requests, n_requests, 0, fn, context};
    struct ap_gen_feed feed = {.self = &list, .next = next_of_list, .done = done_of_list};
    bool busy;
    ap_status status;
    AP_TRY(ap_sampling_check(sampling, err));
    AP_TRY(check_role(g, role, err));
    for (int i = 0; i < n_requests; i++)
        AP_TRY(check_request(g, &requests[i], i, err));
    ap_generator_stop(g);
    do
        AP_TRY(ap_generate_step(g, role, &feed, &busy, err));
    while (busy);
out:
    return status;
}
