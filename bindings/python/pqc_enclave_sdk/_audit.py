# SPDX-License-Identifier: Apache-2.0
"""The audit log: what was done with a vault, as the vault keeps it or in memory of this process."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ._errors import EnclaveSDKError, Status

if TYPE_CHECKING:
    from ._store import Store


@dataclass
class EnclaveAuditEntry:
    """One event.

    ``operation`` is unlock, lock, put, get, delete, policy_violation, attest or identity_create, identity_import,
    identity_delete, identity_export (``artifact_id`` is the DID then), in a vault also rotate, policy, clear or lost;
    ``timestamp`` ISO 8601; ``caller`` the bundle id that the caller gave, in a vault's own log.
    """

    timestamp: str
    operation: str
    device_id: str
    artifact_id: str = ""
    artifact_name: str = ""
    artifact_kind: str = ""
    success: bool = True
    details: str = ""
    caller: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnclaveAuditEntry:
        """The inverse of `to_dict`; unknown keys are a ``TypeError``."""
        return cls(**data)


class EnclaveAuditLog:
    """A list of entries, in one of two places. May be used from several threads.

    *Attached* to an `EnclaveVault` whose vault is a directory, it shows the log that the vault keeps: sealed, chained,
    written by every program that uses the vault. It can be read while the vault is unlocked (`EnclaveLockedError`), and
    raises `DecryptionError` where it was altered. What `log_unlock` and its like record is marked as the application's
    there, not durable before the next entry of the vault's or its lock, and not recorded on a read-only vault.

    *Detached*, or with a vault in memory, it keeps the last ``max_entries`` entries here. So does a subclass,
    which a vault tells of everything, whatever its own log says.
    """

    def __init__(self, max_entries: int = 100_000) -> None:
        if not isinstance(max_entries, int):
            raise TypeError("max_entries must be an int")
        if max_entries < 1:
            raise ValueError("max_entries must be at least 1")
        self.max_entries = max_entries
        self._entries: deque[EnclaveAuditEntry] = deque(maxlen=max_entries)
        self._store: Store | None = None

    @property
    def is_attached(self) -> bool:
        """True if it shows the log that a vault keeps."""
        return self._store is not None

    def _attach(self, store: Store) -> None:
        if self._store not in (None, store):
            raise ValueError("the audit log is attached to another vault")
        if self._entries:
            raise ValueError("the audit log has entries of its own")
        self._store = store

    def _log(self, operation: str, device_id: str, caller: str = "", **fields: Any) -> EnclaveAuditEntry:
        now = datetime.now(timezone.utc).isoformat()
        entry = EnclaveAuditEntry(timestamp=now, operation=operation, device_id=device_id, caller=caller, **fields)
        if self._store is None:
            self._entries.append(entry)
        else:
            self._record(self._store, entry)
        return entry

    @staticmethod
    def _record(store: Store, entry: EnclaveAuditEntry) -> None:
        try:
            store.vault().audit_record(
                entry.operation, entry.device_id or None, entry.artifact_id, entry.artifact_name,
                entry.artifact_kind or None, entry.success, entry.details, entry.caller or None,
                entry.operation == "policy_violation",
            )
        except EnclaveSDKError as error:
            if error.code != Status.READ_ONLY:
                raise

    def log_unlock(self, device_id: str, key_id: str) -> EnclaveAuditEntry:
        return self._log("unlock", device_id, details=f"key_id={key_id}")

    def log_lock(self, device_id: str) -> EnclaveAuditEntry:
        return self._log("lock", device_id)

    def log_put(self, device_id: str, artifact_id: str, artifact_name: str, artifact_kind: str) -> EnclaveAuditEntry:
        return self._log(
            "put", device_id, artifact_id=artifact_id, artifact_name=artifact_name, artifact_kind=artifact_kind
        )

    def log_get(
        self, device_id: str, artifact_id: str, success: bool = True, details: str = ""
    ) -> EnclaveAuditEntry:
        return self._log("get", device_id, artifact_id=artifact_id, success=success, details=details)

    def log_delete(self, device_id: str, artifact_id: str, artifact_name: str) -> EnclaveAuditEntry:
        return self._log("delete", device_id, artifact_id=artifact_id, artifact_name=artifact_name)

    def log_policy_violation(self, device_id: str, artifact_id: str, details: str) -> EnclaveAuditEntry:
        return self._log("policy_violation", device_id, artifact_id=artifact_id, success=False, details=details)

    def log_attest(self, device_id: str, artifact_id: str, details: str = "") -> EnclaveAuditEntry:
        return self._log("attest", device_id, artifact_id=artifact_id, details=details)

    def entries(
        self,
        limit: int = 100,
        operation: str | None = None,
        device_id: str | None = None,
        artifact_id: str | None = None,
    ) -> list[EnclaveAuditEntry]:
        """At most ``limit`` entries that match everything given, newest first."""
        if self._store is not None:
            return self._stored(self._store, limit, operation, device_id, artifact_id)
        newest_first = reversed(self._entries.copy())
        matching = (
            e
            for e in newest_first
            if (operation is None or e.operation == operation)
            and (device_id is None or e.device_id == device_id)
            and (artifact_id is None or e.artifact_id == artifact_id)
        )
        return [e for e, _ in zip(matching, range(limit))]

    @staticmethod
    def _stored(
        store: Store, limit: int, operation: str | None, device_id: str | None, artifact_id: str | None
    ) -> list[EnclaveAuditEntry]:
        if limit < 1:
            return []
        if operation is not None and operation not in _OPERATIONS:
            return []
        return [
            EnclaveAuditEntry(timestamp, op, device, artifact, name, kind, success, details, caller)
            for _, timestamp, op, device, artifact, name, kind, success, details, caller, _ in store.vault().audit_list(
                limit, operation, artifact_id, device_id
            )
        ]

    def export_json(self) -> str:
        """All entries, oldest first, as a JSON array."""
        everything = self.entries(2**63 - 1) if self._store is not None else list(self._entries.copy())[::-1]
        return json.dumps([e.to_dict() for e in reversed(everything)], indent=2)

    def clear(self) -> None:
        """Removes all entries. A vault's own log starts a new chain, whose first entry names the end of the old one."""
        if self._store is not None:
            self._store.vault().audit_clear(None)
        else:
            self._entries.clear()

    def __len__(self) -> int:
        if self._store is None:
            return len(self._entries)
        info = self._store.vault().audit_info()
        return max(0, int(info["last_sequence"] - info["first_sequence"] + 1))

    def __bool__(self) -> bool:
        return True

    def checkpoint(self) -> str:
        """A short text that says how far an attached log goes; signed if the vault has an identity.

        Kept elsewhere, it shows later (`verify`) that nothing up to there was removed, altered or reordered.
        """
        return self._attached().vault().audit_checkpoint()

    def verify(self, checkpoint: str | None = None) -> dict[str, Any]:
        """Recomputes the chain of an attached log and compares it with the vault's head and a checkpoint.

        Returns chain, first_sequence, last_sequence, bytes, link, signed_checkpoints, checkpoint_signed. Raises
        `DecryptionError` where something was removed, altered, reordered or put back, `AttestationError` for a
        checkpoint whose signature is not good, `InvalidArgumentError` for what is no checkpoint of this vault.
        """
        return self._attached().vault().audit_verify(checkpoint)

    def _attached(self) -> Store:
        if self._store is None:
            raise EnclaveSDKError("the audit log is not attached to a vault that keeps one", code=Status.STATE)
        return self._store


_OPERATIONS = frozenset({
    "unlock", "lock", "put", "get", "delete", "attest", "policy_violation", "rotate", "policy", "clear", "lost",
    "identity_create", "identity_import", "identity_delete", "identity_export", "recovery",
})
