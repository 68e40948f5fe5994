# SPDX-License-Identifier: Apache-2.0
"""Exceptions, and the numbers that the C library gives its errors."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Status codes of the C library (``pqe_status``). Values never change; later versions may add some."""

    OK = 0
    ARGUMENT = -1
    NOMEM = -2
    IO = -3
    NO_SPACE = -4
    READ_ONLY = -5
    NOT_FOUND = -6
    EXISTS = -7
    LOCKED = -8
    DENIED = -9
    DECRYPTION = -10
    TAMPERED = -11
    NOT_A_VAULT = -12
    VERSION = -13
    LIMIT = -14
    BUSY = -15
    BACKEND = -16
    UNAVAILABLE = -17
    CRYPTO = -18
    CANCELLED = -19
    STATE = -20
    POLICY = -21
    MALFORMED = -22
    ATTESTATION = -23
    ROLLBACK = -24


class Origin(IntEnum):
    """Where an error arose (``pqe_origin``)."""

    NONE = 0
    API = 1
    FORMAT = 2
    CRYPTO = 3
    INDEX = 4
    IO = 5
    BACKEND = 6
    DEVICE = 7


class EnclaveSDKError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: a `Status`, or a plain int that this version has no name for.
        origin: an `Origin`, likewise.
        native: errno, SQLite's or the backend's own code; 0 if there is none.

    A backend written in Python raises these to tell the library what went wrong.
    """

    default_code = Status.STATE
    default_origin = Origin.API

    def __init__(
        self, message: str = "", *, code: int | None = None, origin: int | None = None, native: int = 0
    ) -> None:
        super().__init__(message)
        self.code: int = self.default_code if code is None else _named(Status, code)
        self.origin: int = self.default_origin if origin is None else _named(Origin, origin)
        self.native = native


class UnknownArtifactError(EnclaveSDKError):
    """No artifact of that name or id; the vault's index proved it."""

    default_code = Status.NOT_FOUND


class EnclaveLockedError(EnclaveSDKError):
    """The vault is locked, its session has expired, or this is a forked child."""

    default_code = Status.LOCKED


class DecryptionError(EnclaveSDKError):
    """Something stored does not verify: wrong key, or bytes that were altered, removed or put back."""

    default_code = Status.DECRYPTION
    default_origin = Origin.CRYPTO


class RollbackError(DecryptionError):
    """An older copy of the vault: its device has acknowledged later changes."""

    default_code = Status.ROLLBACK


class BackendError(EnclaveSDKError):
    """The backend failed, refused (wrong passphrase or key file), or does not exist on this machine."""

    default_code = Status.BACKEND
    default_origin = Origin.BACKEND


class AttestationError(EnclaveSDKError):
    """A signature or an attestation does not verify."""

    default_code = Status.ATTESTATION
    default_origin = Origin.CRYPTO


class PolicyViolationError(EnclaveSDKError):
    """An access policy denied the caller."""

    default_code = Status.POLICY


class InvalidArgumentError(EnclaveSDKError, ValueError):
    """The library refused a value (`Status.ARGUMENT`, `LIMIT`, `MALFORMED`); also a ``ValueError``."""

    default_code = Status.ARGUMENT


_CLASSES: dict[int, type[EnclaveSDKError]] = {
    Status.ARGUMENT: InvalidArgumentError,
    Status.LIMIT: InvalidArgumentError,
    Status.MALFORMED: InvalidArgumentError,
    Status.NOT_FOUND: UnknownArtifactError,
    Status.LOCKED: EnclaveLockedError,
    Status.DECRYPTION: DecryptionError,
    Status.TAMPERED: DecryptionError,
    Status.ROLLBACK: RollbackError,
    Status.DENIED: BackendError,
    Status.BACKEND: BackendError,
    Status.UNAVAILABLE: BackendError,
    Status.POLICY: PolicyViolationError,
    Status.ATTESTATION: AttestationError,
}


def _named(kind: type[IntEnum], value: int) -> int:
    try:
        return kind(value)
    except ValueError:
        return value


def from_native(status: int, origin: int, native: int, message: str) -> EnclaveSDKError:
    """The exception for an error of the C library. Called by the extension."""
    cls = _CLASSES.get(status, EnclaveSDKError)
    return cls(message, code=status, origin=origin, native=native)
