"""Users, sign-up, organisations and teams: who may, what holds afterwards, and that nothing is half done."""

import asyncio

import pytest

from moorage.access import management
from moorage.access.action import Action
from moorage.access.actor import NOBODY, OPERATOR
from moorage.access.first import PASSWORD_FILE, first_administrator
from moorage.errors import Code, RegistryError
from moorage.features.accounts import grants, organisations, signup, teams, users
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern
from tests.features.accounts.conftest import PASSWORD

ADMIN = management.administrator(OPERATOR)


def refused(code):
    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _):
            assert isinstance(error, RegistryError), error
            assert error.code is code, error.message
            self.message = error.message
            return True

    return Refused()


async def people(house, *names):
    for name in names:
        await users.create(house.desk, ADMIN, name, PASSWORD)


async def test_whoever_is_no_administrator_gets_no_permit_to_make_users(house):
    await people(house, "alice")
    with refused(Code.DENIED) as told:
        management.administrator(await house.who("alice"))
    assert told.message == "alice (a password) may not do that: it is for administrators; ask one of them"
    with refused(Code.UNAUTHORIZED):
        management.administrator(NOBODY)


async def test_users_organisations_and_robots_share_one_namespace(house):
    await people(house, "alice")
    with refused(Code.CONFLICT) as told:
        await organisations.create(house.desk, ADMIN, "alice", None)
    assert told.message == "the name 'alice' is taken; choose another"
    with refused(Code.CONFLICT):
        await users.create(house.desk, ADMIN, "alice", PASSWORD)


async def test_a_weak_password_makes_no_user(house):
    with refused(Code.REQUEST_INVALID):
        await users.create(house.desk, ADMIN, "alice", "short")
    with refused(Code.ACCOUNT_UNKNOWN):
        await users.show(house.desk, OPERATOR, "alice")
    assert house.events() == []


async def test_others_learn_nothing_of_a_user(house):
    await people(house, "alice", "bob")
    alice = await house.who("alice")
    for name in ("bob", "nobody"):
        with refused(Code.ACCOUNT_UNKNOWN) as told:
            await users.show(house.desk, alice, name)
        assert told.message == f"there is no user '{name}', or you may not see it"
        with refused(Code.DENIED) as denied:
            await users.set_password(house.desk, alice, name, None, PASSWORD + "!")
        assert name not in denied.message


async def test_a_password_needs_the_old_one_and_ends_what_that_got(house, tmp_path):
    await people(house, "alice")
    alice = await house.who("alice")
    with refused(Code.DENIED):
        await users.set_password(house.desk, alice, "alice", "not the old one", "another password")
    await users.set_password(house.desk, alice, "alice", PASSWORD, "another password")
    with refused(Code.UNAUTHORIZED):
        await house.who("alice")
    again = await house.who("alice", "another password")
    assert again.actor.name == "alice"
    assert ("account.password", "alice", {"name": "alice"}) in house.events()


async def test_the_made_up_password_is_forgotten_when_it_is_changed(house, tmp_path):
    (tmp_path / PASSWORD_FILE).write_text("made up")
    await users.create(house.desk, ADMIN, "admin", PASSWORD, admin=True)
    await users.set_password(house.desk, OPERATOR, "admin", None, "another password")
    assert not (tmp_path / PASSWORD_FILE).exists()


async def test_the_last_administrator_and_oneself_cannot_be_locked_out(house):
    await users.create(house.desk, ADMIN, "root", PASSWORD, admin=True)
    for deed in (users.set_disabled(house.desk, ADMIN, "root", disabled=True),
                 users.set_admin(house.desk, ADMIN, "root", admin=False)):  # fmt: skip
        with refused(Code.CONFLICT) as told:
            await deed
        assert "last administrator" in told.message
    await users.create(house.desk, ADMIN, "second", PASSWORD, admin=True)
    root = management.administrator(await house.who("root"))
    with refused(Code.CONFLICT) as told:
        await users.set_admin(house.desk, root, "root", admin=False)
    assert told.message == "you cannot demote yourself; another administrator can"
    assert not (await users.set_admin(house.desk, root, "second", admin=False)).admin


