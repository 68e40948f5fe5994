#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first process of the guest of bed_guest.sh, in busybox's shell: one stage a boot, noted on the disk, and off.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /dev/shm /data
mount -t tmpfs shm /dev/shm

say() { echo "BED: $*"; }
stop() {
    cd /
    umount /data
    sync
    "$1" -f
    sleep 60
}
fail() {
    say "FAIL: $*"
    cat /tmp/out /tmp/err 2>/dev/null
    stop poweroff
}
# want STATUS ARG...: the command must end with that status.
want() {
    expected=$1 status=0
    shift
    pqc-enclave "$@" >/tmp/out 2>/tmp/err </dev/null || status=$?
    [ "$status" = "$expected" ] || fail "status $status, not $expected: $*"
}
says() { grep -qF -- "$1" /tmp/out || fail "does not say: $1"; }
complains() { grep -qF -- "$1" /tmp/err || fail "does not complain: $1"; }
gets() { # gets VAULT TEXT
    want 0 get secret --vault "$1"
    [ "$(cat /tmp/out)" = "$2" ] || fail "another content"
}

for module in virtio_pci virtio_blk crc32c ext4; do
    modprobe "$module" || fail "no module $module"
done
for _ in $(seq 50); do
    [ ! -b /dev/vda ] || break
    sleep 0.1
done
mount -t ext4 /dev/vda /data || fail "no disk"
[ -c /dev/tpmrm0 ] || fail "no /dev/tpmrm0"
stage=$(cat /data/stage)
export HOME=/data
say "stage $stage, $(uname -r), $(cat /sys/class/tpm/tpm0/tpm_version_major)"

first() {
    want 0 backends
    ! grep -q "not here" /tmp/out || fail "the TPM is not found"
    want 0 init --backend tpm2 --vault /data/v
    want 0 init --backend 'tpm2:;pcrs=sha256:0,2,4,7' --vault /data/bound
    echo "in the chip's hands" >/tmp/content
    for vault in v bound; do
        want 0 put secret /tmp/content --kind credential --vault "/data/$vault"
        gets "/data/$vault" "in the chip's hands"
    done
    want 0 info --vault /data/bound
    says "AES-256 storage parent, PCRs sha256:0,2,4,7, counter"
    want 0 doctor --vault /data/v
    says "the vault opens"
    # Through the resource manager several processes use the TPM at once.
    pids=
    for _ in 1 2 3 4 5 6; do
        pqc-enclave get secret --vault /data/v >/dev/null 2>>/tmp/err &
        pids="$pids $!"
    done
    for pid in $pids; do
        wait "$pid" || fail "one of several at once"
    done
    # Killed at any moment they leave nothing in it.
    for i in 0 1 2 3 4 5 6 7 8 9; do
        pqc-enclave get secret --vault /data/v >/dev/null 2>&1 &
        sleep "0.0$i"
        kill -9 $! 2>/dev/null
        wait $! 2>/dev/null
    done
    gets /data/v "in the chip's hands"
}

second() { # after a reboot
    gets /data/v "in the chip's hands"
    gets /data/bound "in the chip's hands"
    echo "later" >/tmp/content
    want 0 put secret /tmp/content --kind credential --vault /data/v
}

third() { # with another TPM
    for vault in v bound; do
        want 4 get secret --vault "/data/$vault"
        complains "another TPM, or the TPM was cleared"
        want 1 doctor --vault "/data/$vault"
    done
}

fourth() { # with the first one again
    gets /data/v later
    gets /data/bound "in the chip's hands"
    want 0 verify --vault /data/v
}

case $stage in
1) first; echo 2 >/data/stage; say "done 1"; stop reboot ;;
2) second; echo 3 >/data/stage ;;
3) third; echo 4 >/data/stage ;;
4) fourth ;;
esac
say "done $stage"
stop poweroff
