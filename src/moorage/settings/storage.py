"""The `storage` section: where bytes lie, and what is done there from time to time."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from moorage.settings.values import Duration, Ignored, Positive, Section, Size, Unread


def _not_yet(_: Any) -> Any:
    raise ValueError("this storage is not yet supported; use `filesystem`")


NotYet = Annotated[Any, BeforeValidator(_not_yet)]


class Filesystem(Section):
    rootdirectory: Path | None = None
    """The folder that blobs are kept in. Without it, the data folder."""
    maxthreads: Annotated[int, Ignored("threads are shared by all requests, so there is nothing to limit")] = 100
    """Docker Registry's limit of file operations at a time."""


class InMemory(Section):
    """Blobs in memory, for tests: everything is forgotten at the end.  Takes no settings."""


class Delete(Section):
    enabled: bool = True
    """Whether manifests, tags and blobs can be deleted over the API. Docker Registry's default is false."""


class UploadPurging(Section):
    enabled: bool = True
    """Whether uploads that were never finished are removed."""
    age: Duration = timedelta(hours=168)
    """How long an upload may stay without news before it is removed."""
    interval: Positive = timedelta(hours=24)
    """How often to look for them."""
    dryrun: bool = False
    """Only log what would be removed."""


class ReadOnly(Section):
    enabled: bool = False
    """Refuse every push and delete; pulls go on."""


class Maintenance(Section):
    uploadpurging: UploadPurging = UploadPurging()
    readonly: ReadOnly = ReadOnly()


class Storage(Section):
    choices: ClassVar = ("filesystem", "inmemory", "s3", "azure", "gcs", "swift", "oss")

    filesystem: Filesystem = Filesystem()
    inmemory: InMemory | None = None
    """Keep blobs in memory, for tests: everything is forgotten when the registry stops."""
    s3: NotYet = None
    """S3-compatible storage: not yet supported."""
    azure: NotYet = None
    """Azure Blob Storage: not yet supported."""
    gcs: NotYet = None
    """Google Cloud Storage: not yet supported."""
    swift: NotYet = None
    """OpenStack Swift, which Docker Registry 2 had: not supported."""
    oss: NotYet = None
    """Alibaba OSS, which Docker Registry 2 had: not supported."""
    delete: Delete = Delete()
    redirect: Annotated[Unread, Ignored("files are always served by the registry itself")] = None
    """Whether clients are sent to object storage for blobs."""
    cache: Annotated[Unread, Ignored("what is stored is known from the database, which needs no cache")] = None
    """Docker Registry's cache of blob descriptors."""
    maintenance: Maintenance = Maintenance()
    reserve: Annotated[Size, Field(ge=0)] = 64 * 1024 * 1024
    """Pushes are refused while they would leave less than this free on the disk of the blobs or of the database.
    Pulls, deletes and the collector go on."""
    tag: Annotated[Unread, Ignored("tags are looked up in the database, in one step")] = None
    """Docker Registry's concurrency of tag look-ups."""

    @model_validator(mode="before")
    @classmethod
    def _driver_by_name(cls, value: Any) -> Any:
        return {str(value): {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_driver(self) -> "Storage":
        if self.inmemory is not None and "filesystem" in self.model_fields_set:
            raise ValueError("names two storage drivers, filesystem and inmemory; keep one")
        return self

    @property
    def driver(self) -> str:
        """`filesystem` or `inmemory`."""
        return "filesystem" if self.inmemory is None else "inmemory"
