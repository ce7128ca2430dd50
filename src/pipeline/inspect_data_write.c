/* A data set's report as text of 100 columns, and as JSON. Entry points: ap_data_report_text,
 * ap_data_report_json. */
#include "pipeline/inspect_data.h"

#include "base/json.h"
#include "pipeline/inspect_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIT(r) ((r)->tokenizer ? "tokens" : "words")

/* ---- text ---- */

static ap_status put_text(struct ap_buffer *out, const char *label, const char *text,
                          struct ap_error *err)
{
    return ap_inspect_put(out, 4, label, text, strlen(text), AP_INSPECT_LINES, err);
}

static ap_status put_counts(const struct ap_data_report *r, struct ap_buffer *out,
                            struct ap_error *err)
{
    const char *label = "dropped";
    ap_status status;
    AP_TRY(ap_inspect_put_cell(out, r->path, strlen(r->path), AP_INSPECT_COLUMNS, err));
    AP_TRY(ap_buffer_puts(out, "\n", err));
    AP_TRY(ap_buffer_printf(out, err, "  schema      %s\n  records     %llu\n  examples    %zu\n",
                            r->set.format ? r->set.format : "unknown",
                            (unsigned long long)r->set.n_lines, r->set.n));
    for (int i = 0; i < AP_DROP_N; i++) {
        if (!r->set.n_dropped[i])
            continue;
        AP_TRY(ap_buffer_printf(out, err, "  %-11s %llu %s\n", label,
                                (unsigned long long)r->set.n_dropped[i], ap_drop_text((ap_drop)i)));
        label = "";
    }
    AP_TRY(ap_buffer_printf(out, err, "  malformed   %llu\n", (unsigned long long)r->set.n_bad));
    for (size_t i = 0; i < r->n_faults; i++)
        AP_TRY(put_text(out, "", r->faults[i], err));
out:
    return status;
}

static ap_status put_lengths(const struct ap_data_report *r, struct ap_buffer *out,
                             struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "\n  length in %-6s %10s %8s %8s %8s %8s\n", UNIT(r), "texts",
                            "min", "median", "95%", "max"));
    for (int i = 0; i < AP_PART_N; i++) {
        const struct ap_lengths *l = &r->lengths[i];
        if (l->n == 0)
            continue;
        AP_TRY(ap_buffer_printf(
            out, err, "  %-16s %10llu %8llu %8llu %8llu %8llu\n", ap_inspect_parts[i],
            (unsigned long long)l->n, (unsigned long long)l->min,
            (unsigned long long)ap_lengths_quantile(l, 0.5),
            (unsigned long long)ap_lengths_quantile(l, 0.95), (unsigned long long)l->max));
    }
    if (r->n_margins)
        AP_TRY(ap_buffer_printf(out, err, "\n  score margin of %llu pairs: %g to %g, mean %.4g\n",
                                (unsigned long long)r->n_margins, r->margin_min, r->margin_max,
                                r->margin_sum / (double)r->n_margins));
out:
    return status;
}

static ap_status put_example(struct ap_buffer *out, const struct ap_example *e,
                             struct ap_error *err)
{
    const char *const parts[] = {e->prompt, e->answer, e->chosen, e->rejected};
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "\n  example %llu\n", (unsigned long long)e->record));
    for (size_t i = 0; i < e->n_context; i++)
        AP_TRY(put_text(out, e->context[i].role, e->context[i].content, err));
    for (size_t i = 0; i < AP_LEN(parts); i++)
        if (parts[i])
            AP_TRY(put_text(out, ap_inspect_parts[AP_PART_PROMPT + i], parts[i], err));
    if (e->margin != 0)
        AP_TRY(
            ap_buffer_printf(out, err, "    %-*s%g\n", AP_INSPECT_INDENT - 4, "margin", e->margin));
out:
    return status;
}

ap_status ap_data_report_text(const struct ap_data_report *r, struct ap_buffer *out,
                              struct ap_error *err)
{
    ap_status status;
    AP_TRY(put_counts(r, out, err));
    AP_TRY(put_lengths(r, out, err));
    for (size_t i = 0; i < r->n_shown; i++)
        AP_TRY(put_example(out, &r->shown[i], err));
out:
    return status;
}

/* ---- JSON: objects that could not be made are NULL, and the last of them fails the whole ---- */

static json_t *lengths_json(const struct ap_lengths *l)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "texts", (json_int_t)l->n, "min",
                     (json_int_t)l->min, "median", (json_int_t)ap_lengths_quantile(l, 0.5), "p95",
                     (json_int_t)ap_lengths_quantile(l, 0.95), "max", (json_int_t)l->max);
}

static json_t *counts_json(const struct ap_data_report *r)
{
    json_t *dropped = json_object(), *faults = json_array(), *lengths = json_object();
    for (int i = 0; i < AP_DROP_N; i++)
        if (r->set.n_dropped[i])
            json_object_set_new(dropped, ap_drop_text((ap_drop)i),
                                json_integer((json_int_t)r->set.n_dropped[i]));
    for (size_t i = 0; i < r->n_faults; i++)
        json_array_append_new(faults, json_string(r->faults[i]));
    for (int i = 0; i < AP_PART_N; i++)
        if (r->lengths[i].n)
            json_object_set_new(lengths, ap_inspect_parts[i], lengths_json(&r->lengths[i]));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:I, s:o, s:s, s:o}", "kind", "data set",
                     "path", r->path, "schema", r->set.format ? r->set.format : "unknown",
                     "records", (json_int_t)r->set.n_lines, "examples", (json_int_t)r->set.n,
                     "dropped", dropped, "malformed", (json_int_t)r->set.n_bad, "faults", faults,
                     "unit", UNIT(r), "lengths", lengths);
}

static json_t *example_json(const struct ap_example *e)
{
    json_t *context = json_array();
    for (size_t i = 0; i < e->n_context; i++)
        json_array_append_new(context, json_pack("{s:s, s:s}", "role", e->context[i].role,
                                                 "content", e->context[i].content));
    return json_pack("{s:I, s:o, s:s, s:s*, s:s*, s:s*, s:f}", "record", (json_int_t)e->record,
                     "context", context, "prompt", e->prompt, "answer", e->answer, "chosen",
                     e->chosen, "rejected", e->rejected, "margin", e->margin);
}

ap_status ap_data_report_json(const struct ap_data_report *r, struct ap_buffer *out,
                              struct ap_error *err)
{
    json_t *report = counts_json(r), *shown = json_array();
    char *text = NULL;
    if (report && r->n_margins)
        json_object_set_new(report, "margin",
                            json_pack("{s:I, s:f, s:f, s:f}", "pairs", (json_int_t)r->n_margins,
                                      "min", r->margin_min, "mean",
                                      r->margin_sum / (double)r->n_margins, "max", r->margin_max));
    for (size_t i = 0; i < r->n_shown; i++)
        json_array_append_new(shown, example_json(&r->shown[i]));
    if (report && json_object_set_new(report, "shown", shown) == 0)
        text = json_dumps(report, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    ap_status status = text ? ap_buffer_printf(out, err, "%s\n", text)
                            : ap_fail(err, AP_MEMORY, "%s: no memory for its report", r->path);
    free(text);
    json_decref(report);
    return status;
}
