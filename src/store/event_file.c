/* Event files (event_file.h): the few messages of TensorBoard's protocol buffers that are needed,
 * encoded by hand, in TFRecord's frames. Numbers are little-endian.
 *
 *   record   length u64 | sum of the length u32 | event | sum of the event u32
 *   sum      CRC-32C, rotated right by 15, plus 0xa282ead8
 *   event    Event {1 wall_time double, 2 step int64,
 *                   3 file_version string | 5 summary Summary | 7 session_log SessionLog}
 *            Summary {1 value Value …}     Value {1 tag, 2 simple_value float | 8 tensor, 9
 * metadata} SessionLog {1 status: START is 1}
 *
 * Entry points: ap_event_file_open, _scalar, _text, _flush, _close. Source: event.proto,
 * summary.proto, tensor.proto and record_writer of TensorFlow; tools/check_tensorboard.py reads
 * the files with TensorBoard itself. */
#include "store/event_file.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BEGIN "events.out.tfevents."
#define NAME_HOST ".alignpro." /* where other writers put the machine's name */
#define TIME_DIGITS 10

/* ---- protocol buffers ---- */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* A message that is being written. After a failure the rest is skipped. */
struct message {
    struct ap_buffer *out;
    struct ap_error *err;
    ap_status status;
};

static struct message begin(struct ap_buffer *out, struct ap_error *err)
{
    ap_buffer_clear(out);
    return (struct message){out, err, AP_OK};
}

static void put(struct message *m, const void *data, size_t n)
{
    if (m->status == AP_OK)
        m->status = ap_buffer_append(m->out, data, n, m->err);
}

static void put_little(struct message *m, uint64_t value, int n_bytes)
{
    unsigned char bytes[8];
    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    put(m, bytes, (size_t)n_bytes);
}

static void put_varint(struct message *m, uint64_t value)
{
    unsigned char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    put(m, bytes, n);
}

static void put_key(struct message *m, unsigned field, enum wire wire)
{
    put_varint(m, field << 3 | wire);
}

/* Zero is what a reader takes for a field that is not there. */
static void put_int(struct message *m, unsigned field, int64_t value)
{
    if (value == 0)
        return;
    put_key(m, field, VARINT);
    put_varint(m, (uint64_t)value);
}

static void put_bytes(struct message *m, unsigned field, const void *data, size_t n)
{
    put_key(m, field, BYTES);
    put_varint(m, n);
    put(m, data, n);
}

