/* Event files: byte for byte what TensorBoard's own writer makes of the same events, one file after
 * the other, torn ones, and a system that fails. What TensorBoard makes of them:
 * tools/check_tensorboard.py. */
#include "base/scratch.h"
#include "event_files.h"
#include "store/event_file.h"

#include "base/faults.h"

#include <fcntl.h>
#include <sys/stat.h>

static int clear_faults(void **state)
{
    faults.memory.after = faults.write.after = -1;
    return scratch_teardown(state);
}

static struct event_file_names {
    char names[16][128];
    int n;
} list(const char *folder)
{
    struct event_file_names out = {.n = 0};
    struct dirent **names;
    int n = scandir(folder, &names, is_event_file, alphasort);
    assert_true(n >= 0 && n <= 16);
    for (int i = 0; i < n; i++) {
        snprintf(out.names[out.n++], sizeof(out.names[0]), "%.120s", names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return out;
}

static struct ap_event_file must_open(const char *folder, int64_t step)
{
    struct ap_error err;
    struct ap_event_file f = {0};
    check_ok(ap_event_file_open(&f, folder, step, &err), err);
    return f;
}

static void must_put(struct ap_event_file *f, int64_t step, const char *tag, double value)
{
    struct ap_error err;
    check_ok(ap_event_file_scalar(f, step, tag, value, &err), err);
}

static void must_flush(struct ap_event_file *f)
{
    struct ap_error err;
    check_ok(ap_event_file_flush(f, &err), err);
}

/* The folder's points as "step tag value;". */
static void check_points(const char *folder, const char *expected)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    struct event_run run = read_events(folder);
    check_ok(ap_buffer_puts(&text, "", &err), err);
    for (int i = 0; i < run.n; i++)
        check_ok(ap_buffer_printf(&text, &err, "%lld %s %g;", (long long)run.points[i].step,
                                  run.points[i].tag, (double)run.points[i].value),
                 err);
    assert_string_equal(text.data, expected);
    ap_buffer_free(&text);
    free(run.points);
}

/* -- bytes -- */

/* tensorboard 2.21: tensorboard.summary.writer.record_writer.RecordWriter over
 *   Event(wall_time=1.5e9, file_version="brain.Event:2"),
 *   Event(wall_time=1.5e9, step=300, session_log=SessionLog(status=START)),
 *   Event(wall_time=1.5e9, step=300, summary=Summary(value=[Value(tag="loss", simple_value=0.25),
 *                                                           Value(tag="lr", simple_value=-1e-3)])),
 *   Event(wall_time=1.5e9, step=300, summary=Summary(value=[Value(tag="recipe",
 *       metadata=SummaryMetadata(plugin_data=PluginData(plugin_name="text")),
 *       tensor=TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(dim=[Dim(size=1)]),
 *                          string_val=[b"    a: 1\n    \n    b\n"]))])) */
static const char *const reference[] = {
    "1800000000000000a37f4b2209000000c00b5ad6411a0d627261696e2e4576656e743a324ca9a464",
    "100000000000000095fbfe1809000000c00b5ad64110ac023a02080186d26f32",
    "2600000000000000734fe30009000000c00b5ad64110ac022a180a0b0a046c6f7373150000803e0a090a026c7215"
    "6f1283ba277fd826",
    "420000000000000079f36eaa09000000c00b5ad64110ac022a340a320a06726563697065421e0807120412020801"
    "421420202020613a20310a202020200a20202020620a4a080a060a0474657874bb7365b4"};

/* The date is the clock's; with the reference's in its place every byte must be the reference's. */
static size_t check_record(unsigned char *record, const char *hex)
{
    const double date = 1.5e9;
    size_t n = strlen(hex) / 2, n_event = n - 16;
    char got[512] = "";
    memcpy(record + 13, &date, sizeof(date));
    uint32_t sum = masked(record + 12, n_event);
    memcpy(record + 12 + n_event, &sum, sizeof(sum));
    for (size_t i = 0; i < n; i++)
        snprintf(got + 2 * i, 3, "%02x", record[i]);
    assert_string_equal(got, hex);
    return n;
}

static void test_bytes_are_the_fields_own_writers(void **state)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    struct ap_event_file f = must_open(*state, 300);
    must_put(&f, 300, "loss", 0.25);
    must_put(&f, 300, "lr", -1e-3);
    must_flush(&f);
    check_ok(ap_event_file_text(&f, 300, "recipe", "a: 1\n\nb", &err), err);
    must_flush(&f);
    check_ok(ap_file_read(f.path, 4096, &text, &err), err);
    unsigned char *at = (unsigned char *)text.data;
    for (size_t i = 0; i < AP_LEN(reference); i++)
        at += check_record(at, reference[i]);
    assert_ptr_equal(at, text.data + text.len);
    ap_event_file_close(&f);
    ap_buffer_free(&text);
}