async def test_an_administrator_whose_account_has_ended_is_none_that_stays(house):
    await users.create(house.desk, ADMIN, "root", PASSWORD, admin=True)
    await users.create(house.desk, ADMIN, "temp", PASSWORD, admin=True, expires_in=60)
    assert not (await users.set_admin(house.desk, ADMIN, "root", admin=False)).admin
    await users.set_admin(house.desk, ADMIN, "root", admin=True)
    house.clock.pass_(60)
    for deed in (users.set_disabled(house.desk, ADMIN, "root", disabled=True),
                 users.set_admin(house.desk, ADMIN, "root", admin=False)):  # fmt: skip
        with refused(Code.CONFLICT) as told:
            await deed
        assert "last administrator" in told.message
    assert (await users.set_disabled(house.desk, ADMIN, "temp", disabled=True)).disabled


async def test_a_start_makes_an_administrator_where_all_have_ended(house, tmp_path):
    await users.create(house.desk, ADMIN, "temp", PASSWORD, admin=True, expires_in=60)
    assert not first_administrator(house.db, house.passwords, tmp_path, None, house.clock())
    assert not (tmp_path / PASSWORD_FILE).exists()
    house.clock.pass_(60)
    assert first_administrator(house.db, house.passwords, tmp_path, None, house.clock())
    password = (tmp_path / PASSWORD_FILE).read_text().strip()
    assert (await house.who("admin", password)).actor.admin


async def test_a_start_serves_without_an_administrator_where_the_firsts_name_is_taken(house, tmp_path, told):
    await people(house, "admin")
    for given in (None, "weak"):
        assert not first_administrator(house.db, house.passwords, tmp_path, given, house.clock())
    assert not (tmp_path / PASSWORD_FILE).exists()
    assert not (await house.who("admin")).actor.admin
    assert told.getvalue().count("no administrator can sign in") == 2


async def test_whoever_is_disabled_signs_in_no_more_until_enabled(house):
    await people(house, "alice")
    await users.set_disabled(house.desk, ADMIN, "alice", disabled=True)
    with refused(Code.UNAUTHORIZED):
        await house.who("alice")
    await users.set_disabled(house.desk, ADMIN, "alice", disabled=False)
    assert (await house.who("alice")).actor.name == "alice"


async def test_an_account_ends_by_the_clock(house):
    await users.create(house.desk, ADMIN, "temp", PASSWORD, expires_in=3600)
    await house.who("temp")
    house.clock.pass_(3601)
    with refused(Code.UNAUTHORIZED):
        await house.who("temp")
    with refused(Code.REQUEST_INVALID):
        await users.create(house.desk, ADMIN, "over", PASSWORD, expires_in=0)


async def test_an_end_that_has_come_is_shown_and_can_be_put_off_or_lifted(house):
    await users.create(house.desk, ADMIN, "alice", PASSWORD, expires_in=60)
    house.clock.pass_(60)
    assert (await users.set_disabled(house.desk, ADMIN, "alice", disabled=False)).expired
    put_off = await users.set_end(house.desk, ADMIN, "alice", 30)
    assert not put_off.expired
    assert (await house.who("alice")).actor.name == "alice"
    house.clock.pass_(30)
    with refused(Code.UNAUTHORIZED):
        await house.who("alice")
    assert (await users.set_end(house.desk, ADMIN, "alice", 0)).expires_at is None
    house.clock.pass_(10**6)
    assert (await house.who("alice")).actor.name == "alice"
    assert ("account.end", "operator", {"name": "alice", "ends": False}) in house.events()


async def test_the_last_administrator_gets_no_end(house):
    await users.create(house.desk, ADMIN, "root", PASSWORD, admin=True)
    with refused(Code.CONFLICT) as told:
        await users.set_end(house.desk, ADMIN, "root", 60)
    assert told.message == "root is the last administrator, who needs an account without an end"
    await users.set_end(house.desk, ADMIN, "root", 0)
    await users.create(house.desk, ADMIN, "second", PASSWORD, admin=True)
    assert (await users.set_end(house.desk, ADMIN, "root", 60)).expires_at is not None


