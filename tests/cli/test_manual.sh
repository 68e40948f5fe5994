#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The manual page: well formed, and the same commands, options and JSON members as the program.
. "$(dirname "$0")/lib.sh"
page=$here/../../docs/man/pqc-enclave.1

if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning "$page" >"$out" 2>"$err" || fail "mandoc"
    [ ! -s "$out" ] || fail "mandoc"
fi
if command -v groff >/dev/null && [ -e "$(find /usr/share/groff -name doc.tmac 2>/dev/null | head -1)" ]; then
    groff -mdoc -ww -Tascii "$page" 2>&1 >/dev/null | grep . >"$err" && fail "groff"
fi

ok help --json
cp "$out" table
"$python" - table "$page" <<'END' || fail "the manual page and the command table differ"
import json, re, sys
table = json.load(open(sys.argv[1]))
page = open(sys.argv[2]).read()
sections = dict(re.findall(r"^\.Sh ([A-Z ]+)\n(.*?)(?=^\.Sh|\Z)", page, re.M | re.S))
faults = []

def options(text):
    return set(re.findall(r"\bFl -([a-z][a-z-]*)", text))

# Each command's own entry has its options and no others.
entries = {}
for head, body in re.findall(r"^\.It Cm ([^\n]*)\n(.*?)(?=^\.It|^\.El)", sections["COMMANDS"], re.M | re.S):
    words = re.match(r"[a-z-]+(?: (?:show|change|set|clear|create|list|rm|remove|use|import|export|accept-rollback)\b)?", head).group()
    entries[words] = head + "\n" + body
commands = {c["name"]: c for c in table["commands"]}
for name in set(entries) ^ set(commands):
    faults.append("command only in one of the two: " + name)
everywhere = {o["name"] for o in table["global_options"]}
for name in set(entries) & set(commands):
    own = {o["name"] for o in commands[name]["options"]}
    for option in own - options(entries[name]):
        faults.append("not in the manual: %s --%s" % (name, option))
    for option in options(entries[name]) - own - everywhere:
        faults.append("only in the manual: %s --%s" % (name, option))
for option in table["global_options"]:
    item = r"^\.It (?:Fl %s , )?Fl -%s\b" % (option["letter"], option["name"])
    if not re.search(item, sections["DESCRIPTION"], re.M):
        faults.append("not in the manual: --" + option["name"])
for option in options(page) - everywhere - {o["name"] for c in commands.values() for o in c["options"]}:
    if option not in ("name",):
        faults.append("only in the manual: --" + option)
print("\n".join(faults))
sys.exit(1 if faults else 0)
END

# Every member of the JSON output is described.
sed -n '/^\.Sh JSON/,/^\.Sh ENV/p' "$page" >described
members() {
    for member in $("$python" -c 'import json, sys
j = json.load(open(sys.argv[1]))
j = j[0] if isinstance(j, list) else j.get("error", j) if isinstance(j, dict) else j
print(*j)' "$1"); do
        grep -qw -- "$member" described || fail "not described: $member"
    done
}
printf x >content
for command in "init" "put a content --kind other" "get a -o copy" "list" "info a" "info" "verify" "hash content" "hash-default" "key show" "rotate" "recovery create --file r.pem" "recovery list" \
    "identity create --name n" "identity show" "identity list" "identity export" "identity export --private -o p.pem" \
    "attest a -o a.att" "verify-attestation a.att" "identity rm n" "identity import p.pem" \
    "policy set other" "policy show" "policy clear other" "audit" "audit --checkpoint" "audit --verify" "audit --clear" \
    "doctor" "backends" "completion bash" "help" "--version" "rm a"; do
    # shellcheck disable=SC2086
    run $command --json
    [ -s "$out" ] || fail "no JSON: $command"
    members "$out"
done
want 3 get nothing --json
members "$err"

# The kinds that the manual names are the kinds there are.
want 2 list --kind nonsense
sed -n 's/.* is not one of \(.*\); see.*/\1/p' "$err" | tr -d , | tr ' ' '\n' | sort >kinds
sed -n '/is one of$/,/^\.Fl/s/^\.Ql \([a-z-]*\).*/\1/p' "$page" | sort >named
same kinds named