/* -- values -- */

static void test_steps_and_values(void **state)
{
    struct ap_event_file f = must_open(*state, 0);
    must_put(&f, 0, "kl", 0);
    must_put(&f, 0, "reward", 1.5);
    must_put(&f, 0, "nan", NAN);
    must_put(&f, 0, "inf", -INFINITY);
    must_put(&f, 0, "too large for a float", 1e300);
    check_points(*state, ""); /* waits */
    must_flush(&f);
    must_flush(&f);
    check_points(*state, "0 kl 0;0 reward 1.5;");
    must_put(&f, 1, "kl", 0.125);
    must_put(&f, 70000000000, "kl", 0.25); /* another step writes the one before */
    check_points(*state, "0 kl 0;0 reward 1.5;1 kl 0.125;");
    must_flush(&f);
    must_put(&f, 70000000001, "kl", 1);
    ap_event_file_close(&f); /* what waits is dropped */
    check_points(*state, "0 kl 0;0 reward 1.5;1 kl 0.125;70000000000 kl 0.25;");
    must_put(&f, 3, "kl", 1); /* closed: nothing happens */
    must_flush(&f);
    ap_event_file_close(&f);
}

static void test_texts(void **state)
{
    struct ap_error err;
    struct ap_event_file f = must_open(*state, 2);
    check_ok(ap_event_file_text(&f, 2, "empty", "", &err), err);
    check_ok(ap_event_file_text(&f, 2, "recipe", "run:\n  seed: 1 # ```\n", &err), err);
    must_flush(&f);
    struct event_run run = read_events(*state);
    assert_string_equal(run.text_tag, "recipe");
    assert_string_equal(run.text, "    run:\n      seed: 1 # ```\n");
    assert_int_equal(run.n, 0);
    ap_event_file_close(&f);
}

/* -- one file after the other -- */

static void check_name(const char *name, const char *time)
{
    char expected[128];
    snprintf(expected, sizeof(expected), "events.out.tfevents.%s.alignpro.%ld.0", time,
             (long)getpid());
    assert_string_equal(name, expected);
}

static void test_names_are_in_the_order_of_time(void **state)
{
    char *folder = scratch_path(state, "tb/align"), time[11] = "";
    for (int i = 0; i < 5; i++) {
        struct ap_event_file f = must_open(folder, i); /* all within a second */
        ap_event_file_close(&f);
    }
    struct event_run run = read_events(folder);
    assert_int_equal(run.n_file, 5);
    assert_int_equal(run.last_start, 4); /* the newest is the last by name */
    struct event_file_names names = list(folder);
    memcpy(time, names.names[0] + strlen("events.out.tfevents."), 10);
    check_name(names.names[0], time);
    ap_free(folder);
}

static void test_a_clock_set_back_and_files_of_others(void **state)
{
    static const char *const others[] = {"events.out.tfevents.9999999999.host.1.0",
                                         "events.out.tfevents.99999999999999999999.alignpro.1.0",
                                         "events.out.tfevents.12.alignpro.1.0",
                                         "events.out.tfevents.", "notes"};
    for (size_t i = 0; i < AP_LEN(others); i++) {
        char *path = scratch_path(state, others[i]);
        scratch_put(path, "", 0);
        ap_free(path);
    }
    char *future = scratch_path(state, "events.out.tfevents.4000000000.alignpro.77.0");
    scratch_put(future, "", 0);
    struct ap_event_file f = must_open(*state, 0);
    check_name(strrchr(f.path, '/') + 1, "4000000001");
    struct ap_event_file g = must_open(*state, 0);
    check_name(strrchr(g.path, '/') + 1, "4000000002");
    ap_event_file_close(&f);
    ap_event_file_close(&g);
    ap_free(future);
}

