# SPDX-License-Identifier: Apache-2.0
"""A device proves to a server which model it stores; what was altered, replayed or signed by another does not pass."""

import secrets

from pqc_enclave_sdk import (
    AgentIdentity,
    ArtifactKind,
    DeviceAttester,
    EnclaveArtifact,
    EnclaveVault,
    FileEnclaveBackend,
    verify_attestation,
)

WEIGHTS = bytes(range(256)) * 4096

# The key file is beside the vault only because this is an example: keep it apart.
backend = FileEnclaveBackend("vault", key_file="vault.key", device_id="phone-1")
with EnclaveVault(backend) as vault:
    vault.put_artifact("model", ArtifactKind.MODEL_WEIGHTS, WEIGHTS)
    # Once, at enrolment: the server learns the DID of the device's identity, and trusts it from then on.
    trusted_did = vault.create_identity("device").did

    # The server sends a challenge, the device answers, the server verifies: it needs no vault, only these bytes.
    challenge = secrets.token_bytes(32)
    answer = vault.attest("model", challenge=challenge, ttl=300)

expected = EnclaveArtifact.content_hash(WEIGHTS)
result = verify_attestation(answer, trusted_did, challenge=challenge, expected_hash=expected)
print("genuine:", result.verdict.name, result.claims.device_id, result.claims.algorithm)

altered = bytearray(answer)
altered[len(altered) // 2] ^= 1
print("altered:", bool(verify_attestation(altered, trusted_did, challenge=challenge)))
print("replayed:", verify_attestation(answer, trusted_did, challenge=secrets.token_bytes(32)).verdict.name)
print("another model:", verify_attestation(answer, trusted_did, expected_hash="0" * 64).verdict.name)
print("nobody trusted:", verify_attestation(answer, []).reason)

# The form of the published package: any key pair signs any hash.
attester = DeviceAttester(AgentIdentity.create("device-attester"), "phone-1", "model-x", "vendor-y")
attestation = attester.attest("urn:pqc-enclave-art:" + "0" * 32, expected)
print("version 1:", DeviceAttester.verify(attestation))
attestation.device_id = "phone-2"
print("version 1, tampered with:", DeviceAttester.verify(attestation))
attestation = attester.attest("urn:pqc-enclave-art:" + "0" * 32, expected)
print("version 1, of a stranger:", DeviceAttester.verify(attestation, trust=trusted_did))
print("version 1, of one we trust:", DeviceAttester.verify(attestation, trust=attester.identity, max_age=60))
