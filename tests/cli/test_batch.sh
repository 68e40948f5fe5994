#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# put --batch: everything or nothing, and errors that name the line.
. "$(dirname "$0")/lib.sh"

ok init -q
put kept old

# Every form of content, several kinds, a replaced name, a name given twice.
head -c 200000 /dev/urandom >large
head -c 300 /dev/urandom >bytes
{
    echo '{"name": "plain", "kind": "credential", "content": "päss\nword"}'
    echo
    printf '{"name": "bytes", "kind": "other", "content_base64": "%s"}\r\n' "$(base64 -w0 bytes)"
    echo '{"name": "large", "kind": "model-weights", "file": "large", "version": "2.1", "app": "org.example",
           "model_did": "did:x:1"}' | tr -d '\n'
    echo
    echo '{"name": "kept", "kind": "credential", "content": "new", "tags": ["a", "b"], "description": "text"}'
    echo '{"name": "twice", "kind": "credential", "content": "first"}'
    echo '{"name": "empty", "kind": "other", "content_base64": ""}'
    echo '{"name": "large", "kind": "model-weights", "file": "bytes"}'
    echo '{"name": "large again", "kind": "model-weights", "file": "large", "version": "2.1", "hash": "parallelhash256"}'
    printf '{"name": "twice", "kind": "credential", "content": "last"}'
} >lines
ok put --batch lines
says "stored 9 artifacts of lines"
"$PQC_ENCLAVE" get plain | cmp -s - <(printf 'päss\nword') || fail "text"
"$PQC_ENCLAVE" get bytes | cmp -s - bytes || fail "base64"
"$PQC_ENCLAVE" get large | cmp -s - bytes || fail "the last of a name does not win"
"$PQC_ENCLAVE" get "large again" | cmp -s - large || fail "a file"
[ "$("$PQC_ENCLAVE" get kept)" = new ] || fail "replaced"
[ "$("$PQC_ENCLAVE" get twice)" = last ] || fail "the last of a name does not win"
[ "$("$PQC_ENCLAVE" get empty | wc -c)" = 0 ] || fail "empty"
ok info kept --json
json "$out" 'j["tags"] == ["a", "b"] and j["description"] == "text" and j["kind"] == "credential"'
ok info "large again" --json
json "$out" 'j["version"] == "2.1" and not j["inline"] if "inline" in j else j["version"] == "2.1"'
json "$out" 'j["hash_algorithm"] == "parallelhash256"'
ok audit --operation put --limit 3 --json
json "$out" '[e["artifact_name"] for e in j["entries"]] == ["twice", "large again", "large"]'
ok list --json
json "$out" 'len(j) == 7 if isinstance(j, list) else len(j["artifacts"]) == 7'
ok verify
[ "$(find "$vault/bodies" -type f | wc -l)" = 1 ] || fail "bodies of what was replaced are left"
[ -z "$(ls -A "$vault/pending")" ] || fail "something is left in pending/"

# From standard input, and as JSON.
status=0
printf '{"name": "piped", "kind": "other", "content": "x"}\n' | "$PQC_ENCLAVE" put --batch - --json >"$out" 2>"$err" ||
    fail "standard input"
json "$out" 'j == {"stored": 1}'
: >none
ok put --batch none
says "stored 0 artifacts"

# A mistake in any line: its number, nothing stored, nothing of the content repeated.
bad() {
    local line=$1 text=$2
    shift 2
    printf '%s\n' '{"name": "n1", "kind": "other", "content": "x"}' "$@" \
        '{"name": "n3", "kind": "other", "content": "x"}' >lines
    want 2 put --batch lines
    complains "line $line of the batch"
    complains "$text"
    ! grep -q SECRET "$err" || fail "repeats a content"
    want 3 info n1
}
bad 2 "not a JSON object" '{"name": "n2", "kind": "other", "content": SECRET}'
bad 2 "not a JSON object" '["SECRET"]'
bad 2 "not a JSON object" '{"name": "n2", "kind": "other", "content": "SECRET\u0000"}'
bad 2 "not a JSON object" '{"name": "n2"} SECRET'
bad 2 "comes twice" '{"name": "n2", "kind": "other", "content": "SECRET", "content": "y"}'
bad 2 "has a field" '{"name": "n2", "kind": "other", "content": "SECRET", "SECRET": 1}'
bad 2 "has a field" '{"name": "n2", "kind": "other", "content": "SECRET", "base64": "x"}'
bad 2 "exactly one" '{"name": "n2", "kind": "other"}'
bad 2 "exactly one" '{"name": "n2", "kind": "other", "content": "SECRET", "file": "bytes"}'
bad 2 "kind" '{"name": "n2", "content": "SECRET"}'
bad 2 "content hash" '{"name": "n2", "kind": "other", "content": "SECRET", "hash": "md5"}'
bad 2 "kind is unknown" '{"name": "n2", "kind": "SECRET", "content": "x"}'
bad 2 "xpected" '{"name": 7, "kind": "other", "content": "SECRET"}'
bad 2 "tag" '{"name": "n2", "kind": "other", "content": "SECRET", "tags": ["a", 1]}'
bad 2 "tags" '{"name": "n2", "kind": "other", "content": "SECRET", "tags": "a"}'
bad 2 "name is empty" '{"name": "", "kind": "other", "content": "SECRET"}'
bad 2 "artifact id" '{"name": "urn:pqc-enclave-art:00112233445566778899aabbccddeeff", "kind": "other", "content": "x"}'
for text in A AA AAA AAAA= 'AA=A' 'A===' 'AB==' 'AAB=' 'A A=' 'AA==AA==' '-_=='; do
    bad 2 "not base64" '{"name": "n2", "kind": "other", "content_base64": "'"$text"'"}'
done
bad 3 "not a JSON object" '' '{'

# A file that is not there; the whole batch missing; a line too long.
printf '%s\n' '{"name": "n1", "kind": "other", "content": "x"}' '{"name": "n2", "kind": "other", "file": "nowhere"}' >lines
want 1 put --batch lines
complains nowhere
want 3 info n1
want 1 put --batch nowhere
{
    echo '{"name": "n1", "kind": "other", "content": "x"}'
    printf '{"name": "n2", "kind": "other", "content": "'
    head -c 17000000 /dev/zero | tr '\0' a
    echo '"}'
} >lines
want 2 put --batch lines
complains "line 2 of the batch"
complains "16 MiB"
want 3 info n1

# Usage.
want 2 put --batch lines name
want 2 put --batch lines --kind other
want 2 put only-a-name --kind other
want 2 put
ok verify
[ -z "$(ls -A "$vault/pending")" ] || fail "something is left in pending/"

# Many: more than one window and more than fits in memory, replacing all of it once.
"$python" - >lines <<'END'
import json
for i in range(9000):
    print(json.dumps({"name": f"many/{i % 6000}", "kind": "credential", "content": f"{i}:" + "x" * 1000}))
END
ok put --batch lines
ok put --batch lines
says "stored 9000 artifacts"
[ "$("$PQC_ENCLAVE" get many/0 | cut -d: -f1)" = 6000 ] || fail "the last of a name does not win"
[ "$("$PQC_ENCLAVE" get many/5999 | cut -d: -f1)" = 5999 ] || fail "content"
ok info --json
json "$out" 'j["artifact_count"] == 6008'
ok verify
exit 0
