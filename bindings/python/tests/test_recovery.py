# SPDX-License-Identifier: Apache-2.0
"""Recovery keys, and moves between backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pqc_enclave_sdk import (
    ArtifactKind,
    BackendError,
    EnclaveSDKError,
    EnclaveVault,
    FileEnclaveBackend,
    InMemoryEnclaveBackend,
    RecoveryKey,
    Status,
)


def make(tmp_path: Path, name: str = "key") -> EnclaveVault:
    vault = EnclaveVault(FileEnclaveBackend(tmp_path / "vault", key_file=tmp_path / name))
    vault.unlock()
    return vault


def test_words_and_pem() -> None:
    key = RecoveryKey.generate()
    words = key.words()
    assert len(words.split()) == 24
    assert RecoveryKey.from_words("  " + words.upper().replace(" ", "\n")).id == key.id
    assert RecoveryKey.from_pem(key.pem()).id == key.id
    assert key.id in repr(key) and words not in repr(key)
    with pytest.raises(EnclaveSDKError) as raised:
        RecoveryKey.from_pem(key.pem()).words()
    assert raised.value.code == Status.UNAVAILABLE
    with pytest.raises(EnclaveSDKError) as raised:
        RecoveryKey.from_words(words.rsplit(" ", 1)[0])
    assert raised.value.code == Status.MALFORMED
    with pytest.raises(TypeError):
        RecoveryKey.from_words(b"words")  # type: ignore[arg-type]


def test_recover(tmp_path: Path) -> None:
    vault = make(tmp_path)
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    identity = vault.create_identity()
    key = vault.create_recovery_key("in the safe")
    assert [(k.id, k.name, k.suite) for k in vault.recovery_keys()] == [(key.id, "in the safe", "ml-kem-768")]
    vault.lock()
    del vault
    (tmp_path / "key").unlink()

    stranger = EnclaveVault(FileEnclaveBackend(tmp_path / "vault", key_file=tmp_path / "key2"))
    with pytest.raises(BackendError) as raised:
        stranger.recover(RecoveryKey.generate())
    assert raised.value.code == Status.DENIED
    assert not (tmp_path / "key2").exists()
    assert stranger.recover(key) == ()
    assert stranger.get_artifact("model").content == b"weights"
    assert [i.did for i in stranger.list_identities()] == [identity.did]
    with pytest.raises(EnclaveSDKError) as raised:
        stranger.recover(key)
    assert raised.value.code == Status.STATE
    stranger.lock()
    stranger.unlock()
    assert stranger.get_artifact("model").content == b"weights"
    stranger.remove_recovery_key(key.id)
    assert stranger.recovery_keys() == ()
    with pytest.raises(EnclaveSDKError):
        stranger.remove_recovery_key(key.id)


def test_move(tmp_path: Path) -> None:
    vault = make(tmp_path)
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    other = EnclaveVault(vault.backend)
    other.unlock()
    fresh = FileEnclaveBackend(tmp_path / "vault", passphrase="a passphrase")
    vault.rotate(backend=fresh)
    assert vault.backend is fresh
    assert (tmp_path / "key").exists()
    for v in (vault, other):
        assert v.get_artifact("model").content == b"weights"
    vault.lock()
    vault.unlock()
    assert vault.get_artifact("model").content == b"weights"
    with pytest.raises(ValueError):
        vault.rotate(backend=fresh)
    with pytest.raises(ValueError):
        vault.rotate(discard_old=True)
    with pytest.raises(ValueError):
        vault.rotate(backend=FileEnclaveBackend(tmp_path / "elsewhere"))
    with pytest.raises(TypeError):
        vault.rotate(backend="file")  # type: ignore[arg-type]
    vault.rotate(True, backend=FileEnclaveBackend(tmp_path / "vault", key_file=tmp_path / "key2"))
    vault.rotate(backend=FileEnclaveBackend(tmp_path / "vault", key_file=tmp_path / "key3"), discard_old=True)
    assert not (tmp_path / "key2").exists() and (tmp_path / "key3").exists()
    assert vault.get_artifact("model").content == b"weights"
    assert vault.verify().damaged == 0
    with pytest.raises(EnclaveSDKError) as raised:
        vault.rotate(backend=FileEnclaveBackend(tmp_path / "vault", key_file=tmp_path / "key"))
    assert raised.value.code == Status.EXISTS
    assert vault.get_artifact("model").content == b"weights"


def test_in_memory() -> None:
    vault = EnclaveVault(InMemoryEnclaveBackend())
    vault.unlock()
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    vault.create_recovery_key()
    with pytest.raises(EnclaveSDKError):
        vault.recover(RecoveryKey.generate())
    with pytest.raises(TypeError):
        vault.recover("key")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        vault.add_recovery_key("key")  # type: ignore[arg-type]
