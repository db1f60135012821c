"""Robots, tokens, rules and repositories."""

import asyncio
from dataclasses import replace

import pytest

from moorage.access import management
from moorage.access.action import Action
from moorage.access.actor import NOBODY, OPERATOR
from moorage.access.certificates import Certificate, certified
from moorage.access.memory import Memory
from moorage.access.offline import Offline
from moorage.access.permit import (
    SEAL,
    AdminPermit,
    CatalogPermit,
    GrantPermit,
    OwnerPermit,
    Permit,
    PersonalPermit,
    _Seal,
)
from moorage.access.scopes import Scopes
from moorage.access.secrets import is_secret
from moorage.core.discover import catalog_page
from moorage.db import repositories as rows
from moorage.errors import Code, RegistryError
from moorage.features.accounts import explaining, grants, organisations, repositories, robots, teams, tokens, users
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern
from tests.features.accounts.test_people import ADMIN, PASSWORD, people, refused

APP = RepositoryName.parse("acme/app")
ACME = management.owner(OPERATOR, "acme")


@pytest.fixture
async def acme(house):
    await people(house, "alice", "bob")
    await organisations.create(house.desk, ADMIN, "acme", "alice")
    return house


async def grant(house, identity, subject, pattern, actions, **more):
    permit = await management.granting(house.desk.authority, identity, Pattern.parse(pattern))
    return await grants.put(house.desk, permit, subject, actions, **more)


@pytest.mark.parametrize("kind", [AdminPermit, OwnerPermit, PersonalPermit, GrantPermit])
def test_permits_are_made_by_management_alone(kind):
    fields = [None] * (len(kind.__dataclass_fields__) - 1)
    with pytest.raises(TypeError):
        kind(*fields, _Seal())


async def test_a_robot_pushes_within_its_owner_and_nowhere_else(acme):
    made = await robots.create(acme.desk, ACME, "ci", ["acme/*:pull,push"])
    assert is_secret(made.secret)
    assert made.secret.startswith("mrgr_")
    robot = await acme.who("acme.ci", made.secret)
    authority = acme.desk.authority
    assert (await authority.permit(robot, APP, Action.PUSH)).may(Action.PUSH)
    with refused(Code.DENIED) as told:
        await authority.permit(robot, RepositoryName.parse("other/app"), Action.PUSH)
    assert told.message == (
        "acme.ci (the token '1') may not push to other/app: no rule gives push there; "
        "a robot of acme acts within acme/ only, so nobody can grant it"
    )
    permit = await authority.permit_manage(OPERATOR, RepositoryName.parse("other/app"))
    assert (await explaining.explain(acme.desk, permit, "acme.ci", "push")).summary == (
        "acme.ci may not push in other/app: no rule gives push; "
        "a robot of acme acts within acme/ only, so nobody can grant it"
    )
    with refused(Code.REQUEST_INVALID):
        await grant(acme, OPERATOR, "acme.ci", "other/app", "pull")
    with refused(Code.DENIED):
        management.owner(robot, "acme")


@pytest.mark.parametrize("rule", ["other/*:push", "**:pull", "acme/*", "acme/*:fly", "acme//x:pull"])
async def test_a_robot_with_a_bad_rule_is_not_made_at_all(acme, rule):
    with refused(Code.NAME_INVALID if "//" in rule else Code.REQUEST_INVALID):
        await robots.create(acme.desk, ACME, "ci", ["acme/*:pull", rule])
    assert (await robots.page(acme.desk, ACME, "", 10)).entries == []


async def test_rotation_leaves_the_old_secret_a_grace_and_no_third(acme):
    first = (await robots.create(acme.desk, ACME, "ci", [])).secret
    second = (await robots.rotate(acme.desk, ACME, "acme.ci", grace=3600)).secret
    await acme.who("acme.ci", first)
    await acme.who("acme.ci", second)
    third = (await robots.rotate(acme.desk, ACME, "acme.ci", grace=60)).secret
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", first)
    await acme.who("acme.ci", second)
    acme.clock.pass_(61)
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", second)
    await robots.rotate(acme.desk, ACME, "acme.ci")
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", third)
    assert [one.name for one in (await tokens.page(acme.desk, OPERATOR, "acme.ci")).entries] == ["4"]


