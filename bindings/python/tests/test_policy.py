# SPDX-License-Identifier: Apache-2.0
"""Access policies and the audit log, alone and in a vault."""

import pytest

from pqc_enclave_sdk import (
    AccessPolicy,
    ArtifactKind,
    ArtifactMetadata,
    ArtifactPolicy,
    EnclaveAuditLog,
    EnclaveVault,
    InMemoryEnclaveBackend,
    PolicyViolationError,
    Status,
    UnknownArtifactError,
)

CREDENTIAL = ArtifactMetadata("i", "n", ArtifactKind.CREDENTIAL)


def test_check():
    policy = AccessPolicy()
    policy.check(CREDENTIAL, "anybody")
    assert policy.add(ArtifactPolicy(ArtifactKind.CREDENTIAL, frozenset({"com.a"}))) is policy
    policy.check(CREDENTIAL, "com.a")
    policy.check(ArtifactMetadata("i", "n", ArtifactKind.OTHER), "com.b")
    for caller in ("com.b", "", "com.a.b"):
        with pytest.raises(PolicyViolationError) as caught:
            policy.check(CREDENTIAL, caller)
        assert caught.value.code is Status.POLICY
    with pytest.raises(PolicyViolationError):
        policy.check(ArtifactMetadata("i", "n", "credential"), "com.b")  # a str for the kind is no way round
    policy.add(ArtifactPolicy(ArtifactKind.CREDENTIAL))
    policy.check(CREDENTIAL, "com.b")


def test_wrong_rules():
    for wrong, error in (
        (("no kind",), ValueError), ((ArtifactKind.OTHER, "com.a"), TypeError), ((ArtifactKind.OTHER, 5), TypeError),
        ((ArtifactKind.OTHER, frozenset(), False, -1), ValueError),
    ):
        with pytest.raises(error):
            ArtifactPolicy(*wrong)
    with pytest.raises(TypeError):
        AccessPolicy().add("rule")
    assert ArtifactPolicy("other", {"a"}).allowed_bundle_ids == frozenset({"a"})


def make(rule, **options):
    vault = EnclaveVault(InMemoryEnclaveBackend(), AccessPolicy().add(rule), **options)
    vault.unlock()
    vault.put_artifact("token", ArtifactKind.CREDENTIAL, b"secret")
    vault.put_artifact("model", ArtifactKind.MODEL_WEIGHTS, b"weights")
    return vault


def ways(vault, **options):
    def path():
        with vault.artifact_path("token", **options):
            pass

    return [lambda: vault.get_artifact("token", **options), lambda: vault.open_artifact("token", **options), path]


def test_vault_asks_the_policy():
    vault = make(ArtifactPolicy(ArtifactKind.CREDENTIAL, frozenset({"com.a"})))
    for way in ways(vault) + ways(vault, caller_bundle_id="com.b"):
        with pytest.raises(PolicyViolationError):
            way()
    for way in ways(vault, caller_bundle_id="com.a"):
        way()
    assert vault.get_artifact("model").content == b"weights"
    violations = vault.audit.entries(operation="policy_violation")
    assert len(violations) == 6 and not any(v.success for v in violations)
    assert violations[0].artifact_id == vault.get_artifact("token", caller_bundle_id="com.a").metadata.artifact_id
    vault.caller_bundle_id = "com.a"
    assert vault.get_artifact("token").content == b"secret"
    vault.policy = None
    assert vault.get_artifact("token", caller_bundle_id="com.b").content == b"secret"


def test_policy_made_by_subclass():
    class Never(AccessPolicy):
        def check(self, artifact_meta, caller_bundle_id):
            raise PolicyViolationError("never")

    vault = EnclaveVault(InMemoryEnclaveBackend(), Never())
    vault.unlock()
    vault.put_artifact("a", ArtifactKind.OTHER, b"x")
    with pytest.raises(PolicyViolationError, match="never"):
        vault.get_artifact("a")


def test_presence_cannot_be_shown_so_it_is_refused():
    vault = make(ArtifactPolicy(ArtifactKind.CREDENTIAL, require_biometric=True))
    for way in ways(vault):
        with pytest.raises(PolicyViolationError, match="presence"):
            way()


def test_uses_are_counted(monkeypatch):
    vault = make(ArtifactPolicy(ArtifactKind.CREDENTIAL, max_uses_per_hour=3))
    for way in ways(vault):
        way()
    for way in ways(vault):
        with pytest.raises(PolicyViolationError, match="3 times"):
            way()
    import time

    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr("pqc_enclave_sdk._vault.time.clock_gettime", lambda clock: now + 3601)
    monkeypatch.setattr("pqc_enclave_sdk._store._now", lambda: now)
    vault.get_artifact("token")


def test_audit_of_a_vault():
    log = EnclaveAuditLog()
    vault = EnclaveVault(InMemoryEnclaveBackend(device_id="d"), audit=log)
    assert vault.audit is log
    with vault:
        stored = vault.put_artifact("a", ArtifactKind.TOKENIZER, b"x")
        vault.get_artifact("a")
        with vault.open_artifact("a"):
            pass
        with pytest.raises(UnknownArtifactError):
            vault.get_artifact("b")
        vault.delete_artifact("a")
        vault_id = vault.info()["vault_id"]
    vault.lock()
    entries = log.entries()[::-1]
    assert [e.operation for e in entries] == ["unlock", "put", "get", "get", "get", "delete", "lock"]
    assert {e.device_id for e in entries} == {"d"}
    unlock, put, get, _, failed, delete, _ = entries
    assert unlock.details == f"key_id={vault_id}"
    assert (put.artifact_id, put.artifact_name, put.artifact_kind) == (stored.metadata.artifact_id, "a", "tokenizer")
    assert get.artifact_id == stored.metadata.artifact_id and get.success
    assert not failed.success and failed.artifact_id == "b"
    assert (delete.artifact_id, delete.artifact_name) == (stored.metadata.artifact_id, "a")


def test_audit_that_fails_gives_no_content():
    class Broken(EnclaveAuditLog):
        def log_get(self, *args, **kwargs):
            raise OSError("the log is full")

    vault = EnclaveVault(InMemoryEnclaveBackend(), audit=Broken())
    vault.unlock()
    vault.put_artifact("a", ArtifactKind.OTHER, b"x")
    with pytest.raises(OSError, match="full"):
        vault.get_artifact("a")
