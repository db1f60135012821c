"""Registries whose rules are broken: what the matrix must notice, or it proves nothing.

    python -m tests.access.mutants NAME serve …

Each patches the program before its command line runs; the program itself knows nothing of them.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moorage.access import decide, refusal, rules
from moorage.access.action import Action
from moorage.access.permit import SEAL, Permit
from moorage.edge.v2 import table


def _visibility_ignored() -> None:
    sound = decide.reasons
    decide.reasons = lambda actor, repository, _, grants, now: sound(actor, repository, "public", grants, now)


def _private_is_internal() -> None:
    sound = decide.reasons
    decide.reasons = lambda actor, repository, seen, grants, now: sound(
        actor, repository, "internal" if seen == "private" else seen, grants, now
    )


def _whoever_pulls_pushes() -> None:
    sound = rules.decide

    def decided(*facts: Any) -> frozenset[Action]:
        found = sound(*facts)
        return found | {Action.PUSH} if Action.PULL in found else found

    rules.decide = decided  # type: ignore[assignment]


def _scope_ignored() -> None:
    sound = rules.Authority.permit

    async def permit(self: Any, identity: Any, *what: Any) -> Permit:
        return await sound(self, replace(identity, asked=None), *what)

    rules.Authority.permit = permit  # type: ignore[method-assign]


def _limit_ignored() -> None:
    sound = rules.decide
    rules.decide = lambda identity, *facts: sound(replace(identity, limit=None), *facts)


def _robots_anywhere() -> None:
    sound = rules.decide
    rules.decide = lambda identity, *facts: sound(replace(identity, actor=replace(identity.actor, within=None)), *facts)


def _ended_rules_go_on() -> None:
    sound = rules.decide
    rules.decide = lambda identity, name, seen, grants, _now: sound(identity, name, seen, grants, 0)


def _pulling_deletes() -> None:
    methods = table.ROWS["manifests"].methods
    methods["DELETE"] = (methods["DELETE"][0], Action.PULL)


def _pushing_reads() -> None:
    methods = table.ROWS["tags"].methods
    methods["GET"] = (methods["GET"][0], Action.PUSH)


def _hidden_is_told_of() -> None:
    sound = rules.Authority._refused

    def refused(self: Any, identity: Any, repository: Any, action: Any, actions: Any) -> Any:
        known = any(one.repository == repository for one in self._memory._permits.values())
        if action is Action.PULL and identity.actor.signed_in and action not in actions and known:
            return refusal.denied(identity, repository, action, limited=False)
        return sound(self, identity, repository, action, actions)

    rules.Authority._refused = refused  # type: ignore[method-assign]


def _remembered_for_anybody() -> None:
    from moorage.access.memory import Memory

    kept: dict[object, Permit] = {}

    def remember(_self: Memory, _identity: object, permit: Permit) -> None:
        kept[permit.repository] = Permit(permit.actor, permit.repository, permit.actions, SEAL)

    Memory.remember_permit = remember  # type: ignore[method-assign]
    Memory.permit = lambda _self, _identity, repository: kept.get(repository)  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "visibility-ignored": _visibility_ignored,
    "private-is-internal": _private_is_internal,
    "whoever-pulls-pushes": _whoever_pulls_pushes,
    "scope-ignored": _scope_ignored,
    "limit-ignored": _limit_ignored,
    "robots-anywhere": _robots_anywhere,
    "ended-rules-go-on": _ended_rules_go_on,
    "pulling-deletes": _pulling_deletes,
    "pushing-reads": _pushing_reads,
    "hidden-is-told-of": _hidden_is_told_of,
    "remembered-for-anybody": _remembered_for_anybody,
}


def main() -> None:
    MUTANTS[sys.argv.pop(1)]()
    from moorage.cli.main import run

    run()


if __name__ == "__main__":
    main()
