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
from ._attest import DeviceAttestation, attestation_v1
from ._audit import EnclaveAuditLog
from ._backends import EnclaveBackend, FileEnclaveBackend, Passphrase
from ._errors import EnclaveSDKError, PolicyViolationError, Status
from ._identity import AgentIdentity, SignatureAlgorithm, SigningKeypair, VaultIdentity, vault_identity
from ._policy import AccessPolicy, ArtifactPolicy, StoredRule
from ._reader import ArtifactReader
from ._store import Store, store_of

if TYPE_CHECKING:
    from ._native import ArtifactFields, Buffer

DEFAULT_SESSION_TTL = 3600
DEFAULT_ATTESTATION_TTL = 86400

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


class EnclaveVault:
    """The sealed artifacts of a device.

    Args:
        backend: what holds the device key, and says where the vault is.
        policy: asked by this object before anything is decrypted, beside the rules that the vault keeps (`set_policy`);
            None: those alone.
        audit: None: a new log. A plain `EnclaveAuditLog` is attached where the vault is a directory, and shows what the
            vault itself records; with a vault in memory, and if it is of a subclass, it is told of every unlock, lock,
            put, get, delete, attest and violation. ``ValueError`` if it is attached to another vault.
        caller_bundle_id: who is asking, for the policy and the audit log, unless a call says otherwise. Nobody checks it.

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
        is not available, `DecryptionError` where the vault's index does not verify.
        """
        if not isinstance(ttl_seconds, int) or isinstance(ttl_seconds, bool):
            raise TypeError("ttl_seconds must be an int")
        if not 1 <= ttl_seconds <= 0xFFFFFFFF:
            raise ValueError("ttl_seconds must be 1 to 4294967295")
        native = self._store.unlock(self.backend, self._holder, ttl_seconds, self.caller_bundle_id or None)
        vault_id = native.get_info()["vault_id"]
        self._device_id = self.backend.device_id or f"pqe-{vault_id}"
        if not self.audit.is_attached:
            self.audit.log_unlock(self._device_id, vault_id)

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
        progress: Progress | None = None,
    ) -> EncryptedArtifact:
        """Encrypts and stores; durable when it returns. What has that name is replaced, and gets a new id.

        ``content`` is any C-contiguous buffer (bytes, bytearray, memoryview, mmap, numpy array), which is not copied,
        or a binary file, which is read to its end. ``progress(done, total)`` is called now and then with bytes, total
        None for files; what it raises stops the put. On any failure the earlier artifact of that name is untouched.

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

    # ---- identities and attestations ----

    def create_identity(
        self, name: str | None = None, algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65
    ) -> VaultIdentity:
        """Makes a key pair, ML-DSA-65 or -87, that the vault keeps and signs attestations with; durable on return.

        ``name``: up to 256 bytes. The first one becomes the default. Raises `EnclaveSDKError` with `Status.EXISTS`
        where the name is taken, `InvalidArgumentError` for ML-DSA-44 and bad names.
        """
        native = self._store.session(self._holder)
        return vault_identity(native.identity_create(_name(name), SignatureAlgorithm(algorithm).value))

    def import_identity(self, key: SigningKeypair | AgentIdentity, name: str | None = None) -> VaultIdentity:
        """Keeps a copy of a key pair in the vault, under its own name if it is an `AgentIdentity` and none is given."""
        if isinstance(key, AgentIdentity):
            name = key.name or None if name is None else name
            key = key.signing_keypair
        if not isinstance(key, SigningKeypair):
            raise TypeError("key must be a SigningKeypair or an AgentIdentity")
        return vault_identity(self._store.session(self._holder).identity_import(key._native, _name(name)))

    def identity(self, did_or_name: str | None = None) -> VaultIdentity:
        """One of them; None: the default. `UnknownArtifactError` if there is none, which the vault's index proves."""
        return vault_identity(self._store.session(self._holder).identity_get(_name(did_or_name)))

    def list_identities(self) -> list[VaultIdentity]:
        """All of them, oldest first; the index proves that none is missing."""
        return [vault_identity(fields) for fields in self._store.session(self._holder).identity_list()]

    def delete_identity(self, did_or_name: str) -> None:
        """Removes one; what it signed stays valid. If it was the default, the oldest one left becomes it."""
        self._store.session(self._holder).identity_delete(_text("did_or_name", did_or_name))

    def export_identity(self, did_or_name: str | None = None) -> SigningKeypair:
        """Gives the key pair out of the vault's keeping: whoever has it can sign as this device.

        `BackendError` with `Status.UNAVAILABLE` where the backend made the key and keeps it.
        """
        native = self._store.session(self._holder).identity_export(_name(did_or_name))
        return SigningKeypair._of_native(native)

    def sign(self, message: Buffer, context: Buffer, identity: str | None = None) -> bytes:
        """Signs with an identity of the vault (DID or name; None: the default). `verify` takes the same ``context``.

        It has 1 to 255 bytes and must not begin with "pqc-enclave": nothing signed here can pass for an attestation.
        """
        return self._store.session(self._holder).identity_sign(_name(identity), message, context)

    def attest(
        self,
        name_or_id: str,
        *,
        challenge: Buffer | None = None,
        identity: str | None = None,
        ttl: int = DEFAULT_ATTESTATION_TTL,
        device_model: str | None = None,
        enclave_vendor: str | None = None,
        trust_record: bool = False,
    ) -> bytes:
        """States, signed by an identity of the vault, which content an artifact has: version 2, as COSE bytes.

        Args:
            challenge: 8 to 64 bytes from the verifier, which prove to it that this is fresh.
            identity: DID or name; None: the default.
            ttl: seconds until it expires.
            device_model, enclave_vendor: None: the backend's.
            trust_record: take the hash computed at the put, in place of reading the whole artifact.

        `verify_attestation` reads it. Raises `UnknownArtifactError` for the artifact or the identity, `DecryptionError`
        where the stored artifact does not verify, and `EnclaveSDKError` with `Status.STATE` for a hash that this vault
        has neither computed nor verified.
        """
        if not isinstance(ttl, int) or isinstance(ttl, bool):
            raise TypeError("ttl must be an int")
        if not 1 <= ttl <= 0xFFFFFFFF:
            raise ValueError("ttl must be 1 to 4294967295 seconds")
        if challenge is not None and not 8 <= memoryview(challenge).nbytes <= 64:
            raise ValueError("a challenge has 8 to 64 bytes")
        made = self._attest(name_or_id, identity, 2, challenge, ttl, device_model, enclave_vendor, trust_record)
        return made.encode()

    def attest_v1(
        self,
        name_or_id: str,
        *,
        identity: str | None = None,
        device_model: str | None = None,
        enclave_vendor: str | None = None,
        trust_record: bool = False,
    ) -> DeviceAttestation:
        """As `attest`, in the form of the published package: no challenge, no expiry, the signer not signed."""
        return attestation_v1(
            self._attest(name_or_id, identity, 1, None, 0, device_model, enclave_vendor, trust_record)
        )

    # ---- the vault's own policy ----

    def set_policy(self, policy: AccessPolicy) -> None:
        """Writes the rules into the vault in place of all its rules by kind; from then on every program obeys them.

        Each rule is durable by itself: those of ``policy`` are set first, then the others are removed. Uses counted so
        far stay counted. ``max_uses_per_hour`` is for all artifacts of the kind together; ``require_biometric`` has the
        backend ask, and denies where it cannot. Rules of single artifacts stay as they are.

        Raises ``ValueError`` for a rule of more than 64 bundle ids or more than 1,000,000 uses, ``TypeError`` for a
        policy whose ``check`` is its own, which cannot be stored.
        """
        if not isinstance(policy, AccessPolicy):
            raise TypeError("policy must be an AccessPolicy")
        if type(policy).check is not AccessPolicy.check:
            raise TypeError("a policy with a check of its own cannot be stored")
        native = self._store.session(self._holder)
        rules = [_storable(rule) for rule in policy.rules.values()]
        for kind, allowed, presence, uses in rules:
            native.policy_set(kind, None, allowed, presence, uses, self.caller_bundle_id or None)
        for rule in self.stored_rules():
            if rule.kind is not None and rule.kind not in policy.rules:
                native.policy_clear(rule.kind.value, None, self.caller_bundle_id or None)

    def set_artifact_rule(
        self,
        name: str,
        *,
        allowed_bundle_ids: Iterable[str] = (),
        require_biometric: bool = False,
        max_uses_per_hour: int = 0,
    ) -> None:
        """Sets the vault's rule for one artifact by its name, which need not exist yet. Its kind's rule holds too."""
        rule = ArtifactPolicy(ArtifactKind.OTHER, frozenset(allowed_bundle_ids), require_biometric, max_uses_per_hour)
        _, allowed, presence, uses = _storable(rule)
        native = self._store.session(self._holder)
        native.policy_set(None, _text("name", name), allowed, presence, uses, self.caller_bundle_id or None)

    def clear_artifact_rule(self, name: str) -> None:
        """Removes it. Raises `UnknownArtifactError` if there is none."""
        native = self._store.session(self._holder)
        native.policy_clear(None, _text("name", name), self.caller_bundle_id or None)

    def stored_policy(self) -> AccessPolicy:
        """The vault's rules by kind."""
        policy = AccessPolicy()
        for rule in self.stored_rules():
            if rule.kind is not None:
                policy.add(ArtifactPolicy(
                    rule.kind, rule.allowed_bundle_ids, rule.require_biometric, rule.max_uses_per_hour
                ))
        return policy

    def stored_rules(self) -> list[StoredRule]:
        """All of the vault's rules, kinds first, with the uses counted within the last hour."""
        return [
            StoredRule(ArtifactKind(kind) if kind else None, artifact, frozenset(allowed), presence, most, uses)
            for kind, artifact, allowed, presence, most, uses in self._store.session(self._holder).policy_list()
        ]

    # ---- maintenance ----

    def info(self) -> dict[str, str | int | bool]:
        """Facts: vault_id, backend, suite, key_source, format_version, generation, artifact_count, read_only."""
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

    def rotate(self, rekey: bool = False) -> None:
        """Makes new device keys and re-seals the vault's secrets to them; with ``rekey`` replaces those too."""
        self._store.session(self._holder).rotate(bool(rekey), self.caller_bundle_id or None)

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

    def _attest(
        self,
        name_or_id: str,
        identity: str | None,
        version: int,
        challenge: Buffer | None,
        ttl: int,
        device_model: str | None,
        enclave_vendor: str | None,
        trust_record: bool,
    ) -> _native.Attestation:
        _text("name_or_id", name_or_id)
        model = self.backend.device_model if device_model is None else _text("device_model", device_model)
        vendor = self.backend.enclave_vendor if enclave_vendor is None else _text("enclave_vendor", enclave_vendor)
        made = self._store.session(self._holder).attest(
            name_or_id, _name(identity), version, challenge, ttl, model or None, vendor or None, bool(trust_record),
            self.caller_bundle_id or None,
        )
        if self.audit.is_attached:
            return made
        said = made.fields()
        self.audit.log_attest(self._device_id, said["artifact_id"], f"signer={said['signer_did']}")
        return made

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


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def _name(name: str | None) -> str | None:
    return None if name is None else _text("an identity's name", name)


