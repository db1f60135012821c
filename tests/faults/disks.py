"""Disks whose power can be cut: ext4 in a file, and a strict reading of POSIX.

`Disk` is an ext4 on a loop device.  `cut` shuts the file system down as a power failure does (EXT4_IOC_SHUTDOWN without
flushing the log): what no sync has made durable is gone after `back`.

ext4 keeps more than it must: syncing a new file also keeps its name.  `strict` replays what a registry was seen to do
and takes away whatever POSIX does not promise: bytes since the file's last sync, and every name whose folder was not
synced after it appeared.
"""

import errno
import fcntl
import os
import re
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)`."""
NO_LOG_FLUSH = 2

STORING = (
    "openat,mkdir,mkdirat,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
)
"""The calls that `strict` needs to see."""


@dataclass
class Disk:
    """A file system of its own on a file in memory, whose own loss is no part of the test."""

    image: Path
    folder: Path

    @classmethod
    def make(cls, place: Path, megabytes: int) -> "Disk":
        place.mkdir(parents=True)
        disk = cls(place / "image", place / "disk")
        with disk.image.open("wb") as file:
            file.truncate(megabytes * 1024 * 1024)
        # No lost+found checks, no lazy work of the kernel in the background.
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk.image)
        disk.folder.mkdir()
        disk.mount()
        return disk

    def mount(self) -> None:
        # Without ext4's habit of writing out, at close, what replaces something: it hides a sync that is missing.
        # On a loop device of its own: with `-o loop`, mount takes the one it finds for the image, and with it the file
        # system that was cut, where a container that was started meanwhile still holds a copy of the mount.
        device = _run("losetup", "--find", "--show", self.image).strip()
        try:
            _run("mount", "-o", "noauto_da_alloc", device, self.folder)
        finally:
            _run("losetup", "--detach", device)  # it goes with its last mount

    def unmount(self) -> None:
        """Needs a moment where a process that used it has only just died."""
        until = time.monotonic() + 20
        while True:
            done = subprocess.run(["umount", str(self.folder)], check=False, capture_output=True, text=True)
            if done.returncode == 0:
                return
            assert time.monotonic() < until, done.stderr
            time.sleep(0.02)

    def cut(self) -> None:
        """The power fails."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def prove_cut(self) -> None:
        """A harness that cuts nothing finds nothing: nothing can be written here any more."""
        try:
            (self.folder / "proof").write_bytes(b"x")
        except OSError as error:
            assert error.errno in {errno.EIO, errno.EROFS}, error
        else:
            raise AssertionError(f"the power of {self.folder} is still on")

    def back(self) -> None:
        """The power is back: all that the disk still knows is what was durable.  Nobody may use it meanwhile."""
        self.unmount()
        self.mount()

    def remove(self) -> None:
        if os.path.ismount(self.folder):
            self.unmount()
        self.image.unlink(missing_ok=True)


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(one) for one in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout


@dataclass
class _File:
    """What is promised of a file: whether its name will be there, and how many of its bytes."""

    named: bool = False
    size: int = 0
    synced: int = 0


class Strict:
    """What POSIX promises of the files below a folder, learnt from strace's output (`-f -y`) as far as it goes."""

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve())
        self._files: dict[str, _File] = {}
        self.lost = 0
        """How many files were taken away or cut so far."""

    def learn(self, lines: Iterable[str]) -> None:
        for text in _whole(lines):
            made = re.match(r"(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?", text)
            if made and not made[3].startswith("-"):
                self._see(made[1], made[2], made[4])

    def _see(self, call: str, arguments: str, result: str | None) -> None:
        if call == "openat" and "O_CREAT" in arguments and result and self._here(result):
            self._files.setdefault(result, _File())
            return
        on = re.match(r"\d+<(.*?)>", arguments)
        path = on[1].removesuffix(" (deleted)") if on else ""
        if call in {"pwrite64", "ftruncate"} and path in self._files:
            numbers = [int(one) for one in re.findall(r", (\d+)", arguments)]
            end = numbers[-1] + (numbers[-2] if call == "pwrite64" else 0)
            file = self._files[path]
            file.size = max(file.size, end) if call == "pwrite64" else end
            file.synced = min(file.synced, numbers[-1])
        elif call in {"fsync", "fdatasync"}:
            if path in self._files:
                self._files[path].synced = self._files[path].size
            elif call == "fsync":
                for name, file in self._files.items():
                    file.named |= str(Path(name).parent) == path
        elif call.startswith(("rename", "link")):
            self._rename(arguments)
        elif call.startswith("unlink"):
            # Whether a deletion that was not synced comes to pass is open; that it does is the worse.
            for name in re.findall(r'"(.*?)"', arguments):
                self._files.pop(name, None)

    def _rename(self, arguments: str) -> None:
        old, new = re.findall(r'"(.*?)"', arguments)
        if old in self._files:
            was = self._files.pop(old)
            self._files[new] = _File(False, was.size, was.synced)

    def _here(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def cut(self) -> None:
        """Take away what is not promised.  The registry must be dead."""
        for name, file in self._files.items():
            path = Path(name)
            if not path.exists():
                continue
            if not file.named:
                path.unlink()
                self.lost += 1
            elif file.synced < path.stat().st_size:
                os.truncate(path, file.synced)
                self.lost += 1
        self._files = {name: file for name, file in self._files.items() if Path(name).exists()}
        for file in self._files.values():
            file.named, file.size = True, file.synced


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """The calls that returned, in the order in which they did, without their thread."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>").rstrip()
        elif text.startswith("<... "):
            yield begun.pop(thread, "") + text.partition("resumed>")[2]
        else:
            yield text
