# SPDX-License-Identifier: Apache-2.0
"""Rules that the vault keeps, and its own log: across objects, threads, processes and the command."""

import json
import sqlite3
import threading

import pytest
from software import SoftwareBackend

from pqc_enclave_sdk import (
    AccessPolicy,
    ArtifactKind,
    ArtifactPolicy,
    AttestationError,
    BackendError,
    DecryptionError,
    EnclaveAuditLog,
    EnclaveLockedError,
    EnclaveSDKError,
    EnclaveVault,
    FileEnclaveBackend,
    InvalidArgumentError,
    PolicyViolationError,
    Status,
    UnknownArtifactError,
)

CREDENTIAL = ArtifactKind.CREDENTIAL


def rules(**options):
    return AccessPolicy().add(ArtifactPolicy(CREDENTIAL, **options))


@pytest.fixture
def stored(file_vault):
    file_vault.put_artifact("token", CREDENTIAL, b"secret")
    file_vault.put_artifact("other token", CREDENTIAL, b"secret")
    file_vault.put_artifact("model", ArtifactKind.MODEL_WEIGHTS, b"weights")
    return file_vault


def ways(vault, **options):
    def path():
        with vault.artifact_path("token", **options):
            pass

    return [lambda: vault.get_artifact("token", **options), lambda: vault.open_artifact("token", **options), path]


# ---- policy ----


def test_bundles(stored):
    policy = rules(allowed_bundle_ids={"com.a", "com.é"})
    stored.set_policy(policy)
    assert stored.stored_policy() == policy and stored.policy is None
    for way in ways(stored) + ways(stored, caller_bundle_id="com.b"):
        with pytest.raises(PolicyViolationError) as caught:
            way()
        assert caught.value.code is Status.POLICY
    for way in ways(stored, caller_bundle_id="com.a") + ways(stored, caller_bundle_id="com.é"):
        way()
    assert stored.get_artifact("model").content == b"weights"
    with pytest.raises(PolicyViolationError):  # the body as it is stored is a way out too
        assert stored.put_artifact("token", CREDENTIAL, b"secret").ciphertext
    stored.set_policy(AccessPolicy())
    assert stored.stored_rules() == [] and stored.get_artifact("token").content == b"secret"


def test_another_process_obeys(stored, scratch, run_python, cli):
    stored.set_policy(rules(allowed_bundle_ids={"com.a"}))
    code = """
import sys
from pqc_enclave_sdk import EnclaveVault, FileEnclaveBackend, PolicyViolationError
with EnclaveVault(FileEnclaveBackend(sys.argv[1]), caller_bundle_id=sys.argv[2]) as vault:
    try:
        print(vault.get_artifact("token").content)
    except PolicyViolationError:
        print("refused")
"""
    assert run_python(code, scratch / "vault", "com.a") == "b'secret'\n"
    assert run_python(code, scratch / "vault", "com.b") == "refused\n"
    assert cli("--caller", "com.a", "get", "token") == b"secret"
    cli("--caller", "com.b", "get", "token", expect=4)
    cli("policy", "set", "credential", "--allow", "com.b")
    assert stored.stored_policy() == rules(allowed_bundle_ids={"com.b"})
    assert stored.get_artifact("token", caller_bundle_id="com.b").content == b"secret"
    with pytest.raises(PolicyViolationError):
        stored.get_artifact("token", caller_bundle_id="com.a")


def test_uses_are_shared_and_counted_before_release(stored, scratch, run_python):
    stored.set_policy(rules(max_uses_per_hour=4))
    stored.get_artifact("token")
    stored.get_artifact("other token")
    code = """
import os, sys
from pqc_enclave_sdk import EnclaveVault, FileEnclaveBackend
vault = EnclaveVault(FileEnclaveBackend(sys.argv[1]))
vault.unlock()
vault.open_artifact("token")
os.kill(os.getpid(), 9)
"""
    run_python(code, scratch / "vault", expect=-9)
    stored.get_artifact("token")
    assert stored.stored_rules()[0].uses == 4
    for way in ways(stored):
        with pytest.raises(PolicyViolationError):
            way()
    stored.set_policy(rules(max_uses_per_hour=5))  # uses so far stay counted
    stored.get_artifact("token")
    with pytest.raises(PolicyViolationError):
        stored.get_artifact("token")