async def test_a_rotation_never_lets_an_old_secret_live_longer(acme):
    first = (await robots.create(acme.desk, ACME, "ci", [], expires_in=60)).secret
    await robots.rotate(acme.desk, ACME, "acme.ci", grace=3600)
    acme.clock.pass_(61)
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", first)
    await robots.rotate(acme.desk, ACME, "acme.ci", grace=3600)
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", first)


async def test_a_robot_is_shut_out_with_its_owner(acme):
    bob = management.owner(await acme.who("bob"), "bob")
    secret = (await robots.create(acme.desk, bob, "ci", ["bob/*:push"])).secret
    await users.set_disabled(acme.desk, ADMIN, "bob", disabled=True)
    with refused(Code.UNAUTHORIZED):
        await acme.who("bob.ci", secret)
    with refused(Code.CONFLICT):
        await robots.rotate(acme.desk, management.owner(OPERATOR, "bob"), "bob.ci")


async def test_a_robot_ends_with_its_owner(acme):
    await users.create(acme.desk, ADMIN, "temp", PASSWORD, expires_in=300)
    end = (acme.clock() + 300 * 1_000_000) / 1_000_000
    temp = management.owner(await acme.who("temp"), "temp")
    secret = (await robots.create(acme.desk, temp, "ci", ["temp/**:owner"])).secret
    robot = await acme.who("temp.ci", secret)
    bearer = await acme.bearer(robot, "repository:temp/app:pull")
    shown = Certificate(("temp.ci",), end + 3600)
    by_certificate = acme.db.read_now(certified, shown, acme.clock())
    assert [one.until for one in (robot, bearer, by_certificate)] == [end] * 3
    acme.clock.pass_(301)
    with refused(Code.UNAUTHORIZED):
        await acme.who("temp.ci", secret)
    with refused(Code.UNAUTHORIZED):
        await acme.bearer(robot, "repository:temp/app:pull")
    assert "no account that may sign in" in acme.db.read_now(certified, shown, acme.clock()).unproved
    with refused(Code.CONFLICT):
        await robots.rotate(acme.desk, management.owner(OPERATOR, "temp"), "temp.ci")


async def test_a_robot_that_is_gone_leaves_nothing_to_its_successor(acme):
    first = (await robots.create(acme.desk, ACME, "ci", ["acme/**:push"])).secret
    await robots.remove(acme.desk, ACME, "acme.ci")
    again = (await robots.create(acme.desk, ACME, "ci", [])).secret
    with refused(Code.UNAUTHORIZED):
        await acme.who("acme.ci", first)
    with refused(Code.DENIED):
        await acme.desk.authority.permit(await acme.who("acme.ci", again), APP, Action.PUSH)


async def test_the_robot_of_another_is_not_there(acme):
    await robots.create(acme.desk, ACME, "ci", [])
    other = management.owner(await acme.who("bob"), "bob")
    for deed in (robots.rotate(acme.desk, other, "acme.ci"), robots.remove(acme.desk, other, "acme.ci"),
                 robots.show(acme.desk, other, "acme.ci")):  # fmt: skip
        with refused(Code.ACCOUNT_UNKNOWN):
            await deed


async def test_a_token_does_what_it_is_for_and_makes_no_other(acme):
    alice = await acme.who("alice")
    made = await tokens.create(acme.desk, management.personal(alice, "alice"), "laptop", ["acme/*:pull"])
    assert made.token.scopes == ["acme/*:pull"]
    limited = await acme.who("alice", made.secret)
    authority = acme.desk.authority
    with refused(Code.DENIED) as told:
        await authority.permit(limited, APP, Action.PUSH)
    assert "the credential was made for less" in told.message
    for mint in (management.personal, management.owner):
        with refused(Code.DENIED):
            mint(limited, "alice")
    with refused(Code.DENIED):
        await grant(acme, limited, "bob", "acme/app", "pull")
    with refused(Code.DENIED):
        await grant(acme, limited, "bob", "acme/*", "pull")


async def test_a_token_with_manage_rules_just_what_it_names(acme):
    alice = await acme.who("alice")
    permit = management.personal(alice, "alice")
    whole = await acme.who("alice", (await tokens.create(acme.desk, permit, "a", ["acme/**:manage"])).secret)
    one = await acme.who("alice", (await tokens.create(acme.desk, permit, "b", ["acme/app:manage"])).secret)
    assert management.owner(whole, "acme").owner == "acme"
    await grant(acme, one, "bob", "acme/app", "pull")
    for mint, name in ((management.owner, "acme"), (management.personal, "alice")):
        with refused(Code.DENIED):
            mint(one, name)
    with refused(Code.DENIED):
        management.owner(whole, "alice")


