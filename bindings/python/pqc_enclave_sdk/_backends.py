# SPDX-License-Identifier: Apache-2.0
"""Backends: what holds the device key of a vault."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Union

from . import _native
from ._errors import BackendError, Status

if TYPE_CHECKING:
    from ._artifacts import EncryptedArtifact
    from ._native import Buffer
    from ._store import Store

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Passphrase = Union[str, bytes, bytearray, Callable[[str], Union[str, bytes, bytearray]]]


class EnclaveBackend(abc.ABC):
    """What holds the device key of a vault. Subclass it to write a backend in Python.

    A subclass sets the texts below and defines `enrol`, `attach`, `seal`, `unseal` and `key_source`; the others are
    optional. The library calls the methods of one object from one thread at a time, but not always from the thread
    that uses the vault (`detach` at expiry). They must not call the vault that uses the backend: that raises.

    Errors: raise `BackendError` (or another `EnclaveSDKError`) with the ``code`` that docs/backends.md names:
    ``Status.DENIED`` for a wrong or missing credential, ``Status.DECRYPTION`` for a blob or AAD that was altered or is
    another's, ``Status.TAMPERED`` or ``Status.VERSION`` for a state that makes no sense. Any other exception counts as
    ``Status.BACKEND``. The caller of the vault gets the matching exception, with the one raised here as its cause.

    Secrets are given as a ``bytearray`` that is wiped when the method returns: do not keep it. A ``bytearray`` that a
    method returns is wiped once it was copied; return secrets so.
    """

    name: str = ""
    """Up to 31 bytes without colon; stored in the vault, which opens with a backend of the same name only."""
    platform: str = ""
    device_id: str = ""
    """Goes into the metadata of artifacts; empty: "pqe-" and the vault's id. Fixed when the vault is made."""
    device_model: str = ""
    enclave_vendor: str = ""
    description: str = "a backend written in Python"
    protection: str = "software"
    """ "software", "tee" or "secure-element"."""
    caveat: str = "it protects as well as its author says, and no better"
    persistent: bool = False
    """True: keys outlive the process."""
    uses_passphrase: bool = False
    """True: `change_passphrase` is there."""
    asks_presence: bool = False
    """True: `authorize` is there, and rules with ``require_biometric`` can be met."""
    vault_path: Path | None = None
    """The vault's directory. None: in memory, as long as this object lives."""
    create: bool = True
    """The first unlock makes the vault if there is none."""
    read_only: bool = False
    """True: never write, whatever the media allow."""
    busy_timeout_seconds: float = 60.0
    """How long a writer waits for another process."""

    _store: Store | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> EnclaveBackend:
        if cls is EnclaveBackend:
            raise TypeError("EnclaveBackend is to be subclassed")
        return super().__new__(cls)

    def _missing(self, what: str) -> NoReturn:
        raise BackendError(f"the {self.name or type(self).__name__} backend cannot {what}", code=Status.UNAVAILABLE)

    def _open_native(self) -> _native.Backend:
        return _native.Backend(python=self)

    # The backend interface.

    def enrol(self, vault_id: bytes) -> tuple[bytes, Any]:
        """Makes a key-encryption key for a new vault (16-byte id): returns ``(state, key)``.

        ``state``, 1 to 4,096 bytes, is public and comes back at `attach`; ``key`` is any object but None. On failure
        nothing may stay behind; a key that exists already for that id may not be harmed.
        """
        self._missing("make keys for a vault")

    def discard(self, vault_id: bytes, key: Any) -> None:
        """Undoes `enrol` where the vault could not be made. `detach` follows."""

    def attach(self, vault_id: bytes, state: bytes) -> Any:
        """Opens the key-encryption key of an existing vault and returns it. ``state`` is not authenticated yet."""
        self._missing("open the key of a vault")

    def detach(self, key: Any) -> None:
        """Wipes a key."""

    def seal(self, key: Any, aad: bytes, secret: bytearray) -> Buffer:
        """Encrypts 1 to 128 bytes and authenticates ``aad`` with them, with fresh randomness at every call."""
        self._missing("seal")

    def unseal(self, key: Any, aad: bytes, sealed: bytes) -> Buffer:
        """The inverse of `seal`."""
        self._missing("unseal")

    def key_source(self, state: bytes) -> str | None:
        """A word of up to 31 bytes for what opens a vault with this state; None if the state makes no sense."""
        return None

    def change_passphrase(self, vault_id: bytes, key: Any, state: bytes) -> bytes:
        """Asks for a new passphrase and returns the state that replaces the present one."""
        self._missing("change a passphrase")

    def authorize(self, key: Any, reason: str) -> bool:
        """Asks the person at the device to agree to ``reason``, a sentence. Only True is consent; may take its time."""
        return False

    def close(self) -> None:
        """Called when the library lets go of the backend, after every key was detached."""

    # The published package's methods. They touch no key of a vault.

    def store_session_key(self, key_id: str, key: bytes, expires_at: str) -> None:
        self._missing("keep session keys for the application")

    def load_session_key(self, key_id: str) -> bytes | None:
        self._missing("keep session keys for the application")

    def save_artifacts(self, artifacts: dict[str, EncryptedArtifact]) -> None:
        self._missing("keep artifacts outside a vault")

    def load_artifacts(self) -> dict[str, EncryptedArtifact]:
        self._missing("keep artifacts outside a vault")


