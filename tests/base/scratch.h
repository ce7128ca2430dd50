/* A folder of a test's own, made by setup and removed by teardown; *state is its path. */
#ifndef AP_TESTS_BASE_SCRATCH_H
#define AP_TESTS_BASE_SCRATCH_H

#include "base/file.h"
#include "base/memory.h"
#include "check.h"

static inline int scratch_setup(void **state)
{
    char path[] = "/tmp/alignpro-test-XXXXXX";
    if (!mkdtemp(path))
        return -1;
    *state = ap_strdup(path);
    return *state ? 0 : -1;
}

static inline int scratch_teardown(void **state)
{
    ap_status status = ap_dir_remove(*state, NULL);
    ap_free(*state);
    return status == AP_OK ? 0 : -1;
}

/* NAME in the folder; the caller frees it. */
static inline char *scratch_path(void **state, const char *name)
{
    char *path = ap_path_join(*state, name);
    assert_non_null(path);
    return path;
}

/* A file with these bytes, written past the code under test. */
static inline void scratch_put(const char *path, const void *data, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* The file must hold exactly this text. */
static inline void scratch_expect(const char *path, const char *text)
{
    struct ap_error err;
    struct ap_buffer got = {0};
    check_ok(ap_file_read(path, 1 << 20, &got, &err), err);
    assert_string_equal(got.data, text);
    ap_buffer_free(&got);
}

#endif
