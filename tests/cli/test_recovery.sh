#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Recovery keys: made as a file or as words on the terminal, listed, removed; the way back when the key file is lost; and
# moves from one backend to another.
. "$(dirname "$0")/lib.sh"

on_terminal() { # on_terminal STATUS COMMAND...: answers are given as in terminal.py
    local expected=$1
    shift
    status=0
    "$python" "$here/terminal.py" "$@" >"$out" 2>"$err" </dev/null || status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
    says "[echo on]"
}

key_file() { find "$XDG_CONFIG_HOME/pqc-enclave" -name '*.key'; }

ok init -q
put cred secret
printf secret >plain
ok identity create --name device -q

# ---- a file ----
ok recovery create --file rec.pem --name "in the safe"
says "added recovery key "
mode 600 rec.pem
grep -q 'BEGIN PRIVATE KEY' rec.pem || fail "the file is no PEM"
want 1 recovery create --file rec.pem
complains "File exists"
want 2 recovery create --file "$vault/rec.pem"
complains "inside the vault"
want 2 recovery create --file a --words -
want 2 recovery create --words words
want 2 recovery create --name ""
absent "$work/a"
ok recovery list
says "in the safe"
ok recovery list --json
json "$out" "len(j) == 1 and j[0]['name'] == 'in the safe' and j[0]['suite'] == 'ml-kem-768' and len(j[0]['id']) == 32"
if openssl version 2>/dev/null | grep -qE '^OpenSSL (3\.([5-9]|[1-9][0-9])|[4-9])'; then
    openssl pkey -in rec.pem -noout -text 2>&1 | grep -q ML-KEM-768 || fail "openssl does not read the file"
fi

# ---- words on standard output ----
ok recovery create --words - --name words
cp "$out" words
[ "$(wc -w <words)" = 24 ] || fail "not 24 words"
want 2 recovery create --words - --json

# ---- words on a terminal: shown there and nowhere else, two asked back ----
cat >answer.py <<'END'
import os, pty, re, select, sys
pid, tty = pty.fork()
if pid == 0:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execvp(sys.argv[3], sys.argv[3:])
seen, asked, wrong = b"", 0, int(sys.argv[2])
while True:
    if not select.select([tty], [], [], 60)[0]:
        sys.exit("nothing happened")
    try:
        data = os.read(tty, 65536)
    except OSError:
        break
    if not data:
        break
    seen += data
    words = {int(n): w.decode() for n, w in re.findall(rb" (\d+) ([a-z]+)", seen)}
    for n in re.findall(rb"Word (\d+): ", seen)[asked:]:
        asked += 1
        os.write(tty, ("zzz" if wrong else words[int(n)]).encode() + b"\n")
        wrong -= wrong > 0
_, status = os.waitpid(pid, 0)
open("shown", "w").write(" ".join(words[n] for n in sorted(words)[:24]) + "\n")
open("screen", "wb").write(seen)
sys.exit(os.WEXITSTATUS(status))
END
"$python" answer.py printed 0 "$PQC_ENCLAVE" recovery create --name typed || fail "words on a terminal"
grep -q "added recovery key" printed || fail "no confirmation"
cp shown typed
[ "$(wc -w <shown)" = 24 ] || fail "24 words on the terminal"
for word in $(cat shown); do
    ! grep -qw -- "$word" printed || fail "a word on standard output"
done
"$python" answer.py printed 2 "$PQC_ENCLAVE" recovery create --name again || fail "one slip is forgiven"
grep -q "look again" screen || fail "the slip is not told"
before=$("$PQC_ENCLAVE" recovery list | wc -l)
"$python" answer.py printed 6 "$PQC_ENCLAVE" recovery create --name never && fail "never confirmed"
[ "$("$PQC_ENCLAVE" recovery list | wc -l)" = "$before" ] || fail "a key that was not confirmed was added"
status=0
setsid -w "$PQC_ENCLAVE" recovery create >"$out" 2>"$err" </dev/null || status=$?
[ "$status" = 4 ] || fail "status $status without a terminal"
complains "give --file F, or --words -"

# ---- one too many: the file of a key that the vault does not have goes ----
while [ "$("$PQC_ENCLAVE" recovery list | wc -l)" -lt 8 ]; do ok recovery create --words - --name full; done
run recovery create --file ninth.pem
[ "$status" != 0 ] || fail "nine recovery keys"
absent ninth.pem
for id in $("$PQC_ENCLAVE" recovery list | awk '$NF == "full" { print $1 }'); do ok recovery remove "$id"; done