@pytest.mark.parametrize("user", ["root", "alice"])
async def test_what_a_token_is_not_for_it_does_not_show(acme, user):
    await users.create(acme.desk, ADMIN, "root", PASSWORD, admin=True)
    await organisations.create(acme.desk, ADMIN, "other", user)
    await teams.create(acme.desk, ACME, "dev")
    permit = management.personal(await acme.who(user), user)

    async def who(*scopes):
        return await acme.who(user, (await tokens.create(acme.desk, permit, f"{scopes}", [*scopes])).secret)

    async def told(identity):
        reads = [users.show(acme.desk, identity, name) for name in ("root", "alice", "nobody")]
        for name in ("acme", "other", "nothing"):
            reads += [
                organisations.show(acme.desk, identity, name),
                organisations.members(acme.desk, identity, name, "", 10),
                teams.page(acme.desk, identity, name, "", 10),
                teams.members_page(acme.desk, identity, name, "dev", "", 10),
            ]
        for name in ("root", "alice", "nobody"):
            reads.append(tokens.page(acme.desk, identity, name))
        answers = await asyncio.gather(*reads, return_exceptions=True)
        return [one.code if isinstance(one, RegistryError) else "shown" for one in answers]

    async def listed(identity):
        return [one.name for one in (await organisations.page(acme.desk, identity, "", 10)).entries]

    no, there, unseen = Code.DENIED, "shown", Code.ACCOUNT_UNKNOWN
    ci = await who("acme/app:pull,manage")
    mine = [no, no, no] if user == "root" else [unseen, no, unseen]
    owned = [no, unseen, unseen] if user == "root" else [unseen, no, unseen]
    assert await told(ci) == [*mine, *[no] * 12, *owned]
    assert await listed(ci) == []
    me = await users.me(acme.desk, ci)
    assert (me.name, me.organisations, me.teams) == (user, [], [])
    whole = await who("acme/**:manage")
    assert await told(whole) == [*mine, *[there] * 4, *[no] * 8, *owned]
    assert await listed(whole) == ([] if user == "root" else ["acme"])
    everything = await who("**:manage")
    assert await told(everything) == await told(await acme.who(user))
    assert await listed(everything) == ["acme", "other"]


async def test_tokens_end_by_the_clock_and_by_the_operators_word(acme):
    permit = management.personal(await acme.who("alice"), "alice")
    made = await tokens.create(acme.desk, permit, "short", [], expires_in=60)
    await acme.who("alice", made.secret)
    with refused(Code.CONFLICT):
        await tokens.create(acme.desk, permit, "short", [])
    acme.clock.pass_(61)
    with refused(Code.UNAUTHORIZED):
        await acme.who("alice", made.secret)
    assert [one.expired for one in (await tokens.page(acme.desk, OPERATOR, "alice")).entries] == [True]
    acme.with_(token_life=3600 * 1_000_000)
    await tokens.create(acme.desk, permit, "short", [])
    with refused(Code.REQUEST_INVALID) as told:
        await tokens.create(acme.desk, permit, "long", [], expires_in=3601)
    assert "3600 seconds here at the most (accounts.tokenlife)" in told.message
    acme.clock.pass_(3601)
    assert [one.expired for one in (await tokens.page(acme.desk, OPERATOR, "alice")).entries] == [True]


async def test_a_token_ends_no_later_than_what_it_is_made_with(acme):
    permit = management.personal(await acme.who("alice"), "alice")
    assert (await tokens.create(acme.desk, permit, "endless", [])).token.expires_at is None
    short = await tokens.create(acme.desk, permit, "short", [], expires_in=60)
    acme.clock.pass_(20)
    permit = management.personal(await acme.who("alice", short.secret), "alice")
    assert (await tokens.create(acme.desk, permit, "a", [])).token.expires_at == short.token.expires_at
    less = (await tokens.create(acme.desk, permit, "b", [], expires_in=30)).token.expires_at
    assert (short.token.expires_at - less).total_seconds() == 10
    acme.with_(token_life=10 * 1_000_000)
    less = (await tokens.create(acme.desk, permit, "c", [])).token.expires_at
    assert (short.token.expires_at - less).total_seconds() == 30
    acme.with_(token_life=None)
    with refused(Code.REQUEST_INVALID) as told:
        await tokens.create(acme.desk, permit, "d", [], expires_in=41)
    assert told.message == (
        "a token ends no later than what it is made with, and that ends in 40 seconds; "
        "ask for less, or sign in with what lasts longer"
    )
    acme.clock.pass_(40)
    with refused(Code.REQUEST_INVALID):
        await tokens.create(acme.desk, permit, "e", [])


