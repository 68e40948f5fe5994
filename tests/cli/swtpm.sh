#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Software TPMs for tests of the command, and lib.sh. Skips the test where there are none.
. "$(dirname "$0")/lib.sh"

run backends --json
if ! command -v swtpm >/dev/null || ! command -v tpm2_getcap >/dev/null || ! grep -q '"tpm2"' "$out"; then
    echo "skipped: swtpm, tpm2-tools or the tpm2 backend is not there"
    exit 77
fi

# start NAME, stop NAME: the TPM of that name.
pids=()
start() {
    mkdir -p "$1"
    rm -f "$1/sock" "$1/sock.ctrl"
    swtpm socket --tpm2 --tpmstate "dir=$1" --server "type=unixio,path=$1/sock" \
        --ctrl "type=unixio,path=$1/sock.ctrl" --flags not-need-init,startup-clear >"$1/log" 2>&1 &
    echo $! >"$1/pid"
    pids+=($!)
    for _ in $(seq 600); do
        if TPM2TOOLS_TCTI="swtpm:path=$work/$1/sock" tpm2_getcap properties-fixed >/dev/null 2>&1; then return 0; fi
        sleep 0.05
    done
    fail "swtpm does not start"
}
stop() {
    kill "$(cat "$1/pid")"
    wait "$(cat "$1/pid")" 2>/dev/null
}
trap '[ "$BASHPID" = $$ ] && { kill "${pids[@]}" 2>/dev/null; clean_up; }' EXIT
tool() {
    local tpm=$1
    shift
    TPM2TOOLS_TCTI="swtpm:path=$work/$tpm/sock" "$@" >tool.out 2>&1 || fail "$*: $(cat tool.out)"
}
