#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The life of a vault: init, put, get, list, info, rm, verify, rotate, key, as text and as JSON.
. "$(dirname "$0")/lib.sh"

ok init
says "created vault $vault"
says "Back up the key file"
key=$(sed -n 's/^key file  *//p' "$out")
mode 600 "$key"
mode 700 "$vault"
ok list
[ "$(wc -l <"$out")" = 1 ] || fail "an empty vault lists something"
ok list --json
json "$out" 'j == []'

# Sizes around the chunk size and the inline limit come back as they were, from a file and from standard input.
for size in 0 1 16383 16384 16385 65536 1048576 1300000; do
    head -c "$size" /dev/urandom >content
    ok put "size $size" content --kind model-weights
    says "stored size $size"
    ok get "size $size" -o copy
    same content copy
    mode 600 copy
    "$PQC_ENCLAVE" put piped - --kind other <content >"$out" 2>"$err" || fail "put from standard input"
    "$PQC_ENCLAVE" get piped 2>"$err" | cmp -s - content || fail "get to a pipe"
done
ok rm piped

# All metadata, and by id as well as by name.
ok put full content --kind lora-adapter --version 1.2.3 --app org.example.app --model-did did:example:1 \
    --tag one --tag=two --description 'says what' --json
json "$out" 'j["name"] == "full" and j["kind"] == "lora-adapter" and j["version"] == "1.2.3"'
json "$out" 'j["app_bundle_id"] == "org.example.app" and j["model_did"] == "did:example:1"'
json "$out" 'j["tags"] == ["one", "two"] and j["description"] == "says what" and j["size_bytes"] == 1300000'
json "$out" 'j["hash_algorithm"] == "sha3-256" and j["suite"] == "ml-kem-768" and j["inline"] is False'
hash=$("$python" -c 'import hashlib; print(hashlib.sha3_256(open("content", "rb").read()).hexdigest())')
json "$out" "j['content_hash'] == '$hash'"
id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["artifact_id"])' "$out")
ok info "$id" --json
json "$out" 'j["name"] == "full"'
ok info full
says "$id"
says "says what"
ok get "$id" --output=copy --json
same content copy
json "$out" "j['artifact_id'] == '$id'"

# Lists: sorted by name in byte order, and filtered.
put Zebra z
put apple a
ok list
[ "$(tail -n +2 "$out" | awk '{print $NF}' | head -1)" = Zebra ] || fail "order of the list"
says "1.2 MiB"
ok list --json
json "$out" '[a["name"] for a in j] == sorted((a["name"] for a in j), key=lambda s: s.encode())'
ok list --kind credential --json
json "$out" '[a["name"] for a in j] == ["Zebra", "apple"]'
ok list --tag two --json
json "$out" '[a["name"] for a in j] == ["full"]'
ok list --app org.example.app -q
[ "$(wc -l <"$out")" = 1 ] || fail "list -q has a heading"
ok list --tag none --json
json "$out" 'j == []'

# Replacing makes a new artifact; the old id is gone.
put full new
ok get full -o copy
same content copy
want 3 info "$id"
ok rm apple --json
json "$out" 'j == {"removed": "apple"}'
want 3 rm apple

ok info
says "artifacts      10"
ok info --json
json "$out" "j['artifact_count'] == 10 and j['backend'] == 'file' and j['key_source'] == 'key-file'"
json "$out" "j['format_version'] == 1 and j['suite'] == 'ml-kem-768' and j['key_file'] == '$key'"

ok verify
says "10 artifacts checked"
says "sound"
ok verify full --json
json "$out" 'j["sound"] is True and j["artifacts"] == 1 and j["damaged"] == 0 and j["findings"] == []'

ok key show
cp "$out" first.pem
head -1 first.pem | grep -qx -e '-----BEGIN PUBLIC KEY-----' || fail "no PEM"
ok rotate
ok key show --json
json "$out" 'j["public_key"] != open("first.pem").read() and j["public_key"].startswith("-----BEGIN PUBLIC KEY-----")'
ok rotate --rekey --json
json "$out" 'j["rotated"] is True and j["rekeyed"] is True and j["generation"] > 1'
ok get full -o copy
same content copy
ok verify

ok backends
says "file"
says "software"
ok backends --json
json "$out" '[b["name"] for b in j][:2] == ["memory", "file"] and all(b["protection"] == "software" for b in j[:2])'
json "$out" '"persistent" in j[1]["capabilities"] and "persistent" not in j[0]["capabilities"]'

# --quiet says nothing.
for command in "put q content --kind other" "get q -o copy" "rm q" "rotate" "verify"; do
    # shellcheck disable=SC2086
    ok $command --quiet
    [ ! -s "$out" ] || fail "--quiet: $command"
done
