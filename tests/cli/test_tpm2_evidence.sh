#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Evidence of a TPM from end to end: a software TPM, and what tpm2-tools say of it.
. "$(dirname "$0")/swtpm.sh"

# verify WANTED-VERDICT ARG...: the attestation in $work/att
verify() {
    local verdict=$1
    shift
    run verify-attestation att --trust "$did" "$@" --json
    json "$out" "j['verdict'] == '$verdict'"
}
# evidence EXPRESSION: over the evidence of the last result, named e
evidence() { json "$out" "(lambda e: $1)(j['evidence'])"; }
member() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["evidence"][sys.argv[2]])' "$out" "$1"; }

start mine
ok init --backend "tpm2:swtpm:path=$work/mine/sock"
put secret "in the chip's hands"
ok identity create --json
did=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")
ok key show --evidence
cp "$out" ak.pem
grep -q -- '-----BEGIN PUBLIC KEY-----' ak.pem || fail "the key is no PEM"
openssl pkey -pubin -in ak.pem -noout -text | grep -q prime256v1 || fail "the key is not on P-256"

challenge=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
ok attest secret --challenge "$challenge" -o att
verify pass --challenge "$challenge" --evidence-trust ak.pem
evidence "e['state'] == 'verified' and e['pieces'] == 3 and e['unknown_pieces'] == 0 and e['quantum_safe'] is False"
evidence "e['object_name'].startswith('000b') and e['counter_name'].startswith('000b') and e['counter'] >= 1"
counter=$(member counter) counter_name=$(member counter_name) object=$(member object_name) digest=$(member pcr_digest)
resets=$(member resets) firmware=$(member firmware) selection=$(member pcr_selection)

# The digest is that of the PCRs as tpm2-tools read them, the firmware that of the TPM.
tool mine tpm2_pcrread "$selection" -o pcrs
[ "$(sha256sum <pcrs | cut -d ' ' -f 1)" = "$digest" ] || fail "the PCR digest is not that of $selection"
tool mine tpm2_getcap properties-fixed
"$python" - "$firmware" tool.out <<'EOF' || fail "the firmware version is another one"
import re, sys
text = open(sys.argv[2]).read()
parts = [int(re.search(name + r":\s*\n\s*raw: (0x[0-9A-Fa-f]+)", text)[1], 16)
         for name in ("TPM2_PT_FIRMWARE_VERSION_1", "TPM2_PT_FIRMWARE_VERSION_2")]
sys.exit(f"{parts[0]:08x}{parts[1]:08x}" != sys.argv[1])
EOF
verify pass --evidence-trust ak.pem --expect-pcr "$digest"
verify challenge --challenge 0011223344556677 --evidence-trust ak.pem

# Later: the counter has not gone back, the rest is as it was.
put second "something"
ok attest secret -o att
verify pass --evidence-trust ak.pem --expect-pcr "$digest"
evidence "e['counter'] >= $counter and e['counter_name'] == '$counter_name' and e['object_name'] == '$object'"

# Another state, then another start.
tool mine tpm2_pcrextend 4:sha256=0000000000000000000000000000000000000000000000000000000000000001
ok attest secret -o att
verify pcr --evidence-trust ak.pem --expect-pcr "$digest"
verify pass --evidence-trust ak.pem
stop mine
want 6 attest secret -o none
absent none
start mine
ok attest secret -o att
verify pass --evidence-trust ak.pem --expect-pcr "$digest"
evidence "e['resets'] > $resets"
ok key show --evidence
same "$out" ak.pem

# Another vault on the same TPM has the same key, a counter and a sealed key of its own.
export PQC_ENCLAVE_VAULT=$work/second
ok init --backend "tpm2:swtpm:path=$work/mine/sock;no-counter"
put secret "another vault's"
ok identity create --json
did=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")
ok attest secret -o att
verify pass --evidence-trust ak.pem
evidence "e['pieces'] == 2 and e['counter'] is None and e['object_name'] != '$object'"
ok attest secret --no-evidence -o att
verify no-evidence --evidence-trust ak.pem

# Another TPM.
start other
export PQC_ENCLAVE_VAULT=$work/third
ok init --backend "tpm2:swtpm:path=$work/other/sock"
put secret "another machine's"
ok identity create --json
did=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")
ok attest secret -o att
verify evidence --evidence-trust ak.pem
evidence "'not signed by a trusted key' in e['reason']"
ok key show --evidence
cp "$out" ak2.pem
verify pass --evidence-trust ak.pem --evidence-trust ak2.pem

# With a PIN, from a file.
printf '1234\n' >pin
export PQC_ENCLAVE_VAULT=$work/fourth
ok init --backend "tpm2:swtpm:path=$work/other/sock" --passphrase-file pin
printf 'behind a PIN' >content
ok put secret content --kind credential --passphrase-file pin
ok identity create --passphrase-file pin --json
did=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")
ok attest secret --passphrase-file pin -o att
verify pass --evidence-trust ak2.pem
evidence "e['pieces'] == 3"
