#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exec: signals reach the program, the directory goes whatever happens, what a killed run left is swept, a live one's not.
. "$(dirname "$0")/lib.sh"

[ "$(stat -f -c %T "$XDG_RUNTIME_DIR")" = tmpfs ] || {
    echo "skipped: no tmpfs for the directory"
    exit 77
}
ok init -q
put cred secret

# start COMMAND: exec of a shell command in the background; waits until it wrote its process id to ./pid.
start() {
    rm -f pid
    "$python" - "$PQC_ENCLAVE" "$1" <<'END' &
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)  # a shell has background jobs ignore some
os.execv(sys.argv[1], [sys.argv[1], "exec", "cred", "--", "sh", "-c", sys.argv[2], "-", "{DIR}"])
END
    job=$!
    for _ in $(seq 600); do
        [ -s pid ] && return
        sleep 0.05
    done
    fail "the program did not start"
}
finish() { # finish STATUS
    status=0
    wait "$job" || status=$?
    [ "$status" = "$1" ] || fail "status $status, not $1"
}
none_left() { [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] || fail "a directory is left"; }

# Passed on, and the program's answer is the status.
for signal in INT TERM HUP QUIT; do
    start 'trap "echo '$signal' >got; exit 9" '$signal'; echo $$ >pid; while :; do sleep 0.05; done'
    [ -n "$(ls -A "$XDG_RUNTIME_DIR")" ] || fail "no directory while the program runs"
    kill -"$signal" "$job"
    finish 9
    [ "$(cat got)" = "$signal" ] || fail "$signal was not passed on"
    none_left
done
for number in 2 15; do
    start 'echo $$ >pid; exec sleep 60'
    kill -"$number" "$job"
    finish $((128 + number))
    none_left
done
# The program is killed by somebody else.
start 'echo $$ >pid; exec sleep 60'
kill -KILL "$(cat pid)"
finish 137
none_left
# A program that goes on after a signal is waited for.
start 'trap "" TERM; echo $$ >pid; sleep 0.5; exit 5'
kill -TERM "$job"
finish 5
none_left

# Killed: the directory stays, the next exec sweeps it, but not that of a run that lives.
start 'echo $$ >pid; exec sleep 60'
killed=$job orphan=$(cat pid)
stale=$(ls "$XDG_RUNTIME_DIR")
disown "$killed" # or the shell tells of its end
kill -KILL "$killed"
while kill -0 "$killed" 2>/dev/null; do sleep 0.05; done
kill -KILL "$orphan"
[ -d "$XDG_RUNTIME_DIR/$stale" ] || fail "nothing stale to sweep"
run doctor --json
json "$out" '[c["level"] for c in j["checks"] if c["check"] == "exec-stale"] == ["warn"]'
start 'echo $$ >pid; exec sleep 60'
absent "$XDG_RUNTIME_DIR/$stale"
live=$(ls "$XDG_RUNTIME_DIR")
ok exec cred -- true
[ -d "$XDG_RUNTIME_DIR/$live" ] || fail "the directory of a run that lives was swept"
run doctor --json
json "$out" 'not [c for c in j["checks"] if c["check"] == "exec-stale"]'
kill -TERM "$job"
finish 143
none_left
# What only looks like one is left alone.
mkdir "$XDG_RUNTIME_DIR/other"
: >"$XDG_RUNTIME_DIR/pqc-enclave-exec-file"
ln -s "$HOME" "$XDG_RUNTIME_DIR/pqc-enclave-exec-link"
ok exec cred -- true
[ "$(ls "$XDG_RUNTIME_DIR" | wc -l)" = 3 ] && [ -d "$HOME" ] || fail "something else was swept"
rm -r "${XDG_RUNTIME_DIR:?}"/*

# On a terminal ^C goes to both once; the program decides.
"$python" "$here/terminal.py" ready "^C" -- "$PQC_ENCLAVE" exec cred -- \
    sh -c 'trap "n=\$((n+1))" INT; echo ready {DIR}; sleep 1; sleep 0.3; echo "interrupts: $n"; exit 4' >"$out" 2>"$err"
status=$?
[ "$status" = 4 ] || fail "status $status after ^C"
says "interrupts: 1"
none_left
"$python" "$here/terminal.py" ready "^C" -- "$PQC_ENCLAVE" exec cred -- sh -c 'echo ready {DIR}; exec sleep 60' >"$out" 2>"$err"
status=$?
[ "$status" = 130 ] || fail "status $status after ^C"
none_left
