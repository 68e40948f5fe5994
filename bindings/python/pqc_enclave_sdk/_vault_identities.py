# SPDX-License-Identifier: Apache-2.0
"""The part of `EnclaveVault` that is about its identities and what they sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _native
from ._attest import DeviceAttestation, attestation_v1
from ._audit import EnclaveAuditLog
from ._backends import EnclaveBackend
from ._identity import AgentIdentity, SignatureAlgorithm, SigningKeypair, VaultIdentity, vault_identity
from ._store import Store
from ._vault_policy import check_text

if TYPE_CHECKING:
    from ._native import Buffer

DEFAULT_ATTESTATION_TTL = 86400


class IdentityMethods:
    audit: EnclaveAuditLog
    backend: EnclaveBackend
    caller_bundle_id: str
    _store: Store
    _holder: int
    _device_id: str

    def create_identity(
        self, name: str | None = None, algorithm: SignatureAlgorithm = SignatureAlgorithm.ML_DSA_65
    ) -> VaultIdentity:
        """Makes a key pair, ML-DSA-65 or -87, that the vault keeps and signs attestations with; durable on return.

        ``name``: up to 256 bytes. The first one becomes the default. Raises `EnclaveSDKError` with `Status.EXISTS`
        where the name is taken, `InvalidArgumentError` for ML-DSA-44 and bad names.
        """
        native = self._store.session(self._holder)
        made = vault_identity(native.identity_create(_name(name), SignatureAlgorithm(algorithm).value))
        self._log_identity("identity_create", made.did, made.name)
        return made

    def import_identity(self, key: SigningKeypair | AgentIdentity, name: str | None = None) -> VaultIdentity:
        """Keeps a copy of a key pair in the vault, under its own name if it is an `AgentIdentity` and none is given."""
        if isinstance(key, AgentIdentity):
            name = key.name or None if name is None else name
            key = key.signing_keypair
        if not isinstance(key, SigningKeypair):
            raise TypeError("key must be a SigningKeypair or an AgentIdentity")
        made = vault_identity(self._store.session(self._holder).identity_import(key._native, _name(name)))
        self._log_identity("identity_import", made.did, made.name)
        return made

    def identity(self, did_or_name: str | None = None) -> VaultIdentity:
        """One of them; None: the default. `UnknownArtifactError` if there is none, which the vault's index proves."""
        return vault_identity(self._store.session(self._holder).identity_get(_name(did_or_name)))

    def list_identities(self) -> list[VaultIdentity]:
        """All of them, oldest first; the index proves that none is missing."""
        return [vault_identity(fields) for fields in self._store.session(self._holder).identity_list()]

    def delete_identity(self, did_or_name: str) -> None:
        """Removes one, also a damaged one; what it signed stays valid.

        If it was the default, the oldest one left becomes it.
        """
        self._store.session(self._holder).identity_delete(check_text("did_or_name", did_or_name))
        self._log_identity("identity_delete", *_did_and_name(did_or_name))

    def export_identity(self, did_or_name: str | None = None) -> SigningKeypair:
        """Gives the key pair out of the vault's keeping: whoever has it can sign as this device.

        `BackendError` with `Status.UNAVAILABLE` where the backend made the key and keeps it.
        """
        native = self._store.session(self._holder).identity_export(_name(did_or_name))
        key = SigningKeypair._of_native(native)
        self._log_identity("identity_export", key.did, _did_and_name(did_or_name)[1])
        return key

    def sign(self, message: Buffer, context: Buffer, identity: str | None = None) -> bytes:
        """Signs with an identity of the vault (DID or name; None: the default). `verify` takes the same ``context``.

        It has 1 to 255 bytes and must not begin with "pqc-enclave": nothing signed here can pass for an attestation.
        """
        return self._store.session(self._holder).identity_sign(_name(identity), message, context)

    def attest(
        self,
        name_or_id: str,
        *,
        challenge: Buffer | None = None,
        identity: str | None = None,
        ttl: int = DEFAULT_ATTESTATION_TTL,
        device_model: str | None = None,
        enclave_vendor: str | None = None,
        trust_record: bool = False,
        evidence: bool = True,
    ) -> bytes:
        """States, signed by an identity of the vault, which content an artifact has: version 2, as COSE bytes.

        Args:
            challenge: 8 to 64 bytes from the verifier, which prove to it that this is fresh.
            identity: DID or name; None: the default.
            ttl: seconds until it expires.
            device_model, enclave_vendor: None: the backend's.
            trust_record: take the hash computed at the put, in place of reading the whole artifact.
            evidence: have the hardware state, signed, that it is there, where the backend can; a chip takes its time.

        `verify_attestation` reads it. Raises `UnknownArtifactError` for the artifact or the identity, `DecryptionError`
        where the stored artifact does not verify, and `EnclaveSDKError` with `Status.STATE` for a hash that this vault
        has neither computed nor verified.
        """
        if not isinstance(ttl, int) or isinstance(ttl, bool):
            raise TypeError("ttl must be an int")
        if not 1 <= ttl <= 0xFFFFFFFF:
            raise ValueError("ttl must be 1 to 4294967295 seconds")
        if challenge is not None and not 8 <= memoryview(challenge).nbytes <= 64:
            raise ValueError("a challenge has 8 to 64 bytes")
        made = self._attest(name_or_id, identity, 2, challenge, ttl, device_model, enclave_vendor, trust_record,
                            not evidence)
        return made.encode()

    def evidence_public_key(self) -> str:
        """The key (PEM) that verifies the hardware's evidence, for verifiers: `verify_attestation`'s ``evidence_trust``.

        It must reach them another way than with an attestation. `BackendError` with `Status.UNAVAILABLE` where the
        backend gives no evidence.
        """
        return self._store.session(self._holder).evidence_public_key()

    def attest_v1(
        self,
        name_or_id: str,
        *,
        identity: str | None = None,
        device_model: str | None = None,
        enclave_vendor: str | None = None,
        trust_record: bool = False,
    ) -> DeviceAttestation:
        """As `attest`, in the form of the published package: no challenge, no expiry, the signer not signed."""
        return attestation_v1(
            self._attest(name_or_id, identity, 1, None, 0, device_model, enclave_vendor, trust_record, True)
        )

    def _log_identity(self, operation: str, did: str, name: str) -> None:
        if not self.audit.is_attached:  # else the vault has done it
            self.audit._log(operation, self._device_id, artifact_id=did, artifact_name=name)

    def _attest(
        self,
        name_or_id: str,
        identity: str | None,
        version: int,
        challenge: Buffer | None,
        ttl: int,
        device_model: str | None,
        enclave_vendor: str | None,
        trust_record: bool,
        no_evidence: bool,
    ) -> _native.Attestation:
        check_text("name_or_id", name_or_id)
        model = self.backend.device_model if device_model is None else check_text("device_model", device_model)
        vendor = self.backend.enclave_vendor if enclave_vendor is None else check_text("enclave_vendor", enclave_vendor)
        made = self._store.session(self._holder).attest(
            name_or_id, _name(identity), version, challenge, ttl, model or None, vendor or None, bool(trust_record),
            bool(no_evidence), self.caller_bundle_id or None,
        )
        if self.audit.is_attached:
            return made
        said = made.fields()
        self.audit.log_attest(self._device_id, said["artifact_id"], f"signer={said['signer_did']}")
        return made


def _did_and_name(did_or_name: str | None) -> tuple[str, str]:
    """What it is, and nothing for the other."""
    if did_or_name is None:
        return "", ""
    return (did_or_name, "") if did_or_name.startswith("did:pqaid:") else ("", did_or_name)


def _name(name: str | None) -> str | None:
    return None if name is None else check_text("an identity's name", name)
