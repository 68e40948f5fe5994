# SPDX-License-Identifier: Apache-2.0
"""Attestations: signed statements of what a device stores, and their verification (docs/attestation.md)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, Union

from . import _native
from ._errors import AttestationError, EnclaveSDKError, Status
from ._identity import AgentIdentity, SigningKeypair, VaultIdentity

if TYPE_CHECKING:
    from ._native import Buffer

Anchor = Union[str, "Buffer", "os.PathLike[str]", AgentIdentity, SigningKeypair, VaultIdentity]
Trust = Union[Anchor, Iterable[Anchor]]
EvidenceKey = Union[str, "Buffer", "os.PathLike[str]"]
EvidenceTrust = Union[EvidenceKey, Iterable[EvidenceKey]]

DEFAULT_SKEW = 300
"""Seconds that an attestation may be from the future, where clocks differ."""

_RAW_KEYS = (1312, 1952, 2592)


class Verdict(IntEnum):
    """What verification found (``pqe_verdict``): the first that applies. Only PASS is a pass. Values never change."""

    PASS = 0
    MALFORMED = 1
    ALGORITHM = 2
    DID = 3
    SIGNATURE = 4
    UNKNOWN_SIGNER = 5
    CHALLENGE = 6
    TIME = 7
    EXPIRED = 8
    TOO_OLD = 9
    FUTURE = 10
    HASH = 11
    NO_EVIDENCE = 12
    EVIDENCE = 13
    PCR = 14

    @property
    def text(self) -> str:
        """One sentence."""
        return _native.verdict_text(self.value)[1] or ""


@dataclass
class DeviceAttestation:
    """Version 1 of an attestation, the form of the published package: ten texts, of which the first six are signed.

    Nothing in it is verified, and all of it can be assigned: see `DeviceAttester.verify`. ``signature`` and
    ``public_key`` are lower-case hex.
    """

    device_id: str
    device_model: str
    enclave_vendor: str
    artifact_id: str
    artifact_content_hash: str
    issued_at: str
    signer_did: str = ""
    algorithm: str = ""
    signature: str = ""
    public_key: str = ""

    def _texts(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in _TEXTS)

    def canonical_bytes(self) -> bytes:
        """The first six fields as JSON, sorted, compact, not ASCII-escaped, in UTF-8: its SHA3-256 is what is signed.

        Raises ``TypeError`` unless all six are str, ``UnicodeEncodeError`` for lone surrogates, `InvalidArgumentError`
        for a text of more than 4096 bytes.
        """
        return _native.v1_canonical(self._texts()[:6])

    def to_dict(self) -> dict[str, Any]:
        """All ten fields; ``json.dumps`` of it is read by the ``pqc-enclave verify-attestation`` command."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeviceAttestation:
        """The inverse of `to_dict`; unknown or missing keys are a ``TypeError``."""
        return cls(**data)


_TEXTS = tuple(field.name for field in fields(DeviceAttestation))


@dataclass(frozen=True)
class AttestationClaims:
    """What an attestation says, in either version. Verified only if the `AttestationResult` it comes with passed.

    ``signature``, ``public_key`` and ``challenge`` are raw; ``issued`` and ``expires`` seconds since 1970 (UTC);
    ``evidence`` pairs of type and bytes. From ``issued`` on the fields are of version 2 alone, empty or 0 in version 1.
    """

    version: int
    device_id: str
    device_model: str
    enclave_vendor: str
    artifact_id: str
    artifact_content_hash: str
    issued_at: str
    signer_did: str
    algorithm: str
    signature: bytes
    public_key: bytes
    issued: int
    expires: int
    hash_algorithm: str
    key_id: str
    backend: str
    tier: str
    challenge: bytes
    evidence: tuple[tuple[str, bytes], ...]


class EvidenceState(Enum):
    """What became of the evidence of the hardware in an attestation (``pqe_evidence_state``)."""

    ABSENT = "absent"
    NOT_CHECKED = "not-checked"
    """There is some, which proves nothing: no ``evidence_trust`` was given, or it is of an unknown kind."""
    VERIFIED = "verified"
    FAILED = "failed"


