#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Older copies of a vault without a counter: what is said of them. With one: test_tpm2_rollback.sh
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
