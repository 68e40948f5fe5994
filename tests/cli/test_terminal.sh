#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On a terminal: no binary content unless asked for, and a progress bar for work of over a second.
. "$(dirname "$0")/lib.sh"

on_terminal() { # on_terminal STATUS COMMAND...
    local expected=$1
    shift
    status=0
    "$python" "$here/terminal.py" -- "$@" >"$out" 2>"$err" </dev/null || status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
}

ok init -q
put cred secret
on_terminal 2 "$PQC_ENCLAVE" get cred
says "standard output is a terminal"
says_not secret
on_terminal 0 "$PQC_ENCLAVE" get cred -o -
says secret

# Slow input: the bar comes after a second with an amount and a rate, and is removed at the end.
slow='head -c 200000 /dev/zero; sleep 3; head -c 900000 /dev/zero; sleep 2; head -c 100000 /dev/zero'
on_terminal 0 sh -c "($slow) | \"\$0\" put slow - --kind other" "$PQC_ENCLAVE"
says "encrypting 1.0 MiB, "
says "/s"
says "stored slow"
"$python" -c 'import sys
text = open(sys.argv[1], "rb").read()
bar = text.rfind(b"encrypting")
sys.exit(0 if text.find(b"\r\033[K", bar) > bar else 1)' "$out" || fail "the bar is not removed"
on_terminal 0 sh -c "($slow) | \"\$0\" put slow - --kind other -q" "$PQC_ENCLAVE"
says_not encrypting
on_terminal 0 sh -c "($slow) | \"\$0\" put slow - --kind other --json" "$PQC_ENCLAVE"
says_not encrypting
# A known size gives a percentage and the time left.
mkfifo slow
head -c 3000000 /dev/zero >big
ok put big big --kind other
(
    exec 3<slow
    sleep 3 # there may be little left of a second if the vault is slow to open
    cat <&3 >copy
) &
on_terminal 0 "$PQC_ENCLAVE" get big -o slow
wait
grep -qE 'decrypting +[0-9]+% \[#+\.*\] [0-9.]+ [KM]iB, .*/s, [0-9]:[0-9]{2} left' "$out" || fail "the bar: decrypting"
# Quick work shows nothing. Where the machine is busy it may not have been quick.
quickly() { # quickly LABEL ARG...
    local label=$1 begun
    shift
    for _ in $(seq 10); do
        begun=$(date +%s%N)
        on_terminal 0 "$PQC_ENCLAVE" "$@"
        [ $(($(date +%s%N) - begun)) -ge 1000000000 ] || {
            says_not "$label"
            return
        }
    done
    fail "$* always takes more than a second"
}
quickly decrypting get big -o copy
quickly checking verify
says "sound"
