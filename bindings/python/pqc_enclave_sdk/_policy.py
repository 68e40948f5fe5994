# SPDX-License-Identifier: Apache-2.0
"""Access policies: who may read which kind of artifact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ._artifacts import ArtifactKind, ArtifactMetadata
from ._errors import PolicyViolationError


@dataclass
class ArtifactPolicy:
    """The rule for one kind of artifact.

    ``allowed_bundle_ids`` empty allows every caller. ``max_uses_per_hour`` 0 sets no limit. ``require_biometric`` needs
    a backend that can ask for the user's presence. How strictly that is meant depends on where the rule is: see
    `AccessPolicy`.
    """

    kind: ArtifactKind
    allowed_bundle_ids: frozenset[str] = frozenset()
    require_biometric: bool = False
    max_uses_per_hour: int = 0

    def __post_init__(self) -> None:
        self.kind = ArtifactKind(self.kind)
        if isinstance(self.allowed_bundle_ids, str) or not isinstance(self.allowed_bundle_ids, Iterable):
            raise TypeError("allowed_bundle_ids must be a set of str")
        self.allowed_bundle_ids = frozenset(self.allowed_bundle_ids)
        if self.max_uses_per_hour < 0:
            raise ValueError("max_uses_per_hour is negative")


@dataclass
class AccessPolicy:
    """Rules by kind.

    *Stored in a vault* by `EnclaveVault.set_policy` they belong to it: authenticated, asked by every program that opens
    it before an artifact's key is unwrapped, uses counted on disk, for all artifacts of a kind together.

    *Given to an `EnclaveVault`* (its ``policy``) they are asked by that object alone, in Python and beside those of the
    vault; both must agree. Uses are then counted in its memory, for each artifact, and ``require_biometric`` refuses.

    The caller is what the program says of itself. Inside one process a policy is a matter of discipline: code that can
    read this process's memory is not held back.
    """

    rules: dict[ArtifactKind, ArtifactPolicy] = field(default_factory=dict)

    def add(self, rule: ArtifactPolicy) -> AccessPolicy:
        """Sets the rule for its kind, in place of an earlier one. Returns the policy."""
        if not isinstance(rule, ArtifactPolicy):
            raise TypeError("a rule must be an ArtifactPolicy")
        self.rules[rule.kind] = rule
        return self

    def check(self, artifact_meta: ArtifactMetadata, caller_bundle_id: str) -> None:
        """Raises `PolicyViolationError` unless the caller is allowed. Without a rule for the kind everybody is."""
        kind = ArtifactKind(artifact_meta.kind)
        rule = self.rules.get(kind)
        if rule is None or not rule.allowed_bundle_ids or caller_bundle_id in rule.allowed_bundle_ids:
            return
        raise PolicyViolationError(
            f"caller '{caller_bundle_id}' may not read artifacts of kind {kind.value}"
        )


@dataclass(frozen=True)
class StoredRule:
    """A rule in a vault, for a ``kind`` or for one ``artifact`` by its name. ``uses``: counted within the last hour."""

    kind: ArtifactKind | None
    artifact: str | None
    allowed_bundle_ids: frozenset[str]
    require_biometric: bool
    max_uses_per_hour: int
    uses: int
