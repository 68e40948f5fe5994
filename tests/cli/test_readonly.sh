#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A vault on read-only media: reads work, also beside a writer who sees it writable, and after one that was killed.
. "$(dirname "$0")/lib.sh"

if ! is_root || ! unshare -m true 2>/dev/null; then
    echo "skipped: mounting needs root and unshare"
    exit 0
fi
ok init -q
put first one
head -c 3000000 /dev/urandom >model
mkdir view

read_only() { mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; }

scenario() {
    mount --bind "$vault" view && mount -o remount,ro,bind view || exit 77
    ok get first --vault view
    says one
    want 1 put x model --kind other --vault view
    want 1 rm first --vault view
    complains "read-only"

    # A put is under way where the vault can be written; what is committed there is seen here at the next look.
    mkfifo pipe
    "$PQC_ENCLAVE" put model pipe --kind model-weights -q &
    exec 5>pipe
    head -c 1000000 model >&5
    ok get first --vault view
    want 3 info model --vault view
    put second two
    ok get second --vault view
    says two
    ok verify --vault view
    cp -r "$vault" with-log
    cp -r "$vault" log-alone
    tail -c +1000001 model >&5
    exec 5>&-
    wait $! || fail "the put beside"
    ok get model -o copy -q --vault view
    same model copy
    ok verify --vault view

    # Changes that wait in a log are read from there; without the log's own index nobody can say which they are.
    [ -s with-log/index.db-wal ] || fail "there is no log to be read"
    rm log-alone/index.db-shm
    read_only with-log
    read_only log-alone
    ok get second --vault with-log
    says two
    ok verify --vault with-log
    want 1 get second --vault log-alone
    complains "open it once where it can be written"
}
export -f scenario read_only ok want run put says complains same fail
export out err vault python work
unshare -m bash -c 'set -u; scenario'
case $? in
0) ;;
77) echo "skipped: no mount here" ;;
*) exit 1 ;;
esac
