"""One grammar for every account."""

import pytest

from moorage.errors import Code, RegistryError
from moorage.features.accounts.names import parse_account_name, parse_robot_name


@pytest.mark.parametrize("name", ["alice", "john.doe", "a", "team-1", "x__y", "a" * 64])
def test_names_that_can_own_repositories_are_fine(name):
    assert parse_account_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Alice",
        "ALICE",
        "\u0430lice",
        "alicé",
        "alice ",
        "a/b",
        "..",
        "-",
        ".well-known",
        "robot$ci",
        "a;b",
        "a\nb",
        "a" * 65,
    ],
)
def test_names_that_differ_by_case_or_script_only_cannot_be_made(name):
    with pytest.raises(RegistryError) as refused:
        parse_account_name(name)
    assert refused.value.code is Code.NAME_INVALID
    assert refused.value.message.isprintable()
    assert refused.value.message.isascii()


@pytest.mark.parametrize("name", ["v2", "api", "token", "robots.txt", "system", "anonymous", "everyone", "operator"])
def test_names_that_mean_something_else_are_reserved(name):
    with pytest.raises(RegistryError, match="reserved"):
        parse_account_name(name)


def test_the_last_dot_of_a_robots_name_tells_whose_it_is():
    assert parse_robot_name("john.doe", "ci") == parse_robot_name("john.doe", "john.doe.ci") == "john.doe.ci"
    with pytest.raises(RegistryError, match="no dot"):
        parse_robot_name("john", "doe.ci")
