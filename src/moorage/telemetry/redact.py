"""What must never be shown: secrets by the name they go under, and secrets inside longer texts."""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"

_SECRET_WORDS: Final = re.compile(
    r"(?:^|[_.\- ])(?:password|passwd|pwd|secret|token|authorization|cookie|credentials?|"
    r"(?:api|access|secret|account|private|signing|object)[_.\- ]?key|jwt|passphrase)(?:$|[_.\- ])",
    re.IGNORECASE,
)
# What may stand in front of a fixed sign is bounded: a long text without that sign is not to be searched from each of
# its letters on.
_INSIDE: Final = re.compile(
    r"(?P<url>[a-z][a-z0-9+.\-]{0,30}://)(?P<user>[^/\s:@'\"]*)(?P<colon>:?)(?P<rest>[^/\s'\"]*)@"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)(?P<proof>[A-Za-z0-9._~+/=\-]{8,})"
    r"|(?P<name>\b(?:x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|"
    r"signature|sig|access_token|refresh_token|id_token|token|client_secret|(?:ssl)?password)=)(?P<value>[^&\s'\"]+)",
    re.IGNORECASE,
)
_HINTS: Final = ("@", "=", "earer ", "asic ", "EARER ", "ASIC ")


def is_secret(name: str) -> bool:
    """Whether a value under this name is to be masked."""
    return _SECRET_WORDS.search(name) is not None


def redact_text(text: str) -> str:
    """A text without what is recognised as a secret: passwords in URLs, bearer tokens, signatures of signed URLs."""
    if not any(hint in text for hint in _HINTS):
        return text
    return _INSIDE.sub(_mask, text)


def redact_url(url: str) -> str:
    """A URL without its password, which here may hold any character, `/` and `@` among them."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return redact_text(f"{scheme}://{user}{colon}{MASK if colon else ''}{at}{place}")


def redact(value: Any, name: str = "") -> Any:
    """A copy of a value, with secrets masked at every depth; numbers and truth values are never secrets."""
    if isinstance(value, str | bytes):
        if name and value and is_secret(name):
            return MASK
        return redact_text(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return {key: redact(child, str(key)) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redact(child, name) for child in value]
    return value


def _mask(match: re.Match[str]) -> str:
    if match["url"]:
        # A lone name before the @ may be a token, as in https://ghp_…@github.com.
        user = match["user"] if match["colon"] else MASK
        return f"{match['url']}{user}{match['colon']}{MASK if match['colon'] else ''}@"
    return f"{match['scheme'] or match['name']}{MASK}"
