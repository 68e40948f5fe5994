# SPDX-License-Identifier: Apache-2.0
"""Key pairs, identities of vaults, and attestations in both versions, here and across the command."""

import copy
import dataclasses
import json
import os
import pickle
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pqc_enclave_sdk as sdk
from pqc_enclave_sdk import (
    AgentIdentity,
    ArtifactKind,
    AttestationError,
    DeviceAttestation,
    DeviceAttester,
    EnclaveSDKError,
    InvalidArgumentError,
    SignatureAlgorithm,
    SigningKeypair,
    Status,
    UnknownArtifactError,
    Verdict,
    generate_signing_keypair,
    sign,
    verify,
    verify_attestation,
)

HASH = sdk.EnclaveArtifact.content_hash(b"weights")
CHALLENGE = bytes(range(16))
SIGNED = ("device_id", "device_model", "enclave_vendor", "artifact_id", "artifact_content_hash", "issued_at")


@pytest.fixture(scope="module")
def attester():
    return DeviceAttester(AgentIdentity.create("tester"), "phone-1", "model-x", "vendor-y")


@pytest.fixture
def v1(attester):
    return attester.attest("urn:pqc-enclave-art:" + "0" * 32, HASH)


# ---- key pairs ----


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_sign_and_verify(algorithm):
    keypair = generate_signing_keypair(algorithm)
    assert keypair.algorithm is algorithm
    assert len(keypair.public_key) == {"44": 1312, "65": 1952, "87": 2592}[algorithm.value[-2:]]
    signature = sign(b"message", keypair)
    assert verify(b"message", signature, keypair.public_key, algorithm)
    assert sign(b"message", keypair) != signature  # hedged
    assert not verify(b"messagf", signature, keypair.public_key, algorithm)
    assert not verify(b"message", signature[:-1], keypair.public_key, algorithm)
    assert not verify(b"message", bytes([signature[0] ^ 1]) + signature[1:], keypair.public_key, algorithm)
    assert not verify(b"message", signature, generate_signing_keypair(algorithm).public_key, algorithm)
    assert not verify(b"message", signature, keypair.public_key[:-1], algorithm)
    assert not verify(b"message", signature, keypair.public_key, algorithm, context=b"another")
    for other in set(SignatureAlgorithm) - {algorithm}:
        assert not verify(b"message", signature, keypair.public_key, other)


def test_keypair_from_its_parts():
    keypair = generate_signing_keypair()
    again = SigningKeypair(keypair.public_key, keypair.private_key, "ML-DSA-65")
    assert again == keypair and hash(again) == hash(keypair) and len(keypair.private_key) == 32
    assert verify(b"m", sign(b"m", again), keypair.public_key)
    other = generate_signing_keypair()
    assert other != keypair and other != 5
    for wrong in ((keypair.public_key, other.private_key), (keypair.public_key, b"short"), (b"", other.private_key)):
        with pytest.raises(ValueError):
            SigningKeypair(*wrong)
    with pytest.raises(ValueError):
        SigningKeypair(keypair.public_key, keypair.private_key, "ML-DSA-66")
    with pytest.raises(TypeError):
        SigningKeypair(keypair.public_key, "text")
    with pytest.raises(TypeError):
        sign(b"m", keypair.private_key)
    with pytest.raises(TypeError):
        verify("m", b"", keypair.public_key)


def test_pem():
    keypair = generate_signing_keypair(SignatureAlgorithm.ML_DSA_87)
    pem = keypair.private_pem()
    assert SigningKeypair.from_pem(pem) == SigningKeypair.from_pem(pem.decode()) == keypair
    assert keypair.public_pem().startswith("-----BEGIN PUBLIC KEY-----")
    for wrong in (b"", b"text", keypair.public_pem(), pem[:-100]):
        with pytest.raises(InvalidArgumentError):
            SigningKeypair.from_pem(wrong)