async def test_sign_up_is_off_unless_it_is_on(house):
    for deed in (signup.sign_up(house.desk, "eve", PASSWORD), signup.invite(house.desk, ADMIN, "eve"),
                 signup.accept(house.desk, "mrgi_x", PASSWORD)):  # fmt: skip
        with refused(Code.DENIED):
            await deed
    house.with_(signup="open")
    await signup.sign_up(house.desk, "eve", PASSWORD)
    assert not (await house.who("eve")).actor.admin


async def test_an_invitation_is_good_once_and_signs_nobody_in(house):
    house.with_(signup="invite")
    with refused(Code.DENIED):
        await signup.sign_up(house.desk, "eve", PASSWORD)
    secret = await signup.invite(house.desk, ADMIN, "eve")
    with refused(Code.UNAUTHORIZED):
        await house.who("eve", secret)
    assert (await signup.accept(house.desk, secret, PASSWORD)).name == "eve"
    assert (await house.who("eve")).actor.name == "eve"
    with refused(Code.DENIED):
        await signup.accept(house.desk, secret, "yet another one")
    late = await signup.invite(house.desk, ADMIN, "late")
    house.clock.pass_(8 * 24 * 3600)
    with refused(Code.DENIED):
        await signup.accept(house.desk, late, PASSWORD)


async def test_nobody_signs_up_under_a_name_that_looks_like_a_robots(house):
    house.with_(signup="open")
    await people(house, "john")
    with refused(Code.DENIED) as told:
        await signup.sign_up(house.desk, "john.ci", PASSWORD)
    assert "robot of john" in told.message
    await signup.sign_up(house.desk, "jane.doe", PASSWORD)
    await users.create(house.desk, ADMIN, "john.doe", PASSWORD)


