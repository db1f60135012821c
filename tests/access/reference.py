"""Who may do what, slow and obvious: what decisions and answers are held against.

It is written from docs/access.md and the specification, and shares no line with `moorage.access`: actions are words,
patterns and names are texts, and every question is answered sentence by sentence.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

ACTIONS = ("pull", "push", "overwrite", "delete", "manage")
ROLES = {
    "reader": {"pull"},
    "writer": {"pull", "push", "overwrite"},
    "maintainer": {"pull", "push", "overwrite", "delete"},
    "owner": set(ACTIONS),
}
WORDS = {"pull": "pull", "push": "push", "overwrite": "push", "delete": "delete", "manage": "*"}
"""The word of a token's scope that an action needs; `*` is all of them."""


@dataclass(frozen=True)
class Rule:
    """Somebody may do something on what a pattern matches."""

    subject: str
    pattern: str
    actions: frozenset[str]
    ended: bool = False


@dataclass(frozen=True)
class Who:
    """Somebody who asks; `subjects` are those that rules may name to mean them."""

    name: str
    kind: str = "user"
    admin: bool = False
    subjects: frozenset[str] = frozenset()
    owns: frozenset[str] = frozenset()
    within: str | None = None
    """The owner that a robot belongs to."""
    everywhere: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Credential:
    """What they show: limited to patterns and actions, and, if it is a bearer token, to what it was asked for."""

    called: str
    limit: tuple[tuple[str, frozenset[str]], ...] | None = None
    asked: Mapping[str, frozenset[str]] | None = field(default=None, hash=False)
    catalog: bool = True
    good: bool = True


class Answer(Enum):
    """How a request ends, as far as rights go (docs/access.md, "What a refusal says")."""

    LET_IN = "let in"
    SIGN_IN = "401, and where to sign in"
    ASK_FOR_MORE = "401 insufficient_scope"
    PROVES_NOTHING = "401 for credentials that are no good"
    UNKNOWN = "404 NAME_UNKNOWN"
    DENIED = "403 DENIED"


def needs(noun: str, method: str) -> str:
    """The action that a request needs: uploads are for pushers; else reading is pulling, and deleting deleting."""
    if noun == "upload":
        return "push"
    return {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "push")


def answer(
    who: Who, credential: Credential, name: str, visibility: str | None, rules: Iterable[Rule], action: str
) -> Answer:
    """How a request that needs `action` on a repository ends."""
    if not credential.good:
        return Answer.PROVES_NOTHING
    allowed = may(who, credential.limit, name, visibility, rules, action)
    if allowed and credential.asked is not None:
        words = credential.asked.get(name, frozenset())
        if WORDS[action] not in words and "*" not in words:
            return Answer.ASK_FOR_MORE
    if allowed:
        return Answer.LET_IN
    if who.kind == "anonymous":
        return Answer.SIGN_IN
    return Answer.UNKNOWN if action == "pull" else Answer.DENIED


def may(
    who: Who,
    limit: Iterable[tuple[str, frozenset[str]]] | None,
    name: str,
    visibility: str | None,
    rules: Iterable[Rule],
    action: str,
) -> bool:
    """Sentence by sentence, what docs/access.md says."""
    owner = name.split("/", maxsplit=1)[0] if "/" in name else "library"
    if limit is not None and not any(matches(pattern, name) and action in actions for pattern, actions in limit):
        return False
    if who.admin or owner in who.owns:
        return True
    if action in who.everywhere:
        return True
    if action == "pull" and (visibility == "public" or (visibility == "internal" and who.kind != "anonymous")):
        return True
    for rule in rules:
        outside = who.kind == "robot" and owner != who.within
        applies = rule.subject in who.subjects and not rule.ended and not outside and matches(rule.pattern, name)
        if applies and action in rule.actions:
            return True
    return False


def matches(pattern: str, name: str) -> bool:
    """Component by component; only the last may swallow others."""
    names = [name] if "/" in name else [name, f"library/{name}"]
    for each in names:
        if pattern.endswith("**"):
            cuts = [each[:at] for at in range(len(each) + 1)]
            if any(_single(pattern[:-2], cut) for cut in cuts):
                return True
        elif _single(pattern, each):
            return True
    return False


def _single(pattern: str, name: str) -> bool:
    asked, given = pattern.split("/"), name.split("/")
    return len(asked) == len(given) and all(
        fnmatch.fnmatchcase(part, want) for want, part in zip(asked, given, strict=True)
    )
