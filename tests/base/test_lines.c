/* Lines, plain and gzipped: endings, bounds, damage. */
#include "base/scratch.h"

#include "base/faults.h"

#include <zlib.h>

static int clear_faults(void **state)
{
    faults.memory.after = -1;
    return scratch_teardown(state);
}

static void put_gz(const char *path, const char *text, size_t n)
{
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)n), (int)n);
    assert_int_equal(gzclose(file), Z_OK);
}

/* All lines of the file, joined by '|', each after its number. */
static void expect_lines(const char *path, size_t max_line, const char *want)
{
    struct ap_error err;
    struct ap_lines *lines;
    struct ap_buffer got = {0};
    check_ok(ap_lines_open(&lines, path, max_line, &err), err);
    for (;;) {
        const char *text;
        size_t n;
        uint64_t number;
        bool more;
        ap_status status = ap_lines_next(lines, &text, &n, &number, &more, &err);
        if (status == AP_LIMIT) {
            check_ok(ap_buffer_printf(&got, &err, "%d!|", (int)number), err);
            continue;
        }
        check_ok(status, err);
        if (!more)
            break;
        assert_int_equal(text[n], 0);
        assert_int_equal(strlen(text), n);
        check_ok(ap_buffer_printf(&got, &err, "%d%s|", (int)number, text), err);
    }
    assert_string_equal(got.data ? got.data : "", want);
    ap_buffer_free(&got);
    ap_lines_close(lines);
}

static void test_endings(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},         {"a\nb\n", "1a|2b|"},   {"a\nb", "1a|2b|"},
        {"\n\n", "1|2|"}, {"a\r\nb\r", "1a|2b|"}, {"a\rb\n", "1a\rb|"},
        {"\r\n", "1|"},   {"a\r\r\n", "1a\r|"},
    };
    char *path = scratch_path(state, "a.txt"), *gz = scratch_path(state, "a.gz");
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        scratch_put(path, rows[i].text, strlen(rows[i].text));
        put_gz(gz, rows[i].text, strlen(rows[i].text));
        expect_lines(path, 100, rows[i].want);
        expect_lines(gz, 100, rows[i].want);
    }
    ap_free(path);
    ap_free(gz);
}

static void test_too_long_lines_are_named_and_passed_over(void **state)
{
    char *path = scratch_path(state, "a.txt");
    static const char text[] =
        "12345\n123456\nok\n12345\r\n123456\r\n1234567\n1234567890\n\n123456";
    scratch_put(path, text, strlen(text));
    expect_lines(path, 5, "112345|2!|3ok|412345|5!|6!|7!|8|9!|");
    scratch_put(path, "\nx", 2);
    expect_lines(path, 0, "1|2!|");

    struct ap_error err;
    struct ap_lines *lines;
    const char *line;
    size_t n;
    uint64_t number;
    bool more;
    check_ok(ap_lines_open(&lines, path, 0, &err), err);
    check_ok(ap_lines_next(lines, &line, &n, &number, &more, &err), err);
    assert_int_equal(ap_lines_next(lines, &line, &n, &number, &more, &err), AP_LIMIT);
    check_holds(err.text, "a.txt:2: the line is longer than 0 bytes; shorten or remove it");
    ap_lines_close(lines);
    ap_free(path);
}

