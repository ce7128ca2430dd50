/* Comparisons in double for the tests (cmocka 1.1.5 has none) and the folders of reference values. */
#ifndef AP_TESTS_CHECK_H
#define AP_TESTS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* |got − want| <= absolute + relative·|want|; NaN never passes. */
#define check_near(got, want, absolute, relative)                                                  \
    check_near_at((got), (want), (absolute), (relative), #got, __FILE__, __LINE__)

static inline void check_near_at(double got, double want, double absolute, double relative,
                                 const char *what, const char *file, int line)
{
    if (!(fabs(got - want) <= absolute + relative * fabs(want))) {
        fprintf(stderr, "%s:%d: %s is %.12g, expected %.12g (tolerance %g + %g relative)\n", file,
                line, what, got, want, absolute, relative);
        _fail(file, line);
    }
}

/* A status that must be AP_OK; prints the error's text. */
#define check_ok(expr, err)                                                                        \
    do {                                                                                           \
        if ((expr) != 0) {                                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expr, (err).text);             \
            _fail(__FILE__, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

/* The text must hold the part. */
#define check_holds(text, part)                                                                    \
    do {                                                                                           \
        if (!strstr((text), (part))) {                                                             \
            fprintf(stderr, "%s:%d: '%s' does not hold '%s'\n", __FILE__, __LINE__, (text),        \
                    (part));                                                                       \
            _fail(__FILE__, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

/* Whether this is the full tier (make test-full): more shapes, more kills. */
static inline int check_full(void)
{
    return getenv("ALIGNPRO_TEST_FULL") != NULL;
}

/* Path of a reference file in a static buffer, or NULL (the caller skips) when the folder is absent. */
static inline const char *check_path(const char *variable, const char *fallback, const char *name)
{
    static char path[8][1024];
    static int turn;
    const char *root = getenv(variable);
    char *out = path[turn++ % 8];
    snprintf(out, sizeof(path[0]), "%s/%s", root ? root : fallback, name);
    if (access(out, R_OK) != 0) {
        printf("SKIP: %s is absent (set %s)\n", out, variable);
        return NULL;
    }
    return out;
}
#define check_golden(name) check_path("ALIGNPRO_GOLDEN", AP_SOURCE_DIR "/../shared/golden", name)
#define check_data(name) check_path("ALIGNPRO_DATA", AP_SOURCE_DIR "/../shared/data", name)

#endif
