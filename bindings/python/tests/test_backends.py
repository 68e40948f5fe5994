# SPDX-License-Identifier: Apache-2.0
"""Backends: the library's own, those without hardware, those written in Python."""

import abc
import gc
import io
import os
import time
import weakref

import pytest
from software import SoftwareBackend

from pqc_enclave_sdk import (
    AndroidEnclaveBackend,
    ArtifactKind,
    ArtifactMetadata,
    BackendError,
    DecryptionError,
    EnclaveBackend,
    EnclaveLockedError,
    EnclaveSDKError,
    EnclaveVault,
    EncryptedArtifact,
    FileEnclaveBackend,
    InMemoryEnclaveBackend,
    InvalidArgumentError,
    Origin,
    QSEEBackend,
    Status,
    UnknownArtifactError,
    iOSEnclaveBackend,
)

KIND = ArtifactKind.CREDENTIAL
HERE = os.path.dirname(os.path.abspath(__file__))

# ---- the published shapes ----


def test_in_memory_attributes():
    backend = InMemoryEnclaveBackend()
    assert (backend.device_id, backend.device_model) == ("test-device-0", "in-memory")
    assert backend.name == backend.platform == backend.enclave_vendor == "in-memory"
    assert isinstance(backend, EnclaveBackend) and isinstance(backend, abc.ABC)
    with pytest.raises(TypeError):
        InMemoryEnclaveBackend(device_id=5)
    with pytest.raises(TypeError):
        EnclaveBackend()


def test_in_memory_shim_works_on_its_own():
    backend = InMemoryEnclaveBackend()
    assert backend.load_artifacts() == {} and backend.load_session_key("k") is None
    by_hand = EncryptedArtifact(ArtifactMetadata("i", "n", KIND), "aa", "bb", "cc", "dd")
    given = {"any key": by_hand}
    backend.save_artifacts(given)
    given.clear()
    assert backend.load_artifacts() == {"any key": by_hand}
    backend.store_session_key("k", b"key", "2030-01-01T00:00:00+00:00")
    assert backend.load_session_key("k") == b"key"
    with EnclaveVault(backend) as vault:  # which takes no notice
        assert vault.list_artifacts() == []


def test_device_id_is_in_the_metadata():
    with EnclaveVault(InMemoryEnclaveBackend(device_id="iphone-alice")) as vault:
        assert vault.put_artifact("a", KIND, b"").metadata.device_id == "iphone-alice"


@pytest.mark.parametrize("cls, attributes", [
    (iOSEnclaveBackend, {"name": "ios-secure-enclave", "platform": "ios", "enclave_vendor": "apple-se",
                         "keychain_service": "com.dyber.pqc.enclave"}),
    (AndroidEnclaveBackend, {"name": "android-strongbox", "platform": "android", "enclave_vendor": "android-strongbox",
                             "keystore_alias": "com.dyber.pqc.enclave.session",
                             "KEY_STORE_PROVIDER": "AndroidKeyStore"}),
    (QSEEBackend, {"name": "qualcomm-qsee", "platform": "qsee", "enclave_vendor": "qualcomm-qsee",
                   "ta_name": "com.dyber.pqc.enclave.ta"}),
])
def test_hardware_that_is_not_here(cls, attributes):
    backend = cls()
    for name, value in attributes.items():
        assert getattr(backend, name) == value
    for call in (
        lambda: backend.store_session_key("k", b"", ""), lambda: backend.load_session_key("k"),
        lambda: backend.save_artifacts({}), lambda: backend.load_artifacts(), lambda: backend.enrol(bytes(16)),
        lambda: backend.attach(bytes(16), b"s"), lambda: backend.seal(0, b"", bytearray(1)),
        lambda: backend.unseal(0, b"", b"b"), lambda: backend.detach(0), lambda: backend.discard(bytes(16), 0),
        lambda: backend.key_source(b""), lambda: backend.change_passphrase(bytes(16), 0, b""),
        lambda: backend.close(), lambda: EnclaveVault(backend).unlock(),
    ):
        with pytest.raises(BackendError, match="is missing here") as caught:
            call()
        assert caught.value.code is Status.UNAVAILABLE
    assert not EnclaveVault(backend).is_unlocked


# ---- files ----


def test_file_arguments(scratch):
    for wrong, error in (({"path": 5}, TypeError), ({"path": ""}, ValueError), ({"passphrase": 5}, TypeError),
                         ({"key_file": "k", "passphrase": "p"}, ValueError), ({"busy_timeout_seconds": 0}, ValueError)):
        with pytest.raises(error):
            FileEnclaveBackend(**{"path": scratch / "vault", **wrong})
    with pytest.raises(EnclaveSDKError) as caught:
        EnclaveVault(FileEnclaveBackend(scratch / "vault", create=False)).unlock()
    assert caught.value.code is Status.NOT_A_VAULT and not (scratch / "vault").exists()


