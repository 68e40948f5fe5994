# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of the command. $PQC_ENCLAVE is the program under test. Each test works in a directory of its own,
# with directories of its own for data, configuration and links, so that tests run side by side.
set -u

: "${PQC_ENCLAVE:?is the program to test}"
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
# In memory where there is room: the tests sync a lot.
room=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)
place=${TMPDIR:-/tmp}
[ "${room:-0}" -lt 2097152 ] || [ ! -w /dev/shm ] || place=/dev/shm
work=$(mktemp -d "$place/pqe-cli.XXXXXX") || exit 1

# A background process that a signal hits before it has become its program runs this too: it must leave all alone.
clean_up() {
    [ "$BASHPID" = $$ ] || return
    chmod -R u+rwx "$work" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

# LeakSanitizer needs ptrace, which the command forbids.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
export HOME=$work/home XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config XDG_RUNTIME_DIR=$work/run LC_ALL=C.UTF-8
unset PQC_ENCLAVE_VAULT
vault=$XDG_DATA_HOME/pqc-enclave
out=$work/out err=$work/err
mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
cd "$work" || exit 1

fail() {
    echo "FAIL: $*" >&2
    echo "--- status ${status-}, standard output:" >&2
    head -c 2000 "$out" >&2
    echo "--- standard error:" >&2
    head -c 2000 "$err" >&2
    exit 1
}

# run ARG...: the command with empty input; sets $status, $out, $err.
run() {
    status=0
    "$PQC_ENCLAVE" "$@" >"$out" 2>"$err" </dev/null || status=$?
}

# want STATUS ARG...: the command must end with that status.
want() {
    local expected=$1
    shift
    run "$@"
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
    # Every failure says so in one line of the documented form (commands run by exec speak for themselves).
    case "$expected ${1-}" in
    0\ * | *\ exec) ;;
    *) [ "$(wc -l <"$err")" = 1 ] && grep -q '^pqc-enclave: .*: .\|^{"error":{' "$err" || fail "form of the error: $*" ;;
    esac
}

# ok ARG...: must succeed and say nothing on standard error.
ok() {
    want 0 "$@"
    [ ! -s "$err" ] || fail "says something: $*"
}

says() { grep -qF -- "$1" "$out" || fail "does not say: $1"; }
says_not() { ! grep -qF -- "$1" "$out" || fail "says: $1"; }
complains() { grep -qF -- "$1" "$err" || fail "does not complain: $1"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
absent() { [ ! -e "$1" ] && [ ! -L "$1" ] || fail "is there: $1"; }
mode() { [ "$(stat -c %a "$2")" = "$1" ] || fail "mode of $2 is not $1"; }

# json FILE EXPRESSION: the file is JSON and the Python expression over it, named j, is true.
json() {
    "$python" -c 'import json, sys
j = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$1" "$2" || fail "JSON: $2"
}

# put NAME TEXT: a small credential.
put() {
    printf %s "$2" >"$work/content"
    ok put "$1" "$work/content" --kind credential
}

is_root() { [ "$(id -u)" = 0 ]; }
