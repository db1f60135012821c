"""How requests are counted."""

import pytest

from moorage.access.actor import NOBODY, Actor, Identity
from moorage.access.rates import Rates, _Windows

ALICE = Identity(Actor("alice", "user", 1), "a password")
CI = Identity(Actor("acme.ci", "robot", 2), "the token 'ci'")


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_window_allows_so_many_and_then_a_new_one_begins(clock: Clock) -> None:
    rates = Rates(None, "3/minute", clock)
    standings = []
    for _ in range(5):
        standing = rates.count(ALICE, "192.0.2.1")
        assert standing is not None
        standings.append((standing.allowed, standing.left, standing.seconds))
        clock.at += 10
    assert standings == [(True, 2, 60), (True, 1, 50), (True, 0, 40), (False, 0, 30), (False, 0, 20)]
    clock.at += 10
    standing = rates.count(ALICE, "192.0.2.1")
    assert standing is not None
    assert (standing.allowed, standing.left, standing.seconds) == (True, 2, 60)


def test_an_account_is_counted_wherever_it_is_and_others_for_themselves(clock: Clock) -> None:
    rates = Rates(None, "1/hour", clock)
    found = [rates.count(who, peer) for who, peer in [(ALICE, "192.0.2.1"), (ALICE, "192.0.2.2"), (CI, "192.0.2.1")]]
    assert [one.allowed for one in found if one is not None] == [True, False, True]
    assert rates.count(NOBODY, "192.0.2.1") is None


def test_who_is_not_signed_in_is_counted_by_address(clock: Clock) -> None:
    rates = Rates("1/hour", None, clock)
    peers = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"]
    found = [rates.count(NOBODY, peer) for peer in peers]
    assert [one.allowed for one in found if one is not None] == [True, True, False, True, False]
    assert rates.count(ALICE, "192.0.2.1") is None


def test_windows_are_bounded_and_those_that_began_first_go_first(clock: Clock) -> None:
    windows = _Windows(clock)
    for number in range(65_536):
        windows.incr(str(number), 60)
    clock.at += 61
    windows.incr("0", 60)
    windows.incr("new", 60)
    assert len(windows._windows) == 65_536
    assert windows.get("0") == windows.get("new") == 1
    assert windows.get("1") == 0