async def test_what_a_short_token_manages_outlives_it(acme):
    permit = management.personal(await acme.who("alice"), "alice")
    short = await tokens.create(acme.desk, permit, "short", [], expires_in=60)
    owner = management.owner(await acme.who("alice", short.secret), "acme")
    assert (await robots.create(acme.desk, owner, "ci", [])).token.expires_at is None
    assert (await robots.rotate(acme.desk, owner, "acme.ci")).token.expires_at is None


async def test_a_token_made_with_a_bearer_token_ends_with_it_or_with_the_refresh_token_it_was_got_with(acme):
    alice = await acme.who("alice")
    made = await tokens.create(acme.desk, management.personal(alice, "alice"), "endless", [])
    offline = await Offline(acme.db, acme.clock).issue(alice, "docker")
    ways = {
        "a password": (alice, 600),
        "an endless token": (await acme.who("alice", made.secret), 600),
        "a refresh token": (await acme.credentials.refresh(offline), 90 * 24 * 3600),
    }
    for name, (identity, seconds) in ways.items():
        bearer = await acme.bearer(identity, "registry:api:*")
        child = await tokens.create(acme.desk, management.personal(bearer, "alice"), name, [])
        assert seconds - 2 < child.token.expires_at.timestamp() - acme.clock() / 1_000_000 <= seconds


async def test_a_token_is_revoked_by_its_own_account_alone(acme):
    alice, bob = await acme.who("alice"), await acme.who("bob")
    made = await tokens.create(acme.desk, management.personal(alice, "alice"), "x", [])
    for identity, name in ((bob, "alice"), (bob, "bob"), (alice, "nobody")):
        with refused(Code.ACCOUNT_UNKNOWN):
            await tokens.revoke(acme.desk, identity, name, made.token.id)
    await acme.who("alice", made.secret)
    await tokens.revoke(acme.desk, alice, "alice", made.token.id)
    with refused(Code.UNAUTHORIZED):
        await acme.who("alice", made.secret)
    with refused(Code.ACCOUNT_UNKNOWN):
        await tokens.revoke(acme.desk, alice, "alice", made.token.id)


async def test_a_limited_token_ends_itself_and_no_other(acme):
    alice = await acme.who("alice")
    permit = management.personal(alice, "alice")
    made = await tokens.create(acme.desk, permit, "ci", ["acme/*:pull"])
    other = await tokens.create(acme.desk, permit, "laptop", [])
    limited = await acme.who("alice", made.secret)
    with refused(Code.DENIED):
        await tokens.page(acme.desk, limited, "alice")
    with refused(Code.DENIED):
        await tokens.revoke(acme.desk, limited, "alice", other.token.id)
    await tokens.revoke(acme.desk, limited, "alice", made.token.id)
    with refused(Code.REQUEST_INVALID):
        await tokens.create(acme.desk, permit, "many", ["acme/*:pull"] * 101)


async def test_no_administrator_makes_a_token_of_somebody_else(acme):
    await users.create(acme.desk, ADMIN, "root", PASSWORD, admin=True)
    with refused(Code.DENIED):
        management.personal(await acme.who("root"), "alice")


async def test_whoever_manages_a_repository_lets_others_into_just_that(acme):
    await grant(acme, OPERATOR, "bob", "acme/app", "owner")
    bob = await acme.who("bob")
    made = await grant(acme, bob, "everyone", "acme/app", "reader")
    assert (made.subject, made.role, made.created_by) == ("everyone", "reader", "bob")
    for pattern, code in (("acme/*", Code.DENIED), ("**", Code.DENIED), ("acme/other", Code.NAME_UNKNOWN)):
        with refused(code):
            await grant(acme, bob, "bob", pattern, "owner")
    elsewhere = await grant(acme, OPERATOR, "alice", "acme/*", "pull")
    with refused(Code.ACCOUNT_UNKNOWN):
        await grants.revoke(acme.desk, bob, elsewhere.id)
    with refused(Code.ACCOUNT_UNKNOWN):
        await grants.revoke(acme.desk, bob, 9999)
    await grants.revoke(acme.desk, bob, made.id)


