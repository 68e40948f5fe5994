#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Access rules on the command line: callers, limits, presence, get and exec alike, exit codes.
. "$(dirname "$0")/lib.sh"

ok init
put token secret
printf weights >weights
ok put model weights --kind model-weights
ok policy show
says 'no rules'

# Callers.
ok policy set credential --allow com.example.a --allow com.example.b
want 4 get token
complains 'access policy'
want 4 get token --caller com.example.c
ok get token --caller com.example.b
says secret
ok --caller com.example.a get token
ok get model
want 125 exec token -- cat '{}'
run exec --caller com.example.a token -- cat '{}'
[ "$status" = 0 ] || fail "exec as an allowed caller"
says secret
want 2 get token --caller ''
ok verify
ok info token
ok list
want 4 get token -o file
absent file
want 4 get token --json
json "$err" 'j["error"]["name"] == "PQE_E_POLICY" and j["error"]["code"] == -21 and j["error"]["exit"] == 4'

# Limits: exec and get count alike, other commands do not.
ok policy set --artifact model --max-uses-per-hour 3
ok get model
ok exec model -- cat '{}'
ok verify model
ok info model
ok get model -o copy
same copy weights
want 4 get model
want 125 exec model -- cat '{}'
ok policy show
says 'artifact model: any caller; 3 of 3 uses within this hour'
says 'kind credential: only com.example.a, com.example.b'
ok policy show --json
json "$out" '[(r["kind"], r["artifact"], r["max_uses_per_hour"], r["uses_this_hour"]) for r in j] == [("credential", None, 0, 0), (None, "model", 3, 3)]'
ok rotate --rekey
want 4 get model
ok policy clear --artifact model
ok get model
ok policy set --artifact model --max-uses-per-hour 3
want 4 get model # what was counted stays counted

# A second that ends before the use is forgotten.
ok policy set --artifact model --max-uses-per-hour 4
ok get model
want 4 get model

# Presence: the file backend cannot ask.
ok policy set --artifact model --require-presence
want 4 get model
complains 'presence'
ok policy clear --artifact model
ok policy clear credential
ok get token
want 3 policy clear credential
want 3 policy clear --artifact model

# Mistakes.
want 2 policy set
want 2 policy set credential --artifact model
want 2 policy set nonsense
want 2 policy set credential --max-uses-per-hour many
want 2 policy set credential --max-uses-per-hour -1
want 2 policy set credential --max-uses-per-hour 1000001
want 2 policy set credential --allow ''
want 2 policy set --artifact ''
want 2 policy
want 2 policy clear

# Where nothing can be written, limited artifacts cannot be read.
if ! is_root; then
    ok policy set --artifact model --max-uses-per-hour 100
    chmod -R a-w "$vault"
    want 4 get model
    ok get token
fi
exit 0
