"""What a person at a terminal reads who may not, over the real programs: the table of docs/access.md, held to them.

The registry's own sentence has to stand in what the program prints.  Where a program shows nothing of an answer's
body, `INSTEAD` says what it prints.
"""

import time
from collections.abc import Callable

import pytest

from tests.closed import ADMIN, PASSWORD
from tests.journeys.house import Home, House
from tests.journeys.programs import push_image
from tests.journeys.ways import WAYS, Way, way

Homes = Callable[..., Home]
RITA = {"user": "rita", "secret": PASSWORD}

NOBODY = "nobody is signed in, and not everybody may pull from acme/secret; sign in (docker login), try again"
UNSEEN = "there is no repository acme/{name}, or you may not see it; its owner, acme, can let you in"
DENIED = (
    "rita (a password) may not push to acme/other: no rule gives push there; "
    "an owner of acme or an administrator can grant it"
)
NARROW = (
    "walt (the token '{token}') may not push to acme/other: the credential was made for less; "
    "use another one, or make one that covers it"
)
WRONG = "the user name or password is wrong, or the account may no longer sign in; an administrator can help"

INSTEAD = {
    ("regctl", NOBODY): "unauthorized",
    ("oras", UNSEEN): "not found",
    ("helm", UNSEEN): "not found",
    ("regctl", WRONG): "unauthorized",
}
LOGIN_INSTEAD = dict.fromkeys(("podman", "buildah", "skopeo"), "invalid username/password")
"""A wrong password at their login; later they show the sentence."""

every_program = pytest.mark.parametrize(
    "how", [pytest.param(one, id=one.program, marks=pytest.mark.client(one.program)) for one in WAYS]
)


@pytest.fixture(scope="module", autouse=True)
def _secret(house: House) -> None:
    push_image(house.served, "acme/secret", "1", auth=ADMIN)


@pytest.fixture
def enter(homes: Homes, storage: list[str]) -> Callable[..., Home]:
    """A home where somebody has logged in, or where nobody has, ready to push."""

    def open_(how: Way, **who: str) -> Home:
        how.need()
        home = homes(storage=" ".join(storage), name="acme/other", **who)
        if how.before:
            home.run(how.before)
        if who:
            home.run(how.login)
        return home

    return open_


def said(how: Way, sentence: str, **values: str) -> str:
    return INSTEAD.get((how.program, sentence), sentence).format_map(values)


@every_program
def test_whoever_is_nobody_is_told_to_sign_in(enter: Callable[..., Home], how: Way) -> None:
    assert said(how, NOBODY) in enter(how).refused(how.pull, name="acme/secret")


@every_program
def test_what_is_private_reads_like_what_is_missing(enter: Callable[..., Home], how: Way) -> None:
    home = enter(how, **RITA)
    for name in ("secret", "missing"):
        assert said(how, UNSEEN, name=name) in home.refused(how.pull, name=f"acme/{name}")


@every_program
def test_whoever_may_not_push_reads_who_they_are_what_was_missing_and_who_can_grant_it(
    enter: Callable[..., Home], how: Way
) -> None:
    assert said(how, DENIED) in enter(how, **RITA).refused(how.push)


@every_program
def test_whoever_has_a_token_for_less_reads_that_it_is_the_token(
    house: House, enter: Callable[..., Home], how: Way
) -> None:
    token = house.token("walt", "acme/*:pull")
    home = enter(how, user="walt", secret=token.secret)
    assert said(how, NARROW, token=token.name) in home.refused(how.push)


@every_program
def test_a_wrong_password_is_told_at_the_login(enter: Callable[..., Home], how: Way) -> None:
    home = enter(how)
    wrong = {"user": "rita", "secret": "not hers"}
    if how.program == "crane":  # it keeps what it is given, and asks later
        home.run(how.login, **wrong)
        assert WRONG in home.refused(how.pull, name="acme/secret")
    else:
        assert LOGIN_INSTEAD.get(how.program, said(how, WRONG)) in home.refused(how.login, **wrong)


@every_program
def test_a_token_that_was_revoked_is_told_to_be_good_no_more(
    house: House, enter: Callable[..., Home], how: Way
) -> None:
    token = house.token("walt")
    home = enter(how, user="walt", secret=token.secret)
    house.done(("walt", PASSWORD), "DELETE", f"/users/walt/tokens/{token.id}")
    assert said(how, WRONG) in home.refused(how.pull, name="acme/secret")


@pytest.mark.client("docker")
def test_a_token_that_has_expired_is_told_the_same(house: House, enter: Callable[..., Home]) -> None:
    token = house.token("walt", seconds=4)
    home = enter(way("docker"), user="walt", secret=token.secret)
    time.sleep(4)
    assert WRONG in home.refused(way("docker").pull, name="acme/secret")


@pytest.mark.client("ctr")
def test_containerd_shows_the_status_alone(house: House, homes: Homes, ctr: list[str]) -> None:
    home = homes(ctr=" ".join(ctr), user="rita", secret=PASSWORD)
    pull = "{ctr} images pull --plain-http --snapshotter native --user {user}:'{secret}' {at}/acme/"
    push = "{ctr} images push --plain-http --user {user}:'{secret}' {at}/acme/other:1 {at}/acme/app:1"
    nobody = "{ctr} images pull --plain-http --snapshotter native {at}/acme/secret:1"
    assert "401 Unauthorized" in home.refused(nobody)
    home.run(f"{pull}app:1")
    assert "403 Forbidden" in home.refused(push)
    assert "acme/secret:1: not found" in home.refused(f"{pull}secret:1")
    assert "401 Unauthorized" in home.refused(f"{pull}app:1", secret="wrong")
