# SPDX-License-Identifier: Apache-2.0
"""`EnclaveVault`: sealed artifacts, and the session that opens them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from . import _native
from ._artifacts import ArtifactKind, ArtifactMetadata, EnclaveArtifact, EncryptedArtifact, metadata_from_fields
from ._audit import EnclaveAuditLog
from ._backends import EnclaveBackend, FileEnclaveBackend, Passphrase
from ._errors import EnclaveSDKError, PolicyViolationError, Status
from ._policy import AccessPolicy
from ._reader import ArtifactReader
from ._recovery import RecoveryMethods
from ._store import Store, store_of
from ._vault_identities import IdentityMethods
from ._vault_policy import PolicyMethods
from ._vault_policy import check_text as _text

if TYPE_CHECKING:
    from ._native import ArtifactFields, Buffer

DEFAULT_SESSION_TTL = 3600

Progress = Callable[[int, "int | None"], object]
Content = Union["Buffer", BinaryIO]

_FILE_CHUNK = 4 << 20
_HOUR = 3600.0
_holders = itertools.count(1)


@dataclass(frozen=True)
class Finding:
    """One piece of damage that `EnclaveVault.verify` found. ``metadata`` is None where the damage hides whose it is."""

    code: int
    message: str
    metadata: ArtifactMetadata | None


@dataclass(frozen=True)
class VerifyReport:
    """What `EnclaveVault.verify` checked: counts, plaintext bytes, files that belong to nothing, and the damage."""

    artifacts: int
    damaged: int
    bytes: int
    orphans: int
    findings: tuple[Finding, ...]


class EnclaveVault(IdentityMethods, PolicyMethods, RecoveryMethods):
    """The sealed artifacts of a device.

    Args:
        backend: what holds the device key, and says where the vault is.
        policy: asked by this object before anything is decrypted, beside the rules that the vault keeps (`set_policy`);
            None: those alone.
        audit: None: a new log. A plain `EnclaveAuditLog` is attached where the vault is a directory, and shows what the
            vault itself records; with a vault in memory, and if it is of a subclass, it is told of every unlock, lock,
            put, get, delete, attest and violation. ``ValueError`` if it is attached to another vault.
        caller_bundle_id: who asks, for the policy and the audit log, unless a call says otherwise. Nobody checks it.

    Several objects on one backend object share one vault: what one puts the others see, and the keys are wiped when the
    last of them locks, or when the time is over. All methods may be called from several threads; long ones run without
    the interpreter's lock and can be interrupted by Ctrl-C, except while they commit. After a fork the child has
    to make a backend object of its own.

    Every method but `unlock`, `lock` and `is_unlocked` raises `EnclaveLockedError` without a session, `DecryptionError`
    where something stored does not verify, and `EnclaveSDKError` with ``code`` `Status.IO`, `Status.NO_SPACE`,
    `Status.READ_ONLY` or `Status.BUSY` for what the system refuses.
    """

    def __init__(
        self,
        backend: EnclaveBackend,
        policy: AccessPolicy | None = None,
        audit: EnclaveAuditLog | None = None,
        *,
        caller_bundle_id: str = "",
    ) -> None:
        if not isinstance(backend, EnclaveBackend):
            raise TypeError("backend must be an EnclaveBackend")
        if policy is not None and not isinstance(policy, AccessPolicy):
            raise TypeError("policy must be an AccessPolicy")
        if audit is not None and not isinstance(audit, EnclaveAuditLog):
            raise TypeError("audit must be an EnclaveAuditLog")
        self.backend = backend
        self.policy = policy
        self.audit = EnclaveAuditLog() if audit is None else audit
        self.caller_bundle_id = _text("caller_bundle_id", caller_bundle_id)
        self._store: Store = store_of(backend)
        if type(self.audit) is EnclaveAuditLog and backend.vault_path is not None:
            self.audit._attach(self._store)
        self._holder = next(_holders)
        self._device_id = backend.device_id
        self._uses: dict[str, deque[float]] = {}
        self._uses_lock = threading.Lock()

    # ---- session ----

    @property
    def is_unlocked(self) -> bool:
        """True while a session runs; checks its expiry."""
        return self._store.is_unlocked(self._holder)

    def unlock(self, ttl_seconds: int = DEFAULT_SESSION_TTL) -> None:
        """Starts a session of ``ttl_seconds`` (time in suspend counts); makes the vault if there is none.

        Called again it starts anew. Raises `BackendError` where the backend refuses (wrong passphrase or key file) or
        is not available, `DecryptionError` where the vault's index does not verify, `RollbackError` where the backend
        counts the vault's changes and this is an older copy of it.
        """
        _check_ttl(ttl_seconds)
        native = self._store.unlock(self.backend, self._holder, ttl_seconds, self.caller_bundle_id or None)
        vault_id = native.get_info()["vault_id"]
        self._device_id = self.backend.device_id or f"pqe-{vault_id}"
        if not self.audit.is_attached:
            self.audit.log_unlock(self._device_id, vault_id)

    def accept_rollback(self, ttl_seconds: int = DEFAULT_SESSION_TTL) -> tuple[int, int | None, int]:
        """Goes on with an older copy of the vault, restored from a backup, that `unlock` refuses with `RollbackError`.

        Unlocks it. The device expects this copy from now on and refuses every other; what was done with the vault since
        the copy was made is given up. Returns three generations of the vault: found, expected (None where the device
        cannot tell) and the new one. Raises `EnclaveSDKError` (``Status.STATE``) where there is nothing to accept,
        `BackendError` (``Status.UNAVAILABLE``) where the backend has no counter.
        """
        _check_ttl(ttl_seconds)
        caller = self.caller_bundle_id or None
        found, expected, generation = self._store.accept_rollback(self.backend, self._holder, ttl_seconds, caller)
        return found, expected or None, generation

    def lock(self) -> None:
        """Ends the session: keys are wiped, open readers fail from now on. May be called at any time."""
        if self._store.lock(self._holder) and not self.audit.is_attached:
            self.audit.log_lock(self._device_id)

    def __enter__(self) -> EnclaveVault:
        if not self.is_unlocked:
            self.unlock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock()

    # ---- putting ----

    def put_artifact(
        self,
        name: str,
        kind: ArtifactKind,
        content: Content,
        version: str = "",
        app_bundle_id: str = "",
        model_did: str = "",
        tags: Iterable[str] = (),
        description: str = "",
        *,
        hash: str | None = None,
        progress: Progress | None = None,
    ) -> EncryptedArtifact:
        """Encrypts and stores; durable when it returns. What has that name is replaced, and gets a new id.

        ``content`` is any C-contiguous buffer (bytes, bytearray, memoryview, mmap, numpy array), which is not copied,
        or a binary file, which is read to its end. ``progress(done, total)`` is called now and then with bytes, total
        None for files; what it raises stops the put. On any failure the earlier artifact of that name is untouched.
        ``hash`` names the content hash to record: "sha3-256", "parallelhash256" (on all processors) or "deferred"
        (none before it is verified or attested: ``content_hash`` is empty); None is the vault's default for the kind.

        Raises ``TypeError`` or ``ValueError`` before anything is written.
        """
        texts = {
            "name": name,
            "version": version,
            "app_bundle_id": app_bundle_id,
            "model_did": model_did,
            "description": description,
        }
        for what, text in texts.items():
            _text(what, text)
        source = _source_of(content)
        try:
            _check_progress(progress)
            arguments: dict[str, Any] = {**texts, "kind": _kind(kind).value, "tags": _tags(tags)}
            arguments["hash"] = None if hash is None else _text("hash", hash)
            writer = _native.Writer(self._store.session(self._holder), **arguments)
            fields = _write(writer, source, progress, self.caller_bundle_id or None)
        finally:
            if isinstance(source, memoryview):
                source.release()
        if not self.audit.is_attached:
            self.audit.log_put(self._device_id, fields[0], fields[1], fields[2])
        return EncryptedArtifact._of_vault(fields, self._stored_reader())

    def delete_artifact(self, name_or_id: str) -> None:
        """Removes an artifact: its key is dropped, then its body. Raises `UnknownArtifactError`."""
        native = self._store.session(self._holder)
        fields = native.info(_text("name_or_id", name_or_id))
        native.delete(fields[0], self.caller_bundle_id or None)
        if not self.audit.is_attached:
            self.audit.log_delete(self._device_id, fields[0], fields[1])

    def save(self) -> None:
        """Hands the artifacts to a backend that keeps them as objects (`InMemoryEnclaveBackend`).

        With any other there is nothing to do: a put is durable when it returns.
        """
        native = self._store.session(self._holder)
        if type(self.backend).save_artifacts is EnclaveBackend.save_artifacts:
            native.get_info()  # says if the session has ended
            return
        read = self._stored_reader()
        self.backend.save_artifacts({fields[0]: EncryptedArtifact._of_vault(fields, read) for fields in native.list()})

    # ---- getting ----

    def get_artifact(
        self, name_or_id: str, *, caller_bundle_id: str | None = None, progress: Progress | None = None
    ) -> EnclaveArtifact:
        """Decrypts an artifact into memory; a name is looked for before an id.

        The result's ``view`` is without a copy. Raises `UnknownArtifactError`, `PolicyViolationError`,
        `DecryptionError`, ``MemoryError``.
        """
        _check_progress(progress)
        with self._reading(name_or_id, caller_bundle_id) as (reader, metadata):
            try:
                content = reader.content(progress)
            finally:
                reader.close()
        return EnclaveArtifact._of_vault(metadata, content)

    def open_artifact(self, name_or_id: str, *, caller_bundle_id: str | None = None) -> ArtifactReader:
        """Opens an artifact as a seekable binary file; nothing is decrypted before it is read."""
        with self._reading(name_or_id, caller_bundle_id) as (reader, _):
            return ArtifactReader(reader, self._store)

    @contextlib.contextmanager
    def artifact_path(
        self, name_or_id: str, *, caller_bundle_id: str | None = None, progress: Progress | None = None
    ) -> Iterator[str]:
        """A path that any program of this user can open and map, for as long as the context lasts.

        It names a memory file with all seals set, so that nobody can change it: no plaintext on disk. Its memory can be
        swapped, and the same user and root can read it; whoever has it open keeps it. Linux only.
        """
        _check_progress(progress)
        with self._reading(name_or_id, caller_bundle_id) as (reader, _):
            fd = _memory_file()
            try:
                reader.copy_to(fd, progress)
                os.lseek(fd, 0, os.SEEK_SET)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _ALL_SEALS)
            except BaseException:
                os.close(fd)
                raise
            finally:
                reader.close()
        try:
            yield f"/proc/{os.getpid()}/fd/{fd}"
        finally:
            os.close(fd)

    def list_artifacts(self) -> list[ArtifactMetadata]:
        """Metadata of every artifact, each once, by name; the index proves that none is missing."""
        fields = self._store.session(self._holder).list()
        return sorted((metadata_from_fields(f) for f in fields), key=lambda metadata: metadata.name)

    # ---- maintenance ----

    def info(self) -> dict[str, str | int | bool]:
        """Facts: vault_id, backend, suite, key_source, held_by, native_kem, format_version, generation,
        artifact_count, read_only."""
        return self._store.session(self._holder).get_info()

    def verify(self, name_or_id: str | None = None, *, progress: Progress | None = None) -> VerifyReport:
        """Checks one artifact or the whole vault: index, every chunk, every content hash. Damage is in the report.

        ``progress(done, None)`` is called after each artifact.
        """
        _check_progress(progress)
        if name_or_id is not None:
            _text("name_or_id", name_or_id)
        artifacts, damaged, checked, orphans, findings = self._store.session(self._holder).verify(name_or_id, progress)
        found = tuple(
            Finding(_code(status), message, None if fields is None else metadata_from_fields(fields))
            for status, fields, message in findings
        )
        return VerifyReport(artifacts, damaged, checked, orphans, found)

    def change_passphrase(self, new: Passphrase | None = None) -> None:
        """Re-wraps the vault's key with a new passphrase.

        ``new`` None: the backend's callable is asked for it with "new". Raises `BackendError` (``Status.UNAVAILABLE``)
        where the vault is not opened by a passphrase.
        """
        native = self._store.session(self._holder)
        if not isinstance(self.backend, FileEnclaveBackend):
            native.change_passphrase()
            return
        self.backend._next_passphrase = new
        try:
            native.change_passphrase()
        finally:
            self.backend._next_passphrase = None
        if new is not None:
            self.backend._passphrase = new

    def grant_public_key(self) -> str:
        """The device's public grant key (ML-KEM-768) as PEM: what packages are sealed to."""
        return self._store.session(self._holder).grant_public_key()

    # ---- inside ----

    def _stored_reader(self) -> Callable[[str, int], bytes]:
        return functools.partial(_read_stored, self._store, self.caller_bundle_id or None)

    @contextlib.contextmanager
    def _reading(
        self, name_or_id: str, caller_bundle_id: str | None
    ) -> Iterator[tuple[_native.Reader, ArtifactMetadata]]:
        """An opened reader that the policies allow; a log that is not the vault's own is told how it went."""
        _text("name_or_id", name_or_id)
        caller = self.caller_bundle_id if caller_bundle_id is None else _text("caller_bundle_id", caller_bundle_id)
        try:
            reader = self._open(name_or_id, caller)
            try:
                yield reader, metadata_from_fields(reader.artifact)
            except BaseException:
                reader.close()
                raise
        except PolicyViolationError as error:
            if not self.audit.is_attached:
                self.audit.log_policy_violation(self._device_id, self._id_of(name_or_id), str(error))
            raise
        except EnclaveSDKError as error:
            if not self.audit.is_attached:
                self.audit.log_get(self._device_id, self._id_of(name_or_id), success=False, details=str(error))
            raise
        if not self.audit.is_attached:
            self.audit.log_get(self._device_id, reader.artifact[0])

    def _id_of(self, name_or_id: str) -> str:
        with contextlib.suppress(EnclaveSDKError, ValueError):
            return self._store.session(self._holder).info(name_or_id)[0]
        return name_or_id

    def _open(self, name_or_id: str, caller: str) -> _native.Reader:
        """Asks this object's policy, then opens, where the vault asks its own."""
        native = self._store.session(self._holder)
        if self.policy is None:
            return _native.Reader(native, name_or_id, caller or None)
        while True:
            fields = native.info(name_or_id)
            self._authorize(self.policy, metadata_from_fields(fields), caller)
            reader = _native.Reader(native, name_or_id, caller or None)
            if reader.artifact[0] == fields[0]:
                return reader
            reader.close()  # replaced meanwhile: the policy has not seen this one

    def _authorize(self, policy: AccessPolicy, metadata: ArtifactMetadata, caller: str) -> None:
        try:
            policy.check(metadata, caller)
            rule = policy.rules.get(metadata.kind)
            if rule is None:
                return
            if rule.require_biometric:
                raise PolicyViolationError(
                    f"artifacts of kind {metadata.kind.value} need the user's presence, for which only a rule in the "
                    "vault (set_policy) can ask"
                )
            if rule.max_uses_per_hour:
                self._count_use(metadata, rule.max_uses_per_hour)
        except PolicyViolationError as error:
            if self.audit.is_attached:  # the vault knows nothing of this policy
                self.audit._log(
                    "policy_violation", self._device_id, caller, artifact_id=metadata.artifact_id,
                    artifact_name=metadata.name, artifact_kind=metadata.kind.value, success=False, details=str(error),
                )
            raise

    def _count_use(self, metadata: ArtifactMetadata, most: int) -> None:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._uses_lock:
            uses = self._uses.setdefault(metadata.artifact_id, deque())
            while uses and uses[0] <= now - _HOUR:
                uses.popleft()
            if len(uses) >= most:
                raise PolicyViolationError(f"the artifact was used {most} times within an hour, which is the limit")
            uses.append(now)


