#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A vault whose key a TPM holds: a software TPM, with a place of its own.
. "$(dirname "$0")/swtpm.sh"

start mine
start other
tcti="swtpm:path=$work/mine/sock"

# What is refused before a key is made.
want 2 init --backend "tpm2:$tcti" --key-file k
want 2 init --backend "tpm2:$tcti;pcr=7"
want 2 init --backend "tpm2:$tcti;pcrs=sha256:24"
want 6 init --backend "tpm2:swtpm:path=$work/nowhere/sock"
complains "cannot reach a TPM"
absent "$vault"

ok init --backend "tpm2:$tcti"
says "opened by"
says "without it nothing in the vault can be read"
note=$(ls "$XDG_CONFIG_HOME"/pqc-enclave/*.backend)
[ "$(cat "$note")" = "tpm2:$tcti" ] || fail "note"
put secret "in the chip's hands"
ok get secret -o copy
same content copy
ok info
says "TPM 2.0, AES-256 storage parent, counter with note"
ok info --json
json "$out" 'j["backend"] == "tpm2" and j["key_source"] == "tpm" and j["held_by"].startswith("TPM 2.0") and j["key_file"] is None'
ok doctor
says "held-by"
says "the vault opens"
says "secure-element"
ok rotate --rekey
ok get secret -o again
same content again
want 2 list --key-file k
want 2 list --passphrase-file k

# The machine is switched off and on; then the disk is in another machine, then the TPM is cleared.
stop mine
want 6 list
start mine
ok get secret -o later
same content later
sed -i "s,/mine/,/other/," "$note"
want 4 get secret
complains "another TPM, or the TPM was cleared"
want 1 doctor
says "PQE_E_DENIED"
sed -i "s,/other/,/mine/," "$note"
ok get secret -o back
same content back

# Without a resource manager processes find the TPM full, and try again.
jobs=()
for i in 1 2 3; do
    "$PQC_ENCLAVE" get secret >"copy.$i" 2>>"$err" </dev/null &
    jobs+=($!)
done
for job in "${jobs[@]}"; do
    wait "$job" || fail "one of several at once"
done
same content copy.3

# Killed at any moment, `init` leaves nothing in the TPM that the next one does not remove.
indices() { tool mine tpm2_getcap handles-nv-index && grep -o '0x1.*' tool.out | sort; }
indices >before
for i in $(seq 0 9); do
    rm -rf killed
    "$PQC_ENCLAVE" init --backend "tpm2:$tcti" --vault killed -q >"$out" 2>"$err" </dev/null &
    sleep "$(printf '0.%03d' $((i * 8)))"
    kill -KILL $! 2>/dev/null
    wait $! 2>/dev/null
    [ ! -e killed/index.db ] || break # whole
    ok init --backend "tpm2:$tcti" --vault killed -q
    indices >after
    [ "$(comm -13 before after | wc -l)" = 2 ] || fail "left in the TPM: $(cat after)"
    comm -13 before after | while read -r index; do tool mine tpm2_nvundefine "$index"; done
done

# `exec` gives the child its environment as it was.
# shellcheck disable=SC2016 # it is for the child to expand
ok exec secret -- sh -c 'test -z "${TSS2_LOG-}" && cat {}'
says "in the chip's hands"

# A PIN: from a file, wrong, changed.
printf '1234\n' >pin
printf '9999\n' >wrong
printf '5678\n' >new
export PQC_ENCLAVE_VAULT=$work/pv
ok init --backend "tpm2:$tcti" --passphrase-file pin
printf 'behind a PIN' >content
ok put secret content --kind credential --passphrase-file pin
want 4 get secret
want 4 get secret --passphrase-file wrong
complains "the PIN is wrong"
ok get secret --passphrase-file pin -o copy
same content copy
ok info
says "PIN"
ok passphrase change --passphrase-file pin --new-passphrase-file new
want 4 get secret --passphrase-file pin
ok get secret --passphrase-file new -o copy
same content copy
tool mine tpm2_dictionarylockout -c
tool mine tpm2_dictionarylockout -s -n 2 -t 100 -l 100
want 4 get secret --passphrase-file wrong
want 4 get secret --passphrase-file wrong
want 4 get secret --passphrase-file new
complains "the TPM is locked out after too many wrong PINs; wait 100 seconds"
tool mine tpm2_dictionarylockout -c
ok get secret --passphrase-file new -o copy

# PCRs: changed by an update, and as they were after the next start.
export PQC_ENCLAVE_VAULT=$work/bound
ok init --backend "tpm2:$tcti;pcrs=sha256:0,7"
put secret "bound"
tool mine tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000001
want 4 get secret
complains "the PCRs are not those that the vault was bound to"
stop mine
start mine
ok get secret -o copy
same content copy

# Before an update the vault moves to a key without PCRs, after it to one bound to the new values. From TPM to TPM.
ok rotate --backend "tpm2:$tcti" --discard-old
says "older copies of the vault still open with it"
tool mine tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000001
ok get secret -o copy
same content copy
ok rotate --backend "tpm2:$tcti;pcrs=sha256:0,7" --discard-old
ok get secret -o copy
same content copy
tool mine tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000002
want 4 get secret
complains "recovery use"
! grep -q -- --key-file "$err" || fail "advises a key file"
stop mine
start mine
want 4 get secret # bound to the values after the update
tool mine tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000001
ok get secret -o copy
same content copy
ok recovery create --file recovery.pem

# Added, but the TPM could not count it any more: the vault has the key, so its file stays.
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    strace -f -o calls -e trace=connect "$PQC_ENCLAVE" recovery create --file counted.pem >"$out" 2>"$err" || fail "counted"
    status=0
    strace -f -o /dev/null -e trace=connect -e "inject=connect:error=ECONNREFUSED:when=$(($(grep -c connect calls) - 2))+" \
        "$PQC_ENCLAVE" recovery create --file uncounted.pem --name uncounted >"$out" 2>"$err" || status=$?
    [ "$status" = 6 ] || fail "status $status, not 6"
    complains "keep the new recovery key"
    [ -s uncounted.pem ] || fail "the file of a key that the vault has is gone"
    ok recovery list
    says uncounted
fi

tool mine tpm2_clear -c p
want 4 get secret
complains "another TPM, or the TPM was cleared"
ok recovery use --file recovery.pem --backend "tpm2:$tcti"
ok get secret -o copy
same content copy
ok verify

# The note cannot be written: the vault has moved all the same, which is said first.
unset PQC_ENCLAVE_VAULT
ok init --vault noted --json
id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["vault_id"])' "$out")
mkdir "$XDG_CONFIG_HOME/pqc-enclave/$id.backend"
want 1 rotate --vault noted --backend "tpm2:$tcti"
says "moved vault"
complains "cannot note the backend"
rmdir "$XDG_CONFIG_HOME/pqc-enclave/$id.backend"
printf 'tpm2:%s\n' "$tcti" >"$XDG_CONFIG_HOME/pqc-enclave/$id.backend"
ok verify --vault noted
