# SPDX-License-Identifier: Apache-2.0
"""`RecoveryKey`, and the part of `EnclaveVault` that is about recovery keys and moves between backends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _native
from ._backends import EnclaveBackend
from ._errors import EnclaveSDKError, Status
from ._vault_policy import check_text

if TYPE_CHECKING:
    from ._store import Store


class RecoveryKey:
    """Opens a vault whose backend is lost. Whoever has it and a copy of the vault reads everything in it.

    The secret is in the library's locked memory; `words` and `pem` hand it out as str, which cannot be wiped.
    """

    def __init__(self, native: _native.RecoveryKey) -> None:
        self._native = native

    @classmethod
    def generate(cls) -> RecoveryKey:
        """A new key from 32 random bytes."""
        return cls(_native.RecoveryKey.generate())

    @classmethod
    def from_words(cls, words: str) -> RecoveryKey:
        """From its 24 words. Raises `EnclaveSDKError` (``Status.MALFORMED``) if they do not belong together."""
        return cls(_native.RecoveryKey.from_words(check_text("words", words)))

    @classmethod
    def from_pem(cls, pem: str) -> RecoveryKey:
        """From a PKCS#8 private key (ML-KEM-768) that holds its seed, as `pem` writes it."""
        return cls(_native.RecoveryKey.from_pem(check_text("pem", pem)))

    @property
    def id(self) -> str:
        """What vaults list it by."""
        return self._native.id()

    def words(self) -> str:
        """24 words to write down. Raises (``Status.UNAVAILABLE``) for a key that came from a PEM."""
        return self._native.words()

    def pem(self) -> str:
        """The key as unencrypted PKCS#8 PEM."""
        return self._native.pem()

    def __repr__(self) -> str:
        return f"<RecoveryKey {self.id}>"


@dataclass(frozen=True)
class RecoveryKeyInfo:
    """A recovery key as a vault lists it."""

    id: str
    name: str
    created_at: str
    suite: str


class RecoveryMethods:
    backend: EnclaveBackend
    caller_bundle_id: str
    _store: Store
    _holder: int

    def create_recovery_key(self, name: str = "") -> RecoveryKey:
        """Makes a recovery key for this vault, and hands it out: the vault itself does not keep it."""
        key = RecoveryKey.generate()
        self.add_recovery_key(key, name)
        return key

    def add_recovery_key(self, key: RecoveryKey, name: str = "") -> None:
        """Lets a recovery key open this vault: one that is written down already. At most eight."""
        if not isinstance(key, RecoveryKey):
            raise TypeError("key must be a RecoveryKey")
        native = self._store.session(self._holder)
        native.recovery_create(key._native, check_text("name", name) or None, self.caller_bundle_id or None)

    def recovery_keys(self) -> tuple[RecoveryKeyInfo, ...]:
        """The vault's recovery keys."""
        return tuple(RecoveryKeyInfo(*fields) for fields in self._store.session(self._holder).recovery_list())

    def remove_recovery_key(self, id: str) -> None:
        """Takes a key's access back. Copies of the vault from before still open with it: see `rotate` with ``rekey``."""
        self._store.session(self._holder).recovery_remove(check_text("id", id), self.caller_bundle_id or None)

    def recover(self, key: RecoveryKey) -> tuple[str, ...]:
        """Opens an existing vault by a recovery key, and puts it on this object's backend in place of the lost one.

        The backend object must not have opened the vault yet; it makes a new key, for example a new key file. The vault
        is unlocked afterwards, for the default time. Returns the DIDs of identities that are lost, because the old
        backend made and kept their keys; for one whose record was damaged it is empty. Raises `BackendError` (``Status.DENIED``) if the key is none of this vault's,
        and (``Status.EXISTS``) if the place of the new key is taken.
        """
        if not isinstance(key, RecoveryKey):
            raise TypeError("key must be a RecoveryKey")
        if self.backend.vault_path is None:
            raise EnclaveSDKError("a vault in memory cannot be recovered", code=Status.ARGUMENT)
        return self._store.recover(self.backend, self._holder, key._native, self.caller_bundle_id or None)

    def rotate(
        self, rekey: bool = False, *, backend: EnclaveBackend | None = None, discard_old: bool = False
    ) -> None:
        """Makes new device keys and re-seals the vault's secrets to them; with ``rekey`` replaces those too.

        With ``backend``, a new backend object for the same vault, the vault moves there, and so does every
        `EnclaveVault` that shares it; the session goes on. The old key is kept, since backups of the vault need it;
        ``discard_old`` has the old backend remove it, as far as it can.
        """
        caller = self.caller_bundle_id or None
        if backend is None:
            if discard_old:
                raise ValueError("only a vault that moves to another backend leaves a key to discard")
            self._store.session(self._holder).rotate(bool(rekey), caller)
            return
        if not isinstance(backend, EnclaveBackend):
            raise TypeError("backend must be an EnclaveBackend")
        if backend._store is not None:
            raise ValueError("the backend object is in use by a vault")
        ours, theirs = self.backend.vault_path, backend.vault_path
        if ours is not None and (theirs is None or os.path.realpath(ours) != os.path.realpath(theirs)):
            raise ValueError("the backend object is for a vault elsewhere")
        self._store.move(backend, self._holder, bool(rekey), bool(discard_old), caller)
        self.backend = backend
