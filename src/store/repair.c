/* SPDX-License-Identifier: Apache-2.0 */
/* What doing away with a damaged artifact has to know of the index: its row may be anything, its entries are proved. */
#include "store/internal.h"

#include <string.h>

pqe_status
pqe__tree_twin(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], const pqe__entry *entry, pqe__entry *twin,
               pqe_error *err)
{
    pqe__entry_kind other = entry->kind == PQE__ENTRY_NAME ? PQE__ENTRY_ID : PQE__ENTRY_NAME;
    uint8_t tag[PQE__TAG_KEY_SIZE];
    bool found = false;
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ENTRY_TWIN, &status, err);
    int rc;

    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)other);
    sqlite3_bind_blob(stmt, 2, entry->digest, PQE__DIGEST_SIZE, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && pqe__db_blob(stmt, 0, tag, sizeof tag))
        found = true;
    else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    if (status == PQE_OK && found)
        status = pqe__tree_lookup(store, root, tag, &found, twin, err);
    if (status == PQE_OK &&
        (!found || twin->kind != other || memcmp(twin->digest, entry->digest, PQE__DIGEST_SIZE) != 0))
        status = pqe__db_damaged(err, "of an artifact's two entries one is missing");
    return status;
}

pqe_status
pqe__tree_leads_to(pqe__store *store, int64_t rowid, bool *any, pqe_error *err)
{
    return pqe__db_any_of_row(store, STMT_ENTRY_TARGETS, rowid, any, err);
}
