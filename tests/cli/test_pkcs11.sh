#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A vault whose key a PKCS#11 token holds: SoftHSM, with a place of its own.
. "$(dirname "$0")/lib.sh"

module=
for place in /usr/lib/*/softhsm/libsofthsm2.so /usr/lib/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so; do
    [ ! -r "$place" ] || module=$place
done
run backends --json
if [ -z "$module" ] || ! command -v softhsm2-util >/dev/null || ! grep -q pkcs11 "$out"; then
    echo "skipped: SoftHSM or the pkcs11 backend is not there"
    exit 77
fi
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >softhsm2.conf
export SOFTHSM2_CONF=$work/softhsm2.conf
softhsm2-util --init-token --free --label vaults --pin 24681357 --so-pin 4321 >/dev/null || fail "no token"
printf '24681357\n' >pin && chmod 600 pin
uri="pkcs11:module-path=$module;token=vaults;pin-source=$work/pin"

# What is refused before a key is made.
want 2 init --backend "$uri" --key-file k
want 2 init --backend "$uri" --passphrase
want 6 init --backend "pkcs11:module-path=/nowhere.so;token=vaults"
want 6 init --backend "pkcs11:module-path=$module;token=nobody"
want 2 init --backend "pkcs11:module-path=$module;token=vaults;pin-value=24681357"
complains "pin-source"
grep -q 24681357 "$err" && fail "shows the PIN"
want 4 init --backend "pkcs11:module-path=$module;token=vaults"
complains "PIN"
absent "$vault"

ok init --backend "$uri"
says "token"
note=$(ls "$XDG_CONFIG_HOME"/pqc-enclave/*.backend)
mode 600 "$note"
[ "$(cat "$note")" = "$uri" ] || fail "note"
put secret "in a token's hands"
ok get secret -o copy
same content copy
ok info
says "held by"
says "'vaults'"
ok info --json
json "$out" 'j["backend"] == "pkcs11" and j["key_source"] == "token" and "SoftHSM" in j["held_by"] and j["key_file"] is None'
ok doctor
says "held-by"
says "the vault opens"
ok rotate --rekey
ok get secret -o copy --json
same content copy
ok verify
want 2 get secret --passphrase-file pin
grep -rq 24681357 "$vault" "$XDG_CONFIG_HOME" && fail "the PIN was stored"

# From the token to a key file and back: the note goes, and comes again.
ok rotate --backend file
absent "$note"
ok get secret -o copy
ok rotate --backend "$uri;tier=kek"
[ "$(cat "$note")" = "$uri;tier=kek" ] || fail "note of a move"
ok get secret -o copy
same content copy

# The token is lost: a recovery key opens the vault, and puts it on the token that takes its place.
ok recovery create --file recovery.pem
cp -a "$vault" lost
softhsm2-util --init-token --free --label second --pin 24681357 --so-pin 4321 >/dev/null || fail "no token"
ok recovery use --vault lost --file recovery.pem --backend "pkcs11:module-path=$module;token=second;pin-source=$work/pin"
ok get secret --vault lost -o copy
same content copy
ok info --vault lost
says "'second'"
rm -rf lost
printf '%s' "$uri" >"$note" && chmod 600 "$note"

# Two processes at once.
for i in 1 2 3; do
    "$PQC_ENCLAVE" put "many-$i" content --kind other >/dev/null 2>>failures &
done
wait
[ ! -s failures ] || fail "$(cat failures)"
ok verify

# The note: what others could have written is not believed; on another machine it is written anew.
chmod 620 "$note"
want 4 get secret -o copy
complains "$note"
chmod 600 "$note"
printf 'tpm2:%s\n' "$uri" >"$note"
want 4 get secret -o copy
run doctor --json
json "$out" "[c['level'] for c in j['checks'] if c['check'] == 'unlock'] == ['fail']"
rm "$note"
printf '%s' "$uri" >"$note"
ok get secret -o copy

# Wrong PIN, a file that others read, the token gone, and all well again.
printf '00000000' >pin
want 4 get secret -o copy
complains "wrong PIN"
printf '24681357' >pin
chmod 644 pin
want 4 get secret -o copy
complains "chmod 600"
chmod 600 pin
mv tokens aside && mkdir tokens
want 6 get secret -o copy
softhsm2-util --init-token --free --label vaults --pin 24681357 --so-pin 4321 >/dev/null || fail "no token"
want 4 get secret -o copy
complains "token"
rm -rf tokens && mv aside tokens
ok get secret -o copy
same content copy