async def test_a_rule_bites_at_once_and_ends_by_the_clock(acme):
    bob, authority = await acme.who("bob"), acme.desk.authority
    made = await grant(acme, OPERATOR, "bob", "acme/app", "pull", expires_in=60)
    await authority.permit(bob, APP, Action.PULL)
    acme.clock.pass_(61)
    with refused(Code.NAME_UNKNOWN):
        await authority.permit(bob, APP, Action.PULL)
    await grant(acme, OPERATOR, "bob", "acme/app", "pull,push")
    await authority.permit(bob, APP, Action.PUSH)
    await grants.revoke(acme.desk, OPERATOR, made.id)
    with refused(Code.DENIED):
        await authority.permit(bob, APP, Action.PUSH)
    kinds = [kind for kind, _, _ in acme.events()]
    assert kinds[-3:] == ["access.granted", "access.granted", "access.revoked"]


@pytest.mark.parametrize(
    ("subject", "pattern", "actions", "code"),
    [
        ("nobody", "acme/app", "pull", Code.ACCOUNT_UNKNOWN),
        ("acme/nothing", "acme/app", "pull", Code.ACCOUNT_UNKNOWN),
        ("acme", "acme/app", "pull", Code.ACCOUNT_UNKNOWN),
        ("anyone", "acme/app", "push", Code.REQUEST_INVALID),
        ("bob", "acme/app", "fly", Code.REQUEST_INVALID),
    ],
)
async def test_a_bad_rule_is_told_and_not_made(acme, subject, pattern, actions, code):
    with refused(code):
        await grant(acme, OPERATOR, subject, pattern, actions)
    assert (await grants.of_owner(acme.desk, ACME, 0, 10)).entries == []


async def test_a_new_repository_is_as_visible_as_its_owner_says(acme):
    def made(tx, name):
        rows.list_in_catalog(tx, rows.ensure(tx, RepositoryName.parse(name), 1), 1)
        return rows.show(tx, RepositoryName.parse(name)).visibility

    await organisations.set_visibility(acme.desk, ACME, "internal")
    assert acme.db.write_now(made, "acme/app") == "internal"
    assert acme.db.write_now(made, "nobodys/app") == "private"
    await organisations.create(acme.desk, ADMIN, "library", None, visibility="public")
    assert acme.db.write_now(made, "busybox") == "public"
    await acme.desk.authority.permit(await acme.who("bob"), APP, Action.PULL)
    permit = await acme.desk.authority.permit_manage(await acme.who("alice"), APP)
    assert (await repositories.set_visibility(acme.desk, permit, "private")).visibility == "private"
    with refused(Code.NAME_UNKNOWN):
        await acme.desk.authority.permit(await acme.who("bob"), APP, Action.PULL)
    with refused(Code.REQUEST_INVALID):
        await repositories.set_visibility(acme.desk, permit, "secret")


async def test_a_repository_that_one_may_not_see_is_not_there_for_managers_either(acme):
    bob = await acme.who("bob")
    acme.db.write_now(rows.ensure, APP, 1)
    for name in ("acme/app", "acme/nothing"):
        with refused(Code.NAME_UNKNOWN) as told:
            await acme.desk.authority.permit_manage(bob, RepositoryName.parse(name))
        assert told.message.replace(name, "X") == (
            "there is no repository X, or you may not see it; its owner, acme, can let you in"
        )


