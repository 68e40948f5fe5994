# SPDX-License-Identifier: Apache-2.0
"""A backend written wholly in Python, for the tests: AES-256-GCM of python3-cryptography under a key in this process."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pqc_enclave_sdk import BackendError, DecryptionError, EnclaveBackend, Status


class Key:
    def __init__(self, secret, vault_id):
        material = HKDF(SHA256(), 32, vault_id, b"software test backend").derive(secret)
        self.cipher = AESGCM(material)


class SoftwareBackend(EnclaveBackend):
    """Tells in `calls` what was called; `fail` names a method that raises what is given with it."""

    name = "python-software"
    description = "a key in this process, kept by Python"
    caveat = "a test"

    def __init__(self, vault_path=None, secret=None):
        self.vault_path = vault_path
        self.secret = secret or os.urandom(32)
        self.object_id = os.urandom(16)
        self.calls = []
        self.fail = {}

    def _called(self, name):
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]

    def enrol(self, vault_id):
        self._called("enrol")
        return self.object_id, Key(self.secret, vault_id)

    def discard(self, vault_id, key):
        self._called("discard")

    def attach(self, vault_id, state):
        self._called("attach")
        if len(state) != 16:
            raise BackendError("the state has another length", code=Status.TAMPERED)
        if state != self.object_id:
            raise BackendError("the key is another object's", code=Status.DENIED)
        return Key(self.secret, vault_id)

    def detach(self, key):
        self._called("detach")

    def seal(self, key, aad, secret):
        self._called("seal")
        nonce = os.urandom(12)
        return nonce + key.cipher.encrypt(nonce, bytes(secret), aad)

    def unseal(self, key, aad, sealed):
        self._called("unseal")
        try:
            return bytearray(key.cipher.decrypt(sealed[:12], sealed[12:], aad))
        except (InvalidTag, ValueError):
            raise DecryptionError("the blob does not verify") from None

    def key_source(self, state):
        return "process" if len(state) == 16 else None

    def close(self):
        self._called("close")
