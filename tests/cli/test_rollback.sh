#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Older copies of a vault: what is said of them without a counter, and how they are refused and accepted with one.
. "$(dirname "$0")/lib.sh"

# Without a counter nothing is detected, and everything says so.
ok init
put first 1
ok info
says "not detected: the file backend has no counter for this vault"
ok info --json
json "$out" 'j["rollback"] == "not-detected"'
ok verify
says "older copies of the vault: not detected: the file backend has no counter for this vault"
ok verify --json
json "$out" 'j["sound"] and j["rollback"] == "not-detected"'
ok verify --quiet
says_not "older copies"
cp -a "$vault" old
put second 2
rm -rf "$vault" && mv old "$vault"
want 3 get second
want 2 recovery accept-rollback
complains "give --yes"
want 2 recovery accept-rollback --json
want 2 recovery accept-rollback --yes more
want 6 recovery accept-rollback --yes
complains "no device counts this vault's changes"
want 6 recovery accept-rollback --yes --json
json "$err" 'j["error"]["name"] == "PQE_E_UNAVAILABLE"'
ok get first

# On a terminal it asks. Anything but yes is no.
on_terminal() {
    status=0
    "$python" "$here/terminal.py" "$@" >"$out" 2>"$err" </dev/null || status=$?
}
for answer in no "" y; do
    on_terminal "Type yes: " "$answer" -- "$PQC_ENCLAVE" recovery accept-rollback
    [ "$status" = 1 ] || fail "answered \"$answer\""
    says "not confirmed, nothing was changed"
done
on_terminal "Type yes: " ^D -- "$PQC_ENCLAVE" recovery accept-rollback
[ "$status" = 1 ] || fail "end of input"
on_terminal "Type yes: " yes -- "$PQC_ENCLAVE" recovery accept-rollback
[ "$status" = 6 ] || fail "answered yes"

# With one: a simulated TPM, where there is that backend and swtpm.
ok backends --json
"$python" -c 'import json, sys
sys.exit(0 if "tpm2" in [b["name"] for b in json.load(open(sys.argv[1]))] else 1)' "$out" ||
    { echo "the rest is skipped: no tpm2 backend"; exit 0; }
command -v swtpm >/dev/null || { echo "the rest is skipped: no swtpm"; exit 0; }
mkdir tpm
swtpm socket --tpm2 --tpmstate dir=tpm --ctrl type=unixio,path=tpm/sock.ctrl --server type=unixio,path=tpm/sock \
    --flags not-need-init,startup-clear >tpm/log 2>&1 &
swtpm=$!
trap 'kill "$swtpm" 2>/dev/null; wait "$swtpm" 2>/dev/null; clean_up' EXIT
for _ in $(seq 100); do
    [ -S tpm/sock.ctrl ] && [ -S tpm/sock ] && break
    sleep 0.1
done
[ -S tpm/sock.ctrl ] && [ -S tpm/sock ] || fail "swtpm does not start: $(cat tpm/log)"
export PQC_ENCLAVE_VAULT=$work/counted
vault=$PQC_ENCLAVE_VAULT
run init --backend "tpm2:swtpm:path=$work/tpm/sock"
[ "$status" = 0 ] || fail "init on the TPM"
put first 1
ok verify --json
json "$out" 'j["rollback"] == "detected"'
cp -a "$vault" old
put second 2
put third 3
cp -a "$vault" newer
generation=$("$PQC_ENCLAVE" info --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["generation"])')
rm -rf "$vault" && cp -a old "$vault"
want 5 get first
complains "expects generation $generation"
complains "recovery accept-rollback"
want 5 list --json
json "$err" 'j["error"]["name"] == "PQE_E_ROLLBACK" and j["error"]["exit"] == 5'
want 1 doctor
says "PQE_E_ROLLBACK"
says "recovery accept-rollback"
says_not "verify"
want 2 recovery accept-rollback
ok recovery accept-rollback --yes --json
json "$out" "j['accepted'] and j['expected'] == $generation and j['found'] == $generation - 2"
json "$out" "j['generation'] == $generation + 1"
ok get first
want 3 get second
ok audit --operation recovery
says "in place of $generation"
want 1 recovery accept-rollback --yes
complains "nothing to accept"
rm -rf "$vault" && cp -a newer "$vault"
want 5 get first
complains "expects generation $((generation + 1))"
