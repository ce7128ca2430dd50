/* A reader of event files, written apart from the writer: every frame and sum is checked, every
 * field must be one that TensorBoard knows, and a session's start drops what is past it. */
#ifndef AP_TESTS_STORE_EVENT_FILES_H
#define AP_TESTS_STORE_EVENT_FILES_H

#include "base/crc32c.h"
#include "base/file.h"
#include "base/memory.h"
#include "check.h"

#include <dirent.h>
#include <stdbool.h>

struct event_point {
    int64_t step;
    char tag[80];
    float value;
};

/* What a folder's files hold. */
struct event_run {
    struct event_point *points; /* freed by the caller */
    int n;
    int n_file, n_start, n_torn; /* torn: half a record at the end of a file */
    int64_t last_start;          /* step of the newest session */
    char text[1 << 14];          /* the newest text, the beginning of it */
    char text_tag[80];
};

/* -- protocol buffers -- */

struct field {
    unsigned number, wire;
    uint64_t number_value;     /* wire 0, 1, 5 */
    const unsigned char *data; /* wire 2 */
    size_t n;
};

static inline uint64_t little(const unsigned char *bytes, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static inline uint64_t take_varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(*at < end && shift < 64);
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80))
            return value;
    }
}

/* The next field, or false at the end. */
static inline bool take_field(const unsigned char **at, const unsigned char *end, struct field *f)
{
    if (*at == end)
        return false;
    uint64_t key = take_varint(at, end);
    *f = (struct field){.number = (unsigned)(key >> 3), .wire = key & 7};
    size_t fixed = f->wire == 1 ? 8 : f->wire == 5 ? 4 : 0;
    if (f->wire == 0)
        f->number_value = take_varint(at, end);
    else if (f->wire == 2) {
        f->n = take_varint(at, end);
        f->data = *at;
        assert_true(f->n <= (size_t)(end - *at));
        *at += f->n;
    } else {
        assert_true(fixed > 0 && fixed <= (size_t)(end - *at));
        f->number_value = little(*at, (int)fixed);
        *at += fixed;
    }
    return true;
}

static inline void field_text(const struct field *f, char *out, size_t size)
{
    size_t n = f->n < size ? f->n : size - 1;
    memcpy(out, f->data, n);
    out[n] = '\0';
}

/* -- events -- */

static inline void take_tensor(struct event_run *run, const struct field *tensor)
{
    const unsigned char *at = tensor->data, *end = at + tensor->n;
    struct field f;
    while (take_field(&at, end, &f))
        if (f.number == 8)
            field_text(&f, run->text, sizeof(run->text));
        else if (f.number == 1)
            assert_int_equal(f.number_value, 7); /* DT_STRING */
        else
            assert_int_equal(f.number, 2);
}

static inline void take_value(struct event_run *run, int64_t step, const struct field *value)
{
    const unsigned char *at = value->data, *end = at + value->n;
    struct event_point p = {.step = step};
    struct field f;
    bool scalar = false;
    while (take_field(&at, end, &f))
        if (f.number == 1)
            field_text(&f, p.tag, sizeof(p.tag));
        else if (f.number == 2) {
            uint32_t bits = (uint32_t)f.number_value;
            assert_int_equal(f.wire, 5);
            memcpy(&p.value, &bits, sizeof(bits));
            scalar = true;
        } else if (f.number == 8)
            take_tensor(run, &f);
        else {
            assert_int_equal(f.number, 9);
            assert_int_equal(f.n, 8);
            assert_memory_equal(f.data, "\x0a\x06\x0a\x04text", 8);
            snprintf(run->text_tag, sizeof(run->text_tag), "%s", p.tag);
        }
    if (!scalar)
        return;
    run->points = realloc(run->points, (size_t)(run->n + 1) * sizeof(*run->points));
    assert_non_null(run->points);
    run->points[run->n++] = p;
}

static inline void start_session(struct event_run *run, int64_t step)
{
    int n = 0;
    for (int i = 0; i < run->n; i++)
        if (run->points[i].step < step)
            run->points[n++] = run->points[i];
    run->n = n;
    run->n_start++;
    run->last_start = step;
}

static inline void take_event(struct event_run *run, const unsigned char *data, size_t n,
                              bool first)
{
    const unsigned char *at = data, *end = data + n;
    struct field f, value;
    int64_t step = 0;
    bool dated = false, version = false;
    while (take_field(&at, end, &f))
        if (f.number == 1) {
            double date;
            assert_int_equal(f.wire, 1);
            memcpy(&date, &f.number_value, sizeof(date));
            dated = date > 1.7e9;
        } else if (f.number == 2)
            step = (int64_t)f.number_value;
        else if (f.number == 3) {
            version = true;
            assert_int_equal(f.n, 13);
            assert_memory_equal(f.data, "brain.Event:2", 13);
        } else if (f.number == 7) {
            assert_int_equal(f.n, 2);
            assert_memory_equal(f.data, "\x08\x01", 2);
            start_session(run, step);
        } else {
            const unsigned char *inner = f.data;
            assert_int_equal(f.number, 5);
            while (take_field(&inner, f.data + f.n, &value)) {
                assert_int_equal(value.number, 1);
                take_value(run, step, &value);
            }
        }
    assert_true(dated);
    assert_int_equal(version, first);
}

static inline uint32_t masked(const unsigned char *data, size_t n)
{
    uint32_t crc = ap_crc32c(data, n);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* One file, adding to run. */
static inline void read_event_file(struct event_run *run, const char *path)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    check_ok(ap_file_read(path, 1 << 24, &text, &err), err);
    const unsigned char *at = (const unsigned char *)text.data, *end = at + text.len;
    run->n_file++;
    for (bool first = true; at < end; first = false) {
        size_t left = (size_t)(end - at), n = left < 12 ? 0 : little(at, 8);
        if (left < 12 || left - 12 < n + 4) {
            run->n_torn++;
            break;
        }
        assert_int_equal(little(at + 8, 4), masked(at, 8));
        assert_int_equal(little(at + 12 + n, 4), masked(at + 12, n));
        take_event(run, at + 12, n, first);
        at += n + 16;
    }
    ap_buffer_free(&text);
}

static inline int is_event_file(const struct dirent *entry)
{
    return strstr(entry->d_name, "tfevents") != NULL;
}

/* All files of a folder in the order of their names, as TensorBoard does; none where it is absent.
 */
static inline struct event_run read_events(const char *folder)
{
    struct event_run run = {0};
    struct dirent **names;
    int n = scandir(folder, &names, is_event_file, alphasort);
    for (int i = 0; i < n; i++) {
        char *path = ap_path_join(folder, names[i]->d_name);
        read_event_file(&run, path);
        ap_free(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return run;
}

#endif