async def test_an_explanation_gives_every_reason_by_the_names_people_know(acme):
    await grant(acme, OPERATOR, "bob", "acme/*", "writer")
    permit = await acme.desk.authority.permit_manage(OPERATOR, APP)
    told = await explaining.explain(acme.desk, permit, "bob", "push")
    assert (told.allowed, [one.why for one in told.reasons]) == (True, ["bob has writer on acme/*"])
    refused_ = await explaining.explain(acme.desk, permit, "bob", "delete")
    assert refused_.summary == (
        "bob may not delete in acme/app: no rule gives delete; an owner of acme or an administrator can grant it"
    )
    await users.set_disabled(acme.desk, ADMIN, "bob", disabled=True)
    locked = await explaining.explain(acme.desk, permit, "bob", "push")
    assert (locked.allowed, "is disabled" in locked.summary) == (False, True)
    with refused(Code.ACCOUNT_UNKNOWN):
        await explaining.explain(acme.desk, permit, "nobody", "push")


async def test_every_deed_is_an_event_of_whoever_did_it(acme):
    alice = await acme.who("alice")
    await robots.create(acme.desk, management.owner(alice, "acme"), "ci", ["acme/*:push"])
    await tokens.create(acme.desk, management.personal(alice, "alice"), "x", [])
    told = acme.events()
    assert [kind for kind, _, _ in told] == [
        "account.created", "account.created", "organisation.created", "robot.created", "token.created",
    ]  # fmt: skip
    assert [actor for _, actor, _ in told] == ["operator"] * 3 + ["alice"] * 2
    assert "mrg" not in str(told)


async def test_a_short_page_for_whoever_sees_little_takes_few_looks(acme, monkeypatch):
    looks = []
    left = CatalogPermit.left

    async def looked(permit, names):
        looks.append(len(names))
        return await left(permit, names)

    monkeypatch.setattr(CatalogPermit, "left", looked)

    def fill(tx):
        for number in range(3000):
            rows.list_in_catalog(tx, rows.ensure(tx, RepositoryName.parse(f"acme/{number:04}"), 1), 1)
        rows.list_in_catalog(tx, rows.ensure(tx, RepositoryName.parse("bob/app"), 1), 1)

    acme.db.write_now(fill)
    bob = await acme.who("bob")
    permit = await acme.desk.authority.permit_catalog(bob)
    page = await catalog_page(acme.desk.registry, permit, 1, "", 1000)
    assert (page.names, page.more) == (("bob/app",), False)
    assert sum(looks) == 3001
    assert len(looks) < 15
    entries = (await repositories.page(acme.desk, bob, "", "", 1)).entries
    assert [one.name for one in entries] == ["bob/app"]
    everything = await catalog_page(acme.desk.registry, await acme.desk.authority.permit_catalog(OPERATOR), 7, "", 1000)
    assert (len(everything.names), everything.more, looks[-1]) == (7, True, 8)


def test_what_is_remembered_has_a_bound():
    memory = Memory(None)
    spelled = f"Basic {' ' * 14_000}%06d"
    headers = [spelled % number for number in range(4_000)]
    for header in headers:
        memory.remember_identity(header, replace(NOBODY))
    found = sum(memory.identity(header, 0.0) is not None for header in headers)
    assert 0 < found * len(headers[0]) < 32 * 1024 * 1024
    permit = Permit(NOBODY.actor, APP, frozenset({Action.PULL}), SEAL)
    permits = [replace(permit, repository=RepositoryName.parse(f"acme/{number}")) for number in range(100_000)]
    for one in permits:
        memory.remember_permit(NOBODY, one)
    assert 0 < sum(memory.permit(NOBODY, one.repository) is not None for one in permits) < 70_000


async def test_a_long_header_is_remembered_and_what_it_may_do_once(acme):
    alice = await acme.who("alice")
    authority = acme.desk.authority
    acme.db.write_now(rows.ensure, APP, 1)
    await authority.look()
    scopes = Scopes.parse([f"repository:alice/{'x' * 100}{number}:pull,push" for number in range(60)])
    text = await acme.credentials.bearer.mint(
        "alice", alice.actor.id, None, "a password", await authority.grant(alice, scopes), alice.credentials_at
    )
    assert len(text) > 8000
    first = await authority.authenticate(f"Bearer {text}", "192.0.2.1")
    assert authority.recognised(f"Bearer {text}", "192.0.2.1") is first
    memory = Memory(None)
    permit = Permit(first.actor, APP, frozenset({Action.PULL}), SEAL)
    memory.remember_permit(first, permit)
    assert memory.permit(first, APP) is None, "whoever is not remembered does not come again"
    memory.remember_identity("Bearer", first)
    memory.remember_permit(first, permit)
    assert memory.permit(first, APP) is permit