def test_secrets_do_not_show():
    keypair = generate_signing_keypair()
    shown = repr(keypair) + repr(AgentIdentity("d", "n", keypair)) + AgentIdentity("d", "n", keypair).export()
    assert keypair.private_key.hex() not in shown and repr(keypair.private_key) not in shown
    with pytest.raises(TypeError):
        pickle.dumps(keypair)
    with pytest.raises(AttributeError):
        keypair.public_key = b""
    with pytest.raises(AttributeError):
        del keypair.public_key
    assert copy.deepcopy(keypair) is keypair and copy.copy(keypair) is keypair


@pytest.mark.parametrize("algorithm, k", [("ML-KEM-512", 2), ("ML-KEM-768", 3), ("ML-KEM-1024", 4)])
def test_kem_keypair(algorithm, k):
    import hashlib

    keypair = sdk.generate_kem_keypair(algorithm)
    seed = keypair.private_key
    assert keypair.algorithm.value == algorithm and len(seed) == 64 and len(keypair.public_key) == 384 * k + 32
    # FIPS 203, Algorithm 13: the public key ends with rho, the first half of G(d || k).
    assert keypair.public_key[-32:] == hashlib.sha3_512(seed[:32] + bytes([k])).digest()[:32]
    again = sdk.KEMKeypair(keypair.public_key, seed, algorithm)
    assert again == keypair and hash(again) == hash(keypair) and again.private_key == seed
    assert sdk.generate_kem_keypair(algorithm) != keypair
    for wrong in ((keypair.public_key, bytes(64)), (keypair.public_key, seed[:32]), (b"", seed)):
        with pytest.raises(ValueError):
            sdk.KEMKeypair(*wrong, algorithm)
    with pytest.raises(ValueError):
        sdk.generate_kem_keypair("ML-KEM-2048")
    with pytest.raises(TypeError):
        pickle.dumps(keypair)
    with pytest.raises(AttributeError):
        keypair.algorithm = None
    assert seed.hex() not in repr(keypair) and copy.deepcopy(keypair) is keypair
    held = keypair._seed
    del keypair
    assert held == bytearray(64)


def test_agent_identity():
    import hashlib

    identity = AgentIdentity.create("agent", ["read"], SignatureAlgorithm.ML_DSA_44)
    key = identity.signing_keypair.public_key
    assert identity.did == "did:pqaid:" + hashlib.sha3_256(key).hexdigest() == identity.signing_keypair.did
    exported = json.loads(identity.export())
    assert exported["public_key"] == key.hex() and exported["did"] == identity.did
    assert (exported["name"], exported["capabilities"], exported["algorithm"]) == ("agent", ["read"], "ML-DSA-44")
    assert AgentIdentity.create("a").capabilities is not AgentIdentity.create("b").capabilities
    assert [f.name for f in dataclasses.fields(AgentIdentity)] == [
        "did", "name", "signing_keypair", "capabilities", "created_at"
    ]


# ---- version 1 ----


def dumps(att):
    fields = {name: getattr(att, name) for name in SIGNED}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


texts = st.text(max_size=40) | st.text(alphabet=[chr(c) for c in range(0x21)] + ['"', "\\", "/", "\x7f", "\u2028", "😀"])


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[texts.filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))] * 6))
def test_canonical_bytes_are_pythons(fields):
    att = DeviceAttestation(*fields)
    assert att.canonical_bytes() == dumps(att)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[texts.filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))] * 5))
def test_whatever_the_texts_hold_is_signed(fields):
    made = DeviceAttester(IDENTITY, *fields[:3]).attest(*fields[3:])
    assert dataclasses.astuple(made)[:5] == fields
    assert DeviceAttester.verify(made) and DeviceAttester.verify(made, trust=IDENTITY)
    assert DeviceAttester.verify(json.dumps(made.to_dict()), trust=IDENTITY)
    assert DeviceAttester.verify(json.dumps(made.to_dict(), ensure_ascii=False), trust=IDENTITY)