@dataclass(frozen=True)
class AttestationEvidence:
    """What a TPM signed over the attestation. From ``signature`` on empty or None unless it is VERIFIED.

    ``signature`` names the algorithm, which is classical: a quantum computer could forge it. ``key`` is the SHA-256 of
    the attestation key that signed, ``firmware`` the TPM's version, ``clock_ms`` its time under power, ``resets`` and
    ``restarts`` its count of starts. None where the TPM did not say it: the selected PCRs and their digest, the Name of
    the vault's sealed key, the vault's counter and the Name of its index (hex).
    """

    state: EvidenceState
    pieces: int
    unknown_pieces: int
    reason: str | None
    signature: str | None
    key: str
    firmware: int
    clock_ms: int
    clock_safe: bool
    resets: int
    restarts: int
    pcr_selection: str | None
    pcr_digest: str | None
    object_name: str | None
    counter: int | None
    counter_name: str | None


@dataclass(frozen=True)
class AttestationResult:
    """A verdict, its sentence, and what the attestation and its evidence say (None if that cannot be read).

    True if it is a pass.
    """

    verdict: Verdict
    reason: str
    claims: AttestationClaims | None
    evidence: AttestationEvidence | None = None

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS


def verify_attestation(
    attestation: DeviceAttestation | Buffer | str,
    trust: Trust,
    *,
    challenge: Buffer | None = None,
    max_age: int | None = None,
    expected_hash: str | None = None,
    skew: int = DEFAULT_SKEW,
    now: int | None = None,
    evidence_trust: EvidenceTrust | None = None,
    expected_pcr_digest: str | None = None,
) -> AttestationResult:
    """Verifies an attestation against trust anchors from outside.

    Args:
        attestation: COSE of version 2 as bytes, JSON of version 1 as bytes or str, or a `DeviceAttestation`.
        trust: whom to trust, one of these or several: a DID; a public key as PEM, raw bytes (1312, 1952 or 2592) or in
            an identity or key pair; a ``pathlib.Path`` of a file of PEM keys and lines of DIDs. An empty list: nobody.
        challenge: 8 to 64 bytes that it must answer, which version 1 never does. None: any or none is accepted, and
            a pass does not say that the device is there now.
        max_age: seconds since its issue; None: no limit but its own expiry, which version 1 does not have.
        expected_hash: 64 hex digits, the content hash that it must state.
        skew: seconds that it may be from the future.
        now: seconds since 1970 (UTC) instead of the system's clock.
        evidence_trust: keys that evidence of hardware is believed from (`EnclaveVault.evidence_public_key`), PEM or a
            ``pathlib.Path`` of a file of them, one or several. With it what has no such evidence does not pass.
        expected_pcr_digest: 64 hex digits, what a TPM must have quoted of its PCRs; needs ``evidence_trust``.

    Whatever is wrong with the attestation is in the result, never an exception. Raises ``TypeError``, ``ValueError`` or
    ``OSError`` where the other arguments are wrong, `BackendError` with `Status.UNAVAILABLE` where there is evidence to
    verify, but no libtss2-mu to read it. May be called from several threads.
    """
    keys = _evidence_text(evidence_trust)
    if expected_pcr_digest is not None and keys is None:
        raise ValueError("expected_pcr_digest needs evidence_trust: nobody says who signs PCRs")
    verifier = _verifier(trust, challenge, max_age, expected_hash, skew, now, keys, expected_pcr_digest)
    read = _read(attestation)
    if read is None:
        return AttestationResult(Verdict.MALFORMED, Verdict.MALFORMED.text, None)
    verdict = Verdict(verifier.check(read))
    said = verifier.evidence(read)
    said["state"] = EvidenceState(said["state"])
    return AttestationResult(
        verdict, verdict.text, AttestationClaims(**read.fields()), AttestationEvidence(**said)
    )


