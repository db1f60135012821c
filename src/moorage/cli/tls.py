"""TLS as the settings want it."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from moorage import telemetry
from moorage.edge.server import Server
from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from moorage.settings.web import TLS

_WANTED = {
    "request-client-cert": ssl.CERT_NONE,
    "verify-client-cert-if-given": ssl.CERT_OPTIONAL,
    "require-and-verify-client-cert": ssl.CERT_REQUIRED,
}

_NO_PASSPHRASE = ""
"""For an encrypted key, OpenSSL would otherwise ask the terminal, and wait."""


def tls_context(settings: "TLS") -> ssl.SSLContext | None:
    """What to listen with, or None where no certificate is named.  Raises UNAVAILABLE for files it cannot use."""
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.minimumtls == "tls1.3" else ssl.TLSVersion.TLSv1_2
    if settings.openssl_ciphers:
        context.set_ciphers(settings.openssl_ciphers)
    context.set_alpn_protocols(["http/1.1"])
    for file in (settings.certificate, settings.key, *map(Path, settings.clientcas)):
        _readable(file)
    try:
        context.load_cert_chain(settings.certificate, settings.key, _NO_PASSPHRASE)
    except (OSError, ssl.SSLError) as reason:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the TLS certificate {settings.certificate} with the key {settings.key} cannot be used: {_why(reason)}",
        ) from reason
    for authorities in settings.clientcas:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ssl.SSLError) as reason:
            raise RegistryError(
                Code.UNAVAILABLE, f"http.tls.clientcas: {authorities} holds no certificate: {_why(reason)}"
            ) from reason
    if settings.clientcas:
        context.verify_mode = _WANTED[settings.clientauth]
        # An authority that is named is believed even if another issued it, and that other is not.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def renew_certificate(server: Server, settings: "TLS") -> None:
    """New handshakes go by what is in the files now: the certificate, its key, and whose clients' are believed."""
    log = telemetry.logger("moorage")
    try:
        context = tls_context(settings)
    except RegistryError as error:
        log.warning("the TLS files are used as they were", reason=error.message)
        return
    if context is not None:
        server.swap_tls(context)
        log.info("the TLS files were read again", certificate=str(settings.certificate))


def _readable(file: Path) -> None:
    """OpenSSL does not say which of its files it cannot read."""
    try:
        file.open("rb").close()
    except OSError as reason:
        raise RegistryError(Code.UNAVAILABLE, f"the TLS file {file} cannot be read: {reason.strerror}") from reason


def _why(reason: OSError) -> str:
    known = getattr(reason, "reason", None)
    return str(known).replace("_", " ").lower() if known else "not PEM, or encrypted with a passphrase"
