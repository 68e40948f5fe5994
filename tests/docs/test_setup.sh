#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_setup.sh SOURCE: what scripts/setup says where it cannot install, with stand-ins for the system's programs.
set -u
setup=$1/scripts/setup
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*" >&2; cat "$work/err" >&2; exit 1; }

# stand_in NAME BODY
mkdir "$work/bin"
stand_in() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }

run() { # run STATUS ID GROUP...: on the system ID
    local expected=$1 status=0
    echo "ID=$2" >"$work/os-release"
    shift 2
    PATH=$work/bin:$PATH PQE_OS_RELEASE=$work/os-release PQE_CACHE_DIR=$work/cache "$setup" "$@" >"$work/err" 2>&1 ||
        status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected"
}
says() { grep -qF -- "$1" "$work/err" || fail "does not say: $1"; }
last_says() { tail -n 1 "$work/err" | grep -qF -- "$1" || fail "does not end with: $1"; }

# Nothing is installed, and apt, or sudo, fails.
mkdir -p "$work/cache/openssl-vectors"
stand_in dpkg-query 'exit 1'
stand_in apt-cache 'echo "  Candidate: 3.5.0-1"'
stand_in sudo 'echo "sudo: a password is required"; exit 1'
stand_in apt-get 'echo "E: no such host"; exit 100'
for user in 0 1000; do
    stand_in id "echo $user"
    run 1 debian build test
    says "missing: gcc libc6-dev cmake"
    last_says "please install these packages: gcc libc6-dev cmake"
    last_says libcmocka-dev
done
says "a password is required"
# The lists can be read, but installing fails.
stand_in id 'echo 0'
stand_in apt-get 'case " $* " in *" update "*) ;; *) echo "E: cannot fetch"; exit 100 ;; esac'
run 1 debian build
says "E: cannot fetch"
last_says "please install these packages: gcc"

# Another distribution: what is there counts, not what it is called.
for program in cc cmake ninja c++ openssl python3; do stand_in $program 'exit 0'; done
stand_in pkg-config 'exit 0'
run 0 arch build test
last_says "ready for: build test"
stand_in pkg-config 'case "$*" in *libcrypto*) exit 1 ;; esac'
run 1 arch build test
says "not found here: libcrypto>=3.5"
says libjansson-dev

# Without HOME.
[ "$(env -u HOME -u XDG_CACHE_HOME -u PQE_CACHE_DIR "$1/scripts/cache-dir")" = \
    "$(getent passwd "$(id -u)" | cut -d : -f 6)/.cache/pqc-enclave" ] || fail "the cache without HOME"
env -u HOME -u XDG_CACHE_HOME -u PQE_CACHE_DIR "$1/scripts/openssl-private" --print >"$work/err" 2>&1 ||
    fail "openssl-private without HOME"
