"""What may be done with a repository."""

from enum import Enum


class Action(Enum):
    """The values are the words of grants and roles; how tokens spell them is in `scopes`."""

    PULL = "pull"
    PUSH = "push"
    """Add blobs, manifests and new tags."""
    OVERWRITE = "overwrite"
    """Let a tag that exists name another manifest."""
    DELETE = "delete"
    MANAGE = "manage"
    """Change who may do what, and how visible it is."""
