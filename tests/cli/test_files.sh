#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Input and output files: what a failed command leaves behind (nothing), what is replaced, what is not followed.
. "$(dirname "$0")/lib.sh"

ok init -q
put name secret
mkdir d empty

# Input that cannot be read.
want 1 put a "$work/none" --kind other
complains "No such file"
want 1 put a d --kind other
complains "Is a directory"
want 3 info a

# Output: nothing stays after a failure, and what was there stays.
printf old >kept
want 3 get nothing -o kept
want 3 get nothing -o empty/new
[ "$(cat kept)" = old ] || fail "a failed get changed its output file"
[ -z "$(ls -A empty)" ] || fail "a failed get left something"
want 1 get name -o d
complains "Is a directory"
want 1 get name -o empty/
want 1 get name -o "$work/none/file"
want 1 get name -o ""

# Replaced in one step, private whatever was there; a link is replaced, not followed.
chmod 644 kept
ok get name -o kept
[ "$(cat kept)" = secret ] || fail "content"
mode 600 kept
printf other >target
ln -s target link
ok get name -o link
[ ! -L link ] && [ "$(cat target)" = other ] || fail "get -o followed a link"
(umask 0 && ok get name -o open) || exit 1
mode 600 open
ok get name -o "$work/./empty/../full path"
ok get name -o /dev/null
[ -c /dev/null ] || fail "get -o replaced a device"
mkfifo pipe
cat pipe >copy &
ok get name -o pipe
wait $!
same content copy
"$PQC_ENCLAVE" get name -q -o /dev/fd/5 5>copy || fail "get -o to a descriptor"
same content copy
if [ -L /dev/stdout ]; then
    before=$(readlink /dev/stdout)
    "$PQC_ENCLAVE" get name -q -o /dev/stdout >copy || fail "get -o /dev/stdout"
    same content copy
    [ "$(readlink /dev/stdout)" = "$before" ] || fail "get -o replaced /dev/stdout"
fi
"$PQC_ENCLAVE" get name -o - | cmp -s - content || fail "get -o -"
[ -z "$(find . -name '.pqc-enclave*')" ] || fail "a temporary file is left"

# No room: an error, and nothing left.
want_in() {
    local expected=$1
    shift
    status=0
    "$@" >"$out" 2>"$err" || status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
}
"$PQC_ENCLAVE" get name >/dev/full 2>"$err" && fail "get to a full device succeeds"
complains "No space left"
"$PQC_ENCLAVE" put a - --kind other <d >"$out" 2>"$err" && fail "put from a directory succeeds"
complains "Is a directory"
"$PQC_ENCLAVE" list >/dev/full 2>"$err" && fail "list to a full device succeeds"
complains "standard output"
head -c 300000 /dev/zero >zeros
ok put zeros zeros --kind other
want_in 1 bash -c 'ulimit -f 100; exec "$@"' - "$PQC_ENCLAVE" get zeros -o empty/new
complains "free some space"
want_in 1 bash -c 'ulimit -f 100; exec "$@"' - "$PQC_ENCLAVE" put more zeros --kind other
[ -z "$(ls -A empty)" ] || fail "a get without room left something"
want 3 info more
ok verify

# Closed standard streams are not confused with files.
status=0
"$PQC_ENCLAVE" get name >&- 2>"$err" || status=$?
[ "$status" = 1 ] || fail "get to a closed standard output: $status"
"$PQC_ENCLAVE" get name -o copy -q <&- >&- 2>&- || fail "get -o with all standard streams closed"
same content copy
status=0
"$PQC_ENCLAVE" put closed - --kind other <&- 2>"$err" || status=$?
[ "$status" = 1 ] || fail "put from a closed standard input: $status"

# A reader that goes away early: death by SIGPIPE, as of any filter, without a word.
head -c 3000000 /dev/zero >zeros
ok put zeros zeros --kind other
(trap - PIPE; "$PQC_ENCLAVE" get zeros 2>"$err"; echo $? >code) | head -c 1 >/dev/null
[ "$(cat code)" = 141 ] && [ ! -s "$err" ] || fail "a closed pipe: $(cat code)"

