# SPDX-License-Identifier: Apache-2.0
"""10,000 calls of each kind leave no object, no memory and no file descriptor behind."""

import gc
import hashlib
import hmac
import os
import sys

import pytest
from software import SoftwareBackend

from pqc_enclave_sdk import ArtifactKind, DecryptionError, EnclaveSDKError, EnclaveVault, InMemoryEnclaveBackend

SANITIZED = "PQE_SANITIZED" in os.environ
CALLS = 2_000 if SANITIZED else 10_000
KIND = ArtifactKind.CREDENTIAL


class Backend(SoftwareBackend):
    """Without python3-cryptography: extension modules of others do not report their references."""

    def enrol(self, vault_id):
        self._called("enrol")
        return self.object_id, self.secret + vault_id

    def attach(self, vault_id, state):
        return self.secret + vault_id

    def seal(self, key, aad, secret):
        self._called("seal")
        nonce = os.urandom(16)
        hidden = bytes(a ^ b for a, b in zip(secret, hashlib.shake_256(key + nonce).digest(len(secret))))
        return nonce + hidden + hmac.digest(key, nonce + hidden + aad, "sha256")

    def unseal(self, key, aad, sealed):
        nonce, hidden, tag = sealed[:16], sealed[16:-32], sealed[-32:]
        if not hmac.compare_digest(tag, hmac.digest(key, nonce + hidden + aad, "sha256")):
            raise DecryptionError("the blob does not verify")
        return bytearray(a ^ b for a, b in zip(hidden, hashlib.shake_256(key + nonce).digest(len(hidden))))


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def references():
    """Of all objects together; debug builds of Python count them, if the extension tells them of its own."""
    return sys.gettotalrefcount() if "PQE_COUNTS_REFERENCES" in os.environ else 0


def fails(call):
    try:
        call()
    except (EnclaveSDKError, TypeError, ValueError):
        return
    raise AssertionError("it did not fail")


def verify_with_list(vault):
    vault.list_artifacts()
    vault.info()


def read_parts(vault):
    with vault.open_artifact("a") as reader:
        reader.readinto(bytearray(10))
        reader.read_at(3, 5)


def use_view(vault):
    with vault.get_artifact("a").view as view:
        view[:3].tobytes()


def ciphertext(vault):
    return vault._store.vault() and vault.put_artifact("b", KIND, b"y").ciphertext


CASES = {
    "put": lambda v: v.put_artifact("b", KIND, b"y", tags=["t", "u"], description="d"),
    "get": lambda v: v.get_artifact("a").content,
    "view": use_view,
    "reader": read_parts,
    "list": verify_with_list,
    "ciphertext": ciphertext,
    "not found": lambda v: fails(lambda: v.get_artifact("absent")),
    "wrong type": lambda v: fails(lambda: v.put_artifact("c", KIND, 5)),
    "wrong value": lambda v: fails(lambda: v.put_artifact("c", KIND, b"", tags=["\0"])),
    "stopped": lambda v: fails(lambda: v.get_artifact("a", progress=lambda *a: int("x"))),
}


def check(call, calls, warm_up=300):
    for _ in range(warm_up):
        call()
    gc.collect()
    blocks, objects, memory = sys.getallocatedblocks(), len(gc.get_objects()), resident()
    descriptors, counted = len(os.listdir("/proc/self/fd")), references()
    for _ in range(calls):
        call()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    # One object or block a call would be `calls` of them; some are the free lists of the interpreter.
    assert len(gc.get_objects()) - objects < calls // 4
    assert sys.getallocatedblocks() - blocks < calls // 4
    assert references() - counted < calls // 4
    # The allocator may take memory for its own ends once; a leak takes it every time.
    for _ in range(0 if SANITIZED else 3):
        grown, memory = resident() - memory, resident()
        if grown < 8 << 20:
            return
        for _ in range(calls):
            call()
        gc.collect()
    assert SANITIZED or resident() - memory < 8 << 20


@pytest.mark.parametrize("case", CASES)
def test_calls(case):
    vault = EnclaveVault(InMemoryEnclaveBackend())
    vault.audit.max_entries = 1
    vault.audit._entries = type(vault.audit._entries)(maxlen=1)
    vault.unlock()
    vault.put_artifact("a", KIND, b"x" * 100)
    check(lambda: CASES[case](vault), CALLS)


def test_sessions():
    vault = EnclaveVault(Backend())
    vault.audit._entries = type(vault.audit._entries)(maxlen=1)

    def session():
        vault.unlock()
        vault.lock()
        vault.backend.calls.clear()

    check(session, CALLS // 10)


def test_vaults():
    def life():
        with EnclaveVault(Backend()) as vault:
            vault.put_artifact("a", KIND, b"x")

    check(life, CALLS // 20)


def test_failing_backends():
    def life():
        backend = Backend()
        backend.fail["seal"] = RuntimeError("no")
        fails(EnclaveVault(backend).unlock)
        backend.fail.clear()

    check(life, CALLS // 20)
