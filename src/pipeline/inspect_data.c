/* What a data set holds: its schema, counts, lengths, score margins, three examples. Reads the file
 * once, keeping no more than the examples shown. Entry point: ap_inspect_data. */
#include "pipeline/inspect_data.h"

#include "base/memory.h"
#include "base/random.h"
#include "text/space.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const ap_inspect_parts[AP_PART_N] = {"context", "prompt", "answer", "chosen",
                                                 "rejected"};

/* ---- lengths ---- */

static uint64_t count_words(const char *text)
{
    size_t n = strlen(text);
    uint64_t words = 0;
    for (size_t i = ap_space_prefix(text, n); i < n; words++) {
        while (i < n && ap_space_prefix(text + i, n - i) == 0)
            i++;
        i += ap_space_prefix(text + i, n - i);
    }
    return words;
}

static ap_status measure(struct ap_data_report *r, const char *text, uint64_t *length,
                         struct ap_error *err)
{
    struct ap_segment segment = {text, strlen(text), AP_SEGMENT_TEXT};
    if (!r->tokenizer) {
        *length += count_words(text);
        return AP_OK;
    }
    r->ids.n = 0;
    ap_status status = ap_tokenizer_encode(r->tokenizer, &segment, 1, false, &r->ids, err);
    *length += r->ids.n;
    return status;
}

static ap_status add_part(struct ap_data_report *r, enum ap_part part, const char *text,
                          struct ap_error *err)
{
    uint64_t length = 0;
    if (!text)
        return AP_OK;
    ap_status status = measure(r, text, &length, err);
    return status == AP_OK ? ap_lengths_add(&r->lengths[part], length, err) : status;
}

static ap_status add_context(struct ap_data_report *r, const struct ap_example *e,
                             struct ap_error *err)
{
    uint64_t length = 0;
    ap_status status = AP_OK;
    for (size_t i = 0; i < e->n_context && status == AP_OK; i++)
        status = measure(r, e->context[i].content, &length, err);
    if (status != AP_OK || e->n_context == 0)
        return status;
    return ap_lengths_add(&r->lengths[AP_PART_CONTEXT], length, err);
}

/* ---- examples ---- */

static ap_status copy_text(char **out, const char *text, struct ap_error *err)
{
    *out = text ? ap_strdup(text) : NULL;
    return *out || !text ? AP_OK : ap_fail(err, AP_MEMORY, "no memory for an example; free some");
}

static void free_example(struct ap_example *e)
{
    for (size_t i = 0; i < e->n_context; i++) {
        ap_free((void *)(uintptr_t)e->context[i].role);
        ap_free((void *)(uintptr_t)e->context[i].content);
    }
    ap_free(e->context);
    ap_free(e->prompt);
    ap_free(e->answer);
    ap_free(e->chosen);
    ap_free(e->rejected);
    *e = (struct ap_example){0};
}

static ap_status copy_context(struct ap_example *copy, const struct ap_example *e,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    if (e->n_context == 0)
        return AP_OK;
    copy->context = ap_calloc(e->n_context, sizeof(*copy->context));
    if (!copy->context)
        return ap_fail(err, AP_MEMORY, "no memory for an example; free some");
    for (size_t i = 0; i < e->n_context; i++) {
        struct ap_message *m = &copy->context[copy->n_context++];
        AP_TRY(copy_text((char **)(uintptr_t)&m->role, e->context[i].role, err));
        AP_TRY(copy_text((char **)(uintptr_t)&m->content, e->context[i].content, err));
    }
out:
    return status;
}

static ap_status copy_example(struct ap_example *copy, const struct ap_example *e,
                              struct ap_error *err)
{
    ap_status status;
    *copy = (struct ap_example){.record = e->record, .margin = e->margin};
    AP_TRY(copy_context(copy, e, err));
    AP_TRY(copy_text(&copy->prompt, e->prompt, err));
    AP_TRY(copy_text(&copy->answer, e->answer, err));
    AP_TRY(copy_text(&copy->chosen, e->chosen, err));
    AP_TRY(copy_text(&copy->rejected, e->rejected, err));
out:
    return status;
}

