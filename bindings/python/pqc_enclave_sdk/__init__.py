# SPDX-License-Identifier: Apache-2.0
"""PQC Enclave: a vault for AI models, adapters and secrets that stays secret after quantum computers arrive.

    >>> from pqc_enclave_sdk import ArtifactKind, EnclaveVault, InMemoryEnclaveBackend
    >>> vault = EnclaveVault(backend=InMemoryEnclaveBackend())
    >>> vault.unlock()
    >>> stored = vault.put_artifact(name="adapter", kind=ArtifactKind.LORA_ADAPTER, content=b"weights")
    >>> vault.get_artifact("adapter").content
    b'weights'

With `FileEnclaveBackend` in place of `InMemoryEnclaveBackend` the same code makes and opens the vaults of the C library
and of the ``pqc-enclave`` command.
"""

from ._artifacts import ArtifactKind, ArtifactMetadata, EnclaveArtifact, EncryptedArtifact
from ._attest import (
    AttestationClaims,
    AttestationEvidence,
    AttestationResult,
    DeviceAttestation,
    DeviceAttester,
    EvidenceState,
    Verdict,
    verify_attestation,
)
from ._audit import EnclaveAuditEntry, EnclaveAuditLog
from ._backends import (
    AndroidEnclaveBackend,
    EnclaveBackend,
    FileEnclaveBackend,
    InMemoryEnclaveBackend,
    QSEEBackend,
    iOSEnclaveBackend,
)
from ._errors import (
    AttestationError,
    BackendError,
    DecryptionError,
    EnclaveLockedError,
    EnclaveSDKError,
    InvalidArgumentError,
    Origin,
    PolicyViolationError,
    RollbackError,
    Status,
    UnknownArtifactError,
)
from ._identity import (
    AgentIdentity,
    SignatureAlgorithm,
    SigningKeypair,
    VaultIdentity,
    generate_signing_keypair,
    sign,
    verify,
)
from ._kem import KEMAlgorithm, KEMKeypair, establish_enclave_session, generate_kem_keypair
from ._native import VERSION as __version__
from ._policy import AccessPolicy, ArtifactPolicy, StoredRule
from ._reader import ArtifactReader
from ._recovery import RecoveryKey, RecoveryKeyInfo
from ._vault import DEFAULT_SESSION_TTL, EnclaveVault, Finding, VerifyReport

__all__ = [
    "DEFAULT_SESSION_TTL",
    "AccessPolicy",
    "AgentIdentity",
    "AndroidEnclaveBackend",
    "ArtifactKind",
    "ArtifactMetadata",
    "ArtifactPolicy",
    "ArtifactReader",
    "AttestationClaims",
    "AttestationError",
    "AttestationEvidence",
    "AttestationResult",
    "BackendError",
    "DecryptionError",
    "DeviceAttestation",
    "DeviceAttester",
    "EnclaveArtifact",
    "EnclaveAuditEntry",
    "EnclaveAuditLog",
    "EnclaveBackend",
    "EnclaveLockedError",
    "EnclaveSDKError",
    "EnclaveVault",
    "EncryptedArtifact",
    "EvidenceState",
    "FileEnclaveBackend",
    "Finding",
    "InMemoryEnclaveBackend",
    "InvalidArgumentError",
    "KEMAlgorithm",
    "KEMKeypair",
    "Origin",
    "PolicyViolationError",
    "QSEEBackend",
    "RecoveryKey",
    "RecoveryKeyInfo",
    "RollbackError",
    "SignatureAlgorithm",
    "SigningKeypair",
    "Status",
    "StoredRule",
    "UnknownArtifactError",
    "VaultIdentity",
    "Verdict",
    "VerifyReport",
    "__version__",
    "establish_enclave_session",
    "generate_kem_keypair",
    "generate_signing_keypair",
    "iOSEnclaveBackend",
    "sign",
    "verify",
    "verify_attestation",
]
