"""Everything that can be set, as one frozen value.

Docker Registry's sections stand here with its keys and its meaning; where ours differs the docstring says so.
The docstring below a setting is its description in the JSON schema.
"""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt, PrivateAttr, model_validator

from moorage.settings.storage import Storage
from moorage.settings.values import (
    Duration,
    Free,
    Hidden,
    Ignored,
    Names,
    Positive,
    Rate,
    Seconds,
    Secret,
    Section,
    Share,
    Size,
    Unread,
    lowercase,
)
from moorage.settings.web import HTTP

Level = Annotated[Literal["error", "warn", "info", "debug"], lowercase]


class AccessLog(Section):
    disabled: bool = False
    """Write no line per request."""


class Log(Section):
    level: Level = "info"
    """The least important level that is written: error, warn, info or debug."""
    formatter: Annotated[Literal["text", "json", "logfmt", "logstash"] | None, lowercase] = None
    """How lines look: text, json or logfmt. Unset: text on a terminal, json elsewhere. logstash means json."""
    fields: Free = Field(default_factory=dict)
    """Names and values to add to every line."""
    accesslog: AccessLog = AccessLog()
    hooks: Annotated[Unread, Ignored("the log goes to standard error; let what collects it send mail")] = None
    """Docker Registry's mail on errors."""
    reportcaller: Annotated[bool, Ignored("every line names its logger")] = False
    """Docker Registry's name of the calling function."""


class Htpasswd(Section):
    path: Path
    """The htpasswd file, with bcrypt hashes. Read again when it changes."""
    realm: str = "Registry"
    """The name that a client shows when it asks for the password."""


class Token(Section):
    realm: str
    """URL of the token service that clients are sent to."""
    service: str
    """The name of this registry towards the token service."""
    issuer: str
    """The issuer that tokens must name."""
    rootcertbundle: Path | None = None
    """PEM file of the certificates that sign tokens."""
    jwks: Path | None = None
    """JSON Web Key Set of the keys that sign tokens."""
    signingalgorithms: Names = ()
    """The algorithms that tokens may be signed with. None named means all safe ones."""
    autoredirect: bool = False
    """Send clients to the Host they asked for instead of `realm`."""
    autoredirectpath: str = "/auth/token/"
    """The path there."""

    @model_validator(mode="after")
    def _some_key(self) -> "Token":
        if self.rootcertbundle is None and self.jwks is None:
            raise ValueError("needs `rootcertbundle` or `jwks`, to know whose tokens to believe")
        return self


class Silly(Section):
    realm: str
    """The name of the realm."""
    service: str
    """The name of the service."""


