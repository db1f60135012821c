"""Which kind of file system a path lies on."""

from pathlib import Path

import pytest

from moorage.db.mounts import network_file_system

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
44 27 0:44 / /srv/nfs rw,relatime shared:7 - nfs4 server:/export rw,vers=4.2,addr=10.0.0.1
45 44 8:1 / /srv/nfs/disk rw,relatime - xfs /dev/sda1 rw
46 27 0:46 / /mnt/with\040space rw - cifs //server/share rw
47 27 0:47 / /over rw - overlay overlay rw,lowerdir=/a,upperdir=/b
48 27 254:0 /srv/data /bound rw - ext4 /dev/vda rw
49 27 0:49 / /stacked rw - nfs server:/x rw
50 49 8:2 / /stacked rw - ext4 /dev/sdb rw
51 27 0:50 /sub /tree rw - btrfs /dev/sdc rw,subvol=/sub
52 27 0:51 / /fuse rw - fuse.rclone remote: rw
a line of nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/registry", None),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/data/registry", "nfs4"),
        ("/srv/nfsdata", None),
        ("/srv/nfs/disk/data", None),
        ("/mnt/with space/data", "cifs"),
        ("/over/data", None),
        ("/bound/data", None),
        ("/stacked/data", None),
        ("/tree/data", None),
        ("/fuse/data", "fuse.rclone"),
    ],
)
def test_f26_the_deepest_mount_decides(tmp_path: Path, path: str, kind: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.lstrip())
    assert network_file_system(Path(path), table) == kind


def test_f26_without_a_table_nothing_is_refused(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "none") is None
