/* Inspecting in a test: the report as text and as JSON, and what is never in one. */
#ifndef AP_TESTS_PIPELINE_INSPECTED_H
#define AP_TESTS_PIPELINE_INSPECTED_H

#include "base/scratch.h"

#include "alignpro/inspect.h"
#include "alignpro/text.h"

#include <jansson.h>

/* No line over 100 columns (of narrow characters), no control character but the newline. */
static inline void check_page(const char *text)
{
    for (size_t column = 0; *text; text++) {
        column = *text == '\n' ? 0 : column + ((*text & 0xC0) != 0x80);
        assert_true(column <= 100);
        assert_true(*text == '\n' || (unsigned char)*text >= 0x20);
        assert_true(*text != 0x7F);
    }
}

/* Its status must be `want`; freed by the caller. */
static inline char *inspect_text(const char *path, const char *model, ap_status want)
{
    struct ap_error err = {0};
    char *text;
    ap_status got = ap_inspect(path, &(struct ap_inspect_options){.model = model}, &text, &err);
    if (got != want)
        fprintf(stderr, "%s: %s: %s\n", path, ap_status_text(got), err.text);
    assert_int_equal(got, want);
    assert_non_null(text);
    check_page(text);
    return text;
}

static inline json_t *inspect_json(const char *path, const char *model, ap_status want)
{
    struct ap_error err = {0};
    char *text;
    struct ap_inspect_options options = {.model = model, .json = true};
    assert_int_equal(ap_inspect(path, &options, &text, &err), want);
    assert_non_null(text);
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    ap_text_free(text);
    return o;
}

/* A report all the same, with AP_FORMAT, one of whose problems holds the part. */
static inline void check_problem(const char *path, const char *model, const char *part)
{
    json_t *o = inspect_json(path, model, AP_FORMAT), *list = json_object_get(o, "problems");
    bool found = false;
    for (size_t i = 0; i < json_array_size(list); i++)
        found = found || strstr(json_string_value(json_array_get(list, i)), part);
    if (!found)
        fprintf(stderr, "%s: no problem holds '%s'\n", path, part);
    assert_true(found);
    json_decref(o);
    ap_text_free(inspect_text(path, model, AP_FORMAT));
}

static inline void check_refused(const char *path, ap_status want, const char *part)
{
    struct ap_error err = {0};
    char *text;
    assert_int_equal(ap_inspect(path, &(struct ap_inspect_options){0}, &text, &err), want);
    assert_null(text);
    check_holds(err.text, part);
}

static inline int64_t integer_of(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    if (!json_is_integer(value))
        fprintf(stderr, "%s is no integer\n", key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static inline const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* A file in a folder of the scratch. */
static inline void put_file(const char *folder, const char *name, const char *text)
{
    char path[512];
    assert_int_equal(ap_dir_make(folder, NULL), AP_OK);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    scratch_put(path, text, strlen(text));
}

/* Header (JSON) and n_data bytes that are a hole: a file of any size at once. */
static inline void put_safetensors(const char *folder, const char *name, const char *header,
                                   uint64_t n_data)
{
    char path[512];
    uint64_t n = strlen(header);
    unsigned char length[8];
    assert_int_equal(ap_dir_make(folder, NULL), AP_OK);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(n >> (8 * i));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(length, 1, 8, file), 8);
    assert_int_equal(fwrite(header, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, (off_t)(8 + n + n_data)), 0);
}

#endif
