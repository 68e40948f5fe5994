# SPDX-License-Identifier: Apache-2.0
"""ML-KEM key pairs, and the published package's session call."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from . import _native
from ._backends import EnclaveBackend

if TYPE_CHECKING:
    from ._native import Buffer


class KEMAlgorithm(str, Enum):
    """ML-KEM parameter sets of FIPS 203. Vaults use ML-KEM-768."""

    ML_KEM_512 = "ML-KEM-512"
    ML_KEM_768 = "ML-KEM-768"
    ML_KEM_1024 = "ML-KEM-1024"


class KEMKeypair:
    """An ML-KEM key pair of the application.

    Args:
        public_key: the raw encapsulation key, 800, 1184 or 1568 bytes.
        private_key: the 64-byte seed that determines the key pair (d || z of FIPS 203).
        algorithm: a `KEMAlgorithm`.

    Raises ``ValueError`` where the public key is not that of the seed. The seed is in Python's memory, in a bytearray
    that is wiped when the object goes; ``private_key`` is a copy as bytes, which cannot be wiped. Vaults keep keys of
    their own, and give none away. Immutable; not pickled.
    """

    __slots__ = ("_seed", "algorithm", "public_key")

    _seed: bytearray
    algorithm: KEMAlgorithm
    public_key: bytes

    def __init__(
        self, public_key: Buffer, private_key: Buffer, algorithm: KEMAlgorithm = KEMAlgorithm.ML_KEM_768
    ) -> None:
        algorithm = KEMAlgorithm(algorithm)
        if _native.kem_public_of_seed(algorithm.value, private_key) != bytes(public_key):
            raise ValueError("the public key is not that of the private key")
        self._set(bytearray(private_key), bytes(public_key), algorithm)

    def _set(self, seed: bytearray, public_key: bytes, algorithm: KEMAlgorithm) -> None:
        object.__setattr__(self, "_seed", seed)
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "algorithm", algorithm)

    @property
    def private_key(self) -> bytes:
        """The 64-byte seed, a copy that cannot be wiped."""
        return bytes(self._seed)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a key pair cannot be changed")

    def __del__(self) -> None:
        seed = getattr(self, "_seed", None)
        if seed is not None:
            seed[:] = bytes(len(seed))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KEMKeypair):
            return NotImplemented
        return self.algorithm is other.algorithm and self.public_key == other.public_key

    def __hash__(self) -> int:
        return hash((self.algorithm, self.public_key))

    def __repr__(self) -> str:
        return f"<KEMKeypair {self.algorithm.value} {self.public_key[:8].hex()}...>"

    def __copy__(self) -> KEMKeypair:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> KEMKeypair:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def generate_kem_keypair(algorithm: KEMAlgorithm = KEMAlgorithm.ML_KEM_768) -> KEMKeypair:
    """A new key pair from fresh randomness. Raises ``ValueError`` for an unknown algorithm."""
    algorithm = KEMAlgorithm(algorithm)
    made = KEMKeypair.__new__(KEMKeypair)
    made._set(*_native.kem_generate(algorithm.value), algorithm)
    return made


def establish_enclave_session(
    backend: EnclaveBackend, algorithm: KEMAlgorithm = KEMAlgorithm.ML_KEM_768, ttl_seconds: int = 3600
) -> tuple[bytes, str, str]:
    """A session handle for applications that keep one themselves: ``(handle, key_id, expires_at)``.

    The handle is 32 random bytes that are related to no key of any vault, since a vault's keys cannot be reached from
    Python: its session begins with `EnclaveVault.unlock`. ``key_id`` is 32 hexadecimal digits, ``expires_at`` ISO 8601
    in UTC. Nothing is stored; `InMemoryEnclaveBackend.store_session_key` does that.

    Raises ``TypeError`` and ``ValueError`` for wrong arguments; an algorithm other than ML-KEM-768 is one.
    """
    if not isinstance(backend, EnclaveBackend):
        raise TypeError("backend must be an EnclaveBackend")
    if KEMAlgorithm(algorithm) is not KEMAlgorithm.ML_KEM_768:
        raise ValueError("sessions use ML-KEM-768")
    if not isinstance(ttl_seconds, int) or isinstance(ttl_seconds, bool):
        raise TypeError("ttl_seconds must be an int")
    if ttl_seconds < 1:
        raise ValueError("ttl_seconds must be at least 1")
    expires_at = datetime.now(timezone.utc) + timedelta(seconds=ttl_seconds)
    return secrets.token_bytes(32), secrets.token_hex(16), expires_at.isoformat()