/* Killed inside a record, at each of its bytes; the next file takes the steps over. */
static void test_half_a_record_ends_a_file(void **state)
{
    struct stat info;
    struct ap_event_file f = must_open(*state, 0);
    for (int i = 0; i < 3; i++) {
        must_put(&f, i, "kl", i);
        must_flush(&f);
    }
    off_t whole = (off_t)f.size;
    must_put(&f, 3, "kl", 3);
    must_flush(&f);
    char *path = ap_strdup(f.path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, f.size);
    for (off_t size = info.st_size - 1; size > whole; size--) {
        assert_int_equal(truncate(path, size), 0);
        struct event_run run = read_events(*state);
        assert_int_equal(run.n_torn, 1);
        assert_int_equal(run.n, 3);
        free(run.points);
    }
    ap_event_file_close(&f);
    f = must_open(*state, 2);
    check_points(*state, "0 kl 0;1 kl 1;"); /* step 2 lay past the checkpoint */
    must_put(&f, 2, "kl", 5);
    must_flush(&f);
    check_points(*state, "0 kl 0;1 kl 1;2 kl 5;");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, whole + 1); /* nothing was appended */
    ap_event_file_close(&f);
    ap_free(path);
}

/* -- failures -- */

/* Opens, writes three steps; the first failure's status. A failure leaves it closed. */
static ap_status write_some(const char *folder, struct ap_error *err)
{
    struct ap_event_file f = {0};
    ap_status status = ap_event_file_open(&f, folder, 0, err);
    for (int i = 0; status == AP_OK && i < 3; i++) {
        status = ap_event_file_text(&f, i, "text", "a\nb", err);
        if (status == AP_OK)
            status = ap_event_file_scalar(&f, i, "kl", i, err);
        if (status == AP_OK)
            status = ap_event_file_flush(&f, err);
    }
    if (status != AP_OK) {
        assert_null(f.path);
        assert_int_equal(ap_event_file_scalar(&f, 3, "kl", 3, NULL), AP_OK);
        assert_int_equal(ap_event_file_flush(&f, NULL), AP_OK);
    }
    ap_event_file_close(&f);
    return status;
}

static void check_faults(void **state, struct fault *fault, int code, ap_status expected)
{
    struct ap_error err;
    int n_failed = 0;
    for (int after = 0;; after++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", after);
        char *folder = scratch_path(state, name);
        *fault = (struct fault){after, code};
        ap_status status = write_some(folder, &err);
        fault->after = -1;
        if (status == AP_OK) {
            ap_free(folder);
            break;
        }
        assert_int_equal(status, expected);
        check_holds(err.text, "free some");
        struct event_run run = read_events(folder); /* what is there can be read */
        assert_true(run.n < 3 && run.n_file <= 1);
        free(run.points);
        struct ap_event_file f = must_open(folder, 0);
        ap_event_file_close(&f);
        ap_free(folder);
        n_failed++;
    }
    assert_true(n_failed >= 5);
}

static void test_a_full_disk(void **state)
{
    check_faults(state, &faults.write, ENOSPC, AP_IO);
}

static void test_no_memory(void **state)
{
    check_faults(state, &faults.memory, ENOMEM, AP_MEMORY);
}

/* 1000 bytes of a record are written, then no more: half a record, and nothing after it. */
static void test_a_disk_that_fills_up_inside_a_record(void **state)
{
    struct ap_error err;
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct ap_event_file f = must_open(*state, 0);
    check_ok(ap_event_file_text(&f, 0, "recipe", text, &err), err);
    faults.write = (struct fault){1, ENOSPC};
    assert_int_equal(ap_event_file_flush(&f, &err), AP_IO);
    check_holds(err.text, "cannot write after ");
    check_holds(err.text, "No space left");
    faults.write.after = -1;
    must_put(&f, 1, "kl", 1);
    must_flush(&f);
    struct event_run run = read_events(*state);
    assert_int_equal(run.n_torn, 1);
    assert_int_equal(run.n, 0);
}

static void test_a_folder_that_cannot_be(void **state)
{
    struct ap_error err;
    struct ap_event_file f = {0};
    char *file = scratch_path(state, "tb"), *folder = scratch_path(state, "tb/align");
    scratch_put(file, "x", 1);
    assert_int_not_equal(ap_event_file_open(&f, folder, 0, &err), AP_OK);
    check_holds(err.text, "tb");
    assert_null(f.path);
    ap_free(file);
    ap_free(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, clear_faults)
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_are_the_fields_own_writers),
        TEST(test_steps_and_values),
        TEST(test_texts),
        TEST(test_names_are_in_the_order_of_time),
        TEST(test_a_clock_set_back_and_files_of_others),
        TEST(test_half_a_record_ends_a_file),
        TEST(test_a_full_disk),
        TEST(test_no_memory),
        TEST(test_a_disk_that_fills_up_inside_a_record),
        TEST(test_a_folder_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