async def test_an_organisation_never_loses_its_last_owner(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    acme = management.owner(await house.who("alice"), "acme")
    for deed in (organisations.remove_member(house.desk, acme, "alice"),
                 organisations.put_member(house.desk, acme, "alice", "member")):  # fmt: skip
        with refused(Code.CONFLICT) as told:
            await deed
        assert told.message == "alice is the last owner of acme; make somebody else an owner first"
    await organisations.put_member(house.desk, acme, "bob", "owner")
    await organisations.remove_member(house.desk, acme, "alice")
    with refused(Code.DENIED):
        management.owner(await house.who("alice"), "acme")


async def test_an_owner_whose_account_has_ended_is_none_that_stays(house):
    await people(house, "alice")
    await users.create(house.desk, ADMIN, "temp", PASSWORD, expires_in=60)
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    acme = management.owner(OPERATOR, "acme")
    await organisations.put_member(house.desk, acme, "temp", "owner")
    await organisations.put_member(house.desk, acme, "alice", "member")
    await organisations.put_member(house.desk, acme, "alice", "owner")
    house.clock.pass_(60)
    for deed in (organisations.remove_member(house.desk, acme, "alice"),
                 organisations.put_member(house.desk, acme, "alice", "member")):  # fmt: skip
        with refused(Code.CONFLICT) as told:
            await deed
        assert told.message == "alice is the last owner of acme; make somebody else an owner first"
    await organisations.remove_member(house.desk, acme, "temp")


async def test_the_last_owner_of_an_organisation_can_be_shut_out_and_replaced(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    assert (await users.set_disabled(house.desk, ADMIN, "alice", disabled=True)).disabled
    acme = management.owner(OPERATOR, "acme")
    await organisations.put_member(house.desk, acme, "bob", "owner")
    await organisations.remove_member(house.desk, acme, "alice")


async def test_two_owners_who_demote_each_other_at_once_leave_one(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    acme = management.owner(OPERATOR, "acme")
    for _ in range(10):
        for name in ("alice", "bob"):
            await organisations.put_member(house.desk, acme, name, "owner")
        done = await asyncio.gather(
            *(organisations.put_member(house.desk, acme, name, "member") for name in ("alice", "bob")),
            return_exceptions=True,
        )
        (lost,) = [one for one in done if isinstance(one, RegistryError)]
        assert lost.code is Code.CONFLICT
        members = (await organisations.members(house.desk, OPERATOR, "acme", "", 10)).entries
        assert sorted(one.role for one in members) == ["member", "owner"]


async def test_only_members_see_an_organisation(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    bob = await house.who("bob")
    for name in ("acme", "nothing"):
        with refused(Code.ACCOUNT_UNKNOWN) as told:
            await organisations.show(house.desk, bob, name)
        assert told.message == f"there is no organisation '{name}', or you may not see it"
    assert (await organisations.page(house.desk, bob, "", 10)).entries == []
    assert [one.name for one in (await organisations.page(house.desk, await house.who("alice"), "", 10)).entries] == [
        "acme"
    ]


async def test_a_team_is_let_in_and_out_by_its_members(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    acme = management.owner(await house.who("alice"), "acme")
    await teams.create(house.desk, acme, "dev")
    with refused(Code.CONFLICT):
        await teams.create(house.desk, acme, "dev")
    permit = await management.granting(house.desk.authority, await house.who("alice"), Pattern.parse("acme/**"))
    await grants.put(house.desk, permit, "acme/dev", "writer")
    app = RepositoryName.parse("acme/app")
    with refused(Code.DENIED):
        await house.desk.authority.permit(await house.who("bob"), app, Action.PUSH)
    await teams.add_member(house.desk, acme, "dev", "bob")
    assert (await house.desk.authority.permit(await house.who("bob"), app, Action.PUSH)).may(Action.PUSH)
    members = (await organisations.members(house.desk, OPERATOR, "acme", "", 10)).entries
    assert [(one.name, one.role) for one in members] == [("alice", "owner"), ("bob", "member")]
    await organisations.remove_member(house.desk, acme, "bob")
    with refused(Code.DENIED):
        await house.desk.authority.permit(await house.who("bob"), app, Action.PUSH)
    await teams.remove(house.desk, acme, "dev")
    assert (await grants.of_owner(house.desk, acme, 0, 10)).entries == []


async def test_lists_come_in_pages(house):
    await people(house, *(f"u{number}" for number in range(5)))
    first = await users.page(house.desk, ADMIN, "", 2)
    assert ([one.name for one in first.entries], first.last) == (["u0", "u1"], "u1")
    end = await users.page(house.desk, ADMIN, "u3", 2)
    assert ([one.name for one in end.entries], end.last) == (["u4"], None)


@pytest.mark.parametrize("asked", ["repositories", "other"])
async def test_a_bearer_token_for_repositories_manages_nothing(house, asked):
    await people(house, "alice")
    alice = await house.who("alice")
    wanted = "repository:alice/app:*" if asked == "repositories" else "registry:catalog:*"
    bearer = await house.bearer(alice, wanted)
    with refused(Code.UNAUTHORIZED) as told:
        management.owner(bearer, "alice")
    assert "registry:api:*" in told.message
    assert management.owner(await house.bearer(alice, "registry:api:*"), "alice").owner == "alice"


async def test_whoever_knocks_with_many_names_is_counted_not_kept_and_hides_nothing_else(house):
    notes = house.desk.authority.notes
    for number in range(1000):
        notes.add("sign-in.failed", "anonymous", claimed=f"name{number}")
        notes.add("access.denied", "alice", "acme/app", action="push")
    notes.add("account.locked", "anonymous", claimed="alice")
    written, left_out, _ = notes.take()
    assert [kind for kind, *_ in written].count("sign-in.failed") == 20
    assert sum(written.values()) + left_out == 2001
    assert written["account.locked", "anonymous", "", (("claimed", "alice"),)] == 1
    assert written["access.denied", "alice", "acme/app", (("action", "push"),)] == 1000
    assert notes.take() is None
