/* Whether a run directory holds anything that its recipe made or bought. What cannot be read, and
 * what is not known here, counts as something. Entry point: ap_run_dir_unused. */
#include "store/run_dir.h"

#include "base/memory.h"
#include "store/database_inner.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- run.db ---- */

/* Of the ledger only answers count: a request that was refused leaves a row, too. */
static bool is_empty_table(sqlite3 *handle, const char *name)
{
    const char *answered = strcmp(name, "ledger") == 0 ? " WHERE answered IS NOT NULL" : "";
    char *sql = sqlite3_mprintf("SELECT 1 FROM \"%w\"%s LIMIT 1", name, answered);
    sqlite3_stmt *s = NULL;
    bool empty = sql && sqlite3_prepare_v2(handle, sql, -1, &s, NULL) == SQLITE_OK &&
                 sqlite3_step(s) == SQLITE_DONE;
    sqlite3_finalize(s);
    sqlite3_free(sql);
    return empty;
}

static bool are_empty_tables(sqlite3 *handle)
{
    static const char all[] = "SELECT name FROM sqlite_master WHERE type = 'table' "
                              "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    sqlite3_stmt *s = NULL;
    int code = SQLITE_ERROR;
    bool empty = sqlite3_prepare_v2(handle, all, -1, &s, NULL) == SQLITE_OK;
    while (empty && (code = sqlite3_step(s)) == SQLITE_ROW)
        empty = is_empty_table(handle, (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return empty && code == SQLITE_DONE;
}

/* One that is not there says nothing: a recipe.yaml beside none may be the user's own. */
static bool is_empty_database(const char *path)
{
    struct ap_database *db;
    bool empty = ap_database_open_read(&db, path, NULL) == AP_OK && are_empty_tables(db->handle);
    ap_database_close(db);
    return empty;
}

/* ---- folders ---- */

/* What a stage writes before it makes anything, and anew when it begins (stage_take.c,
 * stage_eval.c, stage_bound.c, stage_judges.c). */
static bool is_beginning(const char *name)
{
    static const char judge[] = "judge-";
    return strcmp(name, "inputs.json") == 0 || strcmp(name, "settings") == 0 ||
           strcmp(name, "prompts") == 0 || strncmp(name, judge, strlen(judge)) == 0;
}

typedef bool entry_fn(const char *folder, const char *name);

/* Whether `fine` says so of every entry; false where they cannot be listed. */
static bool all_entries(const char *folder, entry_fn *fine)
{
    DIR *list = opendir(folder);
    const struct dirent *entry = NULL;
    bool all = list != NULL;
    while (all && (errno = 0, entry = readdir(list)) != NULL)
        all = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
              fine(folder, entry->d_name);
    all = all && errno == 0;
    if (list)
        closedir(list);
    return all;
}

static bool is_begun_file(const char *folder, const char *name)
{
    (void)folder;
    return is_beginning(name);
}

/* Of the run directory: a stage that made nothing, or a file. tb is a copy of run.db's rows. A link
 * is what it leads to. */
static bool is_unused(const char *folder, const char *name)
{
    struct stat info;
    if (strcmp(name, "tb") == 0)
        return true;
    char *path = ap_path_join(folder, name);
    bool fine = path && stat(path, &info) == 0 &&
                (!S_ISDIR(info.st_mode) || all_entries(path, is_begun_file));
    ap_free(path);
    return fine;
}

bool ap_run_dir_unused(const struct ap_run_dir *dir)
{
    char *database = ap_path_join(dir->path, "run.db");
    bool unused = database && all_entries(dir->path, is_unused) && is_empty_database(database);
    ap_free(database);
    return unused;
}
