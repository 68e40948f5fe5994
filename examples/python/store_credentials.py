# SPDX-License-Identifier: Apache-2.0
"""Credentials of three applications in one vault on disk, which keeps the rule who may read them."""

from pqc_enclave_sdk import (
    AccessPolicy,
    ArtifactKind,
    ArtifactPolicy,
    EnclaveVault,
    FileEnclaveBackend,
    PolicyViolationError,
)

CREDENTIALS = {
    "com.example.mail": ("mail/oauth-token", b"ya29.mail"),
    "com.example.assistant": ("assistant/api-key", b"sk-assistant"),
    "com.example.photos": ("photos/bearer", b"bearer-photos"),
}

# The key file is beside the vault only because this is an example: keep it apart.
backend = FileEnclaveBackend("vault", key_file="vault.key", device_id="phone-1")
with EnclaveVault(backend) as vault:
    for bundle, (name, secret) in CREDENTIALS.items():
        vault.put_artifact(name, ArtifactKind.CREDENTIAL, secret, app_bundle_id=bundle)
    # Only two applications may read credentials at all. The rule is in the vault: every program obeys it from now on.
    vault.set_policy(AccessPolicy().add(
        ArtifactPolicy(ArtifactKind.CREDENTIAL, frozenset({"com.example.mail", "com.example.assistant"}))
    ))

# Later, elsewhere: another object opens the same directory.
backend = FileEnclaveBackend("vault", key_file="vault.key", device_id="phone-1")
with EnclaveVault(backend) as vault:
    for metadata in vault.list_artifacts():
        print(f"{metadata.name:20} {metadata.kind.value:12} {metadata.size_bytes:3} bytes  {metadata.app_bundle_id}")
    for bundle, (name, secret) in CREDENTIALS.items():
        try:
            content = vault.get_artifact(name, caller_bundle_id=bundle).content
            print(bundle, "reads its credential:", content == secret)
        except PolicyViolationError as error:
            print("refused:", error)
    for entry in reversed(vault.audit.entries()):
        print("audit:", entry.operation, entry.artifact_name, entry.caller, "ok" if entry.success else "denied")