# ---- arguments ----


def _kind(kind: ArtifactKind) -> ArtifactKind:
    if not isinstance(kind, str):
        raise TypeError(f"kind must be an ArtifactKind, not {type(kind).__name__}")
    return ArtifactKind(kind)


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, (str, bytes)) or not isinstance(tags, Iterable):
        raise TypeError("tags must be an iterable of str")
    return tuple(_text("a tag", tag) for tag in tags)


def _check_progress(progress: Progress | None) -> None:
    if progress is not None and not callable(progress):
        raise TypeError("progress must be a callable")


def _code(status: int) -> int:
    try:
        return Status(status)
    except ValueError:
        return status


def _check_ttl(ttl_seconds: int) -> None:
    if not isinstance(ttl_seconds, int) or isinstance(ttl_seconds, bool):
        raise TypeError("ttl_seconds must be an int")
    if not 1 <= ttl_seconds <= 0xFFFFFFFF:
        raise ValueError("ttl_seconds must be 1 to 4294967295")


def _source_of(content: Content) -> memoryview | BinaryIO:
    try:
        view = memoryview(content)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(content, (str, io.TextIOBase)) or not callable(getattr(content, "read", None)):
            raise TypeError(
                f"content must be a bytes-like object or a binary file, not {type(content).__name__}"
            ) from None
        return content  # type: ignore[return-value]
    if not view.c_contiguous:
        raise ValueError("content must be C-contiguous")
    return view


