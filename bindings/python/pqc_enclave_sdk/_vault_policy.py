# SPDX-License-Identifier: Apache-2.0
"""The part of `EnclaveVault` that is about rules which the vault keeps."""

from __future__ import annotations

from collections.abc import Iterable

from ._artifacts import ArtifactKind
from ._policy import AccessPolicy, ArtifactPolicy, StoredRule
from ._store import Store


class PolicyMethods:
    caller_bundle_id: str
    _store: Store
    _holder: int

    def set_policy(self, policy: AccessPolicy) -> None:
        """Writes the rules into the vault in place of all its rules by kind; from then on every program obeys them.

        Each rule is durable by itself: those of ``policy`` are set first, then the others are removed. Uses counted so
        far stay counted. ``max_uses_per_hour`` is for all artifacts of the kind together; ``require_biometric`` has the
        backend ask, and denies where it cannot. Rules of single artifacts stay as they are.

        Raises ``ValueError`` for a rule of more than 64 bundle ids or more than 1,000,000 uses, ``TypeError`` for a
        policy whose ``check`` is its own, which cannot be stored.
        """
        if not isinstance(policy, AccessPolicy):
            raise TypeError("policy must be an AccessPolicy")
        if type(policy).check is not AccessPolicy.check:
            raise TypeError("a policy with a check of its own cannot be stored")
        native = self._store.session(self._holder)
        rules = [_storable(rule) for rule in policy.rules.values()]
        for kind, allowed, presence, uses in rules:
            native.policy_set(kind, None, allowed, presence, uses, self.caller_bundle_id or None)
        for rule in self.stored_rules():
            if rule.kind is not None and rule.kind not in policy.rules:
                native.policy_clear(rule.kind.value, None, self.caller_bundle_id or None)

    def set_artifact_rule(
        self,
        name: str,
        *,
        allowed_bundle_ids: Iterable[str] = (),
        require_biometric: bool = False,
        max_uses_per_hour: int = 0,
    ) -> None:
        """Sets the vault's rule for one artifact by its name, which need not exist yet. Its kind's rule holds too."""
        rule = ArtifactPolicy(ArtifactKind.OTHER, frozenset(allowed_bundle_ids), require_biometric, max_uses_per_hour)
        _, allowed, presence, uses = _storable(rule)
        native = self._store.session(self._holder)
        native.policy_set(None, check_text("name", name), allowed, presence, uses, self.caller_bundle_id or None)

    def clear_artifact_rule(self, name: str) -> None:
        """Removes it. Raises `UnknownArtifactError` if there is none."""
        native = self._store.session(self._holder)
        native.policy_clear(None, check_text("name", name), self.caller_bundle_id or None)

    def stored_policy(self) -> AccessPolicy:
        """The vault's rules by kind."""
        policy = AccessPolicy()
        for rule in self.stored_rules():
            if rule.kind is not None:
                policy.add(ArtifactPolicy(
                    rule.kind, rule.allowed_bundle_ids, rule.require_biometric, rule.max_uses_per_hour
                ))
        return policy

    def stored_rules(self) -> list[StoredRule]:
        """All of the vault's rules, kinds first, with the uses counted within the last hour."""
        return [
            StoredRule(ArtifactKind(kind) if kind else None, artifact, frozenset(allowed), presence, most, uses)
            for kind, artifact, allowed, presence, most, uses in self._store.session(self._holder).policy_list()
        ]


def check_text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def _storable(rule: ArtifactPolicy) -> tuple[str, tuple[str, ...], bool, int]:
    allowed = tuple(sorted(check_text("a bundle id", bundle) for bundle in rule.allowed_bundle_ids))
    if not isinstance(rule.max_uses_per_hour, int) or isinstance(rule.max_uses_per_hour, bool):
        raise TypeError("max_uses_per_hour must be an int")
    if not 0 <= rule.max_uses_per_hour <= 1_000_000:
        raise ValueError("max_uses_per_hour must be 0 to 1000000")
    if len(allowed) > 64 or "" in allowed:
        raise ValueError("a rule has at most 64 bundle ids, none of them empty")
    return rule.kind.value, allowed, bool(rule.require_biometric), rule.max_uses_per_hour
