/* Groups of tensors (inspect_tensors.h). */
#include "pipeline/inspect_tensors.h"

#include "base/memory.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 256
#define GROUPS_SHOWN 64
#define DIGITS_MAX 6
#define NAME_COLUMNS 72

/* ---- grouping ---- */

/* Digits of a number that is a whole part of the name between points; 0: none begins here. */
static size_t number_at(const char *name, size_t n, size_t at)
{
    size_t digits = 0;
    if (at > 0 && name[at - 1] != '.')
        return 0;
    while (at + digits < n && digits <= DIGITS_MAX && isdigit((unsigned char)name[at + digits]))
        digits++;
    return digits <= DIGITS_MAX && (at + digits == n || name[at + digits] == '.') ? digits : 0;
}

static void make_group(struct ap_tensor_group *g, const char *name, size_t n_name)
{
    size_t used = 0;
    for (size_t i = 0; i < n_name && used + 3 < sizeof(g->name);) {
        size_t digits = g->n_number < AP_TENSOR_NUMBERS ? number_at(name, n_name, i) : 0;
        if (digits) {
            g->low[g->n_number] = g->high[g->n_number] = strtoll(name + i, NULL, 10);
            g->n_number++;
            memcpy(g->name + used, "{}", 2);
            used += 2;
            i += digits;
        } else {
            g->name[used++] = name[i] ? name[i] : ' ';
            i++;
        }
    }
    g->name[used] = '\0';
}

static bool is_same(const struct ap_tensor_group *a, const struct ap_tensor_group *b)
{
    return a->type == b->type && a->n_dim == b->n_dim && a->n_number == b->n_number &&
           !memcmp(a->shape, b->shape, sizeof(a->shape)) && !strcmp(a->name, b->name);
}

static void widen(struct ap_tensor_group *to, const struct ap_tensor_group *g)
{
    to->n++;
    for (int k = 0; k < to->n_number; k++) {
        to->low[k] = g->low[k] < to->low[k] ? g->low[k] : to->low[k];
        to->high[k] = g->high[k] > to->high[k] ? g->high[k] : to->high[k];
    }
}

static void add_total(struct ap_tensor_total *to, uint64_t elements, uint64_t bytes)
{
    to->n++;
    to->elements += elements;
    to->bytes += bytes;
}

ap_status ap_tensors_add(struct ap_tensors *s, const char *name, size_t n_name, const char *type,
                         int n_dim, const int64_t *shape, uint64_t elements, uint64_t bytes,
                         struct ap_error *err)
{
    struct ap_tensor_group g = {.type = type, .n_dim = n_dim, .n = 1};
    int i = 0, k = 0;
    if (!s->groups && !(s->groups = ap_calloc(GROUPS_MAX, sizeof(*s->groups))))
        return ap_fail(err, AP_MEMORY, "no memory for a table of tensors; free some");
    memcpy(g.shape, shape, (size_t)n_dim * sizeof(*shape));
    make_group(&g, name, n_name);
    while (i < s->n_group && !is_same(&s->groups[i], &g))
        i++;
    if (i < s->n_group)
        widen(&s->groups[i], &g);
    else if (s->n_group < GROUPS_MAX)
        s->groups[s->n_group++] = g;
    else
        s->n_other++;
    while (k < s->n_total && s->totals[k].type != type)
        k++;
    if (k < (int)AP_LEN(s->totals)) {
        s->totals[k].type = type;
        s->n_total = k == s->n_total ? k + 1 : s->n_total;
        add_total(&s->totals[k], elements, bytes);
    }
    add_total(&s->all, elements, bytes);
    return AP_OK;
}

ap_status ap_tensors_add_file(struct ap_tensors *s, const struct ap_safetensors *f,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < f->n && status == AP_OK; i++) {
        const struct ap_tensor_view *v = &f->views[i];
        status = ap_tensors_add(s, v->name, strlen(v->name), ap_dtype_name(v->dtype), v->n_dim,
                                v->shape, v->n, v->n * ap_dtype_size(v->dtype), err);
    }
    return status;
}

void ap_tensors_free(struct ap_tensors *s)
{
    ap_free(s->groups);
    *s = (struct ap_tensors){0};
}

/* ---- telling ---- */

