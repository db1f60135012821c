"""Who may change accounts, teams, tokens and rules: the only maker of the permits that deeds on accounts take.

    administrators                     everything
    an organisation's owners           what is the organisation's: teams, robots, grants, repositories
    a user                             the same of their own name; their own password and tokens
    whoever may manage a repository    the rules of that very repository   (`Authority.permit_manage`)

To read of accounts is no less: a credential that was made for less shows nothing but whose it is.

A bearer token that was asked for repositories alone manages nothing: a client that pushes hands it around.  What does
is a password, a token that is not limited or limited to something with `manage`, or a bearer token asked for with the
scope `registry:api:*`.
"""

from moorage.access.actor import Identity
from moorage.access.permit import SEAL, AdminPermit, GrantPermit, OwnerPermit, PersonalPermit
from moorage.access.refusal import nobody
from moorage.access.rules import Authority
from moorage.access.scopes import API
from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import WILD, Pattern


def signed_in(identity: Identity) -> None:
    """Raise UNAUTHORIZED for nobody, and for a bearer token that is no good here; DENIED for one from outside."""
    if not identity.actor.signed_in:
        raise RegistryError(
            Code.UNAUTHORIZED, f"{nobody(identity)}; give a user name with its password or a token", scope=API
        )
    if identity.vouched:
        raise _denied(identity, "manage anything here: it is not one of this registry's accounts")
    if identity.asked is not None and not identity.asked.api:
        raise RegistryError(
            Code.UNAUTHORIZED,
            f"the bearer token of {identity.actor.name} was not asked for the management API; ask for {API}",
            scope=API,
            error="insufficient_scope",
        )


def administrator(identity: Identity) -> AdminPermit:
    """Raises UNAUTHORIZED or DENIED."""
    signed_in(identity)
    if not identity.actor.admin:
        raise _denied(identity, "do that: it is for administrators; ask one of them")
    reaches(identity, None)
    return AdminPermit(identity.actor, SEAL)


def owner(identity: Identity, name: str) -> OwnerPermit:
    """Raises UNAUTHORIZED or DENIED, the same whether or not there is such an account."""
    signed_in(identity)
    if not identity.actor.admin and name not in identity.actor.owned:
        raise _denied(identity, f"manage {name}: that is for its owners and for administrators; ask one of them")
    reaches(identity, name)
    return OwnerPermit(identity.actor, name, SEAL)


def personal(identity: Identity, name: str) -> PersonalPermit:
    """For the account itself, with a credential that may do whatever the account may: nobody makes more out of less.

    Also for whoever has the data folder.  Raises UNAUTHORIZED or DENIED.
    """
    signed_in(identity)
    actor = identity.actor
    if actor.kind != "system":
        if actor.kind != "user" or actor.name != name:
            raise _denied(identity, f"use what is {name}'s own; only {name} can")
        if identity.limit is not None:
            raise _limited(identity)
    return PersonalPermit(actor, name, identity.lends, SEAL)


async def granting(authority: Authority, identity: Identity, pattern: Pattern) -> GrantPermit:
    """Raises UNAUTHORIZED, DENIED, or NAME_UNKNOWN for a repository that the actor may not see."""
    signed_in(identity)
    actor = identity.actor
    if pattern.owner == WILD:
        administrator(identity)
    elif "*" in pattern.text:
        owner(identity, pattern.owner)
    else:
        await authority.permit_manage(identity, RepositoryName.parse(pattern.text))
    return GrantPermit(actor, pattern, SEAL)


def covers(identity: Identity, name: str | None) -> bool:
    """Whether the credential was made for all that is an owner's; for everything, where that is None."""
    return identity.limit is None or identity.limit.rules(name)


def reaches(identity: Identity, name: str | None) -> None:
    """Raise DENIED where the credential was made for less than all that is an owner's; than everything, for None."""
    if not covers(identity, name):
        raise _limited(identity)


def _limited(identity: Identity) -> RegistryError:
    return _denied(identity, "do that: the credential was made for less; use a password, or a token without limits")


def _denied(identity: Identity, words: str) -> RegistryError:
    return RegistryError(
        Code.DENIED,
        f"{identity.actor.name} ({identity.credential}) may not {words}",
        actor=identity.actor.name,
        credential=identity.credential,
    )
