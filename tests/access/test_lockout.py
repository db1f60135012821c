"""How wrong passwords are counted."""

import pytest

from moorage.access.lockout import ACCOUNT, GUARDED, LONGEST, NETWORK, PAIR, WINDOW, Lockout, Wait
from moorage.access.network import network

HOME, AWAY = "192.0.2.0/24", "198.51.100.0/24"


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lockout(clock: Clock) -> Lockout:
    return Lockout(clock)


def fail(lockout: Lockout, account: str, where: str, times: int) -> list[Wait]:
    return [wait for _ in range(times) for wait in lockout.failed(account, where).waits]


def attack(lockout: Lockout, account: str) -> None:
    """Guess from everywhere, until the account is under attack."""
    assert [lockout.failed(account, f"203.0.{n}.0/24").attacked for n in range(ACCOUNT)].count(True) == 1


def test_a_pair_waits_after_ten_failures_and_not_before(lockout: Lockout) -> None:
    assert fail(lockout, "alice", HOME, PAIR - 1) == []
    assert lockout.wait("alice", HOME) is None
    assert fail(lockout, "alice", HOME, 1) == [Wait("account", 30)]
    assert lockout.wait("alice", HOME) == Wait("account", 30)
    assert lockout.wait("alice", AWAY) is None
    assert lockout.wait("bob", HOME) is None


def test_a_wait_is_true_to_the_second_and_each_next_one_is_longer(lockout: Lockout, clock: Clock) -> None:
    fail(lockout, "alice", HOME, PAIR - 1)
    told = []
    for _ in range(10):
        fail(lockout, "alice", HOME, 1)
        wait = lockout.wait("alice", HOME)
        assert wait is not None
        told.append(wait.seconds)
        clock.at += wait.seconds - 0.5
        assert lockout.wait("alice", HOME) == Wait("account", 1)
        clock.at += 0.5
        assert lockout.wait("alice", HOME) is None
    assert told == [30, 60, 120, 240, 480] + [LONGEST] * 5


def test_failures_in_flight_together_begin_one_wait(lockout: Lockout) -> None:
    assert len(fail(lockout, "alice", HOME, PAIR + 1)) == 1
    assert lockout.wait("alice", HOME) == Wait("account", 30)


def test_failures_of_another_quarter_of_an_hour_are_forgotten(lockout: Lockout, clock: Clock) -> None:
    fail(lockout, "alice", HOME, PAIR - 1)
    clock.at += WINDOW
    assert fail(lockout, "alice", HOME, PAIR - 1) == []
    assert fail(lockout, "alice", HOME, 1) == [Wait("account", 30)]
    clock.at += 30 + WINDOW
    assert fail(lockout, "alice", HOME, PAIR - 1) == []


def test_a_right_password_begins_anew_for_its_own_pair_alone(lockout: Lockout) -> None:
    for account in ("alice", "bob"):
        fail(lockout, account, HOME, PAIR - 1)
    lockout.passed("alice", HOME)
    assert fail(lockout, "alice", HOME, 1) == []
    assert fail(lockout, "bob", HOME, 1) == [Wait("account", 30)]


def test_signing_in_between_guesses_frees_no_network(lockout: Lockout) -> None:
    for n in range(NETWORK):
        assert lockout.wait(f"victim{n}", HOME) is None
        fail(lockout, f"victim{n}", HOME, 1)
        lockout.passed("attacker", HOME)
    assert lockout.wait("another", HOME) == Wait("network", 30)
    assert lockout.wait("another", AWAY) is None


@pytest.mark.parametrize("waited", [0, 1])
def test_an_account_under_attack_keeps_three_tries_for_every_new_network(
    lockout: Lockout, clock: Clock, waited: int
) -> None:
    attack(lockout, "alice")
    clock.at += waited * (WINDOW - 1)
    assert lockout.wait("alice", HOME) is None
    assert fail(lockout, "alice", HOME, GUARDED - 1) == []
    assert fail(lockout, "alice", HOME, 1) == [Wait("account", 30)]
    assert lockout.wait("bob", HOME) is None
    assert fail(lockout, "bob", AWAY, PAIR - 1) == []


def test_an_attack_is_over_when_all_has_been_quiet(lockout: Lockout, clock: Clock) -> None:
    attack(lockout, "alice")
    clock.at += WINDOW
    assert fail(lockout, "alice", HOME, PAIR - 1) == []


def test_whoever_guesses_everywhere_takes_bounded_memory(lockout: Lockout) -> None:
    for n in range(70_000):
        lockout.failed(f"a{n}", str(n))
    assert len(lockout._pairs) == 65_536
    assert len(lockout._networks) == len(lockout._accounts) == 16_384


@pytest.mark.parametrize(
    ("peer", "where"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "a Unix socket"),
        ("signed in as alice", "signed in as alice"),
    ],
)
def test_a_network_is_what_one_site_has(peer: str, where: str) -> None:
    assert network(peer) == where


def test_an_address_of_ipv4_can_be_told_from_its_neighbours() -> None:
    assert network("192.0.2.77", 32) == "192.0.2.77"
    assert network("2001:db8:1:2:3::4", 32) == network("2001:db8:1:2:ffff::", 32)
