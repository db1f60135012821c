"""Which passwords are refused when they are chosen, and how many are looked at."""

import asyncio
import base64
from pathlib import Path

import pytest

from moorage.access.htpasswd import Htpasswd
from moorage.access.lockout import Lockout
from moorage.access.passwords import Passwords
from moorage.access.strength import check_strength
from moorage.errors import Code, RegistryError
from tests.conftest import start

GOOD = "correct horse battery"


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("short", id="short"),
        pytest.param("x" * 1025, id="long"),
        pytest.param("1234567890", id="digits"),
        pytest.param("qwertyuiop", id="keyboard"),
        pytest.param("Password123!", id="a word and what rules ask for"),
        pytest.param("P@$$w0rd2026", id="look-alikes"),
        pytest.param("Summer2026!", id="season and year"),
        pytest.param("passwordpassword", id="twice"),
        pytest.param("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", id="one letter"),
        pytest.param("iloveyou12", id="common"),
        pytest.param("1990-12-31", id="date"),
        pytest.param("alicealicealice", id="name, repeated"),
        pytest.param("Alice-Alice-1", id="name, with marks"),
        pytest.param("moorage-registry", id="ours"),
        pytest.param("Moorage2026!", id="ours and year"),
        pytest.param("registry-admin-alice", id="ours and name"),
        pytest.param("docker-registry", id="what it is"),
    ],
)
def test_a_password_that_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(RegistryError) as refused:
        check_strength(password, "alice")
    assert refused.value.code is Code.REQUEST_INVALID
    assert "choose another" in refused.value.message
    assert password not in refused.value.message


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "kX9mPq2vLw",
        "alice likes blue teapots",
        "tall-moorage-quietly",
        "Grüße an die Möwen",
        "€" * 3 + "zRt7qLp0w",
        "漂亮的船停在港口里面",
    ],
)
def test_a_password_that_takes_long_to_guess_is_taken(password: str) -> None:
    check_strength(password, "alice")


def test_names_of_a_letter_or_two_leave_passwords_alone() -> None:
    check_strength("abracadabra-tiptoe", "a")
    check_strength("abracadabra-tiptoe", "ab")


class Slow:
    """Work on a password that ends when the test says so."""

    def __init__(self, *, right: bool) -> None:
        import threading

        self.right, self.go, self.begun = right, threading.Event(), 0

    def __call__(self) -> bool:
        self.begun += 1
        return self.go.wait(20) and self.right


async def test_guesses_sent_at_once_get_no_more_than_one_beyond_what_is_allowed() -> None:
    passwords, work = Passwords(), Slow(right=False)
    tries = [asyncio.ensure_future(passwords.check("alice", "192.0.2.1", work)) for _ in range(30)]
    await asyncio.sleep(0)
    work.go.set()
    ends = await asyncio.gather(*tries, return_exceptions=True)
    passwords.close()
    assert 10 <= work.begun == ends.count(False) <= 11
    refused = [end for end in ends if isinstance(end, RegistryError)]
    assert len(refused) == 30 - work.begun
    assert {(one.code, one.detail["retry_after"]) for one in refused} == {(Code.TOOMANYREQUESTS, 30)}


async def test_more_checks_than_can_wait_are_refused_at_once() -> None:
    passwords, work = Passwords(), Slow(right=True)
    tries = [asyncio.ensure_future(passwords.check(f"a{n}", f"198.51.{n}.1", work)) for n in range(40)]
    await asyncio.sleep(0.01)
    refused = [one.exception() for one in tries if one.done()]
    work.go.set()
    ends = await asyncio.gather(*tries, return_exceptions=True)
    passwords.close()
    assert [error.code for error in refused if isinstance(error, RegistryError)] == [Code.TOOMANYREQUESTS] * 8
    assert ends.count(True) == 32


async def test_a_lock_is_told_once_and_refusals_under_it_not_at_all() -> None:
    passwords = Passwords(Lockout(lambda: 0.0))
    for _ in range(10):
        assert not await passwords.check("alice", "192.0.2.1", lambda: False)
    for _ in range(50):
        with pytest.raises(RegistryError):
            await passwords.check("alice", "192.0.2.1", lambda: True)
    taken = passwords.notes.take()
    passwords.close()
    facts = (("claimed", "'alice'"), ("network", "192.0.2.0/24"), ("seconds", "30"))
    assert taken is not None
    assert taken[0] == {("account.locked", "anonymous", "", facts): 1}


async def test_a_password_of_nobodys_length_is_wrong_without_work_and_no_guess() -> None:
    passwords = Passwords()
    for _ in range(20):
        assert not await passwords.fits(None, "x" * 2000, "alice", "192.0.2.1")
    passwords.refuse("alice", "192.0.2.1")
    passwords.close()


def test_a_weak_first_password_stops_the_start_and_its_setting_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\n")
    with pytest.raises(
        RuntimeError, match=r"admin\.password \(REGISTRY_ADMIN_PASSWORD\): the password is one of those"
    ):
        start(tmp_path / "data", config=config, REGISTRY_ADMIN_PASSWORD="changeme123")


@pytest.mark.parametrize(
    ("costs", "steps"),
    [((4,), 2**4), ((5,), 2**5), ((4, 5, 7, 7), 2**7), ((), 2**10), ((5, 16), 2**14)],
    ids=["cheap", "htpasswd -B", "mixed", "empty", "too dear to take others along"],
)
async def test_users_of_an_htpasswd_file_cannot_be_told_from_others_by_the_work_that_a_guess_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, costs: tuple[int, ...], steps: int
) -> None:
    import bcrypt

    path, passwords, done = tmp_path / "users", Passwords(), []
    path.write_text("".join(f"user{n}:{kept(cost)}\n" for n, cost in enumerate(costs)) + f"broken:{kept(5)}z\n")
    monkeypatch.setattr(bcrypt, "checkpw", lambda _, known: done.append(2 ** int(known[4:6])))
    users = Htpasswd(path, passwords)

    async def work(name: str) -> int:
        done.clear()
        with pytest.raises(RegistryError, match="the user name or password is wrong"):
            await users.identify(f"Basic {base64.b64encode(f'{name}:wrong'.encode()).decode()}", "192.0.2.1")
        return sum(done)

    assert [await work(name) for name in ("nobody", "broken")] == [steps] * 2
    for number, cost in enumerate(costs):
        assert await work(f"user{number}") == max(steps, 2**cost)
    path.write_text(f"late:{kept(8)}\nlater:{kept(4)}\n")
    users.version()
    assert [await work(name) for name in ("nobody", "late", "later")] == [2**8] * 3
    passwords.close()


def kept(cost: int) -> str:
    """Something like a hash of that cost."""
    return f"$2y${cost:02d}$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