# ---- moving bytes ----


def _write(
    writer: _native.Writer, source: memoryview | BinaryIO, progress: Progress | None, caller: str | None
) -> ArtifactFields:
    try:
        if isinstance(source, memoryview):
            writer.write(source, progress, source.nbytes)
        else:
            _write_file(writer, source, progress)
        return writer.finish(caller)
    except BaseException:
        writer.abort()
        raise


def _write_file(writer: _native.Writer, file: BinaryIO, progress: Progress | None) -> None:
    buffer = bytearray(_FILE_CHUNK)
    view = memoryview(buffer)
    try:
        for n in _chunks(file, view):
            writer.write(n, progress)
    finally:
        view[:] = bytes(len(view))
        view.release()


def _chunks(file: BinaryIO, view: memoryview) -> Iterator[Buffer]:
    """What the file holds, piece by piece; with `readinto` all through one buffer."""
    readinto = getattr(file, "readinto", None)
    while True:
        if readinto is not None:
            n = readinto(view)
            chunk: Buffer = view[:n] if n is not None else b""
        else:
            data = file.read(_FILE_CHUNK)
            n = None if data is None else len(data)
            chunk = data
        if n is None:
            raise BlockingIOError(errno.EAGAIN, "the file has nothing to read yet, and does not wait")
        if not isinstance(n, int) or not 0 <= n <= _FILE_CHUNK:
            raise ValueError("the file's readinto() or read() returned an impossible length")
        if n == 0:
            return
        yield chunk


def _read_stored(store: Store, caller: str | None, artifact_id: str, size: int) -> bytes:
    reader = _native.Reader(store.vault(), artifact_id, caller)
    try:
        return reader.stored_at(0, reader.artifact[15] if size < 0 else size)
    finally:
        reader.close()


_ALL_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_MFD_NOEXEC_SEAL = 0x8


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("pqc-enclave", flags | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Linux before 6.3
            raise
    return os.memfd_create("pqc-enclave", flags)
