"""The `http` section: where the registry listens and how it looks from outside."""

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from moorage.settings.values import Duration, Ignored, Names, Secret, Section, Unread, Workers, lowercase

CIPHERS: Final = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384": "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256": "TLS_CHACHA20_POLY1305_SHA256",
}
"""Docker Registry's names of cipher suites, and OpenSSL's.  The last three are TLS 1.3's, which are always on."""


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` in two; an empty host means every interface.  Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"must be HOST:PORT such as ':5000' or '127.0.0.1:5000', not '{address}'")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"needs brackets around an IPv6 address, such as '[::1]:5000', not '{address}'")
    return host.strip("[]"), int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _public_url(value: str) -> str:
    url = urlsplit(value)
    if "@" in url.netloc:
        raise ValueError("is told to everybody, so it cannot hold a name or a password")
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError(f"must be a URL such as 'https://registry.example.com', not '{value}'")
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError("must end after the host and port; a path belongs to http.prefix")
    return f"{url.scheme}://{url.netloc}"


def _prefix(value: str) -> str:
    if not re.fullmatch(r"/(?:[A-Za-z0-9._~-]+/)*", value):
        raise ValueError(f"must begin and end with a slash, such as '/registry/', not '{value}'")
    return value


def _accel(value: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+", value):
        raise ValueError(
            f"must be the path of a location of nginx, without a slash at its end: '/stored', not '{value}'"
        )
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(value, strict=False)) for value in values)


def _proxies(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value if value == "unix" else _networks((value,))[0] for value in values)


def _no_letsencrypt(_: Any) -> Any:
    raise ValueError(
        "certificates are not fetched by the registry: let a reverse proxy (Caddy, Traefik) do it, "
        "or name files in http.tls.certificate and http.tls.key"
    )


def _known_ciphers(values: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [value for value in values if value not in CIPHERS]
    if unknown:
        raise ValueError(f"names cipher suites that are unknown or no longer safe: {', '.join(unknown)}")
    return values


def _certain(value: str) -> str:
    if value == "require-any-client-cert":
        raise ValueError("would want a certificate and believe any; use 'require-and-verify-client-cert'")
    return value


def _modern(value: Any) -> Any:
    if str(value).lower() in {"tls1.0", "tls1.1"}:
        raise ValueError("TLS 1.0 and 1.1 are no longer safe; use 'tls1.2' or 'tls1.3'")
    return str(value).lower()


def _header_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: [lines] if isinstance(lines, str) else lines for name, lines in value.items()}
    return value


_FRAMING: Final = {"connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"}
_ALWAYS: Final = {"docker-distribution-api-version": ("registry/2.0",), "x-content-type-options": ("nosniff",)}
"""What every answer has anyway."""


def _clean_headers(headers: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name, lines in headers.items():
        lower = name.lower()
        if lower in _FRAMING or lower == "x-request-id" or _ALWAYS.get(lower, lines) != lines:
            raise ValueError(f"gives the header {name}, which is the registry's own to set")
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"names a header that cannot be: {name!r}")
        if any(re.search(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]", line) for line in lines):
            raise ValueError(f"gives the header {name} a value that a header cannot carry")
    return headers


Address = Annotated[str, AfterValidator(_address)]
Networks = Annotated[Names, AfterValidator(_networks)]
Headers = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_header_lists), AfterValidator(_clean_headers)]


class TLS(Section):
    certificate: Path | None = None
    """PEM file of the certificate and its chain. With it the registry speaks HTTPS."""
    key: Path | None = None
    """PEM file of the certificate's private key."""
    clientcas: Names = ()
    """PEM files of the authorities whose client certificates are wanted."""
    clientauth: Annotated[
        Literal[
            "request-client-cert",
            "require-any-client-cert",
            "verify-client-cert-if-given",
            "require-and-verify-client-cert",
        ],
        AfterValidator(_certain),
    ] = "require-and-verify-client-cert"
    """What is wanted of clients where `clientcas` is set: require-and-verify-client-cert, verify-client-cert-if-given,
    or request-client-cert, which asks for none, because nothing would be done with it. require-any-client-cert, which
    would believe any, is refused."""
    minimumtls: Annotated[Literal["tls1.2", "tls1.3"], BeforeValidator(_modern)] = "tls1.2"
    """The oldest version of TLS that is spoken."""
    ciphersuites: Annotated[Names, AfterValidator(_known_ciphers)] = ()
    """The cipher suites of TLS 1.2, by Go's names. None named means OpenSSL's own choice."""
    letsencrypt: Annotated[Any, BeforeValidator(_no_letsencrypt)] = None
    """Certificates from Let's Encrypt: refused, because a reverse proxy does it better."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "TLS":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("needs both `certificate` and `key`, or neither")
        if self.clientcas and self.certificate is None:
            raise ValueError("needs `certificate` and `key` where `clientcas` wants certificates of clients")
        return self

    @property
    def verifies(self) -> bool:
        """Whether the certificates that clients show are verified."""
        return bool(self.clientcas) and self.clientauth != "request-client-cert"

    @property
    def openssl_ciphers(self) -> str:
        """The suites of TLS 1.2 as `SSLContext.set_ciphers` wants them, or an empty text."""
        return ":".join(CIPHERS[name] for name in self.ciphersuites if not CIPHERS[name].startswith("TLS_"))


class Prometheus(Section):
    enabled: bool = False
    """Whether metrics are answered there."""
    path: Annotated[str, Field(pattern="^/")] = "/metrics"
    """At which path."""


class Debug(Section):
    addr: Address | None = None
    """A second address, with a port of its own, for metrics and health only. Keep it private."""
    allow: Networks = ()
    """The only addresses and networks that may ask there. None named means all."""
    deny: Networks = ()
    """Addresses and networks that may not, whatever `allow` says."""
    prometheus: Prometheus = Prometheus()


class HTTP(Section):
    addr: str = "127.0.0.1:5000"
    """Where to listen: HOST:PORT, :PORT for every address, or the path of a socket where `net` is unix."""
    net: Annotated[Literal["tcp", "unix"], lowercase] = "tcp"
    """The kind of `addr`."""
    workers: Workers = 1
    """How many processes share the work; auto is as many as there are CPUs to use."""
    prefix: Annotated[str, AfterValidator(_prefix)] = "/"
    """The path in front of `/v2/`, with a slash at both ends."""
    host: Annotated[str, AfterValidator(_public_url)] | None = None
    """The URL that clients reach the registry by, for the lines to copy. Location headers name no host."""
    secret: Secret = None
    """What signing keys are sealed with; the same for all replicas. Unset: a file in the data folder."""
    relativeurls: Annotated[bool, Ignored("Location headers are always relative to the host")] = False
    """Docker Registry's choice of relative Location headers."""
    draintimeout: Duration = timedelta(seconds=5)
    """How long requests may take to finish after the signal to stop."""
    tls: TLS = TLS()
    headers: Headers = Field(default_factory=dict)
    """Headers to add to every answer: a list of values by name."""
    debug: Debug = Debug()
    http2: Annotated[Unread, Ignored("HTTP/1.1 is spoken; a reverse proxy can speak HTTP/2 in front")] = None
    """Docker Registry's HTTP/2."""
    h2c: Annotated[Unread, Ignored("HTTP/1.1 is spoken")] = None
    """Docker Registry's HTTP/2 without TLS."""
    allow: Networks = ()
    """The only addresses and networks that may ask anything: 10.0.0.0/8, 2001:db8::1. None named means all."""
    deny: Networks = ()
    """Addresses and networks that may not, whatever `allow` says."""
    trusted_proxies: Annotated[Names, AfterValidator(_proxies)] = ()
    """The reverse proxies whose X-Forwarded headers are believed: addresses, networks, or unix for those that come
    over a unix socket."""
    accel: Annotated[str, AfterValidator(_accel)] | None = None
    """Let nginx send what lies in files: the path of its internal location for them, such as /stored. Trusted proxies
    then get X-Accel-Redirect and no bytes. Unset: the registry sends them."""

    @model_validator(mode="after")
    def _address_fits_net(self) -> "HTTP":
        if self.net == "tcp":
            try:
                split_address(self.addr)
            except ValueError as reason:
                raise ValueError(f"`addr` {reason}") from None
        elif not self.addr.startswith("/"):
            raise ValueError(f"needs the absolute path of a socket in `addr` where `net` is unix, not '{self.addr}'")
        return self

    @model_validator(mode="after")
    def _accelerated_by_somebody(self) -> "HTTP":
        if self.accel is not None and not self.trusted_proxies:
            raise ValueError("needs the nginx that `accel` is for in `trusted_proxies`")
        return self

    @property
    def further_headers(self) -> list[tuple[str, str]]:
        """`headers` as they go on the wire, without those that every answer has anyway."""
        return [(name, line) for name, lines in self.headers.items() if name.lower() not in _ALWAYS for line in lines]

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of `addr` where `net` is tcp; an empty host means every interface."""
        return split_address(self.addr)