void ap_tell_totals(struct ap_tell *t, const struct ap_tensors *s)
{
    char parameters[32], tensors[32], size[32];
    json_t *types = json_object();
    ap_tell_count(t, "parameters", s->all.elements);
    ap_tell_count(t, "tensors", s->all.n);
    ap_tell_count(t, "tensor_bytes", s->all.bytes);
    ap_tell_line(t, "parameters", "%s in %s tensor%s",
                 ap_inspect_number(s->all.elements, parameters),
                 ap_inspect_number(s->all.n, tensors), s->all.n == 1 ? "" : "s");
    for (int i = 0; i < s->n_total; i++) {
        const struct ap_tensor_total *d = &s->totals[i];
        if (s->n_total == 1)
            ap_tell_line(t, "stored as", "%s, %s", d->type, ap_inspect_size(d->bytes, size));
        else
            ap_tell_line(t, i ? "" : "stored as", "%s: %s in %s tensor%s, %s", d->type,
                         ap_inspect_number(d->elements, parameters),
                         ap_inspect_number(d->n, tensors), d->n == 1 ? "" : "s",
                         ap_inspect_size(d->bytes, size));
        json_object_set_new(types, d->type,
                            json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)d->n, "parameters",
                                      (json_int_t)d->elements, "bytes", (json_int_t)d->bytes));
    }
    ap_tell_set(t, "dtypes", types);
}

/* "model.layers.{0..15}.mlp.up_proj.weight"; a number that is the same in all stays one. */
static void group_name(const struct ap_tensor_group *g, char *out, size_t size)
{
    size_t used = 0;
    int number = 0;
    for (const char *at = g->name; *at && used + 1 < size;) {
        int n = 1;
        if (number < g->n_number && !strncmp(at, "{}", 2)) {
            int64_t low = g->low[number], high = g->high[number];
            n = low == high
                    ? snprintf(out + used, size - used, "%" PRId64, low)
                    : snprintf(out + used, size - used, "{%" PRId64 "..%" PRId64 "}", low, high);
            number++;
            at += 2;
        } else {
            out[used] = *at++;
        }
        used += (size_t)n < size - used ? (size_t)n : size - 1 - used;
    }
    out[used] = '\0';
}

static bool has_holes(const struct ap_tensor_group *g)
{
    uint64_t all = 1;
    for (int k = 0; k < g->n_number; k++)
        if (__builtin_mul_overflow(all, (uint64_t)(g->high[k] - g->low[k] + 1), &all))
            return true;
    return all != g->n;
}

static void shape_text(const struct ap_tensor_group *g, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int k = 0; k < g->n_dim && used < size; k++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRId64, k ? "," : "", g->shape[k]);
    if (used + 1 < size)
        snprintf(out + used, size - used, "]");
}

static json_t *group_json(const struct ap_tensor_group *g, const char *name)
{
    json_t *shape = json_array();
    for (int k = 0; k < g->n_dim; k++)
        json_array_append_new(shape, json_integer(g->shape[k]));
    return json_pack("{s:o, s:I, s:s, s:o}", "name",
                     ap_inspect_string(name, strlen(name), SIZE_MAX), "count", (json_int_t)g->n,
                     "dtype", g->type, "shape", shape);
}

void ap_tell_tensors(struct ap_tell *t, const struct ap_tensors *s)
{
    char name[320], shape[96], tail[160];
    int used;
    json_t *list = json_array();
    uint64_t n_left = s->n_other;
    ap_tell_raw(t, s->n_group ? "\n  tensors\n" : "");
    for (int i = 0; i < s->n_group; i++) {
        const struct ap_tensor_group *g = &s->groups[i];
        group_name(g, name, sizeof(name));
        shape_text(g, shape, sizeof(shape));
        json_array_append_new(list, group_json(g, name));
        if (i >= GROUPS_SHOWN) {
            n_left += g->n;
            continue;
        }
        ap_tell_raw(t, "    ");
        ap_tell_cell(t, name, strlen(name), NAME_COLUMNS);
        used = snprintf(tail, sizeof(tail), "%s %s", g->type, shape);
        if (has_holes(g))
            snprintf(tail + used, sizeof(tail) - (size_t)used, " (%" PRIu64 ")", g->n);
        ap_tell_raw(t, " ");
        ap_tell_cell(t, tail, strlen(tail), AP_INSPECT_COLUMNS - 5 - NAME_COLUMNS);
        ap_tell_raw(t, "\n");
    }
    if (n_left)
        ap_tell_raw(t, "    and %" PRIu64 " more tensors\n", n_left);
    ap_tell_set(t, "groups", list);
    ap_tell_count(t, "tensors_not_in_groups", s->n_other);
}
