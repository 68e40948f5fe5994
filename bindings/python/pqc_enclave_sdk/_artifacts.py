# SPDX-License-Identifier: Apache-2.0
"""Artifacts: what is kept in a vault, in clear and as it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import _native
    from ._native import ArtifactFields, Buffer


class ArtifactKind(str, Enum):
    """What an artifact is. The values are those of the C library and the command line."""

    MODEL_WEIGHTS = "model-weights"
    LORA_ADAPTER = "lora-adapter"
    TOKENIZER = "tokenizer"
    CREDENTIAL = "credential"
    BIOMETRIC_TEMPLATE = "biometric-template"
    INFERENCE_CACHE = "inference-cache"
    SAFETY_MODEL = "safety-model"
    OTHER = "other"


@dataclass(frozen=True)
class ArtifactMetadata:
    """What is known of an artifact beside its content; sealed in the vault, authenticated when read.

    ``size_bytes`` counts plaintext; ``created_at`` is ISO 8601 in UTC ("2026-01-31T23:59:59Z"); ``artifact_id`` is
    "urn:pqc-enclave-art:" and 32 hexadecimal digits, new at every put.
    """

    artifact_id: str
    name: str
    kind: ArtifactKind
    version: str = ""
    app_bundle_id: str = ""
    size_bytes: int = 0
    created_at: str = ""
    device_id: str = ""
    model_did: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON: the kind as its value, the tags as a list."""
        return {**asdict(self), "kind": ArtifactKind(self.kind).value, "tags": list(self.tags)}


def metadata_from_fields(fields: ArtifactFields) -> ArtifactMetadata:
    """From what the extension gives (`_native.ArtifactFields`)."""
    return ArtifactMetadata(fields[0], fields[1], ArtifactKind(fields[2]), *fields[3:11])


def _metadata_from_dict(data: Mapping[str, Any]) -> ArtifactMetadata:
    optional = {
        name: data[name]
        for name in ("version", "app_bundle_id", "size_bytes", "created_at", "device_id", "model_did", "description")
        if name in data
    }
    return ArtifactMetadata(
        artifact_id=data["artifact_id"],
        name=data["name"],
        kind=ArtifactKind(data["kind"]),
        tags=tuple(data.get("tags", ())),
        **optional,
    )


@dataclass
class EnclaveArtifact:
    """An artifact with its content in clear, as `EnclaveVault.get_artifact` gives it.

    ``content`` is a ``bytes`` object, which nothing can wipe: it stays in memory until Python reuses it. Precious
    contents are better taken as `view`, which is wiped when released. Neither copies a large content. ``repr()`` shows
    no content.
    """

    metadata: ArtifactMetadata
    content: bytes = field(repr=False)

    @classmethod
    def _of_vault(cls, metadata: ArtifactMetadata, native: _native.Content) -> EnclaveArtifact:
        self = cls.__new__(cls)
        self.metadata = metadata
        self.__dict__["_native"] = native
        return self

    def __getattr__(self, name: str) -> Any:
        # Only what is not set comes here: `content` of a vault's artifact, before it was asked for.
        if name != "content" or "_native" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        self.content = self.__dict__["_native"].take()
        return self.content

    @property
    def view(self) -> memoryview:
        """The content as a read-only ``memoryview`` of bytes, without a copy; the same object at every call.

        Its memory is out of core dumps, and is wiped when the view is released (``view.release()``, or the end of
        ``with artifact.view as v:``) or collected, once nothing else uses it. After that the artifact has no content:
        ``ValueError``. What `content` gave out, before or after, is not wiped.
        """
        view = self.__dict__.get("_view")
        if view is None:
            native = None if "content" in self.__dict__ else self.__dict__.get("_native")
            view = memoryview(self.content if native is None else native).toreadonly()
            self.__dict__["_view"] = view
        return view

    def release(self) -> None:
        """Wipes what can be wiped. ``BufferError`` while somebody else uses `view`. The metadata stays."""
        view = self.__dict__.get("_view")
        if view is not None:
            view.release()
        elif "content" not in self.__dict__ and "_native" in self.__dict__:
            self.__dict__["_native"].release()

    def __enter__(self) -> EnclaveArtifact:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __getstate__(self) -> dict[str, Any]:
        return {"metadata": self.metadata, "content": self.content}

    @staticmethod
    def content_hash(data: Buffer) -> str:
        """SHA3-256 (FIPS 202) of a buffer: 64 lower-case hexadecimal digits."""
        return hashlib.sha3_256(memoryview(data)).hexdigest()

    def sha3_256_hex(self) -> str:
        """SHA3-256 of the content, computed now."""
        return self.content_hash(self.content if "content" in self.__dict__ else self.view)


@dataclass
class EncryptedArtifact:
    """An artifact as it is stored.

    ``ciphertext`` is the hexadecimal form of the whole body (docs/format.md, section 2), ``nonce`` that of its salt: the
    public part that the base nonce is derived from. Those of a vault's artifact are read when first asked for, which
    needs the vault unlocked and twice the body's size in memory, and are kept then. ``content_hash`` is SHA3-256 of the
    plaintext, ``key_id`` names the session whose key wraps the artifact's own.
    """

    metadata: ArtifactMetadata
    nonce: str = field(repr=False)
    ciphertext: str = field(repr=False)
    content_hash: str
    key_id: str

    @classmethod
    def _of_vault(cls, fields: ArtifactFields, read: Callable[[str, int], bytes]) -> EncryptedArtifact:
        self = cls.__new__(cls)
        self.metadata = metadata_from_fields(fields)
        self.content_hash = fields[12]
        self.key_id = fields[13]
        self.__dict__["_read"] = read
        return self

    def __getattr__(self, name: str) -> Any:
        if name not in ("nonce", "ciphertext") or "_read" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        read = self.__dict__["_read"]
        value = read(self.metadata.artifact_id, 24 if name == "nonce" else -1).hex()
        setattr(self, name, value)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: getattr(self, name) for name in ("metadata", "nonce", "ciphertext", "content_hash", "key_id")
        }

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON; the metadata nested."""
        return {
            "metadata": self.metadata.to_dict(),
            "nonce": self.nonce,
            "ciphertext": self.ciphertext,
            "content_hash": self.content_hash,
            "key_id": self.key_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EncryptedArtifact:
        """The inverse of `to_dict`. Optional fields of the metadata may be missing; ``KeyError`` for others."""
        return cls(
            metadata=_metadata_from_dict(data["metadata"]),
            nonce=data["nonce"],
            ciphertext=data["ciphertext"],
            content_hash=data["content_hash"],
            key_id=data["key_id"],
        )
