"""What is asked for and not here: one sentence for each, whichever verb finds it missing."""

from moorage.access.permit import Permit
from moorage.core.registry import Registry
from moorage.db import repositories
from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest
from moorage.oci.names import Reference, Tag


def repository(permit: Permit) -> RegistryError:
    name = permit.repository.value
    return RegistryError(Code.NAME_UNKNOWN, f"there is no repository {name}; check the name", name=name)


def manifest(permit: Permit, reference: Reference) -> RegistryError:
    what = f"tag '{reference}'" if isinstance(reference, Tag) else f"manifest {reference}"
    return RegistryError(Code.MANIFEST_UNKNOWN, f"there is no {what} in {permit.repository}", reference=str(reference))


def blob(permit: Permit, digest: Digest) -> RegistryError:
    return RegistryError(Code.BLOB_UNKNOWN, f"there is no blob {digest} in {permit.repository}", digest=str(digest))


async def within(registry: Registry, permit: Permit, missing: RegistryError) -> RegistryError:
    """`missing`, unless not even the repository is here: then that is what a reader has to know."""
    known = await registry.db.read(repositories.find, permit.repository)
    return repository(permit) if known is None else missing
