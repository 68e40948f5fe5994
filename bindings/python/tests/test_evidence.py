# SPDX-License-Identifier: Apache-2.0
"""Evidence of the hardware in attestations, as a stand-in for a TPM makes it."""

import os
import subprocess

import pytest

from pqc_enclave_sdk import (
    ArtifactKind,
    BackendError,
    EvidenceState,
    Status,
    Verdict,
    verify_attestation,
)

CHALLENGE = b"0123456789abcdef"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    program = os.environ.get("MAKE_EVIDENCE")
    if program is None:
        pytest.skip("built without libtss2-mu")
    directory = tmp_path_factory.mktemp("evidence")
    subprocess.run([program, directory], check=True)
    return directory


def check(files, name="att.cose", **more):
    return verify_attestation((files / name).read_bytes(), (files / "did").read_text(), **more)


def test_verified(files):
    result = check(files, challenge=CHALLENGE, evidence_trust=files / "ak.pem",
                   expected_pcr_digest=(files / "pcr").read_text())
    said = result.evidence
    assert result and said.state is EvidenceState.VERIFIED
    assert said.signature == "ECDSA P-256 with SHA-256: classical, not quantum-safe"
    assert (said.pieces, said.unknown_pieces, said.reason, len(said.key)) == (3, 0, None, 64)
    assert (said.firmware, said.clock_ms, said.clock_safe) == (0x2019102300163636, 123456789, True)
    assert (said.resets, said.restarts, said.counter) == (7, 2, 42)
    assert said.pcr_selection == "sha256:0,1,7,23" and said.pcr_digest == "5c" * 32
    assert said.object_name.startswith("000bbbbb") and said.counter_name.startswith("000bdddd")
    assert dict(result.claims.evidence).keys() == {"tpm2-quote", "tpm2-certify", "tpm2-nv-certify"}


def test_keys_in_every_form(files):
    path = files / "ak.pem"
    for keys in (path, path.read_text(), path.read_bytes(), [files / "ak2.pem", path], [path.read_text()]):
        assert check(files, evidence_trust=keys)


def test_not_checked_without_a_key(files):
    result = check(files)
    assert result and result.evidence.state is EvidenceState.NOT_CHECKED
    assert result.evidence.pieces == 3 and result.evidence.pcr_digest is None and result.evidence.counter is None


def test_verdicts(files):
    key = files / "ak.pem"
    result = check(files, "bare.cose", evidence_trust=key)
    assert result.verdict is Verdict.NO_EVIDENCE and result.evidence.state is EvidenceState.ABSENT
    result = check(files, evidence_trust=files / "ak2.pem")
    assert result.verdict is Verdict.EVIDENCE and result.evidence.state is EvidenceState.FAILED
    assert "not signed by a trusted key" in result.evidence.reason
    assert result.evidence.firmware == 0 and result.evidence.signature is None
    assert check(files, evidence_trust=key, expected_pcr_digest="00" * 32).verdict is Verdict.PCR
    assert check(files, evidence_trust=key, challenge=b"another challenge").verdict is Verdict.CHALLENGE


def test_wrong_arguments(files):
    key = files / "ak.pem"
    for wrong, error in ((5, TypeError), ({}, TypeError), ([5], TypeError), ([], ValueError), ("", ValueError),
                         ("nonsense", ValueError), ((files / "did").read_text(), ValueError), ([key, ""], ValueError)):
        with pytest.raises(error):
            check(files, evidence_trust=wrong)
    with pytest.raises(OSError):
        check(files, evidence_trust=files / "nothing")
    with pytest.raises(ValueError):
        check(files, expected_pcr_digest="00" * 32)
    with pytest.raises(ValueError):
        check(files, evidence_trust=key, expected_pcr_digest="00")


def test_software_has_none(vault):
    signer = vault.create_identity("main")
    vault.put_artifact("a", ArtifactKind.CREDENTIAL, b"content")
    for evidence in (True, False):
        answer = vault.attest("a", evidence=evidence)
        assert verify_attestation(answer, signer).evidence.state is EvidenceState.ABSENT
    with pytest.raises(BackendError) as caught:
        vault.evidence_public_key()
    assert caught.value.code is Status.UNAVAILABLE