# ---- the key file is lost ----
rm "$(key_file)"
want 4 get cred
ok recovery use --file rec.pem
says "recovered vault"
says "key file"
ok get cred -o copy
same plain copy
ok verify
ok identity show device
ok attest cred -o att
ok audit
says "opened by recovery key"
absent "$work/none"

rm "$(key_file)"
ok recovery use --words-file words --key-file "$work/new key" --json
json "$out" "j['key_file'] == '$work/new key' and j['backend'] == 'file' and j['lost'] == []"
mode 600 "new key"
want 4 get cred -o other
absent other
ok get cred --key-file "new key" -o copy -q
"$PQC_ENCLAVE" recovery use --words-file - --key-file third <words >"$out" 2>"$err" || fail "words from standard input"
ok get cred --key-file third -o copy -q

# By words typed; they do not show. The new key is a passphrase.
printf 'a new passphrase\n' >pass
on_terminal 0 "The 24 words" "$(tr '[:lower:]' '[:upper:]' <typed)" -- "$PQC_ENCLAVE" recovery use --passphrase-file pass
says "passphrase"
says_not "$(cut -d' ' -f1-3 <typed)"
ok get cred --passphrase-file pass -o copy -q
on_terminal 4 "The 24 words" "$(cat typed)" "New passphrase" "a" "again" "b" "New passphrase" "a" "again" "b" \
    "New passphrase" "a" "again" "b" -- "$PQC_ENCLAVE" recovery use --passphrase
ok get cred --passphrase-file pass -o copy -q

# ---- what does not open it ----
ok init --vault other -q --key-file otherkey
ok recovery create --vault other --key-file otherkey --file other.pem
want 4 recovery use --file other.pem --key-file x
complains "none of this vault's"
absent x
want 1 recovery use --file plain --key-file x
want 1 recovery use --file "$work/none" --key-file x
sed 's/[a-z]*$/zoo/' words >bad
want 1 recovery use --words-file bad --key-file x
sed 's/^[a-z]*/notaword/' words >bad
want 1 recovery use --words-file bad --key-file x
complains "word 1 is not one of the list"
! grep -q notaword "$err" || fail "the word is named"
want 1 recovery use --file rec.pem --key-file third
complains "exists already"
complains "--key-file"
want 2 recovery use --file rec.pem --words-file words
want 2 recovery use --file rec.pem --key-file "$vault/k"
absent x

# ---- moves ----
ok rotate --passphrase-file pass --new-key-file k1
says "moved vault"
ok get cred --key-file k1 -o copy -q
want 1 rotate --key-file k1 --new-key-file k1
complains "--new-key-file"
ok rotate --key-file k1 --backend file --new-key-file k2 --discard-old --rekey --json
json "$out" "j['rotated'] and j['rekeyed'] and j['key_file'] == 'k2' and j['backend'] == 'file'"
absent k1
ok rotate --key-file k2 --new-passphrase-file pass
[ -e k2 ] || fail "the old key file is gone"
ok verify --passphrase-file pass
want 2 rotate --passphrase-file pass --discard-old
want 6 rotate --passphrase-file pass --backend nonsense
want 2 rotate --passphrase-file pass --new-key-file "$vault/k"
ok rotate --passphrase-file pass --backend file --discard-old
says "older copies of the vault still open with it"

# ---- a damaged identity is lost, the vault is not ----
for copy in damaged-1 damaged-2; do
    cp -r "$vault" $copy
    "$python" -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1]); db.execute("UPDATE identity SET bytes = zeroblob(99)"); db.commit(); db.close()' \
        $copy/index.db
done
want 5 rotate --vault damaged-1
run recovery use --vault damaged-1 --file rec.pem --key-file k4
[ "$status" = 0 ] || fail "a damaged identity keeps the vault from being recovered"
complains "an identity is lost, its record was damaged"
ok get cred --vault damaged-1 --key-file k4 -o copy -q
ok verify --vault damaged-1 --key-file k4
ok recovery use --vault damaged-2 --file rec.pem --key-file k5 --json
json "$out" "j['lost'] == [{'did': None, 'name': None}]"

# ---- removed ----
id=$("$PQC_ENCLAVE" recovery list --json | "$python" -c 'import json, sys
print([k["id"] for k in json.load(sys.stdin) if k["name"] == "in the safe"][0])')
ok recovery remove "$id"
says "rotate --rekey"
want 3 recovery remove "$id"
want 2 recovery remove nonsense
want 4 recovery use --file rec.pem --key-file x
complains "none of this vault's"
ok recovery use --words-file words --key-file x # the others stay