class _BuiltinBackend(EnclaveBackend):
    """One that the C library has. Its keys cannot be used from Python."""

    _config = b""

    def _open_native(self) -> _native.Backend:
        return _native.Backend(self._config)


def _texts(name: str) -> tuple[str, str, str]:
    """Description, protection and caveat of a backend of the library's."""
    for known, description, protection, caveat, _ in _native.builtin_backends():
        if known == name:
            return description, protection, caveat
    raise RuntimeError(f"the library has no backend named {name}")


class InMemoryEnclaveBackend(_BuiltinBackend):
    """A random key in locked memory of this process, and the artifacts with it: for tests and caches.

    One object keeps its artifacts over lock and unlock, and for every `EnclaveVault` made on it; all is gone with the
    object. The four methods of the published package keep what they are given, unrelated to the vault.
    """

    name = platform = enclave_vendor = "in-memory"
    description, protection, caveat = _texts("memory")
    _config = b"memory"

    def __init__(self, device_id: str = "test-device-0", device_model: str = "in-memory") -> None:
        self.device_id = _text("device_id", device_id)
        self.device_model = _text("device_model", device_model)
        self._session_keys: dict[str, tuple[bytes, str]] = {}
        self._artifacts: dict[str, EncryptedArtifact] = {}

    def store_session_key(self, key_id: str, key: bytes, expires_at: str) -> None:
        """Keeps a key of the application's, in ordinary memory."""
        self._session_keys[key_id] = (bytes(key), expires_at)

    def load_session_key(self, key_id: str) -> bytes | None:
        """What was stored under that id, whatever its expiry; None if nothing was."""
        entry = self._session_keys.get(key_id)
        return entry[0] if entry is not None else None

    def save_artifacts(self, artifacts: dict[str, EncryptedArtifact]) -> None:
        """Replaces what `load_artifacts` returns. `EnclaveVault.save` calls it with what the vault holds."""
        self._artifacts = dict(artifacts)

    def load_artifacts(self) -> dict[str, EncryptedArtifact]:
        """What was last saved."""
        return dict(self._artifacts)


