# SPDX-License-Identifier: Apache-2.0
"""Names, signatures, defaults and shapes that users of the published package rely on."""

import dataclasses
import inspect
import json
import pathlib
import re

import pytest

import pqc_enclave_sdk as sdk
from pqc_enclave_sdk import _native

HEADER = pathlib.Path(__file__).resolve().parents[3] / "include" / "pqc_enclave.h"


def parameters(function):
    """(name, default) of everything that can be given by position."""
    return [
        (p.name, p.default if p.default is not p.empty else ...)
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
    ]


def test_kinds():
    assert {k.name: k.value for k in sdk.ArtifactKind} == {
        "MODEL_WEIGHTS": "model-weights",
        "LORA_ADAPTER": "lora-adapter",
        "TOKENIZER": "tokenizer",
        "CREDENTIAL": "credential",
        "BIOMETRIC_TEMPLATE": "biometric-template",
        "INFERENCE_CACHE": "inference-cache",
        "SAFETY_MODEL": "safety-model",
        "OTHER": "other",
    }
    assert sdk.ArtifactKind.OTHER == "other"


def test_signatures():
    required = ...
    assert parameters(sdk.EnclaveVault) == [("backend", required), ("policy", None), ("audit", None)]
    assert parameters(sdk.EnclaveVault.unlock) == [("ttl_seconds", 3600)]
    assert parameters(sdk.EnclaveVault.put_artifact) == [
        ("name", required), ("kind", required), ("content", required), ("version", ""), ("app_bundle_id", ""),
        ("model_did", ""), ("tags", ()), ("description", ""),
    ]
    assert parameters(sdk.EnclaveVault.get_artifact) == [("name_or_id", required)]
    assert parameters(sdk.EnclaveVault.delete_artifact) == [("name_or_id", required)]
    for method in ("lock", "save", "list_artifacts"):
        assert parameters(getattr(sdk.EnclaveVault, method)) == []
    assert parameters(sdk.ArtifactPolicy)[0] == ("kind", required)
    assert [n for n, _ in parameters(sdk.ArtifactPolicy)] == [
        "kind", "allowed_bundle_ids", "require_biometric", "max_uses_per_hour"
    ]
    assert parameters(sdk.establish_enclave_session) == [
        ("backend", required), ("algorithm", sdk.KEMAlgorithm.ML_KEM_768), ("ttl_seconds", 3600)
    ]
    assert parameters(sdk.InMemoryEnclaveBackend) == [("device_id", "test-device-0"), ("device_model", "in-memory")]
    assert parameters(sdk.iOSEnclaveBackend) == [
        ("device_id", "iphone-unknown"), ("device_model", "iphone-unknown"),
        ("keychain_service", "com.dyber.pqc.enclave"),
    ]
    assert parameters(sdk.AndroidEnclaveBackend) == [
        ("device_id", "android-unknown"), ("device_model", "android-unknown"),
        ("keystore_alias", "com.dyber.pqc.enclave.session"),
    ]
    assert parameters(sdk.QSEEBackend) == [
        ("device_id", "snapdragon-unknown"), ("device_model", "snapdragon-unknown"),
        ("ta_name", "com.dyber.pqc.enclave.ta"),
    ]
    assert parameters(sdk.EnclaveAuditLog) == [("max_entries", 100_000)]
    assert parameters(sdk.EnclaveAuditLog.log_get) == [
        ("device_id", required), ("artifact_id", required), ("success", True), ("details", "")
    ]
    assert parameters(sdk.EnclaveAuditLog.entries) == [
        ("limit", 100), ("operation", None), ("device_id", None), ("artifact_id", None)
    ]


def test_dataclass_fields():
    def fields(cls):
        return [f.name for f in dataclasses.fields(cls)]

    assert fields(sdk.ArtifactMetadata) == [
        "artifact_id", "name", "kind", "version", "app_bundle_id", "size_bytes", "created_at", "device_id", "model_did",
        "tags", "description",
    ]
    assert fields(sdk.EnclaveArtifact) == ["metadata", "content"]
    assert fields(sdk.EncryptedArtifact) == ["metadata", "nonce", "ciphertext", "content_hash", "key_id"]
    assert fields(sdk.EnclaveAuditEntry) == [
        "timestamp", "operation", "device_id", "artifact_id", "artifact_name", "artifact_kind", "success", "details",
        "caller",
    ]
    metadata = sdk.ArtifactMetadata("i", "n", sdk.ArtifactKind.OTHER)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.name = "other"