def test_key_file_and_bytes_path(scratch):
    path = bytes(scratch) + b"/v\xffault"
    with EnclaveVault(FileEnclaveBackend(path, key_file=scratch / "some.key")) as vault:
        vault.put_artifact("a", KIND, b"x")
        assert vault.info()["key_source"] == "key-file"
    assert (scratch / "some.key").stat().st_mode & 0o777 == 0o600
    with EnclaveVault(FileEnclaveBackend(path, key_file=str(scratch / "some.key"))) as vault:
        assert vault.get_artifact("a").content == b"x"
    with pytest.raises(BackendError) as caught:
        EnclaveVault(FileEnclaveBackend(path, key_file=scratch / "other.key")).unlock()
    assert caught.value.code is Status.DENIED


def test_read_only(file_vault, scratch):
    file_vault.put_artifact("a", KIND, b"x")
    file_vault.lock()
    with EnclaveVault(FileEnclaveBackend(scratch / "vault", read_only=True)) as vault:
        assert vault.get_artifact("a").content == b"x" and vault.info()["read_only"] is True
        with pytest.raises(EnclaveSDKError) as caught:
            vault.put_artifact("b", KIND, b"y")
        assert caught.value.code is Status.READ_ONLY


def test_passphrases(scratch):
    asked = []

    def ask(purpose):
        asked.append(purpose)
        return bytearray(b"correct horse")

    with EnclaveVault(FileEnclaveBackend(scratch / "vault", passphrase=ask)) as vault:
        vault.put_artifact("a", KIND, b"x")
        assert vault.info()["key_source"] == "passphrase"
    assert asked == ["new"]
    vault.unlock()
    assert asked == ["new", "unlock"]
    vault.change_passphrase("battery staple")
    vault.lock()
    vault.unlock()  # the backend object knows the new one
    vault.lock()
    for wrong in ("correct horse", b"battery", bytearray(b"")):
        with pytest.raises(BackendError) as caught:
            EnclaveVault(FileEnclaveBackend(scratch / "vault", passphrase=wrong)).unlock()
        assert caught.value.code is Status.DENIED
    with pytest.raises(BackendError):
        EnclaveVault(FileEnclaveBackend(scratch / "vault")).unlock()
    for right in ("battery staple", b"battery staple", bytearray(b"battery staple"), lambda _: "battery staple"):
        backend = FileEnclaveBackend(scratch / "vault", passphrase=right)
        with EnclaveVault(backend) as vault:
            assert vault.get_artifact("a").content == b"x"
        if isinstance(right, bytearray):
            assert right == b"battery staple", "the caller's own was wiped"


def test_passphrase_callable_that_fails(scratch):
    def raises(purpose):
        raise LookupError("no terminal")

    with pytest.raises(LookupError, match="no terminal"):
        EnclaveVault(FileEnclaveBackend(scratch / "vault", passphrase=raises)).unlock()
    for answer, error in ((5, TypeError), ("p" * 1025, ValueError), ("", BackendError)):
        with pytest.raises((error, EnclaveSDKError)):
            EnclaveVault(FileEnclaveBackend(scratch / "vault", passphrase=lambda _, a=answer: a)).unlock()
    assert not (scratch / "vault").exists()


def test_passphrase_change_of_a_key_file_vault(file_vault):
    with pytest.raises(BackendError) as caught:
        file_vault.change_passphrase("x")
    assert caught.value.code is Status.UNAVAILABLE


# ---- written in Python ----


@pytest.mark.parametrize("where", [None, "vault"])
def test_python_backend(scratch, where):
    path = where and scratch / where
    backend = SoftwareBackend(path)
    vault = EnclaveVault(backend)
    with vault:
        assert backend.calls == ["enrol", "seal", "seal"]
        vault.put_artifact("a", KIND, b"x" * 100_000)
        assert (vault.info()["backend"], vault.info()["key_source"]) == ("python-software", "process")
    assert backend.calls[-1] == "detach"
    with vault:
        assert vault.get_artifact("a").content == b"x" * 100_000
        vault.rotate(rekey=True)
    with vault:
        assert vault.get_artifact("a").content == b"x" * 100_000
    if path:
        with pytest.raises(BackendError) as caught:
            EnclaveVault(SoftwareBackend(path)).unlock()
        assert caught.value.code is Status.DENIED and "another object's" in str(caught.value)
        assert isinstance(caught.value.__cause__, BackendError)
        with pytest.raises(BackendError, match="not held"):
            EnclaveVault(FileEnclaveBackend(path)).unlock()


