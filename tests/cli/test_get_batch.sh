#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# get --batch: what put --batch takes comes out again, for each name in its order.
. "$(dirname "$0")/lib.sh"

ok init -q
head -c 300 /dev/urandom >bytes
head -c 200000 /dev/urandom >large
{
    echo '{"name": "plain", "kind": "credential", "content": "päss\nword \u0001\u007f \ud83d\ude00 \"\\"}'
    printf '{"name": "bytes", "kind": "other", "content_base64": "%s"}\n' "$(base64 -w0 bytes)"
    printf '{"name": "large", "kind": "lora-adapter", "content_base64": "%s", "version": "2.1", "app": "org.example",
        "model_did": "did:x:1", "hash": "deferred"}\n' "$(base64 -w0 large)" | tr -d '\n'
    echo
    echo '{"name": "näme\t", "kind": "credential", "content": "x", "tags": ["ä", "b"], "description": "text", "hash": "parallelhash256"}'
    for length in 0 1 2 3 4; do
        printf '{"name": "b%s", "kind": "other", "content_base64": "%s"}\n' "$length" \
            "$(head -c "$length" <<<$'\377\376\375\374' | base64 -w0)"
    done
} >lines
ok put --batch lines

# The same fields and contents, also after a second way round; from the lines themselves, from `list`, from a pipe.
same() {
    "$python" - "$1" "$2" <<'END' || fail "$1 and $2 differ"
import base64, json, sys

def read(path):
    found = []
    for line in open(path, encoding="utf-8"):
        line = json.loads(line)
        text = line.pop("content", None)
        line["bytes"] = text.encode() if text is not None else base64.b64decode(line.pop("content_base64"))
        line.setdefault("hash", "sha3-256")
        found.append(line)
    return found

assert read(sys.argv[1]) == read(sys.argv[2])
END
}
"$PQC_ENCLAVE" get --batch lines >back || fail "to standard output"
same lines back
ok get --batch lines -o back2
says "wrote 9 artifacts to back2"
cmp -s back back2 || fail "to a file"
[ "$(stat -c %a back2)" = 600 ] || fail "mode"
ok get --batch lines -o back2 --json
json "$out" 'j == {"written": 9}'
vault2=$PWD/second
ok init -q --vault "$vault2" --key-file key2
ok put --batch back --vault "$vault2" --key-file key2
"$PQC_ENCLAVE" get --batch - --vault "$vault2" --key-file key2 <back >back3 || fail "from standard input"
cmp -s back back3 || fail "the second way round"
ok list --json
"$python" -c 'import json, sys
for a in json.load(sys.stdin):
    print(json.dumps({"name": a["artifact_id"]}))' <"$out" >ids
[ "$("$PQC_ENCLAVE" get --batch ids | sort)" = "$(sort back)" ] || fail "by id"
: >none
[ -z "$("$PQC_ENCLAVE" get --batch none)" ] || fail "nothing"

# What fails names what failed; a file is not left, and lines before it are whole.
printf '%s\n' '{"name": "plain"}' '{"name": "missing"}' '{"name": "bytes"}' >some
want 3 get --batch some -o file
complains missing
[ ! -e file ] || fail "a file was left"
"$PQC_ENCLAVE" get --batch some >first 2>/dev/null && fail "the exit status"
[ "$(cat first)" = "$(head -1 back)" ] || fail "lines before the failure"
for bad in '{"nam": "plain"}' '["plain"]' '{"name": 7}' '{"name": "plain"' 'plain'; do
    printf '%s\n' '{"name": "plain"}' "$bad" >some
    want 2 get --batch some -o file
    complains "line 2 of the batch"
    [ ! -e file ] || fail "a file was left"
done
want 2 get --batch lines name
want 2 get
want 1 get --batch nowhere -o file
printf '%s\n' '{"name": "plain"}' >some
"$PQC_ENCLAVE" get --batch some >/dev/full 2>"$err" && fail "a full disk"
complains "standard output"

# A content that no line takes, though the vault does.
head -c 3000000 /dev/zero | tr '\0' a >text
ok put text text --kind other
echo '{"name": "text"}' >some
want 2 get --batch some -o file
complains "too large"

# Rules and the log are those of single gets.
ok policy set --artifact plain --max-uses-per-hour 2
printf '%s\n' '{"name": "plain"}' '{"name": "plain"}' '{"name": "plain"}' >some
want 4 get --batch some -o file
complains policy
ok audit --operation policy_violation --json
json "$out" 'len(j["entries"]) == 1 and j["entries"][0]["artifact_name"] == "plain"'
exit 0
