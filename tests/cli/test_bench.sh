#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench: measures, says so as text and as JSON, and leaves nothing behind.
. "$(dirname "$0")/lib.sh"

mkdir place
ok bench --size 4 --dir place
[ "$(wc -l <"$out")" -ge 6 ] || fail "fewer measurements than promised"
says "MB/s"
says "a second"
says "open and unlock"
[ -z "$(ls -A place)" ] || fail "something is left"

ok bench --size 2 --dir place --json
json "$out" 'j["size"] == 2 * 1048576 and j["threads"] >= 1 and j["directory"].startswith("place/")'
json "$out" 'len(j["measurements"]) >= 6 and all(m["value"] > 0 and m["what"] and m["unit"] for m in j["measurements"])'
[ -z "$(ls -A place)" ] || fail "something is left"

for size in 0 -1 x 1x '' 70000 99999999999999999999; do
    want 2 bench --size "$size"
done
want 2 bench operand
want 1 bench --dir "$work/none"
chmod 500 place
[ "$(id -u)" = 0 ] || want 4 bench --size 1 --dir place
chmod 700 place

# Interrupted: gone as well.
"$PQC_ENCLAVE" bench --size 2048 --dir place >"$out" 2>"$err" &
pid=$!
for _ in $(seq 200); do
    grep -q 'by name' "$out" && break # the large artifact is next
    [ -d "/proc/$pid" ] || break
    sleep 0.05
done
kill -INT "$pid" 2>/dev/null # bash has background commands ignore SIGINT: then TERM
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" = 143 ] || fail "ends by its signal"
[ -z "$(ls -A place)" ] || fail "something is left"
exit 0
