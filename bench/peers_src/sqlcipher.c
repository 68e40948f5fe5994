/* SPDX-License-Identifier: Apache-2.0 */
/* SQLCipher holding credentials of 1 KiB as blobs: sqlcipher DB COUNT in|out. One transaction in; each by name out, in
   bench_small's order. Prints artifacts a second of the whole process's work. */
#include <sqlcipher/sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sqlite3 *db;

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
check(int rc, int want)
{
    if (rc == want)
        return;
    fprintf(stderr, "sqlcipher: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static void
run(const char *sql)
{
    check(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

int
main(int argc, char **argv)
{
    size_t count = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    int in = argc == 4 && strcmp(argv[3], "in") == 0;
    unsigned char content[1024];
    sqlite3_stmt *stmt;
    char name[64];
    double start = now();

    if (count == 0)
        return 2;
    check(sqlite3_open(argv[1], &db), SQLITE_OK);
    run("PRAGMA key = \"x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'\"");
    run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    if (in)
        run("CREATE TABLE credential(name TEXT PRIMARY KEY, content BLOB); BEGIN");
    check(sqlite3_prepare_v2(
              db, in ? "INSERT INTO credential VALUES(?1, ?2)" : "SELECT content FROM credential WHERE name = ?1", -1,
              &stmt, NULL),
          SQLITE_OK);
    for (size_t i = 0; i < count; i++) {
        size_t which = in ? i : i * 7919 % count;
        snprintf(name, sizeof name, "service/%zu/token", which);
        memset(content, (int)(which % 251), sizeof content);
        memcpy(content, &which, sizeof which);
        sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        if (in) {
            sqlite3_bind_blob(stmt, 2, content, sizeof content, SQLITE_STATIC);
            check(sqlite3_step(stmt), SQLITE_DONE);
        } else {
            check(sqlite3_step(stmt), SQLITE_ROW);
            if (memcmp(sqlite3_column_blob(stmt, 0), content, sizeof content) != 0)
                return 1;
        }
        sqlite3_reset(stmt);
    }
    if (in)
        run("COMMIT");
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    printf("%.0f\n", (double)count / (now() - start));
    return 0;
}
