#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A vault on a token of PKCS#11 3.2: NSS's softoken from Debian's unstable branch, in a folder of its own.
#
#   bed_nss.sh PROGRAM    PROGRAM is test_pkcs11_nss
#
# It shows that native ML-KEM and ML-DSA work as PKCS#11 3.2 has them. Softoken is software in the same process: about what
# a chip protects it says nothing. Another token may want other templates, and will be slower.
skip() {
    echo "skipped: $*"
    exit 77
}
[ -n "${PQE_BEDS:-}" ] || skip "a bed, for ./check --beds"
cache=$("$(dirname "$0")/../../scripts/cache-dir")/nss-softoken # before lib.sh sets another HOME
# shellcheck source=../cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"
program=$1

# What apt offers today is kept; a newer one is fetched when the folder is removed.
fetch() {
    local main apt new=$cache.new
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "NSS is fetched by apt-get"
    main=$(apt-get indextargets --format "\$(LABEL) \$(REPO_URI)" "Origin: Debian" 2>/dev/null |
        sed -n 's/^Debian //p' | head -n 1)
    [ -n "$main" ] || skip "apt knows no Debian mirror"
    rm -rf "$new" && mkdir -p "$new/lists/partial" "$new/cache/archives/partial"
    echo "deb $main sid main" >"$new/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$new/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$new/lists"
        -o "Dir::Cache=$new/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update >"$out" 2>"$err" && (cd "$new" && "${apt[@]}" download libnss3 libnspr4 libc6) >"$out" 2>"$err" ||
        skip "Debian's unstable branch cannot be read: $(tail -n 1 "$err")"
    for package in "$new"/*.deb; do
        case $package in
        */libc6_*) dpkg-deb -x "$package" "$new/libc" ;;
        *) dpkg-deb -x "$package" "$new/nss" ;;
        esac
        dpkg-deb -f "$package" Package Version >>"$new/versions"
    done
    rm -rf "$new/lists" "$new/cache" "$new"/*.deb
    rm -rf "$cache" && mv "$new" "$cache"
}
[ -e "$cache/versions" ] || fetch
echo "NSS from Debian's unstable branch:" && cat "$cache/versions"
module=$(find "$cache/nss" -name libsoftokn3.so | head -n 1)
[ -n "$module" ] || fail "no softoken in $cache"
libraries=$(dirname "$module")

# Where the system's C library is too old for it, the programs run with that of the same branch.
loader=
if LD_LIBRARY_PATH=$libraries ldd "$module" 2>&1 | grep -q 'not found'; then
    loader=$(find "$cache/libc" -name 'ld-linux-*.so.*' | head -n 1)
    libraries=$libraries:$(dirname "$(find "$cache/libc" -name libc.so.6 | head -n 1)")
    echo "with its C library, this system's is older"
fi
# wrap NAME PROGRAM: a script that runs it so
wrap() {
    if [ -n "$loader" ]; then
        printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$2"
    else
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$2"
    fi >"$1"
    chmod 700 "$1"
}
wrap "$work/program" "$program"
wrap "$work/pqc-enclave" "$PQC_ENCLAVE"
program=$work/program PQC_ENCLAVE=$work/pqc-enclave

# The conformance suite, signatures, and what the token gives out.
mkdir -m 700 suite && printf 1234 >suite/pin && chmod 600 suite/pin
"$program" "$module" "$work/suite" || fail "test_pkcs11_nss"

# The command, from one process to the next.
mkdir -m 700 keys && printf 1234 >keys/pin && chmod 600 keys/pin
uri=pkcs11:$("$program" "$module" "$work/keys" pin) || fail "no token"
ok init --backend "$uri;tier=native"
says "The vault opens with this token alone"
says "recovery create"
put secret "never outside"
ok get secret -o copy
same content copy
ok info
says "native ML-KEM"
ok info --json
json "$out" 'j["native_kem"] and "NSS" in j["held_by"]'
level() { json "$out" "[c['level'] for c in j['checks'] if c['check'] == '$1'] == ['$2']"; }
ok doctor
says "ok    device-keys"
says "native ML-KEM: the decapsulation keys never leave the backend"
says "there is no recovery key: with its token lost, the vault is lost"
says "recovery create"
ok doctor --json
level device-keys ok
level held-by ok
level unlock ok
level recovery warn
ok identity create --name device
ok identity show --json
json "$out" 'j["native"]'
ok identity show --json && "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["public_key"], end="")' "$out" >key.pem
ok attest secret --challenge 00112233445566778899aabbccddeeff -o statement
ok verify-attestation statement --trust key.pem --challenge 00112233445566778899aabbccddeeff
openssl pkey -pubin -in key.pem -noout 2>/dev/null || echo "(this openssl knows no ML-DSA)"
want 6 identity export --private -o private.pem
ok key show
cp "$out" grant-1
ok rotate
ok key show
! cmp -s "$out" grant-1 || fail "the grant key is the old one"
ok rotate --rekey
ok get secret -o copy
same content copy
ok verify
ok attest secret --challenge ffeeddccbbaa99887766554433221100 -o statement
ok verify-attestation statement --trust key.pem --challenge ffeeddccbbaa99887766554433221100
for i in 1 2 3; do
    "$PQC_ENCLAVE" put "many-$i" content --kind other >/dev/null 2>>failures &
done
wait
[ ! -s failures ] || fail "$(cat failures)"
ok get many-2 -o copy
same content copy

# Without the token: nothing; with it again: all.
mv keys/key4.db aside
run get secret -o copy
[ "$status" != 0 ] || fail "opened without its keys"
mv aside keys/key4.db
ok get secret -o copy
same content copy

# A recovery key, made and followed by rotations while the token is there; then the token is lost. Onto another token, onto
# a key file, and back onto a token from there.
ok recovery create --file recovery.pem --name safe
ok recovery create --file second.pem
ok recovery list --json
id=$("$python" -c 'import json, sys; print(next(k["id"] for k in json.load(open(sys.argv[1])) if not k["name"]))' "$out")
ok recovery remove "$id"
ok rotate
ok put later content --kind other # under the recipient that the rotation made
ok rotate --rekey
ok verify
ok doctor
says "1 recovery key"
cp -R "$vault" other
rm -r keys
mkdir -m 700 keys2 && printf 1234 >keys2/pin && chmod 600 keys2/pin
uri2=pkcs11:$("$program" "$module" "$work/keys2" pin) || fail "no second token"
want 4 recovery use --file second.pem --vault other --backend "$uri2;tier=native"
recovered() { # recovered VAULT NATIVE [BACKEND]
    want 0 recovery use --file recovery.pem --vault "$1" ${3:+--backend "$3"}
    ok info --vault "$1" --json
    json "$out" "j['native_kem'] == $2"
    ok get secret --vault "$1" -o copy
    same content copy
    ok verify --vault "$1"
}
recovered other True "$uri2;tier=native"
ok put later content --vault other --kind other
recovered "$vault" False
want 3 identity show # it was the token's, and is lost with it
want 0 rotate --backend "$uri2;tier=native"
ok info --json
json "$out" 'j["native_kem"]'
ok verify
mkdir -m 700 keys && printf 1234 >keys/pin && chmod 600 keys/pin
uri=pkcs11:$("$program" "$module" "$work/keys" pin) || fail "no token"

# The way with the token's AES key alone.
ok init --vault second --backend "$uri;tier=kek"
says "The vault opens with this token alone"
says "recovery create"
ok put x content --vault second --kind other
ok info --vault second --json
json "$out" 'not j["native_kem"]'
ok doctor --vault second
says_not "device-keys"
says "recovery create"
echo "vault, identity and attestation on native keys: sound"
