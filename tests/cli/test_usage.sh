#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command line: forms of options, global options in any place, usage errors (2), errors as JSON, help and version.
. "$(dirname "$0")/lib.sh"

ok --version
grep -qx 'pqc-enclave [0-9.]*' "$out" || fail "form of --version"
ok -V --json
json "$out" '"version" in j'

ok --help
for word in init put get list info rm verify exec rotate doctor backends completion "key show" "passphrase change" --vault; do
    says "$word"
done
ok help put
says --kind
says --passphrase-file
ok put -h
says --kind
ok key show --help
says "usage: pqc-enclave key show"
ok help passphrase change
says --new-passphrase-file
ok help
listed=$(sed -n '/^commands:/,/^$/p' "$out" | grep -c '^  ')
ok help --json
json "$out" "len(j['commands']) == $listed >= 28 and all(c['summary'] for c in j['commands'])"

# Usage errors, each with the reason.
while IFS='|' read -r reason args; do
    # shellcheck disable=SC2086
    want 2 $args
    complains "$reason"
    [ ! -s "$out" ] || fail "a usage error on standard output: $args"
done <<'END'
no command was given|
unknown command nonsense|nonsense
unknown command key nonsense|key nonsense
needs a second word|key
unknown option --nonsense|list --nonsense
unknown option --kind|--kind other list
unknown option -x|list -x
--vault needs a value|list --vault
--json takes no value|list --json=yes
missing operands|put onlyname
missing operands|get
missing operands|rm
too many operands|get a b
too many operands|list a
--kind KIND is required|put a b
--kind: nonsense is not one of model-weights|put a b --kind nonsense
--kind: nonsense is not one of model-weights|list --kind nonsense
ml-kem-1024 is not a suite of this version|init --suite ml-kem-1024
--suite: x-wing|init --suite=x-wing
ends with the process|init --backend memory
not by both|init --passphrase --key-file k
no completion for tcsh|completion tcsh
no command nonsense|help nonsense
the directory's name is empty|list --vault=
END
want 6 init --backend tpm9
complains "no backend of that name"
absent "$vault"

# exec has one code for all its own failures.
for args in "exec" "exec a" "exec a --" "exec -- a" "exec DIR -- true" "exec a a -- true" "exec a b -- cat {}" \
    "exec --nonsense a -- true"; do
    # shellcheck disable=SC2086
    want 125 $args
    grep -q '^pqc-enclave: exec: ' "$err" || fail "form of the error: $args"
done

# The default vault, the environment's, and --vault, which wins; every place for global options.
want 1 list
complains "no vault"
ok init --quiet
PQC_ENCLAVE_VAULT=$work/second
export PQC_ENCLAVE_VAULT
ok --quiet init
ok init --vault "$work/third" -q
put in-second x
ok --vault "$work/third" list --json
json "$out" 'j == []'
ok list --vault="$work/third" --json
json "$out" 'j == []'
ok list --vault "$vault" --vault "$work/second" --json
json "$out" 'len(j) == 1'
PQC_ENCLAVE_VAULT=
ok list --json
json "$out" 'j == []'
unset PQC_ENCLAVE_VAULT
want 1 init
complains "cannot create vault"

# Only an absolute $XDG_DATA_HOME counts; else it is ~/.local/share, whose parents init makes.
XDG_DATA_HOME=relative ok init -q
[ -f "$HOME/.local/share/pqc-enclave/index.db" ] || fail "no vault below the home directory"
absent relative

# Errors as JSON: one object on standard error, nothing on standard output.
check_error() {
    [ ! -s "$out" ] || fail "a JSON error on standard output"
    json "$err" "j['error']['name'] == '$1' and j['error']['exit'] == $status and j['error']['message']"
}
want 3 get nothing --json
check_error PQE_E_NOT_FOUND
want 2 get --json
check_error PQE_E_ARGUMENT
want 2 --json nonsense
check_error PQE_E_ARGUMENT
want 1 --json list --vault "$work/none"
check_error PQE_E_NOT_A_VAULT
want 1 --json put x "$work/none" --kind other
check_error PQE_E_IO
json "$err" 'j["error"]["native"] == 2 and j["error"]["object"].endswith("/none")'
want 125 --json exec nothing -- true
check_error PQE_E_NOT_FOUND

# Values that begin with a dash, and names after --.
put plain x
ok put --kind other --description --dashes -- -odd "$work/content"
ok get -o copy -- -odd
same content copy
ok get -ocopy2 plain
same content copy2
ok info --json -- -odd
json "$out" 'j["description"] == "--dashes"'
ok exec -- -odd -- cat {-odd}
says x
ok rm -- -odd
