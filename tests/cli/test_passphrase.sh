#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Vaults opened by a passphrase or a key file: from files, descriptors and the terminal; wrong, missing and changed ones.
. "$(dirname "$0")/lib.sh"

ask() { # ask STATUS ARG...: on a terminal of its own, see terminal.py
    local expected=$1
    shift
    status=0
    "$python" "$here/terminal.py" "$@" >"$out" 2>"$err" </dev/null || status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
    says "[echo on]"
}

# Without a terminal there is nobody to ask. setsid takes the terminal away from who runs this test by hand.
detached() {
    status=0
    setsid -w "$PQC_ENCLAVE" "$@" >"$out" 2>"$err" </dev/null || status=$?
}

# The passphrase is the file without one newline at its end.
printf 'correct horse\n' >pass
printf 'correct horse' >bare
printf 'correct horse\n\n' >longer
ok init --passphrase-file pass
says "passphrase"
says_not "key file"
[ -z "$(find "$XDG_CONFIG_HOME" -type f 2>/dev/null)" ] || fail "a passphrase vault has a key file"
printf x >content
ok put name content --kind credential --passphrase-file bare
want 4 get name -o other --passphrase-file longer
complains "passphrase"
absent other
"$PQC_ENCLAVE" get name -o copy -q --passphrase-file /dev/fd/7 7< <(cat pass) >"$out" 2>"$err" || fail "a descriptor"
same content copy

# No passphrase file, or none that will do.
want 1 list --passphrase-file "$work/none"
complains "cannot read passphrase file $work/none: No such file"
want 1 list --passphrase-file "$work"
complains "Is a directory"
: >empty
want 4 list --passphrase-file empty
complains "the passphrase is empty"
printf '%01025d' 0 >long
want 2 list --passphrase-file long
complains "too long"
want 2 list --passphrase-file /dev/zero
want 2 list --key-file pass
complains "not opened by a key file"
detached list
[ "$status" = 4 ] || fail "status $status without a terminal"
complains "no terminal to ask on; use --passphrase-file"
detached init --passphrase --vault "$work/none"
[ "$status" = 4 ] || fail "status $status of init without a terminal"
absent "$work/none"
ok info
says "opened by      passphrase"

# On the terminal: no echo, and the terminal is put back whatever happens.
ask 0 --stdout copy "Passphrase for $vault: " "correct horse" -- "$PQC_ENCLAVE" get name
same content copy
says_not horse
ask 4 "Passphrase for" "wrong" -- "$PQC_ENCLAVE" list
ask 1 "Passphrase for" "^D" -- "$PQC_ENCLAVE" list
ask 130 "Passphrase for" "^C" -- "$PQC_ENCLAVE" list

# A new one is asked for twice, and again if the two differ.
ask 0 "Passphrase for" "correct horse" "New passphrase" "one" "again" "two" "New passphrase" "" \
    "New passphrase" "third" "again" "third" -- "$PQC_ENCLAVE" passphrase change
says "differ; try again"
says "empty; try again"
says "changed the passphrase"
says_not third
printf third >new
want 4 passphrase change --passphrase-file new --new-passphrase-file empty
complains "the passphrase is empty"
ok passphrase change --passphrase-file new --new-passphrase-file pass --json
json "$out" 'j == {"changed": True}'
want 4 list --passphrase-file new
ask 0 "New passphrase" "typed" "again" "typed" -- "$PQC_ENCLAVE" init --passphrase --vault "$work/second"
says "Keep the passphrase safe"
ask 4 "New passphrase" "a" "again" "b" "New passphrase" "a" "again" "b" "New passphrase" "a" "again" "b" -- \
    "$PQC_ENCLAVE" init --passphrase --vault "$work/third"
says "the two passphrases differ"
absent "$work/third"

# Key files: where they are told to be, private, and not to be done without.
ok init --vault keyed --key-file "$work/my key" --json
json "$out" "j['key_file'] == '$work/my key' and j['key_source'] == 'key-file'"
mode 600 "my key"
ok list --vault keyed --key-file "$work/my key"
want 4 list --vault keyed
complains "not found"
want 4 list --vault keyed --key-file "$work/none"
want 4 list --vault keyed --key-file pass
want 2 list --vault keyed --passphrase-file pass
complains "not opened by a passphrase"
want 6 passphrase change --vault keyed --key-file "my key"
ok init --vault other --quiet
other=$(find "$XDG_CONFIG_HOME" -name '*.key')
want 4 list --vault keyed --key-file "$other"
want 1 init --vault fourth --key-file "my key"
absent fourth
chmod 644 "my key"
want 4 list --vault keyed --key-file "my key"
chmod 600 "my key"
ok list --vault keyed --key-file "my key"
mkdir d
want 2 init --vault d --key-file d/none/k
want 2 init --vault d/new --key-file "$work/d/./new/k"
ln -s d link
want 2 init --vault d --key-file link/k
want 1 init --vault d --key-file content/k
[ -z "$(ls -A d)" ] || fail "a failed init left something"