static void put_string(struct message *m, unsigned field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_double(struct message *m, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_key(m, field, FIXED64);
    put_little(m, bits, 8);
}

static void put_float(struct message *m, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_key(m, field, FIXED32);
    put_little(m, bits, 4);
}

/* ---- records ---- */

static uint32_t masked_sum(const void *data, size_t n)
{
    uint32_t crc = ap_crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* f->message as one record. */
static ap_status write_record(struct ap_event_file *f, struct ap_error *err)
{
    struct message r = begin(&f->record, err);
    put_little(&r, f->message.len, 8);
    if (r.status == AP_OK)
        put_little(&r, masked_sum(r.out->data, 8), 4);
    put(&r, f->message.data, f->message.len);
    put_little(&r, masked_sum(f->message.data, f->message.len), 4);
    if (r.status != AP_OK)
        return r.status;
    int code = ap_fd_write(f->fd, f->record.data, f->record.len, &f->size);
    return code == 0 ? AP_OK
                     : ap_fail_errno(err, code, "%s: cannot write after %llu bytes", f->path,
                                     (unsigned long long)f->size);
}

static struct message begin_event(struct ap_event_file *f, int64_t step, struct ap_error *err)
{
    struct message m = begin(&f->message, err);
    put_double(&m, 1, ap_clock_date());
    put_int(&m, 2, step);
    return m;
}

/* The version by which readers know that a session's start drops what is past it; then that start.
 */
static ap_status write_beginning(struct ap_event_file *f, int64_t step, struct ap_error *err)
{
    static const unsigned char start[] = {1 << 3 | VARINT, 1}; /* SessionLog {status: START} */
    struct message m = begin_event(f, 0, err);
    put_string(&m, 3, "brain.Event:2");
    ap_status status = m.status == AP_OK ? write_record(f, err) : m.status;
    if (status != AP_OK)
        return status;
    m = begin_event(f, step, err);
    put_bytes(&m, 7, start, sizeof(start));
    return m.status == AP_OK ? write_record(f, err) : m.status;
}

/* ---- the file ---- */

/* TIME in the name of a file of ours, or −1. */
static long long time_in(const char *name)
{
    const size_t n = sizeof(NAME_BEGIN) - 1;
    if (strncmp(name, NAME_BEGIN, n) != 0 || strspn(name + n, "0123456789") != TIME_DIGITS ||
        strncmp(name + n + TIME_DIGITS, NAME_HOST, sizeof(NAME_HOST) - 1) != 0)
        return -1;
    return strtoll(name + n, NULL, 10);
}

static ap_status next_time(const char *folder, long long *time, struct ap_error *err)
{
    const struct dirent *entry;
    DIR *list = opendir(folder);
    if (!list)
        return ap_fail_errno(err, errno, "%s: cannot list", folder);
    *time = (long long)ap_clock_date();
    while ((entry = readdir(list)) != NULL) {
        long long taken = time_in(entry->d_name);
        *time = taken >= *time ? taken + 1 : *time;
    }
    closedir(list);
    return AP_OK;
}

ap_status ap_event_file_open(struct ap_event_file *f, const char *folder, int64_t step,
                             struct ap_error *err)
{
    ap_status status;
    char name[96];
    long long time = 0;
    ap_event_file_close(f);
    AP_TRY(ap_dir_make(folder, err));
    AP_TRY(next_time(folder, &time, err));
    snprintf(name, sizeof(name), NAME_BEGIN "%0*lld" NAME_HOST "%ld.0", TIME_DIGITS, time,
             (long)getpid());
    f->path = ap_path_join(folder, name);
    if (!f->path)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for a path; free some", folder));
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd < 0)
        AP_TRY(ap_fail_errno(err, errno, "%s: cannot create", f->path));
    AP_TRY(write_beginning(f, step, err));
    return AP_OK;
out:
    ap_event_file_close(f);
    return status;
}

void ap_event_file_close(struct ap_event_file *f)
{
    if (f->path && f->fd >= 0)
        close(f->fd);
    ap_free(f->path);
    ap_buffer_free(&f->values);
    ap_buffer_free(&f->message);
    ap_buffer_free(&f->record);
    *f = (struct ap_event_file){.fd = -1};
}

/* ---- values ---- */

ap_status ap_event_file_flush(struct ap_event_file *f, struct ap_error *err)
{
    if (!f->path || f->values.len == 0)
        return AP_OK;
    struct message m = begin_event(f, f->step, err);
    put_bytes(&m, 5, f->values.data, f->values.len);
    ap_status status = m.status == AP_OK ? write_record(f, err) : m.status;
    if (status == AP_OK)
        ap_buffer_clear(&f->values);
    else
        ap_event_file_close(f);
    return status;
}

/* f->message, a Value, waits with the others of its step. */
static ap_status add_value(struct ap_event_file *f, struct ap_error *err)
{
    struct message m = {&f->values, err, AP_OK};
    put_bytes(&m, 1, f->message.data, f->message.len);
    return m.status;
}

/* Readers expect one event a step, and steps in their order. */
static ap_status begin_step(struct ap_event_file *f, int64_t step, struct ap_error *err)
{
    ap_status status = step == f->step ? AP_OK : ap_event_file_flush(f, err);
    f->step = step;
    return status;
}

ap_status ap_event_file_scalar(struct ap_event_file *f, int64_t step, const char *tag, double value,
                               struct ap_error *err)
{
    ap_status status;
    if (!f->path || !isfinite((float)value))
        return AP_OK;
    AP_TRY(begin_step(f, step, err));
    struct message m = begin(&f->message, err);
    put_string(&m, 1, tag);
    put_float(&m, 2, (float)value);
    AP_TRY(m.status);
    AP_TRY(add_value(f, err));
    return AP_OK;
out:
    ap_event_file_close(f);
    return status;
}

static ap_status indent(const char *text, struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    while (status == AP_OK && *text) {
        size_t n = strcspn(text, "\n");
        status = ap_buffer_printf(out, err, "    %.*s\n", (int)n, text);
        text += text[n] ? n + 1 : n;
    }
    return status;
}

/* Value {tag, tensor: TensorProto {1 dtype, 2 shape {2 dim {1 size}}, 8 string_val},
 *        metadata: SummaryMetadata {1 plugin_data {1 plugin_name}}} */
ap_status ap_event_file_text(struct ap_event_file *f, int64_t step, const char *tag,
                             const char *text, struct ap_error *err)
{
    enum { DT_STRING = 7 };
    static const char plugin[] = "\x0a\x06\x0a\x04text", one[] = "\x12\x02\x08\x01";
    ap_status status;
    struct ap_buffer shown = {0}, tensor = {0};
    if (!f->path)
        return AP_OK;
    AP_TRY(begin_step(f, step, err));
    AP_TRY(ap_buffer_puts(&shown, "", err));
    AP_TRY(indent(text, &shown, err));
    struct message t = begin(&tensor, err), m = begin(&f->message, err);
    put_int(&t, 1, DT_STRING);
    put_bytes(&t, 2, one, sizeof(one) - 1);
    put_bytes(&t, 8, shown.data, shown.len);
    AP_TRY(t.status);
    put_string(&m, 1, tag);
    put_bytes(&m, 8, tensor.data, tensor.len);
    put_bytes(&m, 9, plugin, sizeof(plugin) - 1);
    AP_TRY(m.status);
    AP_TRY(add_value(f, err));
out:
    if (status != AP_OK)
        ap_event_file_close(f);
    ap_buffer_free(&shown);
    ap_buffer_free(&tensor);
    return status;
}
