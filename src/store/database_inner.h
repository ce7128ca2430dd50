/* The handle behind run.db, for database.c (opening, writing) and database_read.c; and how a file
 * is opened that is only read, for the ledger too. */
#ifndef AP_STORE_DATABASE_INNER_H
#define AP_STORE_DATABASE_INNER_H

#include "store/database.h"

#include "base/buffer.h"

#include <sqlite3.h>

typedef enum ap_statement {
    AP_SQL_BEGIN,
    AP_SQL_COMMIT,
    AP_SQL_REWIND_METRICS,
    AP_SQL_REWIND_ROLLOUTS,
    AP_SQL_FORGET_EVALUATIONS,
    AP_SQL_FORGET_SCORES,
    AP_SQL_METRIC,
    AP_SQL_ROLLOUT,
    AP_SQL_EVALUATION,
    AP_SQL_SCORE,
    AP_SQL_EACH_METRIC,
    AP_SQL_EACH_EVALUATION,
    AP_SQL_EACH_SCORE,
    AP_SQL_FORGET_GUARDS, /* from here on: of the table guards */
    AP_SQL_GUARD,
    AP_SQL_EACH_GUARD,
    AP_SQL_FORGET_BOUNDS, /* from here on: of the table bounds */
    AP_SQL_BOUND,
    AP_SQL_EACH_BOUND,
    AP_SQL_FORGET_VERDICTS, /* from here on: of the table verdicts */
    AP_SQL_FORGET_JUDGE,
    AP_SQL_VERDICT,
    AP_SQL_EACH_VERDICT,
    AP_SQL_COUNT,
} ap_statement;

struct ap_database {
    sqlite3 *handle;
    char *path;
    sqlite3_stmt *statement[AP_SQL_COUNT]; /* prepared once */
};

/* The name by which SQLite (SQLITE_OPEN_URI) reads the file and writes nothing, not even beside it,
 * whether somebody else writes it, was killed, or is long gone. Appended. */
ap_status ap_database_reading(struct ap_buffer *uri, const char *path, struct ap_error *err);
/* SQLite's last error as ours: what was done, what SQLite says, what to do. */
ap_status ap_database_fail(const struct ap_database *db, const char *action, struct ap_error *err);

#endif
