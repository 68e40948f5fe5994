#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Completion scripts: valid for their shells where these are installed, and with the right answers.
. "$(dirname "$0")/lib.sh"

for shell in bash zsh fish; do
    ok completion "$shell"
    cp "$out" "script.$shell"
    for word in init put exec doctor passphrase --vault --kind lora-adapter --new-passphrase-file; do
        grep -q -- "${word#--}" "script.$shell" || fail "$shell: $word is missing"
    done
    if command -v "$shell" >/dev/null; then
        "$shell" -n "script.$shell" 2>"$err" || fail "$shell: syntax"
    else
        echo "skipped: $shell (not installed)"
    fi
    ok completion "$shell" --json
    json "$out" "j['shell'] == '$shell' and j['script'] == open('script.$shell').read()"
done

# bash: what is offered after the words given, the last of which is being completed.
complete_bash() {
    bash --norc --noprofile -c '
        . ./script.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        compopt() { :; }
        _pqc_enclave
        printf "%s\n" "${COMPREPLY[@]}"' - pqc-enclave "$@" >"$out" 2>"$err"
    [ ! -s "$err" ] || fail "bash: $*"
}
offers() { grep -qx -- "$1" "$out" || fail "does not offer $1"; }
offers_not() { ! grep -qx -- "$1" "$out" || fail "offers $1"; }
: >file.bin
mkdir directory

complete_bash ''
offers put
offers key
offers --vault
offers_not show
offers_not --kind
complete_bash p
offers put
offers passphrase
offers_not init
complete_bash put --k
offers --kind
offers --key-file
complete_bash put name f
offers file.bin
complete_bash put --kind m
offers model-weights
offers_not lora-adapter
complete_bash put a b --kind ''
offers safety-model
for command in init rotate 'recovery use'; do
    # shellcheck disable=SC2086 # two words
    complete_bash $command --backend ''
    offers tpm2
    offers file
done
complete_bash put --version ''
offers_not file.bin
complete_bash --vault "$vault" list --kind c
offers credential
complete_bash list --vault d
offers directory
complete_bash --vault ''
offers directory
offers_not file.bin
complete_bash get name -o 'fi'
offers file.bin
complete_bash key ''
offers show
offers_not put
complete_bash key show --j
offers --json
complete_bash passphrase change --new
offers --new-passphrase-file
complete_bash completion ''
offers fish
complete_bash help ''
offers rotate
complete_bash policy ''
offers set
offers clear
complete_bash policy set cre
offers credential
complete_bash audit --operation po
offers policy_violation
complete_bash --caller ''
offers_not file.bin
complete_bash exec name -- ca
offers cat
offers_not --kind
complete_bash exec name -- cat 'fi'
offers file.bin
complete_bash init --suite ''
offers ml-kem-768
complete_bash rotate --re
offers --rekey
offers_not --kind

if command -v fish >/dev/null; then
    complete_fish() {
        HOME=$work/home fish --no-config -c "source ./script.fish; complete -C '$1'" >"$out" 2>"$err" || fail "fish: $1"
        cut -f1 "$out" >words && mv words "$out"
    }
    complete_fish 'pqc-enclave '
    offers put
    offers passphrase
    complete_fish 'pqc-enclave put a b --kind m'
    offers model-weights
    complete_fish 'pqc-enclave key '
    offers show
    complete_fish 'pqc-enclave rotate --re'
    offers --rekey
    complete_fish 'pqc-enclave list --v'
    offers --vault
fi

if command -v zsh >/dev/null; then
    # Only the state that the completion system would fill is set by hand; what is offered is caught.
    cat >complete.zsh <<'END'
autoload() { : }
compdef() { : }
compadd() { shift; print -l -- "$@" }
_files() { print -l *(N) }
_directories() { print -l *(N/) }
_normal() { print "normal $words" }
_describe() { local name=${@[-1]}; print -l -- ${${(P)name}%%:*} }
source ./script.zsh
words=(pqc-enclave "$@") CURRENT=$(($# + 1)) PREFIX=${@[-1]}
_pqc_enclave
END
    complete_zsh() {
        zsh -f complete.zsh "$@" >"$out" 2>"$err"
        [ ! -s "$err" ] || fail "zsh: $*"
    }
    complete_zsh ''
    offers put
    offers key
    offers --vault
    offers_not --kind
    complete_zsh put a b --kind ''
    says model-weights
    complete_zsh --vault "$vault" rotate --
    offers --rekey
    offers_not --kind
    complete_zsh put a f
    offers file.bin
    complete_zsh key ''
    offers show
    complete_zsh list --vault ''
    offers directory
    offers_not file.bin
    complete_zsh completion ''
    offers fish
    complete_zsh exec name -- cat ''
    says "normal cat"
fi
