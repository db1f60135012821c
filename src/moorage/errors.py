"""Every failure we can name: one enum, one exception.

A refusal's whole explanation stands in `message`, one sentence that a terminal can show; `detail` repeats
it as data.  How a code looks on the wire is decided once, in `moorage.edge.http`.
"""

from enum import Enum
from typing import final


class Code(Enum):
    """What went wrong; the value is the sentence used when nothing better is known.

    The first group is the distribution specification's own ("Error Codes"), the second Docker Registry's
    additions that clients know, the third ours.
    """

    BLOB_UNKNOWN = "this blob is not in the repository"
    BLOB_UPLOAD_INVALID = "the upload cannot be continued"
    BLOB_UPLOAD_UNKNOWN = "there is no such upload in this repository: it was finished, cancelled or has expired"
    DIGEST_INVALID = "the digest is malformed, of an unknown algorithm, or does not match the content"
    MANIFEST_BLOB_UNKNOWN = "the manifest refers to content that is not in the repository"
    MANIFEST_INVALID = "the manifest is not valid"
    MANIFEST_UNKNOWN = "this manifest is not in the repository"
    NAME_INVALID = "the repository name is not valid"
    NAME_UNKNOWN = "there is no such repository"
    SIZE_INVALID = "the length does not match the content"
    UNAUTHORIZED = "authentication is required"
    DENIED = "access to the resource is denied"
    UNSUPPORTED = "the operation is not supported"
    TOOMANYREQUESTS = "too many requests"

    TAG_INVALID = "the tag is not valid"
    PAGINATION_NUMBER_INVALID = "the page size `n` is not a whole number of zero or more"
    RANGE_INVALID = "the range does not fit the content"
    UNAVAILABLE = "the registry cannot do this right now"
    UNKNOWN = "the registry failed; its log has the cause under this request id"

    ACCOUNT_UNKNOWN = "there is no such account, team, token or rule, or you may not see it"
    CONFLICT = "something that is there already stands against it"
    HEADERS_TOO_LARGE = "the request's header is too large"
    MANIFEST_TOO_LARGE = "the manifest is larger than the registry accepts"
    PATH_UNKNOWN = "there is nothing at this address"
    PRECONDITION_FAILED = "the tag is not in the state that the request asked for"
    QUERY_INVALID = "the query string is not valid"
    REQUEST_INVALID = "this is not a valid HTTP request"
    REQUEST_TIMEOUT = "the request did not arrive in time"
    STORAGE_FULL = "the registry has run out of space"
    TOO_MANY_TAGS = "the request names too many tags"


@final
class RegistryError(Exception):
    """The only exception we raise for a failure that has a name.

    `detail` must be JSON-serialisable.  There are no subclasses: a code says it all.
    """

    def __init__(self, code: Code, message: str = "", **detail: object) -> None:
        super().__init__(message or code.value)
        self.code = code
        self.detail = detail

    @property
    def message(self) -> str:
        return str(self.args[0])


class Interrupted(Exception):  # noqa: N818 - nothing is wrong with us: the other side went away
    """The client vanished in the middle of its request; there is nobody left to answer."""