IDENTITY = AgentIdentity.create("of the module")


def test_shape(v1, attester):
    assert v1.algorithm == "ML-DSA-65" and v1.signer_did == attester.identity.did
    assert bytes.fromhex(v1.public_key) == attester.identity.signing_keypair.public_key
    assert DeviceAttestation.from_dict(json.loads(json.dumps(v1.to_dict()))) == v1
    assert list(v1.to_dict()) == [*SIGNED, "signer_did", "algorithm", "signature", "public_key"]
    assert DeviceAttestation(*SIGNED).signature == ""
    import hashlib

    digest = hashlib.sha3_256(v1.canonical_bytes()).digest()
    assert verify(digest, bytes.fromhex(v1.signature), bytes.fromhex(v1.public_key))
    with pytest.raises(TypeError):
        DeviceAttestation.from_dict({**v1.to_dict(), "more": ""})


def test_verify_with_and_without_trust(v1, attester):
    assert DeviceAttester.verify(v1) is True
    DeviceAttester.verify_or_raise(v1)
    keypair = attester.identity.signing_keypair
    for trust in (attester.identity, keypair, keypair.did, keypair.public_key, keypair.public_pem(),
                  keypair.public_pem().encode(), [IDENTITY.did, keypair.did], iter([keypair])):
        assert DeviceAttester.verify(v1, trust=trust) is True
    DeviceAttester.verify_or_raise(v1, trust=keypair.did, max_age=60, expected_hash=HASH)
    for trust in ([], IDENTITY, IDENTITY.did, (IDENTITY.signing_keypair.public_key,)):
        assert DeviceAttester.verify(v1, trust=trust) is False
        with pytest.raises(AttestationError) as caught:
            DeviceAttester.verify_or_raise(v1, trust=trust)
        assert caught.value.native == Verdict.UNKNOWN_SIGNER and caught.value.code is Status.ATTESTATION


def test_trust_from_a_file(v1, attester, tmp_path):
    anchors = tmp_path / "anchors"
    anchors.write_text(f"# ours\n{attester.identity.did}\n" + IDENTITY.signing_keypair.public_pem())
    assert DeviceAttester.verify(v1, trust=anchors)
    with pytest.raises(OSError):
        DeviceAttester.verify(v1, trust=tmp_path / "none")


@pytest.mark.parametrize("trust", ["", "did:pqaid:short", b"x", ["did:pqaid:" + "0" * 64, ""], [b""]])
def test_trust_that_is_none(v1, trust):
    with pytest.raises(ValueError):
        DeviceAttester.verify(v1, trust=trust)


def test_wrong_options(v1, attester):
    trust = attester.identity
    for options in ({"challenge": CHALLENGE}, {"max_age": 1}, {"expected_hash": HASH}):
        with pytest.raises(ValueError):  # it would say nothing about who answered
            DeviceAttester.verify(v1, **options)
        with pytest.raises(ValueError):
            DeviceAttester.verify_or_raise(v1, **options)
    for options in ({"challenge": b"short"}, {"challenge": bytes(65)}, {"max_age": 0}, {"max_age": -1}, {"skew": -1},
                    {"expected_hash": "zz"}, {"now": 0}):
        with pytest.raises(ValueError):
            DeviceAttester.verify(v1, trust, **options)
    for options in ({"challenge": "text"}, {"max_age": "1"}, {"skew": 1.5}, {"expected_hash": b""}):
        with pytest.raises(TypeError):
            DeviceAttester.verify(v1, trust, **options)
    for wrong in (5, {"did": 1}, [5]):
        with pytest.raises(TypeError):
            DeviceAttester.verify(v1, wrong)
    with pytest.raises(TypeError):
        DeviceAttester("identity", "d", "m", "v")
    with pytest.raises(TypeError):
        DeviceAttester(trust, 5, "m", "v").attest("a", HASH)
    with pytest.raises(InvalidArgumentError):
        DeviceAttester(trust, "d" * 5000, "m", "v").attest("a", HASH)


