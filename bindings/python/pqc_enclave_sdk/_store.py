# SPDX-License-Identifier: Apache-2.0
"""The open vault behind a backend object, shared by every `EnclaveVault` made on it."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import _native
from ._errors import EnclaveLockedError, EnclaveSDKError, Status

if TYPE_CHECKING:
    from ._backends import EnclaveBackend

_CREATED_TTL = 3600  # a vault just made is unlocked for so long


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Store:
    """Opens the vault at the first unlock and counts who has it unlocked: the session ends with the last of them.

    It does not refer to the backend object, which refers to it.
    """

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        self._native: _native.Vault | None = None
        self._backend: _native.Backend | None = None
        self._closed = False
        self._deadlines: dict[int, float] = {}
        _stores.add(self)

    def unlock(
        self, backend: EnclaveBackend, holder: int, ttl_seconds: int, caller: str | None = None
    ) -> _native.Vault:
        self._check_process()
        with self._mutex:
            native, created = self._open(backend)
            others = any(h != holder and end > _now() for h, end in self._deadlines.items())
            # A new session would take the keys of the others' open readers; do without where the present one lasts.
            lasts = created and ttl_seconds == _CREATED_TTL or others and native.ttl() >= ttl_seconds
            if not lasts:
                native.unlock(ttl_seconds, caller)
            self._deadlines[holder] = _now() + ttl_seconds
            return native

    def accept_rollback(
        self, backend: EnclaveBackend, holder: int, ttl_seconds: int, caller: str | None = None
    ) -> tuple[int, int, int]:
        self._check_process()
        with self._mutex:
            native, _created = self._open(backend)
            self._deadlines.clear()  # the session that runs, if any, ends
            told = native.accept_rollback(ttl_seconds, caller)
            self._deadlines[holder] = _now() + ttl_seconds
            return told

    def lock(self, holder: int) -> bool:
        """False if that holder had it locked already."""
        if self._pid != os.getpid():
            return False
        with self._mutex:
            was_unlocked = self.is_unlocked(holder)
            self._deadlines.pop(holder, None)
            if self._native is not None and not any(end > _now() for end in self._deadlines.values()):
                self._native.lock()
            return was_unlocked

    def is_unlocked(self, holder: int) -> bool:
        native = self._native
        return (
            native is not None
            and self._pid == os.getpid()
            and self._deadlines.get(holder, 0.0) > _now()
            and native.ttl() > 0
        )

    def session(self, holder: int) -> _native.Vault:
        """The vault, for a holder that has it unlocked."""
        self._check_process()
        if self._deadlines.get(holder, 0.0) <= _now():
            raise EnclaveLockedError("the vault is locked")
        return self.vault()

    def vault(self) -> _native.Vault:
        """The vault, whoever has it unlocked; its calls raise if nobody has."""
        self._check_process()
        if self._native is None:
            raise EnclaveLockedError("the vault is locked")
        return self._native

    def recover(
        self, backend: EnclaveBackend, holder: int, key: _native.RecoveryKey, caller: str | None
    ) -> tuple[str, ...]:
        """Opens the vault by a recovery key instead of `unlock`, on a backend that is new to it."""
        self._check_process()
        with self._mutex:
            if self._closed or self._native is not None:
                raise EnclaveSDKError("the backend object has opened its vault already", code=Status.STATE)
            opened = backend._open_native()
            path = os.fsencode(str(backend.vault_path))
            wait = max(1, int(backend.busy_timeout_seconds * 1000))
            try:
                native, lost = _native.Vault.recover(opened, path, key, wait, caller)
            except BaseException:
                opened.close()
                raise
            self._native, self._backend = native, opened
            self._deadlines[holder] = _now() + _CREATED_TTL
            return tuple(did for did, _ in lost)

    def move(
        self, backend: EnclaveBackend, holder: int, rekey: bool, discard_old: bool, caller: str | None
    ) -> None:
        """Puts the vault on another backend object, which shares this store from then on."""
        native = self.session(holder)
        opened = backend._open_native()
        try:
            native.move(opened, rekey, discard_old, caller)
        except BaseException:
            opened.close()
            raise
        backend._store = self
        with self._mutex:
            old, self._backend = self._backend, opened
        if old is not None:
            old.close()  # once the vault is closed

    def close(self) -> None:
        """Wipes the keys and lets go of the backend; for good."""
        if self._pid == os.getpid():
            with self._mutex:
                native, backend = self._take()
        else:  # the mutex may be held by a thread that is not in the child
            native, backend = self._take()
        if native is not None:
            native.close()
        if backend is not None:
            backend.close()

    def _take(self) -> tuple[_native.Vault | None, _native.Backend | None]:
        taken = self._native, self._backend
        self._closed, self._native, self._backend = True, None, None
        return taken

    def __del__(self) -> None:
        self.close()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise EnclaveLockedError("this vault belongs to the parent process; make another backend object here")

    def _open(self, backend: EnclaveBackend) -> tuple[_native.Vault, bool]:
        if self._closed:
            raise EnclaveLockedError("the vault was closed")
        if self._native is not None:
            return self._native, False
        opened = backend._open_native()
        try:
            native, created = _open_vault(opened, backend)
        except BaseException:
            opened.close()
            raise
        self._native, self._backend = native, opened
        return native, created


def _open_vault(opened: _native.Backend, backend: EnclaveBackend) -> tuple[_native.Vault, bool]:
    """The vault, and whether it was made just now."""
    path = None if backend.vault_path is None else os.fsencode(backend.vault_path)
    device_id = backend.device_id or None
    wait = max(1, int(backend.busy_timeout_seconds * 1000))

    def existing() -> _native.Vault:
        return _native.Vault(opened, path, False, backend.read_only, None, wait)

    if path is None:
        return _native.Vault(opened, None, True, False, device_id, wait), True
    if backend.read_only or not backend.create:
        return existing(), False
    # A vault that another process is making looks damaged or absent: look again when nobody is making one.
    with contextlib.suppress(EnclaveSDKError):
        return existing(), False
    with _makers_turn(path):
        try:
            return existing(), False
        except EnclaveSDKError as error:
            if error.code != Status.NOT_A_VAULT:
                raise
        return _native.Vault(opened, path, True, False, device_id, wait), True


@contextlib.contextmanager
def _makers_turn(path: bytes) -> Iterator[None]:
    """Of all processes that make a vault in the same directory, one at a time, by a lock on the directory above."""
    try:
        above = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # the library will say what is wrong
        yield
        return
    try:
        with contextlib.suppress(OSError):  # no locks on this file system
            fcntl.flock(above, fcntl.LOCK_EX)
        yield
    finally:
        os.close(above)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_new_store = threading.Lock()


def store_of(backend: EnclaveBackend) -> Store:
    """The store of a backend object, made when first asked for."""
    with _new_store:
        if backend._store is None:
            backend._store = Store()
        return backend._store


def _close_all() -> None:
    # Before the interpreter goes: backends written in Python must still be able to run.
    for store in list(_stores):
        store.close()
    _native.shut_down()


def _after_fork() -> None:
    global _new_store
    _new_store = threading.Lock()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
