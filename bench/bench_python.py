#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole artifacts from Python, beside the same from C and beside AES-GCM over the whole buffer by python-cryptography.

  bench_python.py BENCH_VAULT [MIB] [ROUNDS] [DIR]      1024 MiB, 5 rounds, /dev/shm

Every measurement is a process of its own, and the rounds are interleaved: compare medians of one run with each other, not
with another run's. PYTHONPATH must lead to the package (build/release/bindings/python/root).
"""

import mmap
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

STEP = 4 << 20


def warm_up(size):
    """Virtual machines hand free pages back to their host: the first touch is slow, and no part of what is measured."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as touched:
        touched.madvise(mmap.MADV_HUGEPAGE)  # which are the pages that the package asks for
        for at in range(0, size, STEP):
            touched[at : at + STEP] = b"\1" * min(STEP, size - at)


def child(operation, directory, size):
    if operation.startswith("aesgcm"):
        took = aesgcm(operation, directory, size)
    else:
        took = package(operation, directory, size)
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def package(operation, directory, size):
    from pqc_enclave_sdk import ArtifactKind, EnclaveVault, FileEnclaveBackend

    with EnclaveVault(FileEnclaveBackend(directory / "vault", key_file=directory / "key")) as vault:
        if operation == "put":
            content = b"\1" * size
            start = time.monotonic()
            vault.put_artifact("big", ArtifactKind.MODEL_WEIGHTS, content)
        elif operation == "read":
            buffer = bytearray(STEP)
            start = time.monotonic()
            with vault.open_artifact("big") as file:
                while file.readinto(buffer):
                    pass
        else:
            warm_up(size)
            start = time.monotonic()
            artifact = vault.get_artifact("big")
            used = artifact.view if operation == "view" else artifact.content
            assert len(used) == size
        return time.monotonic() - start


def aesgcm(operation, directory, size):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key, file = AESGCM(bytes(32)), directory / "aesgcm"
    if operation == "aesgcm-put":
        content = b"\1" * size
        start = time.monotonic()
        nonce = os.urandom(12)
        file.write_bytes(nonce + key.encrypt(nonce, content, b"metadata"))
    else:
        warm_up(size)
        start = time.monotonic()
        data = file.read_bytes()
        assert len(key.decrypt(data[:12], data[12:], b"metadata")) == size
    return time.monotonic() - start


MEASUREMENTS = [
    ("put, C: pqe_put", "c", "put"),
    ("put, Python: put_artifact", "python", "put"),
    ("put, AESGCM and a file", "python", "aesgcm-put"),
    ("get, C: pqe_get", "c", "get"),
    ("get, Python: get_artifact().view", "python", "view"),
    ("get, Python: get_artifact().content", "python", "content"),
    ("get, AESGCM and a file", "python", "aesgcm-get"),
    ("read, C: pqe_reader_read 4 MiB", "c", "read"),
    ("read, Python: readinto 4 MiB", "python", "read"),
]


def run(program, directory, language, operation, mib):
    if language == "c":
        command = [program, directory, operation, mib]
    else:
        command = [sys.executable, __file__, "--child", operation, directory, mib]
    printed = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    return [float(number) for number in printed.split()]


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--child":
        child(sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4]) << 20)
        return
    if not 2 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    given = dict(enumerate(sys.argv))
    mib, rounds = int(given.get(2, 1024)), int(given.get(3, 5))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-python-", dir=given.get(4, "/dev/shm")))
    results = {label: [] for label, _, _ in MEASUREMENTS}
    try:
        run(sys.argv[1], directory, "c", "init", mib)
        for _ in range(rounds):
            for label, language, operation in MEASUREMENTS:
                results[label].append(run(sys.argv[1], directory, language, operation, mib))
    finally:
        shutil.rmtree(directory)
    print(f"{mib} MiB, {rounds} rounds, medians")
    first = {}
    for label, _, _ in MEASUREMENTS:
        seconds = statistics.median(s for s, _ in results[label])
        peak = max(p for _, p in results[label]) / 2**20 - mib
        speed = first.setdefault(label.split(",")[0], seconds) / seconds
        print(f"{label:37} {seconds:7.3f} s  {mib / 1024 / seconds * 1.073741824:5.2f} GB/s"
              f"  {speed:5.2f} of C's speed  peak {mib} {peak:+.0f} MiB")


main()
