#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hostile names and metadata: limits, invalid UTF-8, control characters, what looks like a path or an id.
. "$(dirname "$0")/lib.sh"

ok init -q
printf x >content

# Any UTF-8 of 1 to 1024 bytes is a name.
long=$(printf '%01024d' 0)
for name in "$long" "../../etc/passwd" "/" "." "a b" "tab	here" $'new\nline' $'\033[31mred\033[0m' $'\u202egnp' "ünïcødé 模型 🙂" \
    "-" "--" "{}" "urn:pqc-enclave-art:0000" "%s%n" "'\"\`\$(id)" '\' $'\x7f' $'\u009b1m'; do
    ok put --kind credential --quiet -- "$name" content
    ok get -o copy -- "$name"
    same content copy
    printf '%s\0' "$name" >>names
done
ok list --json
json "$out" 'sorted(a["name"] for a in j) == sorted(open("names", newline="").read().split("\0")[:-1])'
json "$out" 'len(j) == 19'

# For people, nothing that a terminal acts on, and one line each.
check_harmless() {
    "$python" -c 'import sys, unicodedata
text = open(sys.argv[1], encoding="utf-8", newline="").read()
bad = [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]
sys.exit(1 if bad else 0)' "$1" || fail "control characters in $1"
}
ok list
[ "$(wc -l <"$out")" = 20 ] || fail "a name takes more than one line"
check_harmless "$out"
says 'new\x0aline'
says '\x1b[31mred\x1b[0m'
says '\xe2\x80\xaegnp'
says '\xc2\x9b1m'
says '\\'
says '模型 🙂'
ok put $'\033]0;title\a' content --kind other
check_harmless "$out"
ok info $'\033]0;title\a'
check_harmless "$out"
ok rm $'\033]0;title\a'
check_harmless "$out"
want 3 get $'\033]0;title\a'
check_harmless "$err"
want 1 put a $'no\033[31mfile' --kind other
check_harmless "$err"
want 2 list $'--\033[31m'
check_harmless "$err"
ok put fields content --kind other --version $'\033[1m' --tag $'\033[2m' --description $'\r\033[3m' --app $'\b' --model-did $'\f'
ok info fields
check_harmless "$out"
ok info fields --json
json "$out" 'j["version"] == "\033[1m" and j["tags"] == ["\033[2m"] and j["description"] == "\r\033[3m"'
! LC_ALL=C grep -q '[^ -~]' "$out" || fail "JSON is not plain ASCII"
ok list --tag $'\033[2m' --json
json "$out" 'len(j) == 1'

# Not names.
for name in "" "${long}1" $'\xff' $'a\xc0\x80' $'\xed\xa0\x80' $'\xf4\x90\x80\x80' $'cut\xe2\x82'; do
    want 2 put "$name" content --kind other
done
for command in get info rm verify; do
    want 2 "$command" ""
    want 2 "$command" $'\xff'
done
want 125 exec "" -- true
want 125 exec $'\xff' -- true
ok list --json
json "$out" 'len(j) == 20'

# Metadata over its limits or not UTF-8.
field=$(printf '%01025d' 0)
want 2 put a content --kind other --version "$field"
want 2 put a content --kind other --app "$field"
want 2 put a content --kind other --model-did "$field"
want 2 put a content --kind other --tag "${field:0:257}"
want 2 put a content --kind other --description "$(printf '%016385d' 0)"
want 2 put a content --kind other --description $'\xff'
tags=()
for i in $(seq 65); do tags+=(--tag "$i"); done
want 2 put a content --kind other "${tags[@]}"
ok put a content --kind other "${tags[@]:2}" --description "$(printf '%016384d' 0)"
