# SPDX-License-Identifier: Apache-2.0
"""Key encapsulation by name, and the published package's session call."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone
from enum import Enum

from ._backends import EnclaveBackend


class KEMAlgorithm(str, Enum):
    """ML-KEM parameter sets of FIPS 203. Vaults use ML-KEM-768."""

    ML_KEM_512 = "ML-KEM-512"
    ML_KEM_768 = "ML-KEM-768"
    ML_KEM_1024 = "ML-KEM-1024"


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