def test_threads_use_up_a_limit_exactly(stored):
    stored.set_policy(rules(max_uses_per_hour=10, allowed_bundle_ids={"com.a"}))
    got, refused = [], []

    def work(caller):
        for _ in range(4):
            try:
                got.append((caller, stored.get_artifact("token", caller_bundle_id=caller).content))
            except PolicyViolationError:
                refused.append(caller)

    threads = [threading.Thread(target=work, args=("com.a" if n % 2 else "com.b",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [("com.a", b"secret")] * 10
    assert refused.count("com.b") == 20 and refused.count("com.a") == 10
    entries = stored.audit.entries(limit=1000, operation="get")
    assert [e.caller for e in entries if e.success] == ["com.a"] * 10  # nobody was taken for somebody else
    violations = stored.audit.entries(limit=1000, operation="policy_violation")
    assert sorted(e.caller for e in violations) == ["com.a"] * 10 + ["com.b"] * 20


def test_rule_of_one_artifact(stored):
    stored.set_artifact_rule("token", allowed_bundle_ids={"com.a", "com.b"}, max_uses_per_hour=7)
    stored.set_policy(rules(allowed_bundle_ids={"com.a", "com.c"}))
    assert stored.get_artifact("token", caller_bundle_id="com.a").content == b"secret"
    for caller in ("com.b", "com.c"):  # both rules must agree
        with pytest.raises(PolicyViolationError):
            stored.get_artifact("token", caller_bundle_id=caller)
    assert stored.get_artifact("other token", caller_bundle_id="com.c").content == b"secret"
    kind, own = stored.stored_rules()
    assert (kind.kind, kind.artifact, own.kind, own.artifact) == (CREDENTIAL, None, None, "token")
    assert own.allowed_bundle_ids == {"com.a", "com.b"} and (own.max_uses_per_hour, own.uses) == (7, 1)
    stored.set_policy(AccessPolicy())
    assert [r.artifact for r in stored.stored_rules()] == ["token"]
    stored.clear_artifact_rule("token")
    assert stored.get_artifact("token").content == b"secret"
    with pytest.raises(UnknownArtifactError):
        stored.clear_artifact_rule("token")


def test_presence():
    class Asking(SoftwareBackend):
        asks_presence = True
        answer = True

        def authorize(self, key, reason):
            self._called("authorize")
            assert "token" in reason
            return self.answer

    for backend, allowed in ((Asking(), True), (SoftwareBackend(), False)):
        with EnclaveVault(backend) as vault:
            vault.put_artifact("token", CREDENTIAL, b"secret")
            vault.set_policy(rules(require_biometric=True))
            if allowed:
                assert vault.get_artifact("token").content == b"secret" and backend.calls.count("authorize") == 1
                for answer in (False, None, 1, "yes"):
                    backend.answer = answer
                    with pytest.raises(PolicyViolationError):
                        vault.get_artifact("token")
                backend.answer = True
                backend.fail["authorize"] = BackendError("cancelled", code=Status.DENIED)
                with pytest.raises(PolicyViolationError):
                    vault.get_artifact("token")
            else:
                with pytest.raises(PolicyViolationError):
                    vault.get_artifact("token")


def test_both_policies_must_agree(stored, scratch):
    stored.set_policy(rules(allowed_bundle_ids={"com.a", "com.b"}))
    policy = rules(allowed_bundle_ids={"com.b", "com.c"})
    with EnclaveVault(FileEnclaveBackend(scratch / "vault"), policy) as vault:
        assert vault.get_artifact("token", caller_bundle_id="com.b").content == b"secret"
        for caller in ("com.a", "com.c"):
            with pytest.raises(PolicyViolationError):
                vault.get_artifact("token", caller_bundle_id=caller)
        entries = vault.audit.entries(operation="policy_violation")
        assert [(e.caller, e.artifact_name) for e in entries] == [("com.c", "token"), ("com.a", "token")]


def test_wrong_rules(stored):
    class Own(AccessPolicy):
        def check(self, artifact_meta, caller_bundle_id):
            pass

    for wrong in ("policy", Own(), None):
        with pytest.raises(TypeError):
            stored.set_policy(wrong)
    for options in (
        {"allowed_bundle_ids": {f"com.{i}" for i in range(65)}}, {"allowed_bundle_ids": {""}},
        {"allowed_bundle_ids": {"a\0b"}}, {"max_uses_per_hour": 1_000_001}, {"allowed_bundle_ids": {"\ud800"}},
    ):
        with pytest.raises(ValueError):
            stored.set_policy(rules(**options))
    with pytest.raises(TypeError):
        stored.set_policy(rules(allowed_bundle_ids={5}))
    with pytest.raises(TypeError):
        stored.set_policy(rules(max_uses_per_hour=1.5))
    with pytest.raises(ValueError):
        stored.set_artifact_rule("")
    assert stored.stored_rules() == []
    stored.lock()
    for call in (lambda: stored.set_policy(rules()), stored.stored_rules, lambda: stored.set_artifact_rule("a")):
        with pytest.raises(EnclaveLockedError):
            call()


# ---- audit log ----


def test_log_is_the_vaults(stored, scratch, cli):
    with pytest.raises(UnknownArtifactError):
        stored.get_artifact("absent")
    stored.get_artifact("model", caller_bundle_id="com.a")
    stored.delete_artifact("other token")
    entries = stored.audit.entries()
    assert [e.operation for e in entries][:3] == ["delete", "get", "get"]
    assert [e.success for e in entries][:3] == [True, True, False]
    got = entries[1]
    assert (got.artifact_name, got.artifact_kind, got.caller) == ("model", "model-weights", "com.a")
    assert entries[1].artifact_id == stored.get_artifact("model").metadata.artifact_id
    assert entries[1].device_id == stored.get_artifact("model").metadata.device_id
    assert entries[0].caller == ""
    assert len(stored.audit.entries(limit=2)) == 2 and stored.audit.entries(limit=0) == []
    assert [e.artifact_name for e in stored.audit.entries(operation="put")] == ["model", "other token", "token"]
    assert stored.audit.entries(operation="no such") == [] and stored.audit.entries(device_id="other") == []
    assert {e.operation for e in stored.audit.entries(artifact_id=entries[1].artifact_id)} == {"put", "get"}
    exported = json.loads(stored.audit.export_json())
    assert [e["operation"] for e in exported][:4] == ["unlock", "put", "put", "put"]
    assert len(exported) == len(stored.audit) == len(stored.audit.entries(1000))
    stored.lock()
    with pytest.raises(EnclaveLockedError):
        stored.audit.entries()
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as again:
        assert [e.to_dict() for e in again.audit.entries(1000)][::-1][: len(exported)] == exported
        assert again.audit.entries(operation="lock")
    assert b"model" in cli("audit")


def test_what_the_application_records(stored):
    entry = stored.audit.log_attest("phone-1", "an id", "by hand")
    assert (entry.operation, entry.details) == ("attest", "by hand")
    (shown,) = stored.audit.entries(operation="attest")
    assert (shown.device_id, shown.artifact_id, shown.details) == ("phone-1", "an id", "by hand")
    stored.audit.log_put("d", "i", "n", "tokenizer")
    assert stored.audit.entries(limit=1)[0].artifact_kind == "tokenizer"
    with pytest.raises(ValueError):
        stored.audit.log_put("d", "i", "n", "no kind")
    with pytest.raises(InvalidArgumentError):
        stored.audit.log_attest("d", "i", "x" * 2000)


def test_attest_is_recorded_once(stored):
    stored.create_identity()
    stored.attest("model")
    assert [e.artifact_name for e in stored.audit.entries(operation="attest")] == ["model"]


def test_clear_and_checkpoints(stored):
    unsigned = stored.audit.checkpoint()
    info = stored.audit.verify(unsigned)
    assert not info["checkpoint_signed"] and info["last_sequence"] >= len(stored.audit)
    stored.create_identity()
    signed = stored.audit.checkpoint()
    assert stored.audit.verify(signed)["checkpoint_signed"]
    middle = len(signed) // 2  # within the signature
    with pytest.raises((AttestationError, ValueError)):
        stored.audit.verify(signed[:middle] + ("0" if signed[middle] != "0" else "1") + signed[middle + 1 :])
    for wrong in ("", "text"):
        with pytest.raises(ValueError):
            stored.audit.verify(wrong)
    stored.delete_artifact("model")
    stored.audit.clear()
    assert [e.operation for e in stored.audit.entries()] == ["clear"] and len(stored.audit) == 1
    with pytest.raises(EnclaveSDKError) as caught:
        stored.audit.verify(signed)
    assert caught.value.code is Status.STATE  # its entries are gone


def test_altered_log_is_found(stored, scratch):
    stored.lock()
    base = sqlite3.connect(scratch / "vault" / "index.db")
    tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    (table,) = (t for t in tables if "audit" in t)
    key = [row[1] for row in base.execute(f"PRAGMA table_info({table})")][0]
    assert base.execute(f"DELETE FROM {table} WHERE {key} = (SELECT min({key}) + 1 FROM {table})").rowcount == 1
    base.commit()
    base.close()
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as vault, pytest.raises(DecryptionError):
        vault.audit.verify()


def test_attaching(scratch, file_vault):
    assert file_vault.audit.is_attached
    log = EnclaveAuditLog()
    assert not log.is_attached
    first = FileEnclaveBackend(scratch / "first")
    vault = EnclaveVault(first, audit=log)
    assert vault.audit is log and log.is_attached
    EnclaveVault(first, audit=log)
    with pytest.raises(ValueError):
        EnclaveVault(FileEnclaveBackend(scratch / "second"), audit=log)
    used = EnclaveAuditLog()
    used.log_lock("d")
    with pytest.raises(ValueError):
        EnclaveVault(FileEnclaveBackend(scratch / "second"), audit=used)
    for call in (used.checkpoint, used.verify):
        with pytest.raises(EnclaveSDKError):
            call()

    class Sink(EnclaveAuditLog):
        pass

    sink = Sink()
    with EnclaveVault(first, audit=sink) as vault:
        vault.put_artifact("a", CREDENTIAL, b"x")
        vault.get_artifact("a")
        assert [e.operation for e in sink.entries()] == ["get", "put", "unlock"] and not sink.is_attached
        vault.audit = EnclaveAuditLog()
        vault.get_artifact("a")
        assert [e.operation for e in vault.audit.entries()] == ["get"]


def test_read_only_vault(stored, scratch):
    stored.set_policy(rules(max_uses_per_hour=5))
    stored.lock()
    with EnclaveVault(FileEnclaveBackend(scratch / "vault", read_only=True)) as vault:
        assert vault.get_artifact("model").content == b"weights"
        before = len(vault.audit)
        vault.audit.log_attest("d", "i")
        assert len(vault.audit) == before == len(vault.audit.entries(1000))
        with pytest.raises(EnclaveSDKError):
            vault.get_artifact("token")  # its use could not be counted
        with pytest.raises(EnclaveSDKError) as caught:
            vault.set_policy(AccessPolicy())
        assert caught.value.code is Status.READ_ONLY