@pytest.mark.parametrize("name", [*SIGNED, "signer_did", "algorithm", "signature", "public_key"])
def test_every_field_altered(v1, attester, name):
    trust, signed_fields = attester.identity, name not in ("signer_did", "algorithm")
    right = getattr(v1, name)
    others = [right + "0", right[:-1], "", right[::-1], right.upper() + "!", "\ud800", "\x00", None, 5, b"bytes"]
    others += [getattr(v1, other) for other in SIGNED if other != name]
    for wrong in others:
        setattr(v1, name, wrong)
        assert DeviceAttester.verify(v1, trust=trust) is False
        with pytest.raises(AttestationError):
            DeviceAttester.verify_or_raise(v1, trust=trust)
        if signed_fields:
            assert DeviceAttester.verify(v1) is False
    setattr(v1, name, right)
    assert DeviceAttester.verify(v1, trust=trust) and DeviceAttester.verify(v1)


def test_wrong_algorithms(v1):
    for wrong in ("", "ML-DSA-44", "ML-DSA-87", "ml-dsa-65", "RSA", "ML-DSA-65\x00"):
        assert DeviceAttester.verify(dataclasses.replace(v1, algorithm=wrong)) is False
    for wrong in ("", "zz", v1.signature[:-2], v1.signature + "00", "00" * (len(v1.signature) // 2)):
        assert DeviceAttester.verify(dataclasses.replace(v1, signature=wrong)) is False


def test_text_that_is_no_attestation(attester):
    for wrong in ("", "{}", "[]", b"", b"\xd2\x84", "x" * 200_000, "\ud800", b"\xff"):
        assert DeviceAttester.verify(wrong) is False
        result = verify_attestation(wrong, attester.identity)
        assert not result and result.verdict is Verdict.MALFORMED and result.claims is None and result.reason
    with pytest.raises(TypeError):
        DeviceAttester.verify(5)


def test_times(attester, v1):
    from datetime import datetime

    issued = int(datetime.fromisoformat(v1.issued_at).timestamp())

    def verdict(**options):
        return verify_attestation(v1, attester.identity, **options).verdict

    assert verdict(now=issued + 10, max_age=20) is Verdict.PASS
    assert verdict(now=issued + 21, max_age=20) is Verdict.TOO_OLD
    assert verdict(now=issued - 200) is Verdict.PASS
    assert verdict(now=issued - 301) is Verdict.FUTURE
    assert verdict(now=issued - 5, skew=0) is Verdict.FUTURE
    assert verdict(expected_hash="0" * 64) is Verdict.HASH
    assert verdict(challenge=CHALLENGE) is Verdict.CHALLENGE


# ---- identities and attestations of a vault ----


def test_vault_identities(vault):
    assert vault.list_identities() == []
    with pytest.raises(UnknownArtifactError):
        vault.identity()
    first = vault.create_identity("first")
    second = vault.create_identity(algorithm=SignatureAlgorithm.ML_DSA_87)
    assert first.is_default and not second.is_default and (first.name, second.name) == ("first", "")
    assert vault.list_identities() == [first, second]
    assert vault.identity() == vault.identity("first") == vault.identity(first.did) == first
    assert first.algorithm is SignatureAlgorithm.ML_DSA_65 and len(second.public_key) == 2592
    with pytest.raises(EnclaveSDKError) as caught:
        vault.create_identity("first")
    assert caught.value.code is Status.EXISTS
    with pytest.raises(ValueError):
        vault.create_identity("small", SignatureAlgorithm.ML_DSA_44)
    with pytest.raises(TypeError):
        vault.create_identity(5)
    exported = vault.export_identity("first")
    assert exported.did == first.did
    vault.delete_identity("first")
    assert vault.identity().did == second.did
    agent = AgentIdentity("", "agent", exported)
    assert vault.import_identity(agent).name == "agent" and vault.identity("agent").did == first.did
    with pytest.raises(EnclaveSDKError) as caught:
        vault.import_identity(exported, "again")
    assert caught.value.code is Status.EXISTS
    with pytest.raises(TypeError):
        vault.import_identity(exported.private_key)
    logged = [e for e in vault.audit.entries() if e.operation.startswith("identity_") and e.success]
    assert [(e.operation, e.artifact_name) for e in reversed(logged)] == [
        ("identity_create", "first"), ("identity_create", ""), ("identity_export", "first"),
        ("identity_delete", "first"), ("identity_import", "agent"),
    ]
    assert [e.artifact_id for e in logged if e.operation != "identity_delete"] == [
        first.did, first.did, second.did, first.did
    ]


def test_vault_signs(vault):
    identity = vault.create_identity()
    signature = vault.sign(b"message", b"my application")
    assert verify(b"message", signature, identity.public_key, context=b"my application")
    assert not verify(b"message", signature, identity.public_key)
    for context in (b"", b"pqc-enclave", b"pqc-enclave attestation", bytes(256)):
        with pytest.raises(ValueError):
            vault.sign(b"message", context)
    with pytest.raises(TypeError):
        vault.sign("message", b"c")


def test_attest(vault):
    identity = vault.create_identity("device")
    stored = vault.put_artifact("model", ArtifactKind.MODEL_WEIGHTS, b"weights")
    token = vault.attest("model", challenge=CHALLENGE, ttl=60)
    result = verify_attestation(token, identity.did, challenge=CHALLENGE, expected_hash=HASH, max_age=60)
    assert result and result.verdict is Verdict.PASS
    claims = result.claims
    assert (claims.version, claims.artifact_id) == (2, stored.metadata.artifact_id)
    assert (claims.artifact_content_hash, claims.signer_did) == (HASH, identity.did)
    assert claims.challenge == CHALLENGE and claims.expires - claims.issued == 60 and claims.evidence == ()
    assert claims.key_id == stored.key_id and claims.tier == "software" and claims.public_key == identity.public_key
    assert claims.device_model == (vault.backend.device_model or claims.backend)
    assert vault.audit.entries(operation="attest")[0].artifact_id == stored.metadata.artifact_id
    for options, verdict in (
        ({"challenge": bytes(16)}, Verdict.CHALLENGE), ({"expected_hash": "0" * 64}, Verdict.HASH),
        ({"now": claims.issued + 61}, Verdict.EXPIRED), ({"now": claims.issued + 5, "max_age": 4}, Verdict.TOO_OLD),
        ({"now": claims.issued - 301}, Verdict.FUTURE),
    ):
        result = verify_attestation(token, identity, **options)
        assert result.verdict is verdict and not result and result.reason
    assert verify_attestation(token, []).verdict is Verdict.UNKNOWN_SIGNER
    assert verify_attestation(token, IDENTITY).verdict is Verdict.UNKNOWN_SIGNER
    assert DeviceAttester.verify(token) and DeviceAttester.verify(token, identity, CHALLENGE, 60)


def test_every_byte_of_a_token_altered(vault):
    identity = vault.create_identity()
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    token = vault.attest("model", challenge=CHALLENGE)
    for i in range(0, len(token), 7 if "PQE_SANITIZED" in os.environ else 1):
        wrong = bytearray(token)
        wrong[i] ^= 1 << i % 8
        assert not verify_attestation(wrong, identity.did, challenge=CHALLENGE)
    for wrong in (token[:-1], token + b"\0", token[1:]):
        assert not verify_attestation(wrong, identity.did)


def test_attest_v1(vault):
    identity = vault.create_identity()
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    made = vault.attest_v1("model", device_model="m", enclave_vendor="v")
    assert (made.device_model, made.enclave_vendor, made.artifact_content_hash) == ("m", "v", HASH)
    assert DeviceAttester.verify(made, trust=identity)
    made.device_model = "n"
    assert not DeviceAttester.verify(made)


def test_attest_errors(vault):
    vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    with pytest.raises(UnknownArtifactError):
        vault.attest("model")  # no identity yet
    vault.create_identity()
    with pytest.raises(UnknownArtifactError):
        vault.attest("other")
    with pytest.raises(UnknownArtifactError):
        vault.attest("model", identity="nobody")
    for options in ({"ttl": 0}, {"challenge": b"short"}, {"challenge": bytes(65)}):
        with pytest.raises(ValueError):
            vault.attest("model", **options)
    for options in ({"ttl": "1"}, {"challenge": "text"}, {"identity": 5}, {"device_model": 5}):
        with pytest.raises(TypeError):
            vault.attest("model", **options)
    vault.lock()
    for call in (lambda: vault.attest("model"), vault.create_identity, vault.list_identities,
                 lambda: vault.sign(b"m", b"c")):
        with pytest.raises(sdk.EnclaveLockedError):
            call()


# ---- with the command ----


def test_the_command_verifies_what_python_made(cli, file_vault, scratch, v1, attester):
    path = scratch / "v1.json"
    path.write_text(json.dumps(v1.to_dict(), ensure_ascii=False))
    cli("verify-attestation", path, "--trust", attester.identity.did)
    cli("verify-attestation", path, "--trust", IDENTITY.did, expect=5)
    v1.device_id += "!"
    path.write_text(json.dumps(v1.to_dict()))
    cli("verify-attestation", path, "--trust", attester.identity.did, expect=5)
    identity = file_vault.create_identity()
    file_vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    token = scratch / "token"
    token.write_bytes(file_vault.attest("model", challenge=CHALLENGE))
    cli("verify-attestation", token, "--trust", identity.did, "--challenge", CHALLENGE.hex())
    cli("verify-attestation", token, "--trust", identity.did, "--challenge", bytes(16).hex(), expect=5)


def test_python_verifies_what_the_command_made(cli, file_vault, scratch):
    file_vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    cli("identity", "create", "--name", "device")
    identity = file_vault.identity("device")
    for form in ("v1", "cose"):
        out = scratch / form
        cli("attest", "model", "--format", form, "-o", out)
        assert verify_attestation(out.read_bytes(), identity.did, expected_hash=HASH)
        assert not verify_attestation(out.read_bytes(), IDENTITY.did)
    made = DeviceAttestation.from_dict(json.loads((scratch / "v1").read_text()))
    assert DeviceAttester.verify(made, trust=identity.public_pem())
    made.artifact_id += "0"
    assert not DeviceAttester.verify(made)


# ---- threads ----


def test_ten_threads(file_vault, attester):
    identity = file_vault.create_identity()
    file_vault.put_artifact("model", ArtifactKind.OTHER, b"weights")
    shared = attester.attest("a", HASH)
    failures = []

    def work(number):
        try:
            for i in range(5):
                challenge = bytes([number, i]) * 8
                token = file_vault.attest("model", challenge=challenge)
                assert verify_attestation(token, identity.did, challenge=challenge)
                assert not verify_attestation(token, identity.did, challenge=bytes(16))
                assert DeviceAttester.verify(shared, trust=attester.identity)
                assert DeviceAttester.verify(attester.attest("b", HASH), trust=attester.identity)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_leak_of_references():
    import sys

    vault_key = generate_signing_keypair()
    before = sys.getrefcount(vault_key.public_key), sys.getrefcount(None)
    for _ in range(300):
        made = DeviceAttester(IDENTITY, "d", "m", "v").attest("a", HASH)
        DeviceAttester.verify(made, trust=IDENTITY)
        DeviceAttester.verify(dataclasses.replace(made, signature="zz"))
        with pytest.raises(ValueError):
            SigningKeypair(vault_key.public_key, b"short")
    after = sys.getrefcount(vault_key.public_key), sys.getrefcount(None)
    assert after[0] == before[0] and abs(after[1] - before[1]) < 100

