#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Older copies of a vault whose changes a TPM counts: refused, and accepted.
. "$(dirname "$0")/swtpm.sh"

start mine
export PQC_ENCLAVE_VAULT=$work/counted
vault=$PQC_ENCLAVE_VAULT
ok init --backend "tpm2:swtpm:path=$work/mine/sock"
put first 1
ok verify --json
json "$out" 'j["rollback"] == "detected"'
cp -a "$vault" old
put second 2
put third 3
cp -a "$vault" newer
generation=$("$PQC_ENCLAVE" info --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["generation"])')
rm -rf "$vault" && cp -a old "$vault"
want 5 get first
complains "expects generation $generation"
complains "recovery accept-rollback"
want 5 list --json
json "$err" 'j["error"]["name"] == "PQE_E_ROLLBACK" and j["error"]["exit"] == 5'
want 1 doctor
says "PQE_E_ROLLBACK"
says "recovery accept-rollback"
says_not "verify"
want 2 recovery accept-rollback
ok recovery accept-rollback --yes --json
json "$out" "j['accepted'] and j['expected'] == $generation and j['found'] == $generation - 2"
json "$out" "j['generation'] == $generation + 1"
ok get first
want 3 get second
ok audit --operation recovery
says "in place of $generation"
want 1 recovery accept-rollback --yes
complains "nothing to accept"
rm -rf "$vault" && cp -a newer "$vault"
want 5 get first
complains "expects generation $((generation + 1))"