def test_python_backend_persists(scratch):
    """Another object with the same key stands for another process."""
    one = SoftwareBackend(scratch / "vault", secret=b"s" * 32)
    with EnclaveVault(one) as vault:
        vault.put_artifact("a", KIND, b"x")
    two = SoftwareBackend(scratch / "vault", secret=b"s" * 32)
    two.object_id = one.object_id
    with EnclaveVault(two) as vault:
        assert vault.get_artifact("a").content == b"x"
    three = SoftwareBackend(scratch / "vault", secret=b"t" * 32)
    three.object_id = one.object_id
    with pytest.raises(DecryptionError) as caught:
        EnclaveVault(three).unlock()
    assert isinstance(caught.value.__cause__, DecryptionError)


@pytest.mark.parametrize("method", ["enrol", "seal"])
@pytest.mark.parametrize("raised, code, cls", [
    (BackendError("the chip is gone", code=Status.UNAVAILABLE, origin=Origin.DEVICE, native=77), Status.UNAVAILABLE,
     BackendError),
    (DecryptionError("x"), Status.DECRYPTION, DecryptionError),
    (RuntimeError("the chip is gone"), Status.BACKEND, BackendError),
    (MemoryError(), Status.NOMEM, EnclaveSDKError),
    (BackendError("odd", code=3), Status.BACKEND, BackendError),
])
def test_errors_of_a_python_backend(scratch, method, raised, code, cls):
    backend = SoftwareBackend(scratch / "vault")
    backend.fail[method] = raised
    with pytest.raises(cls) as caught:
        EnclaveVault(backend).unlock()
    error = caught.value
    assert error.code is code and error.__cause__ is raised
    if getattr(raised, "native", 0):
        assert (error.native, error.origin, str(error)) == (77, Origin.DEVICE, "the chip is gone")
    assert not (scratch / "vault").exists()
    if method == "seal":
        assert backend.calls[-3:] == ["discard", "detach", "close"]
    backend.fail.clear()
    with EnclaveVault(backend) as vault:
        vault.put_artifact("a", KIND, b"")


def test_interrupt_in_a_python_backend(scratch):
    backend = SoftwareBackend(scratch / "vault")
    for raised in (KeyboardInterrupt(), SystemExit(3)):
        backend.fail["enrol"] = raised
        with pytest.raises(type(raised)):
            EnclaveVault(backend).unlock()
    assert not (scratch / "vault").exists()


@pytest.mark.parametrize("method, result", [
    ("enrol", None), ("enrol", (b"state",)), ("enrol", (b"state", None)), ("enrol", (b"", object())),
    ("enrol", (b"s" * 4097, object())), ("enrol", ("state", object())), ("seal", None), ("seal", b""),
    ("seal", b"s" * 4097), ("seal", "text"), ("attach", None), ("unseal", b""), ("unseal", b"u" * 129),
    ("unseal", None),
])
def test_nonsense_from_a_python_backend(scratch, method, result):
    backend = SoftwareBackend(scratch / "vault")
    vault = EnclaveVault(backend)
    if method in ("attach", "unseal"):
        vault.unlock()
        vault.lock()
    setattr(backend, method, lambda *args: result)
    with pytest.raises(EnclaveSDKError) as caught:
        vault.unlock()
    assert caught.value.code in (Status.BACKEND, Status.LIMIT)
    assert not vault.is_unlocked


@pytest.mark.parametrize("change, error", [
    ({"name": 5}, TypeError), ({"name": ""}, InvalidArgumentError), ({"name": "a:b"}, InvalidArgumentError),
    ({"name": "x" * 32}, InvalidArgumentError), ({"caveat": None}, TypeError), ({"description": "d" * 5000}, ValueError),
])
def test_bad_description(change, error):
    backend = SoftwareBackend()
    for name, value in change.items():
        setattr(backend, name, value)
    with pytest.raises(error):
        EnclaveVault(backend).unlock()


def test_incomplete_python_backend():
    class Old(EnclaveBackend):
        """As of the published package: the four methods alone."""

        name = "old"

        def store_session_key(self, key_id, key, expires_at):
            pass

        def load_session_key(self, key_id):
            return None

        def save_artifacts(self, artifacts):
            pass

        def load_artifacts(self):
            return {}

    with pytest.raises(BackendError) as caught:
        EnclaveVault(Old()).unlock()
    assert caught.value.code is Status.UNAVAILABLE


