/* run.db: the schema, its opening, and every row written. One statement a kind of row, prepared
 * once. Not here: reading rows back (database_read.c).
 *
 * WAL lets a user query while a run goes on; synchronous=FULL makes what was committed outlive a
 * power cut. Entry points: ap_database_open, _open_read, ap_database_begin, ap_database_metric,
 * _rollout, _evaluation, _score, _guard, _bound, _verdict. */
#include "store/database_inner.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA_VERSION 1
#define BUSY_MS 10000

/* Tables that files of the same version may lack: made when one is opened to be written. */
static const char guards_table[] =
    "CREATE TABLE IF NOT EXISTS guards("
    " arm TEXT NOT NULL, seed INTEGER NOT NULL, record INTEGER NOT NULL,"
    " sample INTEGER NOT NULL, guard TEXT NOT NULL, why TEXT,"
    " PRIMARY KEY(arm, seed, record, sample)) WITHOUT ROWID";

static const char bounds_table[] =
    "CREATE TABLE IF NOT EXISTS bounds("
    " policy TEXT NOT NULL, record INTEGER NOT NULL, rewrite INTEGER NOT NULL,"
    " answer INTEGER NOT NULL, reward REAL, kl REAL, logp REAL, logq REAL, ended INTEGER NOT NULL,"
    " PRIMARY KEY(policy, record, rewrite, answer)) WITHOUT ROWID";

