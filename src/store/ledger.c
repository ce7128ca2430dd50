/* The ledger (ledger.h). One row for each request and run; what is found is found by the request
 * alone. Entry points: ap_ledger_open, _open_read, _find, _intend, _answer, _sum. */
#include "store/ledger.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/claims.h"
#include "store/database_inner.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum {
    BUSY_MS = 30000,
    TURN_MS = 1,
    AGAIN_MS = 5,
    VERSION_MAX = 1 /* a run's; 0: a file of its own */
};

typedef enum statement { BEGIN, COMMIT, FIND, INTEND, REFUSE, LOSE, ANSWER, SUM, COUNT } statement;

static const char table[] =
    "CREATE TABLE IF NOT EXISTS ledger("
    " key TEXT NOT NULL, run TEXT NOT NULL, who TEXT NOT NULL, request TEXT NOT NULL,"
    " asked REAL NOT NULL, sends INTEGER NOT NULL, refused INTEGER NOT NULL,"
    " lost INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL, reserved_usd REAL NOT NULL,"
    " answered REAL, answer TEXT, finish TEXT, filtered INTEGER, prompt_tokens INTEGER,"
    " answer_tokens INTEGER, usd REAL, seconds REAL,"
    " PRIMARY KEY(key, run))";

/* Sends of which is not known what they cost: not refused, and not answered with its usage. */
#define UNSURE "(sends - refused - (answered IS NOT NULL AND prompt_tokens IS NOT NULL))"

static const char *const texts[COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [FIND] = "SELECT answer, finish, filtered, prompt_tokens, answer_tokens, usd, seconds "
             "FROM ledger WHERE key = ?1 AND answered IS NOT NULL LIMIT 1",
    [INTEND] = "INSERT INTO ledger(key, run, who, request, asked, sends, refused, lost, "
               "reserved_tokens, reserved_usd) VALUES(?1, ?2, ?3, ?4, ?5, 1, 0, 0, ?6, ?7) "
               "ON CONFLICT(key, run) DO UPDATE SET sends = sends + 1, reserved_tokens = ?6, "
               "reserved_usd = ?7",
    [REFUSE] = "UPDATE ledger SET refused = refused + 1 WHERE key = ?1 AND run = ?2",
    [LOSE] = "UPDATE ledger SET lost = lost + 1 WHERE key = ?1 AND run = ?2",
    [ANSWER] = "UPDATE ledger SET answered = ?3, answer = ?4, finish = ?5, filtered = ?6, "
               "prompt_tokens = ?7, answer_tokens = ?8, usd = ?9, seconds = ?10 "
               "WHERE key = ?1 AND run = ?2",
    [SUM] = "SELECT count(*), total(sends), total(answered IS NOT NULL), total(refused), "
            "total(lost), total(prompt_tokens), total(answer_tokens), total(usd), "
            "total(reserved_tokens * " UNSURE "), total(reserved_usd * " UNSURE "), "
            "total(filtered), total(answered IS NOT NULL AND prompt_tokens IS NULL) "
            "FROM ledger WHERE run = ?1 AND who = ?2",
};

struct ap_ledger {
    sqlite3 *handle;
    char *path, *run;
    sqlite3_stmt *statement[COUNT];
    struct ap_claims claims;
};

static ap_status fail(const struct ap_ledger *l, const char *action, struct ap_error *err)
{
    int code = l->handle ? sqlite3_errcode(l->handle) : SQLITE_NOMEM;
    const char *words = l->handle ? sqlite3_errmsg(l->handle) : "out of memory";
    switch (code & 0xff) {
    case SQLITE_FULL:
        return ap_fail(err, AP_IO, "ledger %s: %s: %s; free some space and run again", l->path,
                       action, words);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ap_fail(err, AP_BUSY, "ledger %s: %s: %s; end the program that writes to it",
                       l->path, action, words);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return ap_fail(err, AP_FORMAT,
                       "ledger %s: %s: %s; it holds what was paid for: keep a copy before it is "
                       "moved away",
                       l->path, action, words);
    default:
        return ap_fail(err, code == SQLITE_NOMEM ? AP_MEMORY : AP_IO,
                       "ledger %s: %s: %s; check the path, its rights and the free space", l->path,
                       action, words);
    }
}

