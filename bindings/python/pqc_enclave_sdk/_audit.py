# SPDX-License-Identifier: Apache-2.0
"""The audit log: what was done with a vault, in memory of this process."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass
class EnclaveAuditEntry:
    """One event. ``operation`` is unlock, lock, put, get, delete, policy_violation or attest; ``timestamp`` ISO 8601."""

    timestamp: str
    operation: str
    device_id: str
    artifact_id: str = ""
    artifact_name: str = ""
    artifact_kind: str = ""
    success: bool = True
    details: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnclaveAuditEntry:
        """The inverse of `to_dict`; unknown keys are a ``TypeError``."""
        return cls(**data)


class EnclaveAuditLog:
    """Keeps the last ``max_entries`` entries; older ones are dropped. May be used from several threads."""

    def __init__(self, max_entries: int = 100_000) -> None:
        if not isinstance(max_entries, int):
            raise TypeError("max_entries must be an int")
        if max_entries < 1:
            raise ValueError("max_entries must be at least 1")
        self.max_entries = max_entries
        self._entries: deque[EnclaveAuditEntry] = deque(maxlen=max_entries)

    def _log(self, operation: str, device_id: str, **fields: Any) -> EnclaveAuditEntry:
        now = datetime.now(timezone.utc).isoformat()
        entry = EnclaveAuditEntry(timestamp=now, operation=operation, device_id=device_id, **fields)
        self._entries.append(entry)
        return entry

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
        newest_first = reversed(self._entries.copy())
        matching = (
            e
            for e in newest_first
            if (operation is None or e.operation == operation)
            and (device_id is None or e.device_id == device_id)
            and (artifact_id is None or e.artifact_id == artifact_id)
        )
        return [e for e, _ in zip(matching, range(limit))]

    def export_json(self) -> str:
        """All entries, oldest first, as a JSON array."""
        return json.dumps([e.to_dict() for e in self._entries.copy()], indent=2)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
