#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Vaults that were altered, are of another version, another user's, or cannot be written.
. "$(dirname "$0")/lib.sh"

flip() { # flip FILE OFFSET: changes one byte
    "$python" -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1); f.seek(int(sys.argv[2])); f.write(bytes([b[0] ^ 1]))' "$1" "$2"
}
sql() { # sql STATEMENT: on the index
    "$python" -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit(); db.close()' "$vault/index.db" "$1"
}
damaged() { # damaged ARG...: exit code 5, and no output file
    want 5 "$@"
    absent new
}

ok init -q
head -c 200000 /dev/urandom >big
ok put big big --kind model-weights
put small secret
body=$(find "$vault/bodies" -type f)
cp -a "$vault" good
restore() { rm -rf "$vault" && cp -a good "$vault"; }

# One byte of a body: get and verify name the damage, the rest is sound.
flip "$body" 100000
damaged get big -o new
complains "cannot get big"
want 5 verify
says "damaged  big: "
says "2 artifacts checked"
complains "damage was found"
want 5 verify --json
json "$out" 'j["sound"] is False and j["damaged"] == 1 and [f["name"] for f in j["findings"]] == ["big"]'
want 5 verify big
ok verify small
ok get small -o copy
want 125 exec big -- cat {}
[ ! -s "$out" ] || fail "exec ran on a damaged artifact"
restore

# A damaged row: the rest is listed, and what is damaged can be put anew or removed.
sql "UPDATE artifact SET dek = zeroblob(60) WHERE file IS NOT NULL"
want 5 list
says small
says_not big
complains "cannot list all of"
want 5 list --json
json "$out" '[a["name"] for a in j] == ["small"]'
ok put big big --kind model-weights
ok verify
sql "DELETE FROM artifact WHERE file IS NOT NULL"
damaged get big -o new
ok rm big
ok verify
restore

# A damaged identity can be removed, and made anew.
ok identity create --name signer
ok identity create --name other
sql "UPDATE identity SET bytes = zeroblob(100) WHERE id = 1"
want 5 identity show signer
want 5 identity list
want 5 verify
ok identity rm signer
ok verify
ok identity list
says other
says_not signer
ok audit --operation identity_delete
says 'its record was damaged'
ok identity create --name signer
ok verify
restore

# What keeps verify from looking is not damage.
status=0
(ulimit -n 13 && exec "$PQC_ENCLAVE" verify) >"$out" 2>"$err" || status=$?
[ "$status" = 1 ] || fail "verify without descriptors: status $status"
complains "Too many open files"
ok verify

# A body cut short, gone, exchanged for a link to itself, for a directory.
truncate -s 150000 "$body"
damaged get big -o new
restore
rm "$body"
damaged get big -o new
want 5 verify
restore
mv "$body" "$work/body" && ln -s "$work/body" "$body"
damaged get big -o new
want 5 verify
restore
rm "$body" && mkdir "$body"
damaged get big -o new
want 5 verify
restore

# The index: another format version, a row removed, a vault file that is a directory or no database.
sql "PRAGMA user_version = 99"
want 1 list
complains "version"
want 1 info
want 1 put a big --kind other
restore
table=$("$python" -c 'import sqlite3, sys
print(*[r[0] for r in sqlite3.connect(sys.argv[1]).execute("SELECT name FROM sqlite_master WHERE type = \"table\" AND name LIKE \"%artifact%\"")])' "$vault/index.db")
[ -n "$table" ] || fail "no table of artifacts to remove a row from"
sql "DELETE FROM $table"
damaged get big -o new
damaged info small
want 5 verify
restore
rm "$vault/index.db" && mkdir "$vault/index.db"
want 1 list
restore
head -c 20000 /dev/urandom >"$vault/index.db"
want 5 list
restore
: >"$vault/index.db"
want 5 list
restore

# The backend's name in the vault is no configuration of one: no file that it names is opened.
mkfifo trap
for name in "file:key-file=trap" "file:" "File" "file "; do
    sql "UPDATE device SET bytes = CAST('$name' AS BLOB) WHERE item = 1"
    damaged get big -o new
    complains "name is damaged"
    want 5 list --key-file trap
    want 1 doctor
    says "name in the vault is damaged"
    restore
done
sql "UPDATE device SET bytes = CAST('tpm9' AS BLOB) WHERE item = 1"
want 6 list
restore
ok verify

# Places that hold no vault.
printf x >file
for dir in "$work/none" "$work/file" "$work/home"; do
    want 1 list --vault "$dir"
    want 1 get a -o new --vault "$dir"
    absent new
done
want 1 init --vault "$work/file"
want 1 init --vault "$work/none/deeper"
mkdir full && printf x >full/file
want 1 init --vault full
[ "$(ls full)" = file ] || fail "a failed init left something"

# Read-only: reading works, writing fails clearly and changes nothing. Root ignores modes, so it mounts.
read_only() {
    want 0 get big -o copy
    same big copy
    want 0 list
    want 0 verify
    want 1 put a big --kind other
    want 1 rm small
    want 1 rotate
    want 0 info small
}
if is_root; then
    if unshare -m true 2>/dev/null; then
        export -f read_only want run ok same fail
        export out err
        # shellcheck disable=SC2016
        unshare -m bash -c 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; set -u; read_only' - "$vault"
        case $? in
        0) ;;
        77) echo "skipped: a read-only file system (no mount here)" ;;
        *) exit 1 ;;
        esac
    else
        echo "skipped: a read-only file system (no unshare here)"
    fi
else
    chmod a-w "$vault" "$vault"/*
    read_only
    chmod u+w "$vault" "$vault"/*
    chmod a-w .
    want 4 get big -o new
    chmod u+w .
    absent new
fi

# Another user's vault.
if is_root && command -v setpriv >/dev/null && cp "$PQC_ENCLAVE" "$work/command" && chmod 755 "$work" "$work/command"; then
    status=0
    setpriv --reuid=65534 --regid=65534 --clear-groups "$work/command" list --vault "$vault" >"$out" 2>"$err" || status=$?
    [ "$status" = 4 ] || fail "another user's vault: status $status"
    complains "Permission denied"
else
    echo "skipped: another user's vault (needs root and setpriv)"
fi
