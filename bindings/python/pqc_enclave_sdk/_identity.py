# SPDX-License-Identifier: Apache-2.0
"""ML-DSA key pairs and signatures, agents' identities, and the identities that a vault keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:
    from ._native import Buffer
    from ._native import SigningKey as NativeKey


class SignatureAlgorithm(str, Enum):
    """ML-DSA parameter sets of FIPS 204. Identities of a vault are ML-DSA-65 or -87."""

    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"
    ML_DSA_87 = "ML-DSA-87"


class SigningKeypair:
    """An ML-DSA key pair of the application.

    Args:
        public_key: the raw public key, 1312, 1952 or 2592 bytes.
        private_key: the 32-byte seed that determines the key pair (xi of FIPS 204).
        algorithm: a `SignatureAlgorithm`.

    Raises ``ValueError`` where the public key is not that of the seed. Signing uses a key in native memory, locked and
    wiped when the object goes; it is what `generate_signing_keypair` makes, and Python sees no secret. But bytes in
    Python cannot be wiped: whoever gives or reads ``private_key`` has copies in memory until they happen to be
    overwritten. To keep a key over time put it into a vault (`EnclaveVault.import_identity`). Immutable; not pickled.
    """

    __slots__ = ("_native", "algorithm", "public_key")

    public_key: bytes
    algorithm: SignatureAlgorithm
    _native: NativeKey

    def __init__(
        self, public_key: Buffer, private_key: Buffer, algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65
    ) -> None:
        self._set(_native.SigningKey(SignatureAlgorithm(algorithm).value, private_key))
        if self.public_key != bytes(public_key):
            raise ValueError("the public key is not that of the private key")

    def _set(self, native: NativeKey) -> None:
        object.__setattr__(self, "_native", native)
        object.__setattr__(self, "public_key", native.public_key)
        object.__setattr__(self, "algorithm", SignatureAlgorithm(native.algorithm))

    @classmethod
    def _of_native(cls, native: NativeKey) -> SigningKeypair:
        made = cls.__new__(cls)
        made._set(native)
        return made

    @classmethod
    def from_pem(cls, pem: str | Buffer) -> SigningKeypair:
        """From PKCS#8 PEM (RFC 9881: seed, expanded or both), as ``openssl genpkey`` writes it.

        Raises `InvalidArgumentError` for anything else, and for a key whose parts do not belong together.
        """
        return cls._of_native(_native.signing_key_from_pem(pem.encode() if isinstance(pem, str) else pem))

    @property
    def private_key(self) -> bytes:
        """The 32-byte seed, a copy that cannot be wiped. `BackendError` for a key that was read in expanded form."""
        return bytes(self._native.seed())

    @property
    def did(self) -> str:
        """ "did:pqaid:" and the SHA3-256 of the public key in hex."""
        return self._native.did

    def public_pem(self) -> str:
        """The public key as PEM (RFC 9881): a trust anchor for verifiers."""
        return _native.public_pem(self.algorithm.value, self.public_key)

    def private_pem(self) -> bytearray:
        """PKCS#8 PEM, to be wiped (``pem[:] = bytes(len(pem))``) after it was used."""
        return self._native.pem()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a key pair cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a key pair cannot be changed")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SigningKeypair):
            return NotImplemented
        return self.algorithm is other.algorithm and self.public_key == other.public_key

    def __hash__(self) -> int:
        return hash((self.algorithm, self.public_key))

    def __repr__(self) -> str:
        return f"<SigningKeypair {self.algorithm.value} {self.did}>"

    def __copy__(self) -> SigningKeypair:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SigningKeypair:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def generate_signing_keypair(algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65) -> SigningKeypair:
    """A new key pair from fresh randomness. Raises ``ValueError`` for an unknown algorithm."""
    return SigningKeypair._of_native(_native.SigningKey(SignatureAlgorithm(algorithm).value))


def sign(message: Buffer, keypair: SigningKeypair) -> bytes:
    """A pure, hedged ML-DSA signature (FIPS 204) with the empty context: 2420, 3309 or 4627 bytes."""
    if not isinstance(keypair, SigningKeypair):
        raise TypeError("keypair must be a SigningKeypair")
    return keypair._native.sign(message)


def verify(
    message: Buffer,
    signature: Buffer,
    public_key: Buffer,
    algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65,
    *,
    context: Buffer = b"",
) -> bool:
    """Is it a signature over ``message`` by that raw public key? False for wrong lengths too.

    ``context`` as it was given to `EnclaveVault.sign`; `sign` uses the empty one. Raises ``ValueError`` for an unknown
    algorithm, ``TypeError`` for what is not bytes.
    """
    return _native.verify_signature(SignatureAlgorithm(algorithm).value, public_key, message, signature, context)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


@dataclass
class AgentIdentity:
    """An agent's name and key pair in this process. ``did`` is "did:pqaid:" and the SHA3-256 of the public key in hex.

    It goes with the process: identities that a vault keeps are made by `EnclaveVault.create_identity`, and
    `EnclaveVault.import_identity` keeps this one.
    """

    did: str
    name: str
    signing_keypair: SigningKeypair
    capabilities: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=_now)

    @classmethod
    def create(
        cls,
        name: str,
        capabilities: list[str] | None = None,
        algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65,
    ) -> AgentIdentity:
        """A new key pair under a name."""
        if not isinstance(name, str):
            raise TypeError("name must be a str")
        keypair = generate_signing_keypair(algorithm)
        return cls(did=keypair.did, name=name, signing_keypair=keypair, capabilities=list(capabilities or []))

    def export(self) -> str:
        """The public part as JSON: did, name, algorithm, public_key (hex), capabilities, created_at."""
        return json.dumps({
            "did": self.did,
            "name": self.name,
            "algorithm": self.signing_keypair.algorithm.value,
            "public_key": self.signing_keypair.public_key.hex(),
            "capabilities": self.capabilities,
            "created_at": self.created_at,
        }, indent=2)


@dataclass(frozen=True)
class VaultIdentity:
    """What a vault tells of an identity that it keeps. The private key stays in the vault or its backend.

    ``name`` is empty if it has none; ``is_default`` marks the one that signs where no other is named; ``is_native`` one
    whose key the backend made and never gives out. ``public_key`` is raw.
    """

    did: str
    name: str
    algorithm: SignatureAlgorithm
    created_at: str
    is_default: bool
    is_native: bool
    public_key: bytes

    def public_pem(self) -> str:
        """The public key as PEM (RFC 9881): a trust anchor for verifiers."""
        return _native.public_pem(self.algorithm.value, self.public_key)


def vault_identity(fields: _native.IdentityFields) -> VaultIdentity:
    did, name, algorithm, created_at, is_default, is_native, public_key = fields
    return VaultIdentity(did, name, SignatureAlgorithm(algorithm), created_at, is_default, is_native, public_key)
