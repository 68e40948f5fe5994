#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Making a vault: cut short at any moment it leaves a whole vault or a place where one can be made.
. "$(dirname "$0")/lib.sh"

interrupted() { # interrupted ARG...: ^C where init asks for a new passphrase
    status=0
    "$python" "$here/terminal.py" "New passphrase" "^C" -- "$PQC_ENCLAVE" init --passphrase "$@" >"$out" 2>"$err" \
        </dev/null || status=$?
    [ "$status" = 130 ] || fail "status $status of an interrupted init"
    says "interrupted"
    says "[echo on]"
}

# At the prompt: nothing is left, not even a directory that init made.
interrupted --vault pv
absent pv
mkdir there
interrupted --vault there
[ -z "$(ls -A there)" ] || fail "an interrupted init left something"
printf 'correct horse\n' >pass
ok init --vault pv --passphrase-file pass
ok list --vault pv --passphrase-file pass

# While it waits for a passphrase from elsewhere, and nothing comes.
mkfifo fifo
for signal in INT TERM HUP; do
    env --default-signal "$PQC_ENCLAVE" init --vault waiting --passphrase-file fifo >"$out" 2>"$err" &
    for _ in $(seq 600); do
        [ -e waiting/index.db.new ] && break
        sleep 0.05
    done
    [ -e waiting/index.db.new ] || fail "init does not get to the passphrase"

    want 1 init --vault waiting -q
    complains "another process is making a vault in this directory"
    exec 3<>fifo
    sleep 0.2
    kill -"$signal" $!
    wait $!
    status=$?
    exec 3>&-
    [ "$status" = $((128 + $(kill -l $signal))) ] || fail "status $status after SIG$signal"
    absent waiting
done

# SIGTERM and SIGKILL at any moment.
whole=0 none=0
for signal in TERM KILL; do
    for i in $(seq 0 24); do
        rm -rf killed k
        env --default-signal "$PQC_ENCLAVE" init --vault killed --key-file "$work/k" -q >"$out" 2>"$err" &
        sleep "$(printf '0.%03d' $((i * 2)))"
        kill -$signal $! 2>/dev/null
        wait $! 2>/dev/null
        if [ -e killed/index.db ]; then
            whole=$((whole + 1))
        else
            none=$((none + 1))
            [ "$signal" = KILL ] || absent k
            ok init --vault killed --key-file "$work/k" -q
        fi
        ok list --vault killed --key-file "$work/k"
        [ "$(ls -A -I 'spool-*' killed | tr '\n' ' ')" = "bodies index.db index.db-shm index.db-wal pending " ] || fail "left over: $(ls -A killed)"
    done
done
[ $((whole + none)) = 50 ] || fail "the kills were not counted"

# What a dead attempt left says what it is. Anything else in the directory is somebody's.
mkdir -p half/bodies half/pending
: >half/index.db.new
want 1 list --vault half
complains "its making was cut short"
: >half/mine
want 1 init --vault half
complains "the directory is not empty"
rm half/mine
ok init --vault half
ok list --vault half
mkdir -p folder/bodies
want 1 init --vault folder
complains "the directory is not empty"

# A key file inside the vault is refused, also where its default place is there; nothing is made.
export XDG_DATA_HOME=$work/both XDG_CONFIG_HOME=$work/both
want 2 init
complains "default place is inside the vault"
absent both
want 2 init --vault both/pqc-enclave
mkdir both
ln -s both alias
want 2 init --vault "$work/alias"
rmdir both
want 2 init --vault both
absent both
ok init --key-file "$work/outside" -q
ok list --key-file "$work/outside"
rm -r both
ok init --passphrase-file pass -q
unset XDG_CONFIG_HOME
want 2 init --vault "$HOME/.config/pqc-enclave"
absent "$HOME/.config"
