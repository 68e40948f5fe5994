#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Content hashes: by name, by default, of plain files; and large files in and out, in little memory.
. "$(dirname "$0")/lib.sh"

ok init
printf 'some content' >small
head -c 5000000 /dev/urandom >large
: >empty

# Plain files: SHA3-256 is what others compute; ParallelHash256 does not depend on how the input comes.
for file in empty small large; do
    expected=$("$python" -c 'import hashlib, sys; print(hashlib.sha3_256(open(sys.argv[1], "rb").read()).hexdigest())' $file)
    ok hash $file
    [ "$(cat "$out")" = "$expected  $file" ] || fail "hash $file"
    ok hash --hash parallelhash256 $file --json
    json "$out" 'j["hash_algorithm"] == "parallelhash256" and len(j["content_hash"]) == 64'
    ok hash --hash parallelhash256 $file
    cut -d' ' -f1 "$out" >parallel.$file
    "$PQC_ENCLAVE" hash --hash parallelhash256 - <$file >"$out" 2>"$err" || fail "hash -"
    [ "$(cat "$out")" = "$(cat parallel.$file)  -" ] || fail "hash - of $file"
done
want 1 hash nothing
want 2 hash --hash deferred small
want 2 hash --hash md5 small
want 2 hash

# What put records.
recorded() { # NAME ALGORITHM HASH
    ok info "$1" --json
    json "$out" "j['hash_algorithm'] == '$2' and j['content_hash'] == '$3'"
}
for file in empty small large; do
    sha3=$("$PQC_ENCLAVE" hash $file | cut -d' ' -f1)
    ok put a $file --kind other
    recorded a sha3-256 "$sha3"
    ok put a $file --kind other --hash parallelhash256
    recorded a parallelhash256 "$(cat parallel.$file)"
    ok verify a
    "$PQC_ENCLAVE" put a - --kind other --hash parallelhash256 <$file >"$out" 2>"$err" || fail "put -"
    recorded a parallelhash256 "$(cat parallel.$file)"
    ok put a $file --kind other --hash deferred
    recorded a deferred ''
    ok info a
    says 'content hash   deferred'
    ok get a -o copy
    same $file copy
    recorded a deferred ''
    ok verify a # computes and records it
    recorded a sha3-256 "$sha3"
    ok get a -o copy
    same $file copy
    ok exec a -- cmp {} $file
done
want 2 put a small --kind other --hash md5
complains parallelhash256

# Defaults.
ok hash-default
[ "$(wc -l <"$out")" = 8 ] || fail "kinds"
says_not deferred
ok hash-default model-weights --hash deferred
says 'model-weights      deferred'
ok hash-default --json
json "$out" 'j["defaults"]["model-weights"] == "deferred" and j["defaults"]["credential"] == "sha3-256"'
ok put weights small --kind model-weights --json
json "$out" 'j["hash_algorithm"] == "deferred" and j["content_hash"] == ""'
ok put weights small --kind model-weights --hash sha3-256 --json
json "$out" 'j["hash_algorithm"] == "sha3-256"'
ok hash-default model-weights --hash sha3-256
ok hash-default model-weights
[ "$(cat "$out")" = 'model-weights      sha3-256' ] || fail "default"
want 2 hash-default nonsense
want 2 hash-default --hash deferred
want 2 hash-default other --hash nonsense

# A damaged large artifact: no file, whatever the chunk.
ok put a large --kind other
body=$(find "$vault/bodies" -type f -size +4000k)
for at in 100 2500000 4990000; do
    cp "$body" kept
    printf 'x' | dd of="$body" bs=1 seek=$at conv=notrunc 2>/dev/null
    printf 'yy' | dd of="$body" bs=1 seek=$((at + 1)) conv=notrunc 2>/dev/null
    want 5 get a -o damaged
    absent damaged
    want 125 exec a -- true
    want 5 verify a
    cat kept >"$body"
done
ok get a -o copy
same large copy
[ "$(find . -maxdepth 1 -name '.pqc-enclave*' | wc -l)" = 0 ] || fail "something is left"

# Files of 48 and 144 MiB go in and out in the same 32 MiB of memory (sanitizers need memory of their own).
"$PQC_ENCLAVE" --version >"$out"
if ! grep -q __asan_init "$PQC_ENCLAVE" && ! grep -q __tsan_init "$PQC_ENCLAVE"; then
    within() { # ARG...: peak of resident memory
        "$python" -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak, "KiB:", *sys.argv[2:])
sys.exit(peak > 32 * 1024)' "$PQC_ENCLAVE" "$@" >"$out" 2>"$err" || fail "memory of $*"
        cat "$out"
    }
    for size in 48 144; do
        head -c ${size}M /dev/zero >zeros
        for hash in sha3-256 parallelhash256 deferred; do
            within put big zeros --kind other --hash $hash
        done
        within get big -o copy
        same zeros copy
        within verify big
        rm copy
    done
fi
