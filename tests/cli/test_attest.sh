#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Identities and attestations on the command line: life, forms, verdicts with their exit codes, streams, damage.
. "$(dirname "$0")/lib.sh"

member() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
# verdict EXPECTED STATUS ARG...: the verdict of one verification, its exit code and its stable number in the error.
verdict() {
    local expected=$1 status_wanted=$2
    shift 2
    run verify-attestation "$@" --json
    [ "$status" = "$status_wanted" ] || fail "status $status, not $status_wanted: $*"
    json "$out" "j['verdict'] == '$expected' and j['passed'] == ('$expected' == 'pass')"
    [ "$status_wanted" = 0 ] || json "$err" "j['error']['native'] == $(member "$out" verdict_code)"
}

ok init
put artifact content
hash=$("$python" -c 'import hashlib; print(hashlib.sha3_256(b"content").hexdigest())')
challenge=00112233445566778899aabbccddeeff

# Without an identity nothing is attested, and the message says what to do.
want 3 attest artifact -o none
complains "identity create"
absent none
want 3 identity show
ok identity list
[ ! -s "$out" ] || fail "lists what is not there"

ok identity create --name main --json
did=$(member "$out" did)
json "$out" 'j["default"] and j["algorithm"] == "ML-DSA-65" and j["name"] == "main" and not j["native"]'
ok identity create --name strong --algorithm ml-dsa-87
says "created did:pqaid:"
want 1 identity create --name main
want 2 identity create --algorithm ml-dsa-44
want 2 identity create --name "$did"
ok identity list
[ "$(wc -l <"$out")" = 2 ] || fail "number of identities"
says "$did"
ok identity show
says "main"
ok identity show strong --json
other=$(member "$out" did)

# Forms.
ok attest artifact --challenge $challenge -o att.cose
mode 600 att.cose
ok attest artifact --format v1 -o att.v1
ok attest artifact --format json
json "$out" "j['signer_did'] == '$did' and j['artifact_content_hash'] == '$hash' and j['evidence'] == []"
cp "$out" view
ok attest artifact --identity strong --json
json "$out" "j['signer_did'] == '$other' and bytes.fromhex(j['attestation'])[0] == 0xd2 and j['output'] is None"
want 2 attest artifact --format nonsense
want 2 attest artifact --challenge 00
want 2 attest artifact --challenge xyz
want 2 attest artifact --format v1 --challenge $challenge
want 2 attest artifact --ttl 0 -o none
want 2 attest artifact --ttl -1 -o none
want 3 attest nothing -o none
want 3 attest artifact --identity nobody -o none
absent none

# Verdicts.
ok verify-attestation att.cose --trust "$did"
says "pass"
says "$hash"
verdict pass 0 att.cose --trust "$did" --challenge $challenge --max-age 3600 --expect-hash "$hash" --skew 0
verdict pass 0 att.v1 --trust "$did" --max-age 3600 --expect-hash "$hash"
verdict unknown-signer 5 att.cose
verdict unknown-signer 5 att.cose --trust "$other"
verdict challenge 5 att.cose --trust "$did" --challenge 0011223344556677
verdict challenge 5 att.v1 --trust "$did" --challenge $challenge
verdict hash 5 att.cose --trust "$did" --expect-hash "$(printf %064d 0)"
want 5 verify-attestation att.cose
complains "valid signature, unknown signer"
[ ! -s "$out" ] || fail "prints something of what does not pass"
want 1 verify-attestation view --trust "$did"
want 1 verify-attestation /dev/null --trust "$did"
want 1 verify-attestation nothing --trust "$did"
ok attest artifact --ttl 1 -o short
sleep 3
verdict expired 5 short --trust "$did"
verdict too-old 5 att.v1 --trust "$did" --max-age 1
head -c 3000 att.cose >cut.cose
want 1 verify-attestation cut.cose --trust "$did"
"$python" -c 'd = bytearray(open("att.cose", "rb").read()); d[-9] ^= 1; open("bad", "wb").write(d)'
verdict signature 5 bad --trust "$did"
want 2 verify-attestation att.cose --trust "$did" --max-age 0
want 2 verify-attestation att.cose --trust "$did" --expect-hash 00
want 2 verify-attestation att.cose --trust "$did" --challenge 0

# Trust: a PEM file, a text, a file of several, and what is neither.
ok identity export -o main.pem
ok identity export strong --public
cp "$out" strong.pem
{
    echo '# those we know'
    cat main.pem strong.pem
    printf 'did:pqaid:%064d\n' 0
} >known
ok verify-attestation att.cose --trust main.pem
ok verify-attestation att.cose --trust "$(cat main.pem)"
ok verify-attestation att.cose --trust strong.pem --trust known
verdict unknown-signer 5 att.cose --trust strong.pem
want 1 verify-attestation att.cose --trust att.v1
want 1 verify-attestation att.cose --trust did:pqaid:short
want 1 verify-attestation att.cose --trust nowhere.pem

# Many as JSON lines, in order, from a file and from standard input.
for _ in 1 2 3; do
    ok attest artifact --format v1
    cat "$out" >>lines
done
sed 's/"device_id":"/&x/' att.v1 >>lines
printf '\n   \n{}\n' >>lines
ok attest artifact --format v1 --identity strong
cat "$out" >>lines
want 5 verify-attestation lines --trust "$did"
says "6 attestations: 3 pass, 3 do not"
[ "$(awk '{print $2}' "$out" | head -6 | tr '\n' ' ')" = "pass pass pass signature malformed unknown-signer " ] || fail "order"
"$PQC_ENCLAVE" verify-attestation - --trust known --json <lines >"$out" 2>"$err"
json "$out" 'j["total"] == 6 and j["passed"] == 4 and j["verdicts"] == {"pass": 4, "malformed": 1, "signature": 1}'
head -3 lines >good
ok verify-attestation good --trust main.pem
says "3 attestations: 3 pass, 0 do not"
printf '{}\n{}\n' >malformed
want 1 verify-attestation malformed --trust main.pem
"$python" -c 'print("{" + "x" * 400000 + "}"); print(open("att.v1").read(), end="")' >long
want 1 verify-attestation long --trust main.pem
says "2 attestations: 1 pass, 1 do not"

# A private key leaves only to a file, with a warning, and can come back.
want 2 identity export main --private
want 2 identity export main --private -o -
want 2 identity export main --private -o /dev/null
want 2 identity export main --private --public -o key.pem
absent key.pem
run identity export main --private -o key.pem
[ "$status" = 0 ] || fail "export of a private key"
complains "warning: whoever has key.pem can sign as $did"
mode 600 key.pem
want 1 identity import key.pem
want 1 identity import main.pem
want 1 identity import /dev/null
ok identity rm main
want 3 identity rm main
ok identity show
says "$other"
verdict pass 0 att.cose --trust "$did"
ok identity import key.pem --name again
says "$did"
ok rotate
ok rotate --rekey
ok attest artifact --identity again -o after
verdict pass 0 after --trust "$did"
ok verify

# A damaged artifact is not attested; its hash is computed anew.
head -c 300000 /dev/urandom >content
ok put large content --kind model-weights
body=$(find "$vault/bodies" -type f)
"$python" -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(200000); b = f.read(1); f.seek(200000); f.write(bytes([b[0] ^ 1]))' "$body"
want 5 attest large -o none
absent none