def _kind(kind: ArtifactKind) -> ArtifactKind:
    if not isinstance(kind, str):
        raise TypeError(f"kind must be an ArtifactKind, not {type(kind).__name__}")
    return ArtifactKind(kind)


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, (str, bytes)) or not isinstance(tags, Iterable):
        raise TypeError("tags must be an iterable of str")
    return tuple(_text("a tag", tag) for tag in tags)


def _storable(rule: ArtifactPolicy) -> tuple[str, tuple[str, ...], bool, int]:
    allowed = tuple(sorted(_text("a bundle id", bundle) for bundle in rule.allowed_bundle_ids))
    if not isinstance(rule.max_uses_per_hour, int) or isinstance(rule.max_uses_per_hour, bool):
        raise TypeError("max_uses_per_hour must be an int")
    if not 0 <= rule.max_uses_per_hour <= 1_000_000:
        raise ValueError("max_uses_per_hour must be 0 to 1000000")
    if len(allowed) > 64 or "" in allowed:
        raise ValueError("a rule has at most 64 bundle ids, none of them empty")
    return rule.kind.value, allowed, bool(rule.require_biometric), rule.max_uses_per_hour


def _check_progress(progress: Progress | None) -> None:
    if progress is not None and not callable(progress):
        raise TypeError("progress must be a callable")


def _code(status: int) -> int:
    try:
        return Status(status)
    except ValueError:
        return status


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
