#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exec: placeholders, sealed memory files, the directory of links, what the program inherits, its status.
. "$(dirname "$0")/lib.sh"

ok init -q
head -c 2500000 /dev/urandom >model
ok put model model --kind model-weights -q
ok put eng.traineddata model --kind model-weights -q
put cred secret
: >nothing
ok put nothing nothing --kind other -q

# Placeholders: {}, {NAME}, {DIR}; inside arguments, several times; not in the program's name.
ok exec cred -- cat {}
[ "$(cat "$out")" = secret ] || fail "{}"
ok exec cred -- sh -c 'cat "$1" "$2"' - {cred} {}
[ "$(cat "$out")" = secretsecret ] || fail "{NAME}"
ok exec cred model -- sh -c 'cat {cred}; cat <{cred}; cmp {model} '"$work/model"
[ "$(cat "$out")" = secretsecret ] || fail "several artifacts"
ok exec cred -- echo --file={} {model} {cred}x {{} {}}
grep -qE '^--file=/proc/self/fd/[0-9]+ \{model\} /proc/self/fd/[0-9]+x \{/proc/self/fd/[0-9]+ /proc/self/fd/[0-9]+\}$' "$out" || fail "what is replaced"
ok exec nothing -- cat {}
[ ! -s "$out" ] || fail "an empty artifact"
ok info cred --json
id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["artifact_id"])' "$out")
ok exec "$id" -- sh -c "cat {$id} {DIR}/cred"
[ "$(cat "$out")" = secretsecret ] || fail "by id"
put a}b braces
ok exec a}b -- cat {a}b}
says braces

# Sealed: neither written nor cut nor grown, and no seal taken off.
ok exec cred -- "$python" -c '
import fcntl, os
seals = fcntl.fcntl(os.open("{}", os.O_RDONLY), fcntl.F_GET_SEALS)
print("all" if seals & 15 == 15 else seals)
fd = os.open("{}", os.O_RDWR)
for change in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 1), lambda: os.ftruncate(fd, 100)):
    try:
        change()
        print("changed")
    except PermissionError:
        print("refused")
print(open("{}").read())'
[ "$(tr '\n' ' ' <"$out")" = "all refused refused refused secret " ] || fail "seals"

