"""What somebody hears who may not: who the registry thinks they are, what was missing where, and who can help.

Reads are answered as if the repository did not exist, byte for byte, so that nobody learns of what is not theirs.
The whole explanation stands in one sentence, because that is what docker and podman print.
"""

from moorage.access.action import Action
from moorage.access.actor import Actor, Identity
from moorage.access.scopes import CATALOG, needed
from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName

_DOING = {
    Action.PULL: "pull from",
    Action.PUSH: "push to",
    Action.OVERWRITE: "let an existing tag name something else in",
    Action.DELETE: "delete in",
    Action.MANAGE: "manage",
}


def nobody(identity: Identity) -> str:
    """That nobody is signed in, and why what was shown does not change that."""
    return "nobody is signed in" + (f" ({identity.unproved})" if identity.unproved else "")


def sign_in_first(identity: Identity, repository: RepositoryName, action: Action) -> RegistryError:
    """Nobody asked for something that is not for everybody."""
    return RegistryError(
        Code.UNAUTHORIZED,
        f"{nobody(identity)}, and not everybody may {_DOING[action]} {repository}; sign in (docker login), try again",
        scope=needed(repository, action),
        action=action.value,
        repository=repository.value,
    )


def ask_for_more(identity: Identity, repository: RepositoryName, action: Action) -> RegistryError:
    """The actor may, but this bearer token was not asked for it."""
    return RegistryError(
        Code.UNAUTHORIZED,
        f"the bearer token of {identity.actor.name} does not cover {action.value} on {repository}; ask for that scope",
        scope=needed(repository, action),
        error="insufficient_scope",
        action=action.value,
        repository=repository.value,
    )


def unknown(repository: RepositoryName) -> RegistryError:
    """There is nothing to see, whether or not there is."""
    return RegistryError(
        Code.NAME_UNKNOWN,
        f"there is no repository {repository}, or you may not see it; its owner, {repository.owner}, can let you in",
        name=repository.value,
    )


def denied(identity: Identity, repository: RepositoryName, action: Action, *, limited: bool) -> RegistryError:
    """The actor may not; `limited` where it is only the credential that may not."""
    who = f"{identity.actor.name} ({identity.credential})"
    if limited:
        why = f"{who} may not {_DOING[action]} {repository}: the credential was made for less"
        help_ = "use another one, or make one that covers it"
    else:
        why = f"{who} may not {_DOING[action]} {repository}: no rule gives {action.value} there"
        help_ = who_can_grant(identity.actor, repository)
    return RegistryError(
        Code.DENIED,
        f"{why}; {help_}",
        actor=identity.actor.name,
        credential=identity.credential,
        action=action.value,
        repository=repository.value,
    )


def who_can_grant(actor: Actor, repository: RepositoryName) -> str:
    """Who can let the actor do more there; for a robot away from its owner's names, that nobody can."""
    if actor.within is not None and actor.within != repository.owner:
        return f"a robot of {actor.within} acts within {actor.within}/ only, so nobody can grant it"
    return f"an owner of {repository.owner} or an administrator can grant it"


def no_catalog(identity: Identity) -> RegistryError:
    """The list of repositories is for whoever is signed in."""
    if identity.actor.signed_in:
        return RegistryError(
            Code.UNAUTHORIZED,
            f"the bearer token of {identity.actor.name} does not cover the catalog; ask for that scope",
            scope=CATALOG,
            error="insufficient_scope",
        )
    return RegistryError(
        Code.UNAUTHORIZED, f"{nobody(identity)}, and the catalog is not for everybody; sign in first", scope=CATALOG
    )
