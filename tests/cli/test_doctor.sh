#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# doctor: what it finds sound, what it warns of, what it fails.
. "$(dirname "$0")/lib.sh"

# level CHECK LEVEL: in the JSON of the last run.
level() { json "$out" "[c['level'] for c in j['checks'] if c['check'] == '$1'] == ['$2']"; }

want 1 doctor
says "fail  vault"
want 1 doctor --json
level vault fail
json "$err" 'j["error"]["exit"] == 1'

ok init --json
key=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["key_file"])' "$out")
ok doctor
says "ok    vault"
says "0 failed"
says "software protection"
says "not detected: the file backend has no counter for this vault"
ok doctor --json
json "$out" 'j["failures"] == 0 and j["version"] and all(c["level"] in ("ok", "warn", "fail") for c in j["checks"])'
json "$out" "j['warnings'] == len([c for c in j['checks'] if c['level'] == 'warn'])"
for check in key-memory dumps vault permissions writable key-file unlock; do level "$check" ok; done
for check in backend rollback recovery key-place; do level "$check" warn; done
ok recovery create --file recovery.pem -q
ok doctor --json
level recovery ok
[ "$(stat -f -c %T "$vault")" != tmpfs ] || level file-system warn
ok doctor --quiet
says_not "ok  "
says "warn"

# Permissions of the vault and of the key file; the key beside the vault.
chmod 755 "$vault"
ok doctor --json
level permissions warn
chmod 777 "$vault"
want 1 doctor --json
level permissions fail
chmod 700 "$vault"
chmod 640 "$key"
want 1 doctor --json
level key-file fail
level unlock fail
chmod 600 "$key"
mkdir "$vault/keys"
mv "$key" "$vault/keys/key"
ln -s "$vault/keys/key" link
want 1 doctor --json --key-file link
level key-place fail
want 1 doctor --json
level key-file fail
level unlock fail
mv "$vault/keys/key" "$key" && rmdir "$vault/keys"

# A damaged vault does not open.
cp -a "$vault" good
"$python" -c 'import sys
data = open(sys.argv[1], "rb").read()
open(sys.argv[1], "wb").write(b"\0" * len(data))' "$vault/index.db"
want 1 doctor --json
level vault fail
rm -rf "$vault" && mv good "$vault"
if ! is_root; then
    chmod a-w "$vault"
    ok doctor --json
    level writable warn
    chmod u+w "$vault"
fi

# A passphrase is not asked for; with its file the vault is tried.
printf 'a passphrase' >pass && chmod 644 pass
ok init --vault second --passphrase-file pass -q
ok doctor --vault second --json
level unlock warn
want 1 doctor --vault second --passphrase-file pass --json
level passphrase-file fail
level unlock ok

# Too little lockable memory. Root may lock what it likes.
if ! is_root; then
    (ulimit -l 0 && run doctor --json && level key-memory fail) || exit 1
fi
