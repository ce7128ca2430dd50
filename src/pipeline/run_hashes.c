/* What a run was made of and what it made, by SHA-256: data files, and the weights that its stages
 * left. Entry point: ap_run_hashes. */
#include "pipeline/stage_share.h"

#include "base/memory.h"
#include "base/sha256.h"
#include "eval/report.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A report is made anew after every stage: what takes some seconds to read is named only. */
#define FILE_MAX ((size_t)256 << 20)

struct list {
    const struct ap_run *run;
    struct ap_report_hash *items; /* owned, with their texts */
    int n;
    struct ap_error *err;
};

/* In pieces: a mapped file would count as the process's own memory. */
static bool hash_open_file(int fd, unsigned char digest[32])
{
    unsigned char piece[1 << 14];
    struct ap_sha256 s;
    ssize_t n;
    ap_sha256_init(&s);
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        ap_sha256_add(&s, piece, (size_t)n);
    ap_sha256_end(&s, digest);
    return n == 0;
}

bool ap_run_hash_file(const char *path, char *out)
{
    bool known = false;
    struct stat info;
    unsigned char digest[32];
    int fd = -1;
    if (stat(path, &info) != 0)
        snprintf(out, AP_REPORT_HASH_MAX, "missing");
    else if ((size_t)info.st_size > FILE_MAX)
        snprintf(out, AP_REPORT_HASH_MAX, "not read: over %zu MiB", FILE_MAX >> 20);
    else if (ap_file_open(&fd, path, NULL) != AP_OK || !hash_open_file(fd, digest))
        snprintf(out, AP_REPORT_HASH_MAX, "cannot be read");
    else
        known = true;
    if (known)
        ap_sha256_hex(digest, out);
    if (fd >= 0)
        close(fd);
    return known;
}

/* A page is written after every stage: what was read when the run was opened is not read again. */
static void hash_once(const struct ap_run *run, const char *path, char out[AP_REPORT_HASH_MAX])
{
    json_t *mark = ap_share_mark(run, path);
    const char *known = json_string_value(json_object_get(mark, "sha256"));
    if (known)
        snprintf(out, AP_REPORT_HASH_MAX, "%s", known);
    else
        ap_run_hash_file(path, out);
    json_decref(mark);
}

/* shown: the path as the page has it. */
static ap_status add(struct list *l, const char *what, const char *path, const char *shown)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->items[i].path, shown) == 0)
            return AP_OK;
    struct ap_report_hash *more =
        ap_realloc(l->items, (size_t)l->n, (size_t)l->n + 1, sizeof(*more));
    if (!more)
        return ap_fail(l->err, AP_MEMORY, "report.html: out of memory for hashes");
    l->items = more;
    struct ap_report_hash *h = &l->items[l->n];
    h->path = ap_strdup(shown);
    if (!h->path)
        return ap_fail(l->err, AP_MEMORY, "report.html: out of memory for hashes");
    snprintf(h->what, sizeof(h->what), "%s", what);
    hash_once(l->run, path, h->hash);
    l->n++;
    return AP_OK;
}

static int is_weights(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".safetensors") == 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void free_entries(struct dirent **entries, int n)
{
    for (int i = 0; i < n; i++)
        free(entries[i]); /* scandir's */
    free(entries);
}

static ap_status add_weights(struct list *l, const struct ap_run_dir *dir, const char *stage)
{
    struct dirent **entries = NULL;
    char *folder = ap_run_dir_path(dir, stage, "final"), what[64];
    int n = folder ? scandir(folder, &entries, is_weights, alphasort) : 0;
    ap_status status = AP_OK;
    snprintf(what, sizeof(what), "weights of %.40s", stage);
    for (int i = 0; i < n && status == AP_OK; i++) {
        char *path = ap_path_join(folder, entries[i]->d_name);
        status = path ? add(l, what, path, path + strlen(dir->path) + 1)
                      : ap_fail(l->err, AP_MEMORY, "report.html: out of memory for hashes");
        ap_free(path);
    }
    free_entries(entries, n < 0 ? 0 : n);
    ap_free(folder);
    return status;
}

ap_status ap_run_hashes(const struct ap_run *run, struct ap_report_hash **out, int *n,
                        struct ap_error *err)
{
    struct list l = {.run = run, .err = err};
    struct ap_run_path paths[AP_RUN_PATHS];
    struct dirent **stages = NULL;
    ap_status status = AP_OK;
    int n_stage = scandir(run->dir.path, &stages, is_visible, alphasort);
    ap_run_paths(run->s, paths);
    for (int i = 0; i < AP_RUN_PATHS && status == AP_OK; i++)
        if (paths[i].path[0])
            status = add(&l, "data", paths[i].path, paths[i].path);
    for (int i = 0; i < n_stage && status == AP_OK; i++)
        status = add_weights(&l, &run->dir, stages[i]->d_name);
    free_entries(stages, n_stage < 0 ? 0 : n_stage);
    *out = l.items;
    *n = l.n;
    return status;
}

void ap_run_hashes_free(struct ap_report_hash *hashes, int n)
{
    for (int i = 0; i < n; i++)
        ap_free(hashes[i].path);
    ap_free(hashes);
}