class DeviceAttester:
    """Makes attestations of version 1 with a key pair of this process.

    No vault vouches for the hash that it signs. `EnclaveVault.attest` has the vault compute and sign it, in version 2
    with a challenge and an expiry.
    """

    def __init__(self, identity: AgentIdentity, device_id: str, device_model: str, enclave_vendor: str) -> None:
        if not isinstance(getattr(identity, "signing_keypair", None), SigningKeypair):
            raise TypeError("identity must be an AgentIdentity")
        self.identity = identity
        self.device_id = device_id
        self.device_model = device_model
        self.enclave_vendor = enclave_vendor

    def attest(self, artifact_id: str, content_hash: str) -> DeviceAttestation:
        """States, signed, that the device has an artifact of that content hash (`EnclaveArtifact.sha3_256_hex`).

        Raises ``TypeError`` for what is not a str, `InvalidArgumentError` for a text of more than 4096 bytes.
        """
        now = datetime.now(timezone.utc).isoformat()
        texts = (self.device_id, self.device_model, self.enclave_vendor, artifact_id, content_hash, now)
        return attestation_v1(_native.v1_sign(texts, self.identity.signing_keypair._native))

    @staticmethod
    def verify(
        att: DeviceAttestation | Buffer | str,
        trust: Trust | None = None,
        challenge: Buffer | None = None,
        max_age: int | None = None,
        *,
        expected_hash: str | None = None,
        skew: int = DEFAULT_SKEW,
        now: int | None = None,
    ) -> bool:
        """With ``trust``: does `verify_attestation` pass? Without: is the signature that of the key it carries?

        Without ``trust`` this has the published meaning, which proves nothing about who made the attestation: anybody
        can make a key pair, sign what they like, and carry the key along. It does not look at the signer's DID, the
        age, or the algorithm beyond its being one of ML-DSA. Use it to find damage, not forgery.

        An attestation that is wrong in any way is False, never an exception. ``ValueError``: ``challenge``, ``max_age``
        or ``expected_hash`` without ``trust``, which would be ignored.
        """
        return _verdict(att, trust, challenge, max_age, expected_hash, skew, now) is Verdict.PASS

    @staticmethod
    def verify_or_raise(
        att: DeviceAttestation | Buffer | str,
        trust: Trust | None = None,
        challenge: Buffer | None = None,
        max_age: int | None = None,
        *,
        expected_hash: str | None = None,
        skew: int = DEFAULT_SKEW,
        now: int | None = None,
    ) -> None:
        """As `verify`, with `AttestationError` in place of False; its ``native`` is the `Verdict`, its text why."""
        verdict = _verdict(att, trust, challenge, max_age, expected_hash, skew, now)
        if verdict is not Verdict.PASS:
            raise AttestationError(verdict.text, native=verdict)


def attestation_v1(native: _native.Attestation) -> DeviceAttestation:
    said = native.fields()
    said["signature"], said["public_key"] = said["signature"].hex(), said["public_key"].hex()
    return DeviceAttestation(**{name: said[name] for name in _TEXTS})


def _verdict(
    att: DeviceAttestation | Buffer | str,
    trust: Trust | None,
    challenge: Buffer | None,
    max_age: int | None,
    expected_hash: str | None,
    skew: int,
    now: int | None,
) -> Verdict:
    """What `DeviceAttester.verify` goes by."""
    if trust is not None:
        return verify_attestation(
            att, trust, challenge=challenge, max_age=max_age, expected_hash=expected_hash, skew=skew, now=now
        ).verdict
    if challenge is not None or max_age is not None or expected_hash is not None:
        raise ValueError("challenge, max_age and expected_hash need trust: nobody says who answered")
    read = _read(att)
    return Verdict.MALFORMED if read is None else Verdict(read.self_consistent())