# Interrupted: nothing is left, nothing is stored, and the process dies of the signal.
mkfifo slow
for signal in INT TERM HUP; do
    "$python" - "$signal" "$PQC_ENCLAVE" <<'END' || fail "put: $signal"
import os, signal, subprocess, sys, time
number = getattr(signal, "SIG" + sys.argv[1])
signal.signal(number, signal.SIG_DFL)
p = subprocess.Popen([sys.argv[2], "put", "half", "-", "--kind", "other", "--quiet"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
p.stdin.write(b"x" * 5000000)
time.sleep(0.3)
p.send_signal(number)
sys.exit(p.wait() != -number)
END
    want 3 info half
    "$python" - "$signal" "$PQC_ENCLAVE" <<'END' || fail "get: $signal"
import os, signal, subprocess, sys, threading
number = getattr(signal, "SIG" + sys.argv[1])
signal.signal(number, signal.SIG_DFL)
p = subprocess.Popen([sys.argv[2], "get", "zeros", "-o", "slow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
with open("slow", "rb") as f:
    f.read(10)
    p.send_signal(number)
    sys.exit(p.wait() != -number)
END
done
find "$vault/bodies" "$vault/pending" -type f | wc -l >count
ok verify
says_not "left-over"
[ "$(cat count)" = 1 ] || fail "an interrupted put left $(cat count) files"

# Where a file cannot be made without a name (here: no /proc to name it through), a temporary name does.
if is_root && unshare -m true 2>/dev/null; then
    # shellcheck disable=SC2016
    unshare -m bash -c 'mount -t tmpfs none /proc && "$1" get name -o named -q && "$1" get nothing -o named2' - "$PQC_ENCLAVE" \
        2>"$err" && fail "get of nothing succeeds"
    same content named
    mode 600 named
    absent named2
    [ -z "$(find . -name '.pqc-enclave*')" ] || fail "a temporary file is left"
    # Interrupted before the vault is open: while it waits for the passphrase.
    printf 'correct horse\n' >pass
    ok init --vault asking --passphrase-file pass
    mkfifo passes
    # shellcheck disable=SC2016
    unshare -m env --default-signal bash -c 'mount -t tmpfs none /proc && exec "$@"' - \
        "$PQC_ENCLAVE" get name -o named --vault asking --passphrase-file passes 2>"$err" &
    for _ in $(seq 600); do
        [ -z "$(find . -name '.pqc-enclave*')" ] || break
        sleep 0.05
    done
    [ -n "$(find . -name '.pqc-enclave*')" ] || fail "no temporary file to be left"
    kill -TERM $!
    wait $!
    [ $? = 143 ] || fail "get does not die of the signal"
    [ -z "$(find . -name '.pqc-enclave*')" ] || fail "a temporary file is left by a signal"
else
    echo "skipped: a get without /proc (needs root and unshare)"
fi

# What is open already is written on from where it stands; a failed command leaves it as it was.
printf 'log\n' >log
printf x >one
ok put one one --kind other
for target in /dev/stdout /dev/fd/1 /proc/self/fd/1; do
    cp log before
    "$PQC_ENCLAVE" get nothing -o "$target" >>log 2>"$err" && fail "get of nothing to $target succeeds"
    same log before
    "$PQC_ENCLAVE" get one -q -o "$target" >>log 2>"$err" || fail "get -o $target"
    printf x >>before
    same log before
done
cp log before
"$PQC_ENCLAVE" get nothing -o /dev/fd/5 2>"$err" 5<>log && fail "get of nothing to a descriptor succeeds"
same log before
{ printf 'head ' >&5; "$PQC_ENCLAVE" get one -q -o /dev/fd/5 && printf ' tail' >&5; } 5>copy 2>"$err" || fail "a descriptor"
[ "$(cat copy)" = "head x tail" ] || fail "a descriptor holds $(cat copy)"
status=0
"$PQC_ENCLAVE" get one -o /dev/fd/5 2>"$err" 5<log || status=$?
[ "$status" = 1 ] || fail "get to a descriptor for reading: $status"
same log before
want 1 get one -o /dev/fd/77
