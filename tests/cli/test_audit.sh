#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The audit log on the command line: what it shows, checkpoints, tampering, clearing, failed unlocks.
. "$(dirname "$0")/lib.sh"

ok init
put token secret
ok get token --caller com.example.a
want 3 get nothing
ok policy set credential --max-uses-per-hour 1
ok get token
want 4 get token
ok audit
says 'not signed'
says 'by com.example.a'
says 'PQE_E_NOT_FOUND'
for operation in unlock lock put get policy policy_violation; do
    ok audit --operation "$operation"
    says "  $operation"
done
ok audit --json
json "$out" 'j["chain"] == 1 and not j["signed_checkpoints"] and j["failed_unlocks"] == []'
json "$out" '[e["sequence"] for e in j["entries"]] == list(range(len(j["entries"]), 0, -1))'
json "$out" '[(e["operation"], e["success"], e["caller"]) for e in j["entries"] if e["artifact_name"] == "token"] == [("policy_violation", False, ""), ("get", True, ""), ("get", True, "com.example.a"), ("put", True, "")]'
ok audit --limit 2 --json
json "$out" 'len(j["entries"]) == 2'
ok audit --artifact token --operation put --json
json "$out" 'len(j["entries"]) == 1 and j["entries"][0]["artifact_kind"] == "credential"'

# Names that act on a terminal are shown harmless.
printf x >content
ok put $'bell\a' content --kind other
ok audit --limit 5
says 'bell\x07'

# Checkpoints.
ok audit --checkpoint -o point
mode 600 point
ok audit --checkpoint
grep -q '^signature: none$' point || fail "a checkpoint says that it is not signed"
ok audit --verify
says sound
ok audit --against point
says 'agrees with the checkpoint'
ok rm token
ok rotate --rekey
ok audit --against point --json
json "$out" 'j["sound"] and j["compared"] and j["chain"] == 1'
"$python" - "$vault/index.db" <<'END' || fail "python"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("DELETE FROM audit WHERE seq = 3")
db.commit()
END
want 5 audit --verify
want 5 audit --against point
want 5 audit --checkpoint
want 5 verify
ok audit --clear
ok audit --verify
want 1 audit --against point # of the chain before
ok audit
says 'it was damaged'
sed 's/^entry: .*/entry: 9/' point >other
want 1 audit --against other
sed 's,^vault: f,vault: 0,; t; s,^vault: .,vault: f,' point >other
want 2 audit --against other
want 2 audit --against content
want 1 audit --against missing

# With an identity checkpoints are signed, and one that was altered, or that another device signed, is refused.
ok identity create --name log
ok audit --checkpoint -o signed
grep -q '^signature: did:pqaid:' signed || fail "a checkpoint is signed"
ok audit --against signed
says 'which is signed'
ok audit --verify
says_not 'not signed'
sed 's/^entry: ./entry: 1/; s/^time: ./time: 3/' signed >other
want 5 audit --against other
sed 's/\(did:pqaid:.*\)[0-9a-f]$/\1/' signed >other
want 2 audit --against other
sed 's/did:pqaid:...../did:pqaid:00000/' signed >other
want 5 audit --against other
ok rotate --rekey
ok audit --against signed --json
json "$out" 'j["checkpoint_signed"] and j["signed_checkpoints"]'
ok identity rm log
want 5 audit --against signed

# What is done with identities is logged.
ok identity create --name agent --json
did=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["did"])' "$out")
want 1 identity create --name agent
run identity export agent --private -o agent.pem
ok identity rm agent
ok identity import agent.pem --name again
ok audit --artifact "$did" --json
json "$out" '[(e["operation"], e["artifact_name"], e["success"]) for e in j["entries"]] == [("identity_import", "again", True), ("identity_delete", "agent", True), ("identity_export", "agent", True), ("identity_create", "agent", True)]'
ok audit --operation identity_create --artifact agent
says 'PQE_E_EXISTS'
ok audit --limit 1 --operation identity_delete
says '  identity_delete   ok      agent'
ok audit --verify
ok identity rm again

# The old copy of the vault is told by a checkpoint from later.
cp -a "$vault" "$work/old"
put token again
ok audit --checkpoint -o later
rm -rf "$vault"
mv "$work/old" "$vault"
ok audit --verify
want 5 audit --against later

# Unlocks that fail need no key.
mv "$XDG_CONFIG_HOME/pqc-enclave" "$work/keys"
want 4 list
want 4 list
mv "$work/keys" "$XDG_CONFIG_HOME/pqc-enclave"
ok audit
says 'unlocks that failed'
ok audit --json
json "$out" '[f["status"] for f in j["failed_unlocks"]] == ["PQE_E_DENIED"] * 2'

want 2 audit --limit x
want 2 audit --operation nonsense
want 2 audit --verify --clear
want 2 audit -o file
absent file
want 2 audit token
exit 0
