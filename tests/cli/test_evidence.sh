#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Evidence of the hardware in attestations: verified, missing, of another device, not checked; and devices without any.
. "$(dirname "$0")/lib.sh"
: "${MAKE_EVIDENCE:?makes what is to be verified}"

"$MAKE_EVIDENCE" "$work" || exit 1
did=$(cat did) pcr=$(cat pcr) challenge=$(printf 0123456789abcdef | od -An -tx1 | tr -d ' \n')

# verdict EXPECTED STATUS ARG...
verdict() {
    local expected=$1 wanted=$2
    shift 2
    run verify-attestation "$@" --json
    [ "$status" = "$wanted" ] || fail "status $status, not $wanted: $*"
    json "$out" "j['verdict'] == '$expected'"
}

# Verified: what the chip said is shown, and that its signature is classical.
ok verify-attestation att.cose --trust "$did" --challenge "$challenge" --evidence-trust ak.pem --expect-pcr "$pcr"
for text in 'evidence       verified' 'classical, not quantum-safe' 'sha256:0,1,7,23' "$pcr" 2019102300163636 \
    '123456789 ms, 7 resets, 2 restarts' 'counter        42'; do
    says "$text"
done
verdict pass 0 att.cose --trust "$did" --evidence-trust ak.pem --evidence-trust "$(cat ak2.pem)"
json "$out" "((e := j['evidence'])['state'] == 'verified' and e['pieces'] == 3 and e['unknown_pieces'] == 0 and
    e['quantum_safe'] is False and 'P-256' in e['signature'] and e['reason'] is None and len(e['key']) == 64 and
    e['pcr_selection'] == 'sha256:0,1,7,23' and e['pcr_digest'] == '$pcr' and e['firmware'] == '2019102300163636' and
    e['clock_ms'] == 123456789 and e['clock_safe'] and e['resets'] == 7 and e['restarts'] == 2 and e['counter'] == 42 and
    e['object_name'].startswith('000bbb') and e['counter_name'].startswith('000bdd'))"

# Not checked, and said so.
ok verify-attestation att.cose --trust "$did"
says "not checked: no --evidence-trust"
says_not verified
verdict pass 0 att.cose --trust "$did"
json "$out" "j['evidence']['state'] == 'not-checked' and j['evidence']['pcr_digest'] is None"

# Missing.
verdict no-evidence 5 bare.cose --trust "$did" --evidence-trust ak.pem
json "$out" "j['evidence']['state'] == 'absent' and j['evidence']['counter'] is None"
want 5 verify-attestation bare.cose --trust "$did" --evidence-trust ak.pem
complains "no evidence"
ok verify-attestation bare.cose --trust "$did"
says_not evidence

# Of another device, with another state.
verdict evidence 5 att.cose --trust "$did" --evidence-trust ak2.pem
json "$out" "j['evidence']['state'] == 'failed' and 'trusted key' in j['evidence']['reason']"
want 5 verify-attestation att.cose --trust "$did" --evidence-trust ak2.pem
complains "not signed by a trusted key"
[ ! -s "$out" ] || fail "prints something of what does not pass"
verdict pcr 5 att.cose --trust "$did" --evidence-trust ak.pem --expect-pcr "$(printf %064d 0)"
verdict unknown-signer 5 att.cose --evidence-trust ak.pem

# Altered, it is no attestation of the signer's any more.
"$python" - <<'EOF'
data = bytearray(open("att.cose", "rb").read())
data[data.index(b"tpm2-quote") + 40] ^= 1
open("altered", "wb").write(data)
EOF
verdict signature 5 altered --trust "$did" --evidence-trust ak.pem

# Usage and files.
want 2 verify-attestation att.cose --trust "$did" --expect-pcr "$pcr"
want 2 verify-attestation att.cose --trust "$did" --evidence-trust ak.pem --expect-pcr 00
want 1 verify-attestation att.cose --trust "$did" --evidence-trust "$did"
want 1 verify-attestation att.cose --trust "$did" --evidence-trust did
want 1 verify-attestation att.cose --trust ak.pem
want 1 verify-attestation att.cose --trust "$did" --evidence-trust nothing

# A software vault has no evidence: it says so, and attests without.
ok init
put artifact content
ok identity create
want 6 key show --evidence
complains "cannot give evidence of its hardware"
ok attest artifact -o soft.cose
ok attest artifact --no-evidence -o soft2.cose
ok identity show --json
verdict no-evidence 5 soft.cose --trust "$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")" \
    --evidence-trust ak.pem
