"""The one function that decides, beside a reference that is slow and obvious."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.access.action import Action
from moorage.access.actor import ANONYMOUS, ANYONE, EVERYONE, Actor, Identity
from moorage.access.decide import Grant, decide
from moorage.access.limits import Limit
from moorage.access.roles import ROLES, actions_text, parse_actions, role_of
from moorage.errors import RegistryError
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern
from tests.access.reference import Rule, Who, matches, may

NAMES = ["acme/app", "acme/web", "acme/web-x/y", "acme/a/b", "beta/app", "alice/tool", "busybox", "library/x"]
PATTERNS = ["acme/app", "acme/*", "acme/**", "acme/web-**", "beta/*", "*/app", "**", "*", "library/*", "a*/*"]
ACTORS = [
    ANONYMOUS,
    Actor("root", "user", 1, True, ("account:1", EVERYONE, ANYONE), frozenset({"root"})),
    Actor("alice", "user", 2, False, ("account:2", "team:7", EVERYONE, ANYONE), frozenset({"alice", "acme"})),
    Actor("bob", "user", 3, False, ("account:3", EVERYONE, ANYONE), frozenset({"bob"})),
    Actor("acme.ci", "robot", 4, False, ("account:4", EVERYONE, ANYONE), frozenset(), "acme"),
    Actor("file", "user", None, False, (EVERYONE, ANYONE), everywhere=ROLES["writer"]),
]
SUBJECTS = ["account:2", "account:3", "account:4", "team:7", "team:8", EVERYONE, ANYONE]
NOW = 1_000

actions = st.frozensets(st.sampled_from(list(Action)))
grants = st.lists(
    st.builds(
        Grant,
        st.sampled_from(SUBJECTS),
        st.sampled_from(PATTERNS).map(Pattern.parse),
        actions,
        st.sampled_from([None, NOW - 1, NOW, NOW + 1]),
    ),
    max_size=6,
)
limits = st.none() | st.lists(
    st.tuples(st.sampled_from(PATTERNS), actions.filter(bool).map(actions_text)), max_size=3
).map(Limit.of)


def reference(actor: Actor, rules: list[Grant]) -> tuple[Who, list[Rule]]:
    """The same actor and rules, in the words of the reference."""
    who = Who(
        actor.name,
        actor.kind,
        actor.admin,
        frozenset(actor.subjects),
        actor.owned,
        actor.within,
        frozenset(one.value for one in actor.everywhere),
    )
    return who, [
        Rule(
            one.subject,
            one.pattern.text,
            frozenset(action.value for action in one.actions),
            one.expires_at is not None and one.expires_at <= NOW,
        )
        for one in rules
    ]


@given(
    st.sampled_from(ACTORS),
    limits,
    st.sampled_from(NAMES),
    st.sampled_from([None, "private", "internal", "public"]),
    grants,
)
@settings(max_examples=1500, deadline=None)
def test_it_decides_as_the_obvious_reference_does(actor, limit, name, visibility, rules) -> None:
    identity = Identity(actor, limit=limit)
    found = decide(identity, RepositoryName.parse(name), visibility, rules, NOW)
    who, given_ = reference(actor, rules)
    most = limit and [(one.pattern.text, frozenset(action.value for action in one.actions)) for one in limit.scopes]
    assert found == {one for one in Action if may(who, most, name, visibility, given_, one.value)}


def test_patterns_match_as_the_reference_says() -> None:
    for pattern, name in itertools.product(PATTERNS, NAMES):
        assert Pattern.parse(pattern).matches(RepositoryName.parse(name)) == matches(pattern, name), (pattern, name)


@pytest.mark.parametrize(
    "text", ["", "/", "a//b", "/a", "a/", "a/**/b", "***", "A/*", "a b", "a/\N{CYRILLIC SMALL LETTER A}", "x" * 256]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(RegistryError, match="not valid"):
        Pattern.parse(text)


def test_a_hostile_pattern_costs_next_to_nothing() -> None:
    """Backtracking through sixty stars would take longer than the test may."""
    assert not Pattern.parse("*a" * 60 + "*b").matches(RepositoryName.parse("a" * 254))


def test_roles_are_read_back_as_what_they_are() -> None:
    for name, bundle in ROLES.items():
        assert parse_actions(actions_text(bundle)) == bundle == parse_actions(name)
        assert role_of(bundle) == name
    with pytest.raises(RegistryError, match="there is no action or role"):
        parse_actions("pull,fly")
