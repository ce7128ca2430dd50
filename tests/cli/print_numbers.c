/* print_numbers RUN: what a run measured, for tests that compare runs: every metric but times,
 * every rollout, evaluation and score of its run.db, a row a line, reals bit for bit. */
#include <sqlite3.h>

#include <stdio.h>

static const char *const queries[] = {
    "SELECT * FROM metrics WHERE name NOT LIKE '%seconds%' AND name NOT LIKE '%per_second%'",
    "SELECT * FROM rollouts",
    "SELECT * FROM evaluations",
    "SELECT * FROM scores",
};

static int print_rows(sqlite3 *base, const char *query)
{
    sqlite3_stmt *rows;
    int code = sqlite3_prepare_v2(base, query, -1, &rows, NULL);
    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(rows); i++)
            if (sqlite3_column_type(rows, i) == SQLITE_FLOAT)
                printf("%a|", sqlite3_column_double(rows, i));
            else
                printf("%s|", (const char *)sqlite3_column_text(rows, i));
        putchar('\n');
    }
    sqlite3_finalize(rows);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int main(int argc, char **argv)
{
    char path[4096];
    sqlite3 *base = NULL;
    int code = SQLITE_ERROR;
    if (argc != 2 || snprintf(path, sizeof(path), "%s/run.db", argv[1]) >= (int)sizeof(path)) {
        fputs("usage: print_numbers RUN\n", stderr);
        return 2;
    }
    code = sqlite3_open_v2(path, &base, SQLITE_OPEN_READONLY, NULL);
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]) && code == SQLITE_OK; i++)
        code = print_rows(base, queries[i]);
    if (code != SQLITE_OK)
        fprintf(stderr, "print_numbers: %s: %s\n", path, base ? sqlite3_errmsg(base) : "no memory");
    sqlite3_close(base);
    return code != SQLITE_OK;
}