class FileEnclaveBackend(_BuiltinBackend):
    """A vault in a directory, opened by a key file or a passphrase: the C library's and the command line's vaults.

    Args:
        path: the vault's directory. If there is no vault yet, the first unlock makes one.
        key_file: where the key file is, or is to be made; None: ``$XDG_CONFIG_HOME/pqc-enclave/<vault id>.key``.
            Keep it apart from the vault and its backups, and back it up.
        passphrase: a str, bytes, or a callable that is given "unlock" or "new" and returns one of them; used for new
            vaults instead of a key file, and for existing ones that want one. A returned ``bytearray`` is wiped.
            A callable keeps the passphrase out of memory while it is not needed.
        device_id, device_model: facts for metadata and audit log.
        create: False: a missing vault is an error.
        read_only: True: never write, whatever the media allow.
        busy_timeout_seconds: how long a writer waits for another process.

    It is software protection: as good as the key file or passphrase is kept.
    """

    name = platform = "file"
    enclave_vendor = "software"
    persistent = True
    description, protection, caveat = _texts("file")

    def __init__(
        self,
        path: Path,
        *,
        key_file: Path | None = None,
        passphrase: Passphrase | None = None,
        device_id: str = "",
        device_model: str = "file",
        create: bool = True,
        read_only: bool = False,
        busy_timeout_seconds: float = 60.0,
    ) -> None:
        self.vault_path = os.fspath(path)
        if not self.vault_path:
            raise ValueError("the vault's path is empty")
        if key_file is not None and passphrase is not None:
            raise ValueError("a vault is opened by a key file or by a passphrase, not both")
        if passphrase is not None and not (isinstance(passphrase, (str, bytes, bytearray)) or callable(passphrase)):
            raise TypeError("passphrase must be a str, bytes, bytearray or a callable")
        if not 0.001 <= busy_timeout_seconds <= 4_000_000:
            raise ValueError("busy_timeout_seconds is out of range")
        self.key_file = os.fspath(key_file) if key_file is not None else None
        self.device_id = _text("device_id", device_id)
        self.device_model = _text("device_model", device_model)
        self.create = bool(create)
        self.read_only = bool(read_only)
        self.busy_timeout_seconds = float(busy_timeout_seconds)
        self._passphrase = passphrase
        self._next_passphrase: Passphrase | None = None  # while it is being changed
        self.uses_passphrase = passphrase is not None

    def _ask(self, purpose: str) -> str | bytes | bytearray:
        given = self._next_passphrase if purpose == "new" and self._next_passphrase is not None else self._passphrase
        if given is None:
            raise BackendError("the vault wants a passphrase, and none was given", code=Status.DENIED)
        if callable(given):
            answer = given(purpose)
            if not isinstance(answer, (str, bytes, bytearray)):
                raise TypeError("the passphrase callable must return a str, bytes or bytearray")
            return answer
        return bytearray(given) if isinstance(given, bytearray) else given

    def _open_native(self) -> _native.Backend:
        if self.key_file is not None:
            config = b"file:key-file=" + os.fsencode(self.key_file)
        else:
            config = b"file:passphrase" if self._passphrase is not None else b"file"
        return _native.Backend(config, self._ask)


class _HardwareBackend(EnclaveBackend):
    """One whose hardware this machine lacks, or that this version cannot reach: every operation says so."""

    _hardware = ""

    def _missing(self, what: str) -> NoReturn:
        raise BackendError(
            f"the {self.name} backend cannot {what}: {self._hardware} is missing here", code=Status.UNAVAILABLE
        )

    def _open_native(self) -> _native.Backend:
        self._missing("open a vault")

    def discard(self, vault_id: bytes, key: Any) -> None:
        self._missing("discard a key")

    def detach(self, key: Any) -> None:
        self._missing("detach a key")

    def key_source(self, state: bytes) -> str | None:
        self._missing("name a key's source")

    def close(self) -> None:
        self._missing("be closed")


class iOSEnclaveBackend(_HardwareBackend):
    """Apple's Secure Enclave. Needs CryptoKit and the keychain of iOS or macOS."""

    name = "ios-secure-enclave"
    platform = "ios"
    enclave_vendor = "apple-se"
    protection = "secure-element"
    _hardware = "Apple's Secure Enclave (CryptoKit, keychain)"

    def __init__(
        self,
        device_id: str = "iphone-unknown",
        device_model: str = "iphone-unknown",
        keychain_service: str = "com.dyber.pqc.enclave",
    ) -> None:
        self.device_id = _text("device_id", device_id)
        self.device_model = _text("device_model", device_model)
        self.keychain_service = _text("keychain_service", keychain_service)


class AndroidEnclaveBackend(_HardwareBackend):
    """Android's StrongBox. Needs the AndroidKeyStore provider."""

    KEY_STORE_PROVIDER = "AndroidKeyStore"
    name = "android-strongbox"
    platform = "android"
    enclave_vendor = "android-strongbox"
    protection = "secure-element"
    _hardware = "the AndroidKeyStore provider of an Android device"

    def __init__(
        self,
        device_id: str = "android-unknown",
        device_model: str = "android-unknown",
        keystore_alias: str = "com.dyber.pqc.enclave.session",
    ) -> None:
        self.device_id = _text("device_id", device_id)
        self.device_model = _text("device_model", device_model)
        self.keystore_alias = _text("keystore_alias", keystore_alias)


class QSEEBackend(_HardwareBackend):
    """Qualcomm's secure execution environment. Needs its client library and a trusted application."""

    name = "qualcomm-qsee"
    platform = "qsee"
    enclave_vendor = "qualcomm-qsee"
    protection = "tee"
    _hardware = "Qualcomm's QSEECom library with the trusted application"

    def __init__(
        self,
        device_id: str = "snapdragon-unknown",
        device_model: str = "snapdragon-unknown",
        ta_name: str = "com.dyber.pqc.enclave.ta",
    ) -> None:
        self.device_id = _text("device_id", device_id)
        self.device_model = _text("device_model", device_model)
        self.ta_name = _text("ta_name", ta_name)


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str")
    return value