static const char verdicts_table[] =
    "CREATE TABLE IF NOT EXISTS verdicts("
    " judge TEXT NOT NULL, arm TEXT NOT NULL, against TEXT NOT NULL, seed INTEGER NOT NULL,"
    " record INTEGER NOT NULL, reply_ab TEXT, reply_ba TEXT, outcome TEXT NOT NULL,"
    " PRIMARY KEY(judge, arm, against, seed, record)) WITHOUT ROWID";

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE metrics("
    " stage TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,"
    " PRIMARY KEY(stage, step, name)) WITHOUT ROWID;"
    "CREATE TABLE rollouts("
    " stage TEXT NOT NULL, step INTEGER NOT NULL, record INTEGER NOT NULL,"
    " sample INTEGER NOT NULL, prompt TEXT NOT NULL, rewrite TEXT, answer TEXT,"
    " reward REAL, kl REAL, ended INTEGER NOT NULL,"
    " PRIMARY KEY(stage, step, record, sample)) WITHOUT ROWID;"
    "CREATE TABLE evaluations("
    " arm TEXT NOT NULL, seed INTEGER NOT NULL, record INTEGER NOT NULL,"
    " sample INTEGER NOT NULL, prompt TEXT NOT NULL, rewrite TEXT, answer TEXT,"
    " rewrite_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL,"
    " rewrite_ended INTEGER NOT NULL, answer_ended INTEGER NOT NULL, kl REAL, meta TEXT,"
    " PRIMARY KEY(arm, seed, record, sample)) WITHOUT ROWID;"
    "CREATE TABLE scores("
    " arm TEXT NOT NULL, seed INTEGER NOT NULL, record INTEGER NOT NULL,"
    " sample INTEGER NOT NULL, judge TEXT NOT NULL, value REAL,"
    " PRIMARY KEY(arm, seed, record, sample, judge)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

static const char *const statements[AP_SQL_COUNT] = {
    [AP_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [AP_SQL_COMMIT] = "COMMIT",
    [AP_SQL_REWIND_METRICS] = "DELETE FROM metrics WHERE stage = ?1 AND step >= ?2",
    [AP_SQL_REWIND_ROLLOUTS] = "DELETE FROM rollouts WHERE stage = ?1 AND step >= ?2",
    [AP_SQL_FORGET_EVALUATIONS] = "DELETE FROM evaluations WHERE arm = ?1 AND seed = ?2",
    [AP_SQL_FORGET_SCORES] = "DELETE FROM scores WHERE arm = ?1 AND seed = ?2",
    [AP_SQL_METRIC] = "INSERT OR REPLACE INTO metrics VALUES(?1, ?2, ?3, ?4)",
    [AP_SQL_ROLLOUT] = "INSERT OR REPLACE INTO rollouts "
                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [AP_SQL_EVALUATION] = "INSERT OR REPLACE INTO evaluations "
                          "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [AP_SQL_SCORE] = "INSERT OR REPLACE INTO scores VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [AP_SQL_EACH_METRIC] = "SELECT stage, step, name, value FROM metrics ORDER BY 1, 2, 3",
    [AP_SQL_EACH_EVALUATION] =
        "SELECT arm, seed, record, sample, prompt, rewrite, answer, rewrite_tokens, "
        "answer_tokens, rewrite_ended, answer_ended, kl, meta FROM evaluations "
        "ORDER BY arm, seed, record, sample",
    [AP_SQL_EACH_SCORE] = "SELECT arm, seed, record, sample, judge, value FROM scores "
                          "ORDER BY arm, seed, record, sample, judge",
    [AP_SQL_FORGET_GUARDS] = "DELETE FROM guards WHERE arm = ?1 AND seed = ?2",
    [AP_SQL_GUARD] = "INSERT OR REPLACE INTO guards VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [AP_SQL_EACH_GUARD] = "SELECT arm, seed, record, sample, guard FROM guards "
                          "ORDER BY arm, seed, record, sample",
    [AP_SQL_FORGET_BOUNDS] = "DELETE FROM bounds",
    [AP_SQL_BOUND] = "INSERT OR REPLACE INTO bounds VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [AP_SQL_EACH_BOUND] = "SELECT policy, record, rewrite, answer, reward, kl, logp, logq, ended "
                          "FROM bounds ORDER BY policy, record, rewrite, answer",
    [AP_SQL_FORGET_VERDICTS] = "DELETE FROM verdicts WHERE (arm = ?1 OR against = ?1) "
                               "AND seed = ?2",
    [AP_SQL_FORGET_JUDGE] = "DELETE FROM verdicts WHERE judge = ?1",
    [AP_SQL_VERDICT] = "INSERT OR REPLACE INTO verdicts VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [AP_SQL_EACH_VERDICT] =
        "SELECT judge, arm, against, seed, record, reply_ab, reply_ba, outcome FROM verdicts "
        "ORDER BY judge, arm, against, seed, record",
};

ap_status ap_database_fail(const struct ap_database *db, const char *action, struct ap_error *err)
{
    int code = db->handle ? sqlite3_errcode(db->handle) : SQLITE_NOMEM;
    const char *text = db->handle ? sqlite3_errmsg(db->handle) : "out of memory";
    switch (code & 0xff) {
    case SQLITE_FULL:
        return ap_fail(err, AP_IO, "%s: %s: %s; free some space and run again", db->path, action,
                       text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ap_fail(err, AP_BUSY, "%s: %s: %s; end the program that writes to it", db->path,
                       action, text);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return ap_fail(err, AP_FORMAT,
                       "%s: %s: %s; move the file away, the run then starts a new one", db->path,
                       action, text);
    case SQLITE_NOMEM:
        return ap_fail(err, AP_MEMORY, "%s: %s: %s; free some memory", db->path, action, text);
    default:
        return ap_fail(err, AP_IO, "%s: %s: %s; check the path, its rights and the free space",
                       db->path, action, text);
    }
}

/* ---- opening ---- */

static ap_status run_sql(struct ap_database *db, const char *sql, const char *action,
                         struct ap_error *err)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK
               ? AP_OK
               : ap_database_fail(db, action, err);
}

static ap_status read_version(struct ap_database *db, int *version, struct ap_error *err)
{
    sqlite3_stmt *s = NULL;
    ap_status status = AP_OK;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        *version = sqlite3_column_int(s, 0);
    else
        status = ap_database_fail(db, "cannot be read", err);
    sqlite3_finalize(s);
    return status;
}

static ap_status check_version(const struct ap_database *db, int version, struct ap_error *err)
{
    if (version == SCHEMA_VERSION)
        return AP_OK;
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: has schema version %d, expected %d; use the alignpro that made it, or "
                   "another run.dir",
                   db->path, version, SCHEMA_VERSION);
}

static ap_status make_schema(struct ap_database *db, struct ap_error *err)
{
    int version = 0;
    ap_status status = read_version(db, &version, err);
    if (status != AP_OK || version == SCHEMA_VERSION)
        return status;
    if (version != 0)
        return check_version(db, version, err);
    status = run_sql(db, schema, "cannot make its tables", err);
    if (status != AP_OK)
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static ap_status prepare(struct ap_database *db, int from, int to, struct ap_error *err)
{
    for (int i = from; i < to; i++)
        if (sqlite3_prepare_v3(db->handle, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statement[i], NULL) != SQLITE_OK)
            return ap_database_fail(db, "has other tables than a run's", err);
    return AP_OK;
}

/* What asks for such tables comes last in ap_statement: the others show first whether the file
 * is a run's. */
static ap_status prepare_all(struct ap_database *db, struct ap_error *err)
{
    ap_status status;
    AP_TRY(prepare(db, 0, AP_SQL_FORGET_GUARDS, err));
    AP_TRY(run_sql(db, guards_table, "cannot make its tables", err));
    AP_TRY(run_sql(db, bounds_table, "cannot make its tables", err));
    AP_TRY(run_sql(db, verdicts_table, "cannot make its tables", err));
    AP_TRY(prepare(db, AP_SQL_FORGET_GUARDS, AP_SQL_COUNT, err));
out:
    return status;
}

static bool has_column(const struct ap_database *db, const char *table, const char *column)
{
    return sqlite3_table_column_metadata(db->handle, NULL, table, column, NULL, NULL, NULL, NULL,
                                         NULL) == SQLITE_OK;
}

/* Without such a table there are no such rows, and their statements stay NULL. */
static ap_status prepare_reading(struct ap_database *db, struct ap_error *err)
{
    ap_status status;
    AP_TRY(prepare(db, 0, AP_SQL_FORGET_GUARDS, err));
    if (has_column(db, "guards", "guard"))
        AP_TRY(prepare(db, AP_SQL_FORGET_GUARDS, AP_SQL_FORGET_BOUNDS, err));
    if (has_column(db, "bounds", "logq"))
        AP_TRY(prepare(db, AP_SQL_FORGET_BOUNDS, AP_SQL_FORGET_VERDICTS, err));
    if (has_column(db, "verdicts", "outcome"))
        AP_TRY(prepare(db, AP_SQL_FORGET_VERDICTS, AP_SQL_COUNT, err));
out:
    return status;
}

static ap_status make_handle(struct ap_database **out, const char *path, struct ap_error *err)
{
    struct ap_database *db = ap_calloc(1, sizeof(*db));
    *out = db;
    if (!db)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a database; free some", path);
    db->path = ap_strdup(path);
    return db->path ? AP_OK
                    : ap_fail(err, AP_MEMORY, "%s: no memory for its name; free some", path);
}

ap_status ap_database_open(struct ap_database **out, const char *path, struct ap_error *err)
{
    struct ap_database *db = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(make_handle(&db, path, err));
    if (sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        AP_TRY(ap_database_fail(db, "cannot open", err));
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    AP_TRY(run_sql(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "cannot open", err));
    AP_TRY(make_schema(db, err));
    AP_TRY(prepare_all(db, err));
    *out = db;
    db = NULL;
out:
    ap_database_close(db);
    return status;
}

static ap_status check_regular(const char *path, struct ap_error *err)
{
    int fd;
    ap_status status = ap_file_open(&fd, path, err);
    if (status == AP_OK)
        close(fd);
    return status;
}

/* SQLite's name of a file, with what has a meaning in such names escaped. */
static ap_status put_uri(struct ap_buffer *out, const char *path, const char *options,
                         struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_puts(out, path[0] == '/' ? "file://" : "file:", err));
    for (const char *at = path; *at; at++)
        AP_TRY(
            ap_buffer_printf(out, err, strchr("?#%", *at) ? "%%%02X" : "%c", (unsigned char)*at));
    AP_TRY(ap_buffer_puts(out, options, err));
out:
    return status;
}

static bool has_beside(const char *path, const char *end)
{
    char beside[4096];
    struct stat info;
    return snprintf(beside, sizeof(beside), "%s%s", path, end) < (int)sizeof(beside) &&
           stat(beside, &info) == 0 && info.st_size > 0;
}

/* With a file of shared memory beside it the log is read too, whether its process still lives or
 * was killed. Without one nobody has the database open, and what is written is in its own file;
 * but a log that was copied without that file cannot be read without making it. */
static ap_status how_to_read(const char *path, const char **options, struct ap_error *err)
{
    bool shared = has_beside(path, "-shm");
    *options = shared ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1";
    if (shared || !has_beside(path, "-wal"))
        return AP_OK;
    return ap_fail(err, AP_NOT_FOUND,
                   "%s: its log %s-wal cannot be read without %s-shm; copy all three files, or go "
                   "on with the run",
                   path, path, path);
}

ap_status ap_database_reading(struct ap_buffer *uri, const char *path, struct ap_error *err)
{
    const char *options;
    ap_status status;
    AP_TRY(check_regular(path, err)); /* SQLite would wait for a pipe's other end */
    AP_TRY(how_to_read(path, &options, err));
    AP_TRY(put_uri(uri, path, options, err));
out:
    return status;
}

ap_status ap_database_open_read(struct ap_database **out, const char *path, struct ap_error *err)
{
    struct ap_database *db = NULL;
    struct ap_buffer uri = {0};
    int version = 0;
    ap_status status;
    *out = NULL;
    AP_TRY(ap_database_reading(&uri, path, err));
    AP_TRY(make_handle(&db, path, err));
    if (sqlite3_open_v2(uri.data, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) !=
        SQLITE_OK)
        AP_TRY(ap_database_fail(db, "cannot open", err));
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    AP_TRY(read_version(db, &version, err));
    AP_TRY(check_version(db, version, err));
    AP_TRY(prepare_reading(db, err));
    *out = db;
    db = NULL;
out:
    ap_buffer_free(&uri);
    ap_database_close(db);
    return status;
}

void ap_database_close(struct ap_database *db)
{
    if (!db)
        return;
    for (int i = 0; i < AP_SQL_COUNT; i++)
        sqlite3_finalize(db->statement[i]);
    sqlite3_close(db->handle);
    ap_free(db->path);
    ap_free(db);
}

/* ---- writing ---- */

static ap_status execute(struct ap_database *db, ap_statement which, const char *action,
                         struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[which];
    ap_status status = sqlite3_step(s) == SQLITE_DONE ? AP_OK : ap_database_fail(db, action, err);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return status;
}

/* Texts are the caller's and outlive the step; NULL is NULL. */
static void bind_text(sqlite3_stmt *s, int column, const char *text)
{
    sqlite3_bind_text(s, column, text, -1, SQLITE_STATIC);
}

static void bind_int(sqlite3_stmt *s, int column, int64_t value)
{
    sqlite3_bind_int64(s, column, value);
}

/* SQLite keeps NaN as NULL, and reading gives NaN again. */
static void bind_real(sqlite3_stmt *s, int column, double value)
{
    sqlite3_bind_double(s, column, value);
}

ap_status ap_database_begin(struct ap_database *db, struct ap_error *err)
{
    return execute(db, AP_SQL_BEGIN, "cannot begin to write", err);
}

/* A commit that failed leaves nothing half written: it is rolled back. */
ap_status ap_database_commit(struct ap_database *db, struct ap_error *err)
{
    ap_status status = execute(db, AP_SQL_COMMIT, "cannot be written", err);
    if (status != AP_OK && !sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Deletions with the same two parameters, as one. */
static ap_status delete_all(struct ap_database *db, const ap_statement *deletions, int n,
                            const char *text, int64_t number, struct ap_error *err)
{
    ap_status status;
    bool alone = sqlite3_get_autocommit(db->handle);
    if (alone)
        AP_TRY(ap_database_begin(db, err));
    for (int i = 0; i < n; i++) {
        bind_text(db->statement[deletions[i]], 1, text);
        bind_int(db->statement[deletions[i]], 2, number);
        AP_TRY(execute(db, deletions[i], "cannot drop old rows", err));
    }
    return alone ? ap_database_commit(db, err) : AP_OK;
out:
    if (alone && !sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

ap_status ap_database_rewind(struct ap_database *db, const char *stage, int64_t step,
                             struct ap_error *err)
{
    static const ap_statement both[] = {AP_SQL_REWIND_METRICS, AP_SQL_REWIND_ROLLOUTS};
    return delete_all(db, both, AP_LEN(both), stage, step, err);
}

ap_status ap_database_forget(struct ap_database *db, const char *arm, int64_t seed,
                             struct ap_error *err)
{
    static const ap_statement all[] = {AP_SQL_FORGET_EVALUATIONS, AP_SQL_FORGET_SCORES,
                                       AP_SQL_FORGET_GUARDS, AP_SQL_FORGET_VERDICTS};
    return delete_all(db, all, AP_LEN(all), arm, seed, err);
}

ap_status ap_database_metric(struct ap_database *db, const char *stage, int64_t step,
                             const char *name, double value, struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_METRIC];
    bind_text(s, 1, stage);
    bind_int(s, 2, step);
    bind_text(s, 3, name);
    bind_real(s, 4, value);
    return execute(db, AP_SQL_METRIC, "cannot write a metric", err);
}

ap_status ap_database_rollout(struct ap_database *db, const struct ap_rollout_record *r,
                              struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_ROLLOUT];
    bind_text(s, 1, r->stage);
    bind_int(s, 2, r->step);
    bind_int(s, 3, (int64_t)r->record);
    bind_int(s, 4, r->sample);
    bind_text(s, 5, r->prompt);
    bind_text(s, 6, r->rewrite);
    bind_text(s, 7, r->answer);
    bind_real(s, 8, r->reward);
    bind_real(s, 9, r->kl);
    bind_int(s, 10, r->ended);
    return execute(db, AP_SQL_ROLLOUT, "cannot write a rollout", err);
}

ap_status ap_database_evaluation(struct ap_database *db, const struct ap_evaluation_record *r,
                                 struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_EVALUATION];
    bind_text(s, 1, r->arm);
    bind_int(s, 2, r->seed);
    bind_int(s, 3, (int64_t)r->record);
    bind_int(s, 4, r->sample);
    bind_text(s, 5, r->prompt);
    bind_text(s, 6, r->rewrite);
    bind_text(s, 7, r->answer);
    bind_int(s, 8, r->n_rewrite_tokens);
    bind_int(s, 9, r->n_answer_tokens);
    bind_int(s, 10, r->rewrite_ended);
    bind_int(s, 11, r->answer_ended);
    bind_real(s, 12, r->kl);
    bind_text(s, 13, r->meta);
    return execute(db, AP_SQL_EVALUATION, "cannot write an evaluation", err);
}

ap_status ap_database_score(struct ap_database *db, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *judge, double value, struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_SCORE];
    bind_text(s, 1, arm);
    bind_int(s, 2, seed);
    bind_int(s, 3, (int64_t)record);
    bind_int(s, 4, sample);
    bind_text(s, 5, judge);
    bind_real(s, 6, value);
    return execute(db, AP_SQL_SCORE, "cannot write a score", err);
}

ap_status ap_database_guard(struct ap_database *db, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *guard, const char *why, struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_GUARD];
    bind_text(s, 1, arm);
    bind_int(s, 2, seed);
    bind_int(s, 3, (int64_t)record);
    bind_int(s, 4, sample);
    bind_text(s, 5, guard);
    bind_text(s, 6, why);
    return execute(db, AP_SQL_GUARD, "cannot write a guard", err);
}

ap_status ap_database_bound(struct ap_database *db, const struct ap_bound_record *r,
                            struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_BOUND];
    bind_text(s, 1, r->policy);
    bind_int(s, 2, (int64_t)r->record);
    bind_int(s, 3, r->rewrite);
    bind_int(s, 4, r->answer);
    bind_real(s, 5, r->reward);
    bind_real(s, 6, r->kl);
    bind_real(s, 7, r->logp);
    bind_real(s, 8, r->logq);
    bind_int(s, 9, r->ended);
    return execute(db, AP_SQL_BOUND, "cannot write a sample of the bound", err);
}

ap_status ap_database_forget_bounds(struct ap_database *db, struct ap_error *err)
{
    return execute(db, AP_SQL_FORGET_BOUNDS, "cannot drop old rows", err);
}

ap_status ap_database_verdict(struct ap_database *db, const struct ap_verdict_record *r,
                              struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[AP_SQL_VERDICT];
    bind_text(s, 1, r->judge);
    bind_text(s, 2, r->arm);
    bind_text(s, 3, r->against);
    bind_int(s, 4, r->seed);
    bind_int(s, 5, (int64_t)r->record);
    bind_text(s, 6, r->reply_ab);
    bind_text(s, 7, r->reply_ba);
    bind_text(s, 8, r->outcome);
    return execute(db, AP_SQL_VERDICT, "cannot write a verdict", err);
}

ap_status ap_database_forget_verdicts(struct ap_database *db, const char *judge,
                                      struct ap_error *err)
{
    bind_text(db->statement[AP_SQL_FORGET_JUDGE], 1, judge);
    return execute(db, AP_SQL_FORGET_JUDGE, "cannot drop verdicts", err);
}
