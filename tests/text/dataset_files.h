/* Small data files written for a test. */
#ifndef AP_TESTS_DATASET_FILES_H
#define AP_TESTS_DATASET_FILES_H

#include "check.h"

#include "base/file.h"
#include "base/memory.h"
#include "text/dataset.h"

struct scratch {
    char dir[64];
    char path[128];     /* of the file written last */
    int n_bad;          /* calls of on_bad */
    char last_bad[512]; /* its last message */
};

static inline int open_scratch(void **state)
{
    static struct scratch s;
    s = (struct scratch){.dir = "/tmp/test_dataset_XXXXXX"};
    *state = &s;
    return mkdtemp(s.dir) ? 0 : -1;
}

static inline int close_scratch(void **state)
{
    struct scratch *s = *state;
    return ap_dir_remove(s->dir, NULL) == AP_OK ? 0 : -1;
}

static inline void put_file(struct scratch *s, const char *name, const char *text, size_t n)
{
    struct ap_error err = {0};
    snprintf(s->path, sizeof(s->path), "%s/%s", s->dir, name);
    check_ok(ap_file_write(s->path, text, n, &err), err);
}

static inline void note_bad(void *context, const char *message)
{
    struct scratch *s = context;
    s->n_bad++;
    snprintf(s->last_bad, sizeof(s->last_bad), "%s", message);
}

/* Writes text as d.jsonl and reads it; what is not set in options gets a reporter of bad lines. */
static inline ap_status read_text(struct scratch *s, struct ap_dataset *d, const char *text,
                                  struct ap_dataset_options options, struct ap_error *err)
{
    put_file(s, "d.jsonl", text, strlen(text));
    s->n_bad = 0;
    options.on_bad = note_bad;
    options.on_bad_context = s;
    return ap_dataset_read(d, s->path, &options, err);
}

static inline struct ap_dataset read_good(struct scratch *s, const char *text,
                                          struct ap_dataset_options options)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    check_ok(read_text(s, &d, text, options, &err), err);
    return d;
}

#define SCRATCH(test) cmocka_unit_test_setup_teardown(test, open_scratch, close_scratch)

#endif