def _token_life(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(hours=1):
        raise ValueError("must be one minute to one hour")
    return value


class Auth(Section):
    choices: ClassVar = ("htpasswd", "token", "silly", "none", "open")

    htpasswd: Htpasswd | None = None
    """Users and passwords from a file."""
    token: Token | None = None
    """Tokens of a service outside."""
    silly: Silly | None = None
    """Docker Registry's provider for tests, which opens to any Authorization header: refused at start."""
    open: bool = False
    """Let everybody pull and push. Without this and without a provider, the registry's own accounts sign in."""
    tokenlife: Annotated[Duration, AfterValidator(_token_life)] = timedelta(minutes=30)
    """How long a bearer token is good for: one minute to one hour. Uploads that have begun go on."""
    refreshtokens: bool = False
    """Give a refresh token to clients that ask for one at login, so that docker keeps that instead of the password."""
    certificates: bool = False
    """Let a client certificate that http.tls.clientcas verifies sign in the account that its common name names."""

    @model_validator(mode="before")
    @classmethod
    def _provider_by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {str(value): {}}
        if isinstance(value, dict) and "none" in value:
            value = {key: child for key, child in value.items() if key != "none"} | {"open": True}
        return value

    @model_validator(mode="after")
    def _one_provider(self) -> "Auth":
        given = [name for name in ("htpasswd", "token", "silly") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"names several providers, {', '.join(given)}; keep one")
        if given and self.open:
            raise ValueError(f"cannot be open to everybody and ask for {given[0]} at once; keep one")
        if self.certificates and (given or self.open):
            other = given[0] if given else "open"
            raise ValueError(f"lets `certificates` sign in the registry's own accounts, which `{other}` does not ask")
        return self

    @property
    def provider(self) -> str | None:
        """`htpasswd`, `token`, `silly`, or None where there is none."""
        return next((name for name in ("htpasswd", "token", "silly") if getattr(self, name) is not None), None)


class Catalog(Section):
    maxentries: PositiveInt = 1000
    """The largest page of the catalog."""


class Tags(Section):
    maxtags: PositiveInt = 1000
    """The largest page of a list of tags."""


def _expressions(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            re.compile(value)
        except re.error as reason:
            raise ValueError(f"is not a regular expression: '{value}': {reason}") from None
    return values


class URLs(Section):
    allow: Annotated[Names, AfterValidator(_expressions)] = ()
    """Regular expressions: every URL in a pushed manifest must match one. None means any (Docker Registry: none)."""
    deny: Annotated[Names, AfterValidator(_expressions)] = ()
    """Regular expressions that no URL in a pushed manifest may match."""


class Platform(Section):
    architecture: str
    """Such as amd64."""
    os: str
    """Such as linux."""


class Indexes(Section):
    platforms: Annotated[Literal["all", "none", "list"], lowercase] = "all"
    """Which manifests of an index must be there when it is pushed: all, none, or those in `platformlist`."""
    platformlist: tuple[Platform, ...] = ()
    """The platforms whose manifests must be there, where `platforms` is list."""


class Manifests(Section):
    urls: URLs = URLs()
    indexes: Indexes = Indexes()


class Validation(Section):
    enabled: Annotated[bool, Ignored("validation is on unless `disabled`")] = True
    """Docker Registry's former switch."""
    disabled: bool = False
    """Check neither URLs nor whether the manifests of an index are there."""
    manifests: Manifests = Manifests()
    sparse: bool = False
    """Accept manifests and indexes whose content is not there."""

    @property
    def urls(self) -> URLs:
        """The rules for URLs in force."""
        return URLs() if self.disabled else self.manifests.urls

    @property
    def platforms(self) -> frozenset[tuple[str, str]] | None:
        """Operating system and architecture of an index's manifests that have to be there; None means all."""
        if self.disabled or self.manifests.indexes.platforms == "none":
            return frozenset()
        listed = self.manifests.indexes.platformlist
        if self.manifests.indexes.platforms == "all" or not listed:
            return None
        return frozenset((one.os, one.architecture) for one in listed)


def _database_url(value: str) -> str:
    scheme = urlsplit(value).scheme
    if scheme not in {"sqlite", "postgresql"}:
        raise ValueError("must begin with 'sqlite:///' or 'postgresql://'")
    if scheme == "sqlite" and not re.match(r"sqlite:///.", value):
        raise ValueError("must name a file: 'sqlite:///relative.db' or 'sqlite:////absolute.db'")
    return value


class Database(Section):
    url: Annotated[Annotated[str, AfterValidator(_database_url)] | None, Hidden()] = None
    """sqlite:////path/to/file or postgresql://user:password@host/name. Unset: moorage.db in the data folder."""


class GC(Section):
    enabled: bool = True
    """Whether content that nothing refers to is removed."""
    window: Positive = timedelta(hours=24)
    """How long content may wait to be referred to, counted from its last push."""
    trash: Duration = timedelta(hours=48)
    """How long bytes are kept after they were given up, before they are destroyed."""
    undo: Duration = timedelta(days=7)
    """How long deleted manifests and tags are kept, so that a later version can restore them."""
    interval: Positive = timedelta(minutes=1)
    """How often to look."""
    orphans: Positive = timedelta(hours=24)
    """How often to look for stored bytes that no row names, as a power cut can leave them."""
    breaker: Share = 0.05
    """The share of all blobs that may be destroyed at once; with more due, collection stops until `moorage gc arm`. Up
    to 100 blobs and 100 GiB always may. off switches it off."""


class Scrub(Section):
    enabled: bool = True
    """Whether everything that is stored is read and compared with its digest from time to time. With it, a database
    file of SQLite is checked once a day."""
    period: Positive = timedelta(days=7)
    """In what time everything is looked at once."""
    rate: Annotated[Size, Field(ge=256 * 1024)] = 20 * 1024 * 1024
    """How many bytes a second are read at most."""
    interval: Positive = timedelta(minutes=10)
    """How often to look whether that is due, and whether bytes that could not be read are back."""


def _some_life(value: timedelta) -> timedelta:
    if value < timedelta(minutes=1):
        raise ValueError("must be one minute or more")
    return value


class Rates(Section):
    anonymous: Rate | None = None
    """How many requests an address may send without signing in, such as 600/minute or 100 per 6 hours. Being asked to
    sign in does not count. Unset: any number."""
    signed_in: Rate | None = None
    """How many requests an account may send, from wherever. Unset: any number."""


class Limits(Section):
    manifest_bytes: Annotated[Size, Field(ge=1024)] = 4 * 1024 * 1024
    """The largest manifest, in bytes."""
    header_bytes: Annotated[Size, Field(ge=4096)] = 64 * 1024
    """The largest header of a request, in bytes."""
    header_seconds: Annotated[Seconds, Field(gt=0)] = 10
    """How long a request's header may take to arrive."""
    idle_seconds: Annotated[Seconds, Field(gt=0)] = 75
    """How long a connection may wait for its next request."""
    body_seconds: Annotated[Seconds, Field(gt=0)] = 60
    """How long a body may take for its next 16 KiB, or its end."""
    send_seconds: Annotated[Seconds, Field(gt=0)] = 60
    """How long a client may read nothing of an answer."""
    connections: PositiveInt | None = None
    """How many connections at a time. Unset: as many as there are file descriptors for."""
    tags_per_push: PositiveInt = 100
    """How many tags one manifest push may name."""
    rates: Rates = Rates()


class Accounts(Section):
    signup: Annotated[Literal["off", "invite", "open"], lowercase] = "off"
    """Who may make themselves an account: off, invite (whom an administrator sends an invitation), open (anyone)."""
    tokenlife: Annotated[Duration, AfterValidator(_some_life)] | None = None
    """The longest that a new token of a user or robot may live, and how long it does unless asked. Unset: no end."""


class Admin(Section):
    password: Secret = None
    """The first administrator's password, used when the account is made. Unset: one is made up, shown on a terminal."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where settings were read, which is no part of what they say."""

    file: Path | None = field(default=None, compare=False)


class Settings(Section):
    """Everything that can be set.  Made by `load`, which finds the data folder."""

    version: Literal["0.1"] = "0.1"
    """The version of this format, as Docker Registry has it."""
    data: Path = Path("/var/lib/registry")
    """The data folder. Unset: storage.filesystem.rootdirectory; without that, /var/lib/registry or the user's own."""
    log: Log = Log()
    loglevel: Level | None = None
    """Docker Registry's former name of log.level."""
    storage: Storage = Storage()
    http: HTTP = HTTP()
    auth: Auth = Auth()
    catalog: Catalog = Catalog()
    tags: Tags = Tags()
    validation: Validation = Validation()
    database: Database = Database()
    gc: GC = GC()
    scrub: Scrub = Scrub()
    limits: Limits = Limits()
    admin: Admin = Admin()
    accounts: Accounts = Accounts()
    proxy: Annotated[Unread, Ignored("pulling through from another registry is not part of this version")] = None
    """Docker Registry's pull-through cache."""
    notifications: Annotated[Unread, Ignored("sending events is not part of this version")] = None
    """Docker Registry's webhooks."""
    redis: Annotated[Unread, Ignored("nothing is cached in Redis")] = None
    """Docker Registry's Redis."""
    health: Annotated[Unread, Ignored("the database and the storage are always checked")] = None
    """Docker Registry's health checks."""
    middleware: Annotated[Unread, Ignored("there are no plug-ins")] = None
    """Docker Registry's plug-ins."""
    reporting: Annotated[Unread, Ignored("nothing is reported to Bugsnag or New Relic")] = None
    """Docker Registry 2's reporting."""
    compatibility: Annotated[Unread, Ignored("manifests of schema 1 are refused")] = None
    """Docker Registry 2's schema 1 manifests."""
    policy: Annotated[Unread, Ignored("classes of repositories are not part of this version")] = None
    """Docker Registry's repository classes."""

    _source: _Source = PrivateAttr(default=_Source())

    @property
    def blobs(self) -> Path:
        """The folder that blobs are kept in."""
        return self.storage.filesystem.rootdirectory or self.data

    @property
    def blobs_in_words(self) -> str:
        """That folder, and the file that may have named it, for an operator who wonders."""
        file = self._source.file
        return f"the blob folder {self.blobs}" + (f" (configuration file {file})" if file else "")

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data / 'moorage.db'}"

    @property
    def ephemeral(self) -> bool:
        """Blobs are forgotten at the end, so the rows have to be as well: run `moved` to a fresh folder."""
        return self.storage.driver == "inmemory"

    def moved(self, data: Path) -> "Settings":
        """The same settings with another data folder; what was set to lie elsewhere stays there."""
        return self.model_copy(update={"data": data})

    def read_from(self, file: Path | None) -> "Settings":
        """The same settings, which know the configuration file that they are from."""
        known = self.model_copy()
        known._source = _Source(file)  # noqa: SLF001 - of this very class
        return known
