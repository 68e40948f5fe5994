#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Vaults on a real /dev/tpmrm0: the distribution's kernel in a QEMU guest, its TPM driver and resource manager, a software
# TPM behind the emulated chip. A vault is made, the guest reboots, the vault opens; with another TPM it is refused, with
# the first one it opens again. Needs PQE_BEDS=1, QEMU, swtpm, busybox (static) and a kernel package, which it downloads
# once. Uses KVM where it may. What real chips do differently: they are slow, have less room, limit NV writes.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
program=${PQC_ENCLAVE:?is the program to test}
[ "${PQE_BEDS-}" = 1 ] || { echo "skipped: PQE_BEDS is not 1"; exit 77; }
for tool in qemu-system-x86_64 swtpm busybox cpio mkfs.ext4 depmod apt-get dpkg-deb ldd; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 77; }
done
[ "$(uname -m)" = x86_64 ] || { echo "skipped: the guest is x86-64"; exit 77; }

work=$(mktemp -d)
tpm=
trap '[ -z "$tpm" ] || kill "$tpm" 2>/dev/null; rm -rf "$work"' EXIT

# ---- the kernel: from its package, kept ----
kernels=$("$here/../../scripts/cache-dir")/guest-kernel
if [ ! -e "$kernels/ready" ]; then
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || package=$(apt-cache depends linux-image-generic 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || { echo "skipped: apt knows no kernel package"; exit 77; }
    mkdir "$work/deb"
    (cd "$work/deb" && apt-get -qq download "$package" 2>"$work/apt.log") ||
        { cat "$work/apt.log"; echo "skipped: the kernel package cannot be downloaded"; exit 77; }
    rm -rf "$kernels"
    mkdir -p "$kernels"
    dpkg-deb -x "$work"/deb/*.deb "$kernels"
    touch "$kernels/ready"
fi
kernel=$(ls "$kernels"/boot/vmlinuz-*)
version=${kernel##*/vmlinuz-}
modules=$kernels/lib/modules/$version
[ -d "$modules" ] || modules=$kernels/usr/lib/modules/$version

# ---- the initial file system: busybox, the program and its libraries, four modules ----
root=$work/root
mkdir -p "$root"/{bin,usr/bin,proc,sys,dev,lib/modules}
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/guest_init.sh" "$root/init"
chmod 755 "$root/init"
cp "$program" "$root/usr/bin/pqc-enclave"
# Those that the program loads when it opens a TPM are not in its own list.
loaded=$(ldconfig -p | sed -n 's/.*libtss2-\(esys\|mu\|tctildr\|tcti-device\)\.so\.0 .*x86-64.*=> //p')
[ -n "$loaded" ] || { echo "skipped: tpm2-tss is not installed"; exit 77; }
# shellcheck disable=SC2086 # one word a library
for library in $loaded $(ldd "$program" $loaded | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/lib[^ ]*ld-linux[^ ]*\).*/\1/p'); do
    mkdir -p "$root$(dirname "$library")"
    cp -Ln "$library" "$root$library" 2>/dev/null || :
done
mkdir -p "$work/modules/lib/modules"
cp -r "$modules" "$work/modules/lib/modules/$version"
depmod -b "$work/modules" "$version"
for module in virtio_pci virtio_blk crc32c ext4; do
    modprobe -d "$work/modules" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
    place=$root${file#"$work/modules"}
    mkdir -p "$(dirname "$place")"
    case $file in
    *.xz) xz -dc "$file" >"${place%.xz}" ;;
    *.zst) zstd -qdc "$file" >"${place%.zst}" ;;
    *) cp "$file" "$place" ;;
    esac
done
cp "$work/modules/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
depmod -b "$root" "$version"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initrd"
rm -r "$work/modules"

# ---- the disk ----
mkdir "$work/disk"
echo 1 >"$work/disk/stage"
truncate -s 64M "$work/disk.img"
mkfs.ext4 -q -d "$work/disk" "$work/disk.img"

machine='-accel tcg -cpu max'
[ ! -w /dev/kvm ] || machine='-accel kvm -cpu host'

# boot TPM DEVICE STAGE...: runs the guest until it is off; it must have done these stages.
boot() {
    local name=$1 device=$2 stage ended=0
    shift 2
    mkdir -p "$work/$name"
    swtpm socket --tpm2 --tpmstate "dir=$work/$name" --ctrl "type=unixio,path=$work/$name.sock" --terminate \
        >"$work/swtpm.log" 2>&1 &
    tpm=$!
    for _ in $(seq 100); do
        [ ! -S "$work/$name.sock" ] || break
        sleep 0.05
    done
    : >"$work/console"
    # shellcheck disable=SC2086 # options
    timeout 200 qemu-system-x86_64 -nodefaults -no-user-config -display none -M q35 $machine -m 512 -kernel "$kernel" \
        -initrd "$work/initrd" -append 'console=ttyS0 quiet panic=-1' -serial "file:$work/console" \
        -drive "file=$work/disk.img,if=virtio,format=raw" -chardev "socket,id=tpm,path=$work/$name.sock" \
        -tpmdev emulator,id=tpm0,chardev=tpm -device "$device,tpmdev=tpm0" >"$work/qemu.log" 2>&1 || ended=$?
    wait "$tpm" || :
    tpm=
    if [ "$ended" != 0 ] && [[ $machine == *kvm* ]] && ! grep -q BED: "$work/console"; then
        echo "KVM does not work here: without"
        machine='-accel tcg -cpu max'
        boot "$name" "$device" "$@"
        return
    fi
    [ "$ended" = 0 ] || { cat "$work/console" "$work/qemu.log"; echo "the guest did not end by itself"; exit 1; }
    for stage; do
        grep -q "BED: done $stage" "$work/console" || { cat "$work/console" "$work/qemu.log"; exit 1; }
    done
    grep "BED: " "$work/console"
}

boot mine tpm-crb 1 2
boot other tpm-tis 3
boot mine tpm-crb 4