# The directory: private, of links, in memory, gone afterwards.
if [ "$(stat -f -c %T "$XDG_RUNTIME_DIR")" = tmpfs ]; then
    ok exec eng.traineddata cred -- sh -c 'stat -c %a {DIR}; ls {DIR}; cmp {DIR}/eng.traineddata '"$work/model"' && cat {DIR}/cred; stat -f -c %T {DIR}; echo {DIR}'
    [ "$(sed '$d' "$out" | tr '\n' ' ')" = "700 cred eng.traineddata secrettmpfs " ] || fail "the directory"
    directory=$(tail -1 "$out")
    absent "$directory"
    case $directory in "$XDG_RUNTIME_DIR"/*) ;; *) fail "not in XDG_RUNTIME_DIR" ;; esac
    ok exec cred -- sh -c 'touch {DIR}/file; mkdir -p {DIR}/a/b; touch {DIR}/a/b/c; ln -s / {DIR}/root'
    [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] || fail "what the program left in the directory is left"
    want 3 exec cred -- sh -c 'exit 3' {DIR}
    want 127 exec cred -- "$work/none" {DIR}
    [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] || fail "a directory is left"
    mkdir seen
    ok exec cred -- sh -c 'ls -A '"$XDG_RUNTIME_DIR"
    [ ! -s "$out" ] || fail "a directory is made though {DIR} is not used"
fi
# A place that is not in memory is not used, and neither is another user's.
if [ "$(stat -f -c %T /tmp)" != tmpfs ] && [ -w /dev/shm ]; then
    disk=$(mktemp -d /tmp/pqe-cli.XXXXXX)
    XDG_RUNTIME_DIR=$disk ok exec cred -- echo {DIR}
    rmdir "$disk"
    grep -q '^/dev/shm/' "$out" || fail "the directory is on a disk: $(cat "$out")"
fi
for name in a/b . .. "$(printf '%0256d' 0)"; do
    ok put "$name" nothing --kind other -q
    want 125 exec "$name" -- ls {DIR}
    complains "use {NAME} instead of {DIR}"
    ok exec "$name" -- cat "{$name}"
done
ok put DIR nothing --kind other --json
id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["artifact_id"])' "$out")
want 125 exec DIR -- cat {DIR}
complains "give the id"
ok exec "$id" -- ls {DIR}

# Status, and failures of our own.
want 0 exec cred -- true
want 1 exec cred -- false
want 7 exec cred -- sh -c 'exit 7'
want 137 exec cred -- sh -c 'kill -KILL $$'
want 143 exec cred -- sh -c 'kill -TERM $$'
PATH=/usr/bin:/bin want 127 exec cred -- no-such-program-anywhere
complains "cannot run no-such-program-anywhere"
want 127 exec cred -- ./none
want 126 exec cred -- ./model
want 126 exec cred -- "$work"
want 126 exec cred --json -- "$work"
json "$err" 'j["error"]["exit"] == 126 and j["error"]["name"] == "PQE_E_IO"'
want 125 exec none -- touch ran
want 125 exec cred none -- touch ran
want 125 exec cred --vault "$work/none" -- touch ran
want 125 exec cred --key-file "$work/none" -- touch ran
absent ran

# What the program gets: our standard streams, the artifact and nothing else; the caller's umask; its environment.
printf input >input
(
    umask 027
    PQC_ENCLAVE_VAULT=$vault MARK=kept "$PQC_ENCLAVE" exec cred -- "$python" -c '
import os, signal, sys
descriptors = sorted(int(n) for n in os.listdir("/proc/self/fd"))
own = os.open("/proc/self/fd", os.O_RDONLY)
mine = int("{}".rsplit("/", 1)[1])
extra = [n for n in descriptors if n > 2 and n != mine and os.path.exists("/proc/self/fd/%d" % n) and n != own]
print(extra, oct(os.umask(0)), os.environ["MARK"], sys.stdin.read())
print(signal.getsignal(signal.SIGPIPE) is not None, open("/proc/self/status").read().split("SigBlk:")[1].split()[0])
' <input >"$out" 2>"$err" 9<input
) || fail "what the program gets"
says "[] 0o27 kept input"
says "True 0000000000000000"
# SIGPIPE is as the caller had it: `yes` ends when nobody reads any more.
"$PQC_ENCLAVE" exec cred -- yes 2>"$err" | head -1 >/dev/null
[ ! -s "$err" ] || fail "SIGPIPE is ignored in the program"
(
    ulimit -S -c "$(ulimit -H -c)"
    ok exec cred -- sh -c 'ulimit -H -c'
    [ "$(cat "$out")" = 0 ] || fail "the program may dump core"
    # 0 would leave out what takes dumps through a pipe, core(5).
    [ "$(ulimit -H -c)" = 0 ] || {
        ok exec cred -- "$python" -c 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))'
        [ "$(cat "$out")" = "(1, 1)" ] || fail "a core dump may be piped to a program"
    }
) || exit 1
# The vault is closed while it runs; only root may look.
if is_root; then
    # The program may be there before we have closed our own.
    # shellcheck disable=SC2016
    ok exec cred -- sh -c 'for i in $(seq 300); do ls -l /proc/$PPID/fd | grep -q memfd || break; sleep 0.1; done
        ls -l /proc/$PPID/fd'
    says " 0 -> "
    says_not index.db
    says_not memfd
fi

# It outlives rm, and the vault is not held while it runs.
ok exec cred -- sh -c '"$1" rm cred -q && cat {} && "$1" put cred nothing --kind other -q' - "$PQC_ENCLAVE"
[ "$(cat "$out")" = secret ] || fail "after rm"

# One artifact by its name and by its id: one link, and a path for each.
ok put twice "$work/content" --kind other
ok info twice --json
id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["artifact_id"])' "$out")
ok exec twice "$id" -- sh -c 'ls "$1" && cmp "$2" "$3"' - {DIR} {twice} "{$id}"
[ "$(cat "$out")" = twice ] || fail "an artifact given twice"

# An unmodified OCR program finds its model in {DIR}.
if command -v tesseract >/dev/null && data=$(tesseract --list-langs 2>&1 | sed -n 's/.*"\(.*\)".*/\1/p' | head -1) &&
    [ -r "$data/eng.traineddata" ]; then
    "$python" - <<'END'
# "II" in large black strokes: enough for any model to say something, and no font needed.
w, h = 400, 160
rows = [[255] * w for _ in range(h)]
for x0 in (120, 240):
    for y in range(30, 130):
        for x in range(x0, x0 + 20):
            rows[y][x] = 0
open("page.pgm", "wb").write(b"P5 %d %d 255\n" % (w, h) + b"".join(map(bytes, rows)))
END
    ok put eng.traineddata "$data/eng.traineddata" --kind model-weights -q
    env -u TESSDATA_PREFIX "$PQC_ENCLAVE" exec eng.traineddata -- tesseract page.pgm - --tessdata-dir {DIR} -l eng --psm 7 \
        >"$out" 2>"$err" || fail "tesseract"
    grep -q '[Il1|]' "$out" || fail "tesseract reads nothing"
else
    echo "skipped: tesseract (not installed)"
fi
