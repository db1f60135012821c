"""Which kind of file system a path lies on.

SQLite's log is shared between connections through memory, and guarded by locks: over a network neither can be
relied upon, and a database that works for months is damaged one day.
"""

import re
from pathlib import Path
from typing import Final

_NETWORK: Final = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.davfs",
        "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.moosefs", "fuse.nfs",
        "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs", "fuse.smbnetfs", "fuse.sshfs", "fuse.mount.s3fs",
    }
)  # fmt: skip
"""As the kernel names them.  9p and virtiofs are not among them: they show a virtual machine its own host's folders."""

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def network_file_system(path: Path, table: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system that `path` lies on if others may have it mounted as well; None if not.

    None also where the kernel has no such table.
    """
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
        place = path.resolve()
    except OSError:
        return None
    deepest, found = -1, None
    for line in lines:
        # 36 35 98:0 /root /mount/point options [optional …] - type source options
        front, _, back = line.partition(" - ")
        fields, kind = front.split(" "), back.partition(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= deepest and place.is_relative_to(point):  # the last of several on one point hides the others
            deepest, found = depth, kind
    return found if found in _NETWORK else None