def _read(attestation: DeviceAttestation | Buffer | str) -> _native.Attestation | None:
    """None if it makes no sense; what fails otherwise (no memory) is an exception."""
    try:
        if isinstance(attestation, DeviceAttestation):
            return _native.v1_from_fields(attestation._texts())
        return _native.attestation_decode(attestation.encode() if isinstance(attestation, str) else attestation)
    except EnclaveSDKError as error:
        if error.code in (Status.ARGUMENT, Status.LIMIT, Status.MALFORMED):
            return None
        raise
    except (TypeError, ValueError):  # fields that are not str, lone surrogates
        if isinstance(attestation, (DeviceAttestation, str)):
            return None
        raise


def _verifier(
    trust: Trust,
    challenge: Buffer | None,
    max_age: int | None,
    expected_hash: str | None,
    skew: int,
    now: int | None,
    evidence_keys: bytes | None,
    pcr_digest: str | None,
) -> _native.Verifier:
    if challenge is not None and not 8 <= memoryview(challenge).nbytes <= 64:
        raise ValueError("a challenge has 8 to 64 bytes")
    if max_age is not None and _int("max_age", max_age) < 1:
        raise ValueError("max_age must be at least 1 second")
    if not 0 <= _int("skew", skew) <= 0xFFFFFFFF:
        raise ValueError("skew must be 0 to 4294967295 seconds")
    if now is not None and _int("now", now) < 1:
        raise ValueError("now must be after 1970")
    return _native.Verifier(
        _trust_text(trust), challenge, max_age or 0, skew, expected_hash, now or 0, evidence_keys, pcr_digest
    )


def _int(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int")
    return value


def _trust_text(trust: Trust) -> bytes:
    """Lines of DIDs and PEM, which the library reads; an anchor that is neither is its error."""
    if isinstance(trust, _ANCHORS):
        return _anchor_text(trust)
    if not isinstance(trust, Iterable) or isinstance(trust, Mapping):
        raise TypeError("trust must be a DID, a public key, a path or an identity, or several of them")
    return b"\n".join(_anchor_text(anchor) for anchor in trust)


_ANCHORS = (str, bytes, bytearray, memoryview, os.PathLike, AgentIdentity, SigningKeypair, VaultIdentity)


def _anchor_text(anchor: Anchor) -> bytes:
    if isinstance(anchor, (SigningKeypair, VaultIdentity)):
        return anchor.public_pem().encode()
    if isinstance(anchor, AgentIdentity):
        return anchor.signing_keypair.public_pem().encode()
    if isinstance(anchor, os.PathLike):
        return _own_text(pathlib.Path(anchor).read_bytes())
    if isinstance(anchor, str):
        return _own_text(anchor.encode())
    if not isinstance(anchor, (bytes, bytearray, memoryview)):
        raise TypeError(f"a trust anchor must be a DID, a public key, a path or an identity, not {anchor!r:.60}")
    data = bytes(anchor)
    return _native.did_of_key(data).encode() if len(data) in _RAW_KEYS else _own_text(data)


def _evidence_text(keys: EvidenceTrust | None) -> bytes | None:
    """PEM, which the library reads. An empty list would ask for nothing, and is refused."""
    if keys is None:
        return None
    if isinstance(keys, (str, bytes, bytearray, memoryview, os.PathLike)):
        keys = [keys]
    if not isinstance(keys, Iterable) or isinstance(keys, Mapping):
        raise TypeError("evidence_trust must be a public key (PEM) or a path, or several of them")
    texts = []
    for key in keys:
        if isinstance(key, os.PathLike):
            key = pathlib.Path(key).read_bytes()
        elif isinstance(key, str):
            key = key.encode()
        elif not isinstance(key, (bytes, bytearray, memoryview)):
            raise TypeError(f"an evidence key must be PEM or a path, not {key!r:.60}")
        texts.append(bytes(key))
        _native.Verifier(b"", None, 0, DEFAULT_SKEW, None, 0, texts[-1] or b"\n")  # each must be one by itself
    if not texts:
        raise ValueError("evidence_trust has no key")
    return b"\n".join(texts)


def _own_text(data: bytes) -> bytes:
    """Each anchor must be one by itself: an empty one in a list of several would otherwise go unnoticed."""
    _native.Verifier(data or b"\n", None, 0, DEFAULT_SKEW, None, 0)
    return data