def test_callback_may_not_come_back(scratch):
    backend = SoftwareBackend(scratch / "vault")
    vault = EnclaveVault(backend)
    vault.unlock()
    vault.put_artifact("a", KIND, b"x")
    seen = []

    def seal(*args, original=backend.seal):
        for call in (vault.list_artifacts, lambda: vault.get_artifact("a")):
            with pytest.raises(EnclaveSDKError) as caught:
                call()
            seen.append(caught.value.code)
        with EnclaveVault(InMemoryEnclaveBackend()) as other:  # another one it may use
            other.put_artifact("b", KIND, b"y")
        return original(*args)

    backend.seal = seal
    vault.rotate()
    assert set(seen) == {Status.STATE}
    with pytest.raises(EnclaveSDKError) as caught:
        vault.verify(progress=lambda done, total: vault.list_artifacts())
    assert caught.value.code is Status.STATE
    assert vault.get_artifact("a").content == b"x"


def test_expiry_detaches_in_another_thread():
    backend = SoftwareBackend()
    vault = EnclaveVault(backend)
    vault.unlock(1)
    deadline = time.monotonic() + 10
    assert backend.calls.count("detach") == 1  # of the session in which the vault was made
    while backend.calls.count("detach") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert backend.calls.count("detach") == 2
    with pytest.raises(EnclaveLockedError):
        vault.list_artifacts()


DROPS_READERS = """
import sys, time, threading
sys.path.insert(0, sys.argv[1])
from software import SoftwareBackend
from pqc_enclave_sdk import *

class Drops(SoftwareBackend):
    def detach(self, key):
        self.kept.clear()

backend = Drops()
backend.kept = []
vault = EnclaveVault(backend)
vault.unlock()
vault.put_artifact("a", ArtifactKind.OTHER, b"x" * 100_000)
other = EnclaveVault(Drops())
other.backend.kept = []
other.unlock()
backend.kept += [vault.open_artifact("a"), other]
del other
if sys.argv[2] == "lock":
    vault.lock()
else:
    vault.unlock(1)
    backend.kept += [vault.open_artifact("a")]
    if sys.argv[2] == "expiry, vault too":
        backend.kept += [vault]
        del vault
    deadline = time.monotonic() + 20
    while backend.kept and time.monotonic() < deadline:
        time.sleep(0.02)
assert not backend.kept
backend = None
print("fine")
"""


@pytest.mark.parametrize("how", ["lock", "expiry", "expiry, vault too"])
def test_readers_dropped_in_a_callback(run_python, how):
    """The library holds locks while it calls detach; what is collected there is closed afterwards."""
    assert run_python(DROPS_READERS, HERE, how, timeout=60) == "fine\n"


def test_secrets_handed_to_a_backend_are_wiped():
    kept = []
    backend = SoftwareBackend()

    def seal(key, aad, secret, original=backend.seal):
        kept.append(secret)
        assert any(secret)
        return original(key, aad, secret)

    given = []

    def unseal(*args, original=backend.unseal):
        given.append(original(*args))
        return given[-1]

    backend.seal, backend.unseal = seal, unseal
    vault = EnclaveVault(backend)
    vault.unlock()
    vault.lock()
    vault.unlock()
    assert len(kept) == 2 and not any(map(any, kept))
    assert given and not any(map(any, given))


def test_nothing_keeps_a_backend():
    for make in (SoftwareBackend, InMemoryEnclaveBackend):
        backend = make()
        calls = getattr(backend, "calls", None)
        gone = weakref.ref(backend)
        vault = EnclaveVault(backend)
        vault.unlock()
        vault.put_artifact("a", KIND, b"x")
        vault.save()
        reader = vault.open_artifact("a")
        del backend, vault
        gc.collect()
        assert reader.read() == b"x"
        del reader
        gc.collect()
        assert gone() is None
        if calls:
            assert calls[-2:] == ["detach", "close"]


def test_put_file_that_uses_the_vault(vault):
    """A file's own code may use the vault: no lock is held while it runs."""
    vault.put_artifact("a", KIND, b"x" * 1000)

    class Nested(io.RawIOBase):
        left = 3

        def readinto(self, buffer):
            self.left -= 1
            return vault.open_artifact("a").readinto(memoryview(buffer)[:1000]) if self.left else 0

    vault.put_artifact("b", KIND, Nested())
    assert vault.get_artifact("b").content == b"x" * 2000
    with pytest.raises(UnknownArtifactError):
        vault.get_artifact("c")