/* ---- opening ---- */

static int one_number(struct ap_ledger *l, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int value = -1;
    if (sqlite3_prepare_v2(l->handle, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return value;
}

/* A table is put into a run's file, or into one that holds nothing else. */
static ap_status check_file(struct ap_ledger *l, struct ap_error *err)
{
    int version = one_number(l, "PRAGMA user_version");
    int others = one_number(l, "SELECT count(*) FROM sqlite_master WHERE type = 'table' "
                               "AND name <> 'ledger'");
    if (version < 0 || others < 0)
        return fail(l, "cannot be read", err);
    if (version > VERSION_MAX)
        return ap_fail(err, AP_UNSUPPORTED,
                       "ledger %s: has schema version %d, expected at most %d; use the alignpro "
                       "that made it",
                       l->path, version, (int)VERSION_MAX);
    if (version == 0 && others > 0)
        return ap_fail(err, AP_INVALID,
                       "ledger %s: is a database of something else, expected a ledger, a run's "
                       "run.db or a new file",
                       l->path);
    return AP_OK;
}

static ap_status prepare(struct ap_ledger *l, struct ap_error *err)
{
    for (int i = 0; i < COUNT; i++) {
        if (sqlite3_prepare_v3(l->handle, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &l->statement[i],
                               NULL) == SQLITE_OK)
            continue;
        if (sqlite3_errcode(l->handle) != SQLITE_ERROR)
            return fail(l, "cannot be read", err);
        return ap_fail(err, AP_UNSUPPORTED,
                       "ledger %s: has another table than a ledger's: %s; use the alignpro that "
                       "made it, or another path",
                       l->path, sqlite3_errmsg(l->handle));
    }
    return AP_OK;
}

/* The switch to a write-ahead log does not wait for others that make the same file at the same
 * moment, whatever the busy timeout is: it is tried again. */
static bool make(struct ap_ledger *l)
{
    double until = ap_clock_seconds() + BUSY_MS / 1e3;
    int code;
    while ((code = sqlite3_exec(l->handle, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
                                NULL, NULL, NULL)) == SQLITE_BUSY &&
           ap_clock_seconds() < until)
        sqlite3_sleep(AGAIN_MS);
    return code == SQLITE_OK && sqlite3_exec(l->handle, table, NULL, NULL, NULL) == SQLITE_OK;
}

/* SQLite's own waits grow to a tenth of a second, by which a run that writes back to back keeps
 * the others out; these are short, and all the same. n_wait: since the lock was first asked for. */
static int wait_turn(void *context, int n_wait)
{
    (void)context;
    if (n_wait >= BUSY_MS / TURN_MS)
        return 0;
    sqlite3_sleep(TURN_MS);
    return 1;
}

static ap_status open_file(struct ap_ledger *l, struct ap_error *err)
{
    ap_status status;
    if (sqlite3_open_v2(l->path, &l->handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return fail(l, "cannot open", err);
    sqlite3_busy_handler(l->handle, wait_turn, NULL);
    AP_TRY(check_file(l, err));
    if (!make(l))
        AP_TRY(fail(l, "cannot make its table", err));
    AP_TRY(prepare(l, err));
out:
    return status;
}

/* Nothing is prepared of a file that holds no ledger. */
static ap_status open_file_read(struct ap_ledger *l, struct ap_error *err)
{
    struct ap_buffer uri = {0};
    ap_status status;
    AP_TRY(ap_database_reading(&uri, l->path, err));
    if (sqlite3_open_v2(uri.data, &l->handle,
                        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        AP_TRY(fail(l, "cannot open", err));
    sqlite3_busy_handler(l->handle, wait_turn, NULL);
    AP_TRY(check_file(l, err));
    if (one_number(l, "SELECT count(*) FROM sqlite_master WHERE name = 'ledger'") > 0)
        AP_TRY(prepare(l, err));
out:
    ap_buffer_free(&uri);
    return status;
}

static struct ap_ledger *make_ledger(const char *path, const char *run, struct ap_error *err)
{
    struct ap_ledger *l = ap_calloc(1, sizeof(*l));
    if (l)
        ap_claims_init(&l->claims);
    if (l && (l->path = ap_strdup(path)) && (l->run = ap_strdup(run)))
        return l;
    ap_ledger_close(l);
    ap_fail(err, AP_MEMORY, "ledger %s: no memory; free some", path);
    return NULL;
}

static ap_status open_by(ap_status (*open)(struct ap_ledger *l, struct ap_error *err),
                         struct ap_ledger **out, const char *path, const char *run,
                         struct ap_error *err)
{
    struct ap_ledger *l = make_ledger(path, run, err);
    ap_status status = l ? open(l, err) : AP_MEMORY;
    *out = status == AP_OK ? l : NULL;
    if (status != AP_OK)
        ap_ledger_close(l);
    return status;
}

ap_status ap_ledger_open(struct ap_ledger **out, const char *path, const char *run,
                         struct ap_error *err)
{
    return open_by(open_file, out, path, run, err);
}

ap_status ap_ledger_open_read(struct ap_ledger **out, const char *path, const char *run,
                              struct ap_error *err)
{
    *out = NULL;
    ap_status status = ap_file_exists(path) ? open_by(open_file_read, out, path, run, err) : AP_OK;
    if (*out && !(*out)->statement[SUM]) {
        ap_ledger_close(*out);
        *out = NULL;
    }
    return status;
}

void ap_ledger_close(struct ap_ledger *l)
{
    if (!l)
        return;
    for (int i = 0; i < COUNT; i++)
        sqlite3_finalize(l->statement[i]);
    sqlite3_close(l->handle);
    ap_claims_free(&l->claims);
    ap_free(l->path);
    ap_free(l->run);
    ap_free(l);
}

void ap_ledger_answer_free(struct ap_ledger_answer *a)
{
    ap_free(a->text);
    ap_free(a->finish);
    *a = (struct ap_ledger_answer){0};
}

/* ---- claims ---- */

/* Beside what a link of the ledger's name points to. */
ap_status ap_ledger_claim(struct ap_ledger *l, const char *key, bool *mine, struct ap_error *err)
{
    return ap_claims_take(&l->claims, sqlite3_db_filename(l->handle, "main"), key, mine, err);
}

void ap_ledger_release(struct ap_ledger *l, const char *key)
{
    ap_claims_release(&l->claims, key);
}

bool ap_ledger_warns(struct ap_ledger *l, struct ap_error *line)
{
    return ap_claims_warns(&l->claims, line);
}

/* ---- writing ---- */

static ap_status execute(struct ap_ledger *l, statement which, const char *action,
                         struct ap_error *err)
{
    sqlite3_stmt *s = l->statement[which];
    ap_status status = sqlite3_step(s) == SQLITE_DONE ? AP_OK : fail(l, action, err);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return status;
}

static void bind_text(sqlite3_stmt *s, int column, const char *text)
{
    sqlite3_bind_text(s, column, text, -1, SQLITE_STATIC);
}

ap_status ap_ledger_begin(struct ap_ledger *l, struct ap_error *err)
{
    return execute(l, BEGIN, "cannot begin to write", err);
}

ap_status ap_ledger_commit(struct ap_ledger *l, struct ap_error *err)
{
    ap_status status = execute(l, COMMIT, "cannot be written", err);
    if (status != AP_OK && !sqlite3_get_autocommit(l->handle))
        sqlite3_exec(l->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

ap_status ap_ledger_intend(struct ap_ledger *l, const char *key, const char *who, const char *what,
                           int64_t tokens, double usd, struct ap_error *err)
{
    sqlite3_stmt *s = l->statement[INTEND];
    bind_text(s, 1, key);
    bind_text(s, 2, l->run);
    bind_text(s, 3, who);
    bind_text(s, 4, what);
    sqlite3_bind_double(s, 5, ap_clock_date());
    sqlite3_bind_int64(s, 6, tokens);
    sqlite3_bind_double(s, 7, usd);
    return execute(l, INTEND, "cannot write a request", err);
}

ap_status ap_ledger_miss(struct ap_ledger *l, const char *key, bool refused, struct ap_error *err)
{
    statement which = refused ? REFUSE : LOSE;
    bind_text(l->statement[which], 1, key);
    bind_text(l->statement[which], 2, l->run);
    return execute(l, which, "cannot write what was lost", err);
}

ap_status ap_ledger_answer(struct ap_ledger *l, const char *key, const struct ap_ledger_answer *a,
                           struct ap_error *err)
{
    sqlite3_stmt *s = l->statement[ANSWER];
    bind_text(s, 1, key);
    bind_text(s, 2, l->run);
    sqlite3_bind_double(s, 3, ap_clock_date());
    bind_text(s, 4, a->text);
    bind_text(s, 5, a->finish);
    sqlite3_bind_int(s, 6, a->refused);
    if (a->n_prompt >= 0)
        sqlite3_bind_int64(s, 7, a->n_prompt);
    if (a->n_token >= 0)
        sqlite3_bind_int64(s, 8, a->n_token);
    sqlite3_bind_double(s, 9, a->usd);
    sqlite3_bind_double(s, 10, a->seconds);
    ap_status status = execute(l, ANSWER, "cannot write an answer", err);
    if (status == AP_OK && sqlite3_changes(l->handle) != 1)
        status = ap_fail(err, AP_FORMAT, "ledger %s: an answer to what was never asked: %.16s…",
                         l->path, key);
    return status;
}

/* ---- reading ---- */

static char *copy_text(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return ap_strdup(text ? text : "");
}

static int64_t count_at(sqlite3_stmt *s, int column)
{
    return sqlite3_column_type(s, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, column);
}

ap_status ap_ledger_find(struct ap_ledger *l, const char *key, struct ap_ledger_answer *out,
                         bool *found, struct ap_error *err)
{
    sqlite3_stmt *s = l->statement[FIND];
    ap_status status = AP_OK;
    bind_text(s, 1, key);
    int code = sqlite3_step(s);
    *found = code == SQLITE_ROW;
    if (*found) {
        *out = (struct ap_ledger_answer){.text = copy_text(s, 0),
                                         .finish = copy_text(s, 1),
                                         .refused = sqlite3_column_int(s, 2) != 0,
                                         .n_prompt = count_at(s, 3),
                                         .n_token = count_at(s, 4),
                                         .usd = sqlite3_column_double(s, 5),
                                         .seconds = sqlite3_column_double(s, 6)};
        if (!out->text || !out->finish) {
            ap_ledger_answer_free(out);
            *found = false;
            status = ap_fail(err, AP_MEMORY, "ledger %s: no memory for an answer", l->path);
        }
    } else if (code != SQLITE_DONE) {
        status = fail(l, "cannot be read", err);
    }
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return status;
}

ap_status ap_ledger_sum(struct ap_ledger *l, const char *who, struct ap_ledger_sums *out,
                        struct ap_error *err)
{
    sqlite3_stmt *s = l->statement[SUM];
    ap_status status = AP_OK;
    *out = (struct ap_ledger_sums){0};
    bind_text(s, 1, l->run);
    bind_text(s, 2, who);
    if (sqlite3_step(s) == SQLITE_ROW)
        *out = (struct ap_ledger_sums){.n_key = sqlite3_column_int64(s, 0),
                                       .n_send = sqlite3_column_int64(s, 1),
                                       .n_answer = sqlite3_column_int64(s, 2),
                                       .n_refused = sqlite3_column_int64(s, 3),
                                       .n_lost = sqlite3_column_int64(s, 4),
                                       .n_prompt = sqlite3_column_int64(s, 5),
                                       .n_token = sqlite3_column_int64(s, 6),
                                       .usd = sqlite3_column_double(s, 7),
                                       .reserved_tokens = sqlite3_column_int64(s, 8),
                                       .reserved_usd = sqlite3_column_double(s, 9),
                                       .n_filtered = sqlite3_column_int64(s, 10),
                                       .n_uncounted = sqlite3_column_int64(s, 11)};
    else
        status = fail(l, "cannot be read", err);
    out->n_unknown = out->n_send - out->n_answer - out->n_refused - out->n_lost;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return status;
}
