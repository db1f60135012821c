"""Every endpoint, by the noun of its path."""

from typing import Final

from moorage.access.action import Action
from moorage.edge.v2 import blobs, lists, manifests, uploads
from moorage.edge.v2.routes import Row

ROWS: Final = {
    "manifests": Row(
        "end-3 end-7 end-9",
        "/v2/{name}/manifests/{reference}",
        {
            "GET": (manifests.get, Action.PULL),
            "HEAD": (manifests.get, Action.PULL),
            "PUT": (manifests.put, Action.PUSH),
            "DELETE": (manifests.remove, Action.DELETE),
        },
    ),
    "blobs": Row(
        "end-2 end-10",
        "/v2/{name}/blobs/{digest}",
        {
            "GET": (blobs.get, Action.PULL),
            "HEAD": (blobs.get, Action.PULL),
            "DELETE": (blobs.remove, Action.DELETE),
        },
    ),
    "uploads": Row("end-4 end-11", "/v2/{name}/blobs/uploads/", {"POST": (uploads.start, Action.PUSH)}),
    "upload": Row(
        "end-5 end-6 end-13 end-14",
        "/v2/{name}/blobs/uploads/{id}",
        {
            "GET": (uploads.status, Action.PUSH),
            "HEAD": (uploads.status, Action.PUSH),
            "PATCH": (uploads.append, Action.PUSH),
            "PUT": (uploads.finish, Action.PUSH),
            "DELETE": (uploads.cancel, Action.PUSH),
        },
    ),
    "tags": Row("end-8", "/v2/{name}/tags/list", {"GET": (lists.tags, Action.PULL), "HEAD": (lists.tags, Action.PULL)}),
    "referrers": Row(
        "end-12",
        "/v2/{name}/referrers/{digest}",
        {"GET": (lists.referrers, Action.PULL), "HEAD": (lists.referrers, Action.PULL)},
    ),
}