/* Lines around the sizes at which the reader's buffer moves and grows. */
static void test_buffer_boundaries(void **state)
{
    struct ap_error err;
    struct ap_lines *lines;
    struct ap_buffer text = {0};
    enum { N = 40 };
    size_t length[N];
    for (int i = 0; i < N; i++) {
        length[i] = i % 4 == 3 ? (size_t)(300000 + i) : (size_t)(65536 - N / 2 + i);
        for (size_t k = 0; k < length[i]; k++)
            check_ok(ap_buffer_append(&text, &"abcdefghijk"[(k + (size_t)i) % 11], 1, &err), err);
        check_ok(ap_buffer_puts(&text, i % 2 ? "\r\n" : "\n", &err), err);
    }
    char *gz = scratch_path(state, "a.jsonl.gz");
    put_gz(gz, text.data, text.len);
    check_ok(ap_lines_open(&lines, gz, 400000, &err), err);
    const char *line;
    size_t n, at = 0;
    uint64_t number;
    bool more;
    for (int i = 0; i < N; i++) {
        check_ok(ap_lines_next(lines, &line, &n, &number, &more, &err), err);
        assert_true(more);
        assert_int_equal(number, i + 1);
        assert_int_equal(n, length[i]);
        assert_memory_equal(line, text.data + at, n);
        at += n + 1 + (size_t)(i % 2);
    }
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        check_ok(ap_lines_next(lines, &line, &n, &number, &more, &err), err);
        assert_false(more);
        assert_int_equal(number, N);
    }
    ap_lines_close(lines);
    ap_buffer_free(&text);
    ap_free(gz);
}

/* The first error of a reading to the end, or AP_OK. */
static ap_status read_all(const char *path, struct ap_error *err)
{
    struct ap_lines *lines;
    ap_status status = ap_lines_open(&lines, path, 1000, err);
    bool more = true;
    while (status == AP_OK && more) {
        const char *text;
        size_t n;
        uint64_t number;
        status = ap_lines_next(lines, &text, &n, &number, &more, err);
    }
    ap_lines_close(lines);
    return status;
}

static void test_damaged_gzip(void **state)
{
    struct ap_error err;
    struct ap_buffer plain = {0}, packed = {0};
    char *path = scratch_path(state, "a.gz");
    for (uint32_t i = 0; i < 4000; i++)
        check_ok(ap_buffer_printf(&plain, &err, "line %u\n", i * 2654435761u), err);
    put_gz(path, plain.data, plain.len);
    check_ok(read_all(path, &err), err);
    check_ok(ap_file_read(path, 1 << 20, &packed, &err), err);

    scratch_put(path, packed.data, packed.len / 2);
    assert_int_equal(read_all(path, &err), AP_FORMAT);
    check_holds(err.text, "a.gz:");
    check_holds(err.text, "cut off; fetch the file again");

    packed.data[packed.len - 5] ^= 1; /* the checksum of the contents */
    scratch_put(path, packed.data, packed.len);
    assert_int_equal(read_all(path, &err), AP_FORMAT);
    check_holds(err.text, "damaged");
    ap_buffer_free(&plain);
    ap_buffer_free(&packed);
    ap_free(path);
}

static void test_what_cannot_be_opened(void **state)
{
    struct ap_error err;
    struct ap_lines *lines;
    char *absent = scratch_path(state, "absent");
    assert_int_equal(ap_lines_open(&lines, absent, 10, &err), AP_NOT_FOUND);
    assert_null(lines);
    check_holds(err.text, absent);
    assert_int_equal(ap_lines_open(&lines, *state, 10, &err), AP_INVALID);
    check_holds(err.text, "is a directory");
    ap_lines_close(NULL);
    ap_free(absent);
}

static void test_out_of_memory(void **state)
{
    struct ap_error err;
    char *path = scratch_path(state, "a"), *text = ap_calloc(200001, 1);
    memset(text, 'x', 200000);
    scratch_put(path, text, 200000);
    int n = 0;
    for (ap_status status = AP_MEMORY; status != AP_OK; n++) {
        struct ap_lines *lines;
        const char *line;
        size_t length;
        uint64_t number;
        bool more;
        assert_true(n < 20);
        faults.memory = (struct fault){n, 0};
        status = ap_lines_open(&lines, path, 300000, &err);
        if (status == AP_OK)
            status = ap_lines_next(lines, &line, &length, &number, &more, &err);
        faults.memory.after = -1;
        assert_true(status == AP_OK || status == AP_MEMORY);
        ap_lines_close(lines);
    }
    assert_in_range(n, 4, 19);
    ap_free(text);
    ap_free(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, clear_faults)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_endings),
        T(test_too_long_lines_are_named_and_passed_over),
        T(test_buffer_boundaries),
        T(test_damaged_gzip),
        T(test_what_cannot_be_opened),
        T(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