def test_kem_names():
    assert [k.value for k in sdk.KEMAlgorithm] == ["ML-KEM-512", "ML-KEM-768", "ML-KEM-1024"]


def test_exceptions():
    for name in ("UnknownArtifactError", "EnclaveLockedError", "DecryptionError", "BackendError", "AttestationError",
                 "PolicyViolationError"):
        error = getattr(sdk, name)("text")
        assert isinstance(error, sdk.EnclaveSDKError)
        assert isinstance(error.code, sdk.Status) and error.code < 0
        assert isinstance(error.origin, sdk.Origin)
        assert str(error) == "text" and error.native == 0
    assert sdk.EnclaveSDKError("later", code=-999).code == -999
    assert issubclass(sdk.InvalidArgumentError, ValueError)


def test_everything_is_exported_and_documented():
    for name in sdk.__all__:
        value = getattr(sdk, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
    for name, method in inspect.getmembers(sdk.EnclaveVault, inspect.isfunction):
        assert name.startswith("_") or method.__doc__, name


def test_version():
    assert sdk.__version__ == _native.VERSION == _native.HEADER_VERSION


@pytest.mark.skipif(not HEADER.exists(), reason="not in the source tree")
def test_codes_are_those_of_the_header():
    text = HEADER.read_text()
    codes = dict(re.findall(r"PQE_(?:E_)?(\w+) = (-?\d+)", re.search(r"enum pqe_status \{(.*?)\}", text, re.S)[1]))
    assert {s.name: int(s) for s in sdk.Status} == {name: int(value) for name, value in codes.items()}
    origins = dict(re.findall(r"PQE_ORIGIN_(\w+) = (\d+)", text))
    assert {o.name: int(o) for o in sdk.Origin} == {name: int(value) for name, value in origins.items()}
    for status in sdk.Status:
        assert _native.status_name(status) in ("PQE_" + status.name, "PQE_E_" + status.name)
    for origin in sdk.Origin:
        assert _native.origin_name(origin) == origin.name.lower()


def test_establish_enclave_session():
    backend = sdk.InMemoryEnclaveBackend()
    handle, key_id, expires_at = sdk.establish_enclave_session(backend)
    assert isinstance(handle, bytes) and len(handle) == 32
    assert re.fullmatch("[0-9a-f]{32}", key_id) and "T" in expires_at
    assert sdk.establish_enclave_session(backend)[0] != handle
    backend.store_session_key(key_id, handle, expires_at)
    assert backend.load_session_key(key_id) == handle
    assert backend.load_session_key("other") is None
    with pytest.raises(TypeError):
        sdk.establish_enclave_session("backend")
    with pytest.raises(ValueError):
        sdk.establish_enclave_session(backend, sdk.KEMAlgorithm.ML_KEM_512)
    with pytest.raises(ValueError):
        sdk.establish_enclave_session(backend, ttl_seconds=0)


def test_audit_log():
    log = sdk.EnclaveAuditLog(max_entries=3)
    entry = log.log_unlock("d", "k")
    assert (entry.operation, entry.details, entry.success) == ("unlock", "key_id=k", True)
    log.log_put("d", "i1", "n", "other")
    log.log_policy_violation("d", "i1", "no")
    log.log_get("e", "i2", success=False, details="x")
    assert len(log) == 3
    assert [e.operation for e in log.entries()] == ["get", "policy_violation", "put"]
    assert [e.operation for e in log.entries(limit=1)] == ["get"]
    assert [e.operation for e in log.entries(artifact_id="i1", operation="put", device_id="d")] == ["put"]
    assert log.entries(limit=0) == []
    exported = json.loads(log.export_json())
    assert [sdk.EnclaveAuditEntry.from_dict(e) for e in exported] == log.entries()[::-1]
    assert not exported[1]["success"]
    log.clear()
    assert len(log) == 0 and json.loads(log.export_json()) == []
    for operation in ("lock", "delete", "attest"):
        arguments = {"lock": ("d",), "delete": ("d", "i", "n"), "attest": ("d", "i")}[operation]
        assert getattr(log, f"log_{operation}")(*arguments).operation == operation
    with pytest.raises(ValueError):
        sdk.EnclaveAuditLog(0)
    with pytest.raises(TypeError):
        sdk.EnclaveAuditLog("3")
