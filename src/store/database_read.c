/* Rows of run.db back, in the order of their primary keys.
 * Entry points: ap_database_each_metric, _each_evaluation, _each_score, _each_guard,
 * _each_bound, _each_verdict. */
#include "store/database_inner.h"

#include <math.h>

static const char *text_at(sqlite3_stmt *s, int column)
{
    return (const char *)sqlite3_column_text(s, column);
}

static double real_at(sqlite3_stmt *s, int column)
{
    return sqlite3_column_type(s, column) == SQLITE_NULL ? NAN : sqlite3_column_double(s, column);
}

static bool flag_at(sqlite3_stmt *s, int column)
{
    return sqlite3_column_int(s, column) != 0;
}

/* One row to the caller's function; which of the kinds it is, the function knows. */
typedef ap_status row_fn(sqlite3_stmt *s, const void *fn, void *context);

static ap_status each_row(struct ap_database *db, ap_statement which, row_fn *row, const void *fn,
                          void *context, struct ap_error *err)
{
    sqlite3_stmt *s = db->statement[which];
    ap_status status = AP_OK;
    int code = SQLITE_DONE;
    while (status == AP_OK && (code = sqlite3_step(s)) == SQLITE_ROW)
        status = row(s, fn, context);
    if (status == AP_OK && code != SQLITE_DONE)
        status = ap_database_fail(db, "cannot be read", err);
    sqlite3_reset(s);
    return status;
}

static ap_status metric_row(sqlite3_stmt *s, const void *fn, void *context)
{
    return (*(const ap_metric_fn *)fn)(context, text_at(s, 0), sqlite3_column_int64(s, 1),
                                       text_at(s, 2), real_at(s, 3));
}

ap_status ap_database_each_metric(struct ap_database *db, ap_metric_fn fn, void *context,
                                  struct ap_error *err)
{
    return each_row(db, AP_SQL_EACH_METRIC, metric_row, &fn, context, err);
}

static ap_status evaluation_row(sqlite3_stmt *s, const void *fn, void *context)
{
    const struct ap_evaluation_record r = {
        .arm = text_at(s, 0),
        .seed = sqlite3_column_int64(s, 1),
        .record = (uint64_t)sqlite3_column_int64(s, 2),
        .sample = sqlite3_column_int(s, 3),
        .prompt = text_at(s, 4),
        .rewrite = text_at(s, 5),
        .answer = text_at(s, 6),
        .n_rewrite_tokens = sqlite3_column_int(s, 7),
        .n_answer_tokens = sqlite3_column_int(s, 8),
        .rewrite_ended = flag_at(s, 9),
        .answer_ended = flag_at(s, 10),
        .kl = real_at(s, 11),
        .meta = text_at(s, 12),
    };
    return (*(const ap_evaluation_fn *)fn)(context, &r);
}

ap_status ap_database_each_evaluation(struct ap_database *db, ap_evaluation_fn fn, void *context,
                                      struct ap_error *err)
{
    return each_row(db, AP_SQL_EACH_EVALUATION, evaluation_row, &fn, context, err);
}

static ap_status score_row(sqlite3_stmt *s, const void *fn, void *context)
{
    return (*(const ap_score_fn *)fn)(context, text_at(s, 0), sqlite3_column_int64(s, 1),
                                      (uint64_t)sqlite3_column_int64(s, 2),
                                      sqlite3_column_int(s, 3), text_at(s, 4), real_at(s, 5));
}

ap_status ap_database_each_score(struct ap_database *db, ap_score_fn fn, void *context,
                                 struct ap_error *err)
{
    return each_row(db, AP_SQL_EACH_SCORE, score_row, &fn, context, err);
}

static ap_status guard_row(sqlite3_stmt *s, const void *fn, void *context)
{
    return (*(const ap_guard_fn *)fn)(context, text_at(s, 0), sqlite3_column_int64(s, 1),
                                      (uint64_t)sqlite3_column_int64(s, 2),
                                      sqlite3_column_int(s, 3), text_at(s, 4));
}

ap_status ap_database_each_guard(struct ap_database *db, ap_guard_fn fn, void *context,
                                 struct ap_error *err)
{
    return db->statement[AP_SQL_EACH_GUARD]
               ? each_row(db, AP_SQL_EACH_GUARD, guard_row, &fn, context, err)
               : AP_OK;
}

static ap_status bound_row(sqlite3_stmt *s, const void *fn, void *context)
{
    const struct ap_bound_record r = {
        .policy = text_at(s, 0),
        .record = (uint64_t)sqlite3_column_int64(s, 1),
        .rewrite = sqlite3_column_int(s, 2),
        .answer = sqlite3_column_int(s, 3),
        .reward = real_at(s, 4),
        .kl = real_at(s, 5),
        .logp = real_at(s, 6),
        .logq = real_at(s, 7),
        .ended = flag_at(s, 8),
    };
    return (*(const ap_bound_fn *)fn)(context, &r);
}

ap_status ap_database_each_bound(struct ap_database *db, ap_bound_fn fn, void *context,
                                 struct ap_error *err)
{
    return db->statement[AP_SQL_EACH_BOUND]
               ? each_row(db, AP_SQL_EACH_BOUND, bound_row, &fn, context, err)
               : AP_OK;
}

static ap_status verdict_row(sqlite3_stmt *s, const void *fn, void *context)
{
    const struct ap_verdict_record r = {
        .judge = text_at(s, 0),
        .arm = text_at(s, 1),
        .against = text_at(s, 2),
        .seed = sqlite3_column_int64(s, 3),
        .record = (uint64_t)sqlite3_column_int64(s, 4),
        .reply_ab = text_at(s, 5),
        .reply_ba = text_at(s, 6),
        .outcome = text_at(s, 7),
    };
    return (*(const ap_verdict_fn *)fn)(context, &r);
}

ap_status ap_database_each_verdict(struct ap_database *db, ap_verdict_fn fn, void *context,
                                   struct ap_error *err)
{
    return db->statement[AP_SQL_EACH_VERDICT]
               ? each_row(db, AP_SQL_EACH_VERDICT, verdict_row, &fn, context, err)
               : AP_OK;
}