/* The examples shown are the first and those whose number hashes lowest: a choice that depends on
 * nothing but how many there are. */
static uint64_t rank_of(uint64_t record)
{
    return record == 0 ? 0 : ap_hash(&record, sizeof(record));
}

static ap_status show_example(struct ap_data_report *r, const struct ap_example *e,
                              struct ap_error *err)
{
    size_t last = 0;
    for (size_t i = 1; i < r->n_shown; i++)
        if (rank_of(r->shown[i].record) > rank_of(r->shown[last].record))
            last = i;
    if (r->n_shown == AP_LEN(r->shown)) {
        if (rank_of(e->record) > rank_of(r->shown[last].record))
            return AP_OK;
        free_example(&r->shown[last]);
        memmove(&r->shown[last], &r->shown[last + 1],
                (r->n_shown - last - 1) * sizeof(r->shown[0]));
        r->n_shown--;
    }
    return copy_example(&r->shown[r->n_shown++], e, err);
}

/* ---- the whole ---- */

static ap_status on_example(void *context, const struct ap_example *e, struct ap_error *err)
{
    struct ap_data_report *r = context;
    ap_status status;
    AP_TRY(add_context(r, e, err));
    AP_TRY(add_part(r, AP_PART_PROMPT, e->prompt, err));
    AP_TRY(add_part(r, AP_PART_ANSWER, e->answer, err));
    AP_TRY(add_part(r, AP_PART_CHOSEN, e->chosen, err));
    AP_TRY(add_part(r, AP_PART_REJECTED, e->rejected, err));
    if (e->margin != 0) {
        r->margin_min = r->n_margins ? fmin(r->margin_min, e->margin) : e->margin;
        r->margin_max = fmax(r->margin_max, e->margin);
        r->margin_sum += e->margin;
        r->n_margins++;
    }
    AP_TRY(show_example(r, e, err));
out:
    return status;
}

static void on_bad(void *context, const char *message)
{
    struct ap_data_report *r = context;
    if (r->n_faults < AP_LEN(r->faults))
        snprintf(r->faults[r->n_faults++], sizeof(r->faults[0]), "%s", message);
}

static void free_report(struct ap_data_report *r)
{
    for (size_t i = 0; i < r->n_shown; i++)
        free_example(&r->shown[i]);
    for (int i = 0; i < AP_PART_N; i++)
        ap_lengths_free(&r->lengths[i]);
    ap_tokenizer_close(r->tokenizer);
    ap_ids_free(&r->ids);
    ap_dataset_free(&r->set);
}

ap_status ap_inspect_data(const struct ap_inspected *p, const struct ap_inspect_options *options,
                          struct ap_buffer *out, struct ap_error *err)
{
    struct ap_data_report r = {.path = p->path, .model = options->model};
    struct ap_dataset_options reading = {.format = options->format,
                                         .score = options->score,
                                         .bad_lines = 1,
                                         .opening = 2,
                                         .on_bad = on_bad,
                                         .on_bad_context = &r,
                                         .on_example = on_example,
                                         .on_example_context = &r};
    ap_status status = AP_OK;
    if (options->model)
        AP_TRY(ap_tokenizer_open(&r.tokenizer, options->model, err));
    AP_TRY(ap_dataset_read(&r.set, p->path, &reading, err));
    AP_TRY(options->json ? ap_data_report_json(&r, out, err) : ap_data_report_text(&r, out, err));
    if (r.set.n_bad > 0 && r.set.n_bad == r.set.n_lines)
        status = ap_fail(err, AP_FORMAT,
                         "%s: none of its records can be read, expected a data set: one JSON "
                         "object a line, or text; name its schema with --format",
                         p->path);
out:
    free_report(&r);
    return status;
}
