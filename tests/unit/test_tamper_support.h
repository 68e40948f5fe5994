/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tampering tests share: a vault with a known history, and a probe that asks a (damaged) vault everything and
 * compares each answer with that history. An answer is right, or it is an error that speaks of damage; nothing else
 * passes.
 */
#ifndef PQE_TESTS_UNIT_TEST_TAMPER_SUPPORT_H
#define PQE_TESTS_UNIT_TEST_TAMPER_SUPPORT_H

#include "unit/support.h"

/* Every put of the history; the names say what became of it. */
enum {
    ITEM_EMPTY,    /* inline, 0 bytes */
    ITEM_TWIN_A,   /* inline, twins have equal sizes and come from different sessions */
    ITEM_TWIN_B,   /* inline */
    ITEM_PAGES,    /* inline, over several database pages */
    ITEM_FILE_A,   /* body file, again of equal sizes */
    ITEM_FILE_B,   /* body file */
    ITEM_OLD,      /* inline, replaced by ITEM_NEW under the same name */
    ITEM_OLD_FILE, /* body file, replaced by ITEM_NEW_FILE */
    ITEM_GONE,     /* inline, deleted */
    ITEM_NEW,      /* inline */
    ITEM_NEW_FILE, /* body file */
    ITEMS
};

typedef struct bed_item {
    const char *name;
    size_t len;
    uint8_t *content;
    char id[PQE_ARTIFACT_ID_SIZE];
    char hash[65];
    int64_t rowid; /* at the time of the put */
    char body[64]; /* "bodies/<2 hex>/<32 hex>"; "" if inline */
    char file_hex[33];
} bed_item;

typedef struct bed_state {
    uint64_t generation;
    uint32_t present; /* bit i: item i is in the vault */
} bed_state;

#define BED_STATES 24u

typedef struct bed {
    char *scratch;
    char *clean;    /* the finished vault, never touched */
    char *older;    /* the same vault before items were replaced and deleted */
    char *wal;      /* the finished vault, copied while it was open: much of it lies in index.db-wal */
    char *dir;      /* the vault under attack: a copy of clean at first */
    uint8_t *index; /* clean's index.db */
    size_t index_len;
    char vault_id[33];
    bed_item items[ITEMS];
    bed_state states[BED_STATES]; /* after every commit */
    size_t state_count;
} bed;

/** Makes the vault and its copies; its backend is the key-file one, opened by bed_backend(). */
void bed_make(bed *b);
void bed_free(bed *b);
pqe_backend *bed_backend(const bed *b);
/** dir becomes a copy of clean again: all of it, or index.db alone where only that was touched. */
void bed_restore(const bed *b);
void bed_restore_index(const bed *b);
bool bed_has(const bed *b, int item);

/** SQL for a blob with its `n`-th byte (from 1) changed, whatever it was. */
#define SQL_CHANGED(blob, n)                                                                                           \
    "CAST(substr(" blob ", 1, " #n " - 1) || CASE hex(substr(" blob ", " #n ", 1)) WHEN '00' THEN x'01' ELSE x'00' "   \
    "END || substr(" blob ", " #n " + 1) AS BLOB)"

/* Flags of bed_probe(). */
#define PROBE_ANY_STATE 1u /* an older committed state, as a whole, is a right answer too */
#define PROBE_CHANGE 2u    /* also put and delete; the directory is different afterwards */
#define PROBE_VERIFY 4u    /* also verify, which must not call a vault sound whose answers are errors */

typedef struct probe_result {
    bool noticed;              /* some call reported damage */
    pqe_status open;           /* of open and unlock */
    pqe_status get[ITEMS];     /* content, by id; of items that are in the vault */
    pqe_status by_name[ITEMS]; /* metadata, by name */
    pqe_status list, verify;
    uint64_t generation;
} probe_result;

/** Asks everything. False, with a line on stderr, if any answer is wrong; uses no cmocka, so it may run in a child. */
bool bed_probe(const bed *b, pqe_backend *backend, const char *dir, unsigned flags, probe_result *out);
/** Opens dir's vault anew and probes; fails the test if an answer is wrong. */
probe_result bed_ask(const bed *b, unsigned flags);

/** True if the long form was asked for: PQE_BEDS=1. */
bool bed_long_form(void);
/** Reads a whole file; free with free(). */
uint8_t *file_read(const char *path, size_t *len);
/** Replaces a file's content in place. */
void file_write(const char *path, const void *data, size_t len);
/** Runs a formatted SQL statement on the vault under attack. */
__attribute__((format(printf, 2, 3))) void bed_sql(const bed *b, const char *format, ...);
/** First column of the first row as a 64-bit integer. */
__attribute__((format(printf, 2, 3))) int64_t bed_sql_int(const bed *b, const char *format, ...);
/** Path of an item's body file in dir. */
const char *bed_body(const bed *b, int item);

#endif
