# SPDX-License-Identifier: Apache-2.0
"""Artifacts as objects, made by hand and by a vault."""

import copy
import hashlib
import json
import pickle

import pytest

from pqc_enclave_sdk import ArtifactKind, ArtifactMetadata, EnclaveArtifact, EncryptedArtifact

METADATA = ArtifactMetadata("urn:pqc-enclave-art:1", "n", ArtifactKind.TOKENIZER, tags=("a", "b"), size_bytes=3)


def test_metadata_to_dict():
    assert METADATA.to_dict() == {
        "artifact_id": "urn:pqc-enclave-art:1", "name": "n", "kind": "tokenizer", "version": "", "app_bundle_id": "",
        "size_bytes": 3, "created_at": "", "device_id": "", "model_did": "", "tags": ["a", "b"], "description": "",
    }
    assert type(METADATA.to_dict()["kind"]) is str


def test_artifact_by_hand():
    artifact = EnclaveArtifact(METADATA, b"abc")
    assert artifact.sha3_256_hex() == EnclaveArtifact.content_hash(b"abc") == hashlib.sha3_256(b"abc").hexdigest()
    assert artifact.view == b"abc" and artifact.view.readonly
    assert artifact == EnclaveArtifact(METADATA, b"abc") != EnclaveArtifact(METADATA, b"abd")
    assert "abc" not in repr(artifact)
    assert pickle.loads(pickle.dumps(artifact)) == artifact
    with pytest.raises(AttributeError):
        artifact.contents  # noqa: B018


def test_encrypted_by_hand_and_json():
    artifact = EncryptedArtifact(METADATA, "00ff", "aabb", "cc", "dd")
    assert EncryptedArtifact.from_dict(json.loads(json.dumps(artifact.to_dict()))) == artifact
    least = {"metadata": {"artifact_id": "i", "name": "n", "kind": "other"}, "nonce": "", "ciphertext": "",
             "content_hash": "", "key_id": ""}
    assert EncryptedArtifact.from_dict(least).metadata == ArtifactMetadata("i", "n", ArtifactKind.OTHER)
    del least["nonce"]
    with pytest.raises(KeyError):
        EncryptedArtifact.from_dict(least)


@pytest.mark.parametrize("size", [0, 5, 16384, 200_000])
def test_encrypted_of_a_vault(vault, size):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stored = vault.put_artifact("a", ArtifactKind.OTHER, content)
    assert "ciphertext" not in vars(stored), "read before it was asked for"
    assert stored.content_hash == hashlib.sha3_256(content).hexdigest()
    assert stored.metadata == vault.list_artifacts()[0] and stored.metadata.size_bytes == size
    body = bytes.fromhex(stored.ciphertext)
    assert len(body) == 56 + size + 16 * (size // 16384 + 1)
    assert stored.nonce == body[:24].hex()
    assert EncryptedArtifact.from_dict(stored.to_dict()) == stored
    assert pickle.loads(pickle.dumps(stored)) == copy.deepcopy(stored) == stored
    assert content[:64] not in body or not size


def test_encrypted_is_the_file(file_vault, scratch):
    stored = file_vault.put_artifact("a", ArtifactKind.OTHER, bytes(300_000))
    (body,) = (scratch / "vault" / "bodies").glob("*/*")
    assert bytes.fromhex(stored.ciphertext) == body.read_bytes()


def test_encrypted_reads_no_more_after_lock(vault):
    stored = vault.put_artifact("a", ArtifactKind.OTHER, b"x")
    vault.lock()
    with pytest.raises(Exception, match="locked"):
        stored.ciphertext  # noqa: B018
    vault.unlock()
    assert stored.ciphertext
