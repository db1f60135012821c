"""Digests, and hashing that can stop here and go on in another process.  The only user of hashlib.

`hashlib` objects cannot be saved.  Where libcrypto's low-level SHA-2 interface works as expected (tried once,
when first asked), an upload's hash state travels as bytes in its row, so that any process continues it without
reading the data again.  Elsewhere the state is `None` and the bytes are hashed again: slower, never wrong.
"""

import ctypes
import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from moorage.errors import Code, RegistryError

Buffer = bytes | bytearray | memoryview

ALGORITHMS: Final = {"sha256": 64, "sha512": 128}
"""The algorithms we store under, and how many hexadecimal digits each has (image-spec, "Digests")."""

CANONICAL: Final = "sha256"

_HEX = re.compile(r"[a-f0-9]+")


@dataclass(frozen=True, slots=True)
class Digest:
    """The name of some bytes: an algorithm, a colon, and the bytes' hash in lower-case hexadecimal digits."""

    text: str

    @property
    def algorithm(self) -> str:
        return self.text.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hash alone."""
        return self.text.partition(":")[2]

    # Its own, because the text keeps its hash: a push looks up every digest of an image several times.
    def __hash__(self) -> int:
        return hash(self.text)

    @staticmethod
    @lru_cache(maxsize=16384)
    def parse(text: str) -> "Digest":
        """Take `sha256:…` or `sha512:…`.  Raises DIGEST_INVALID, saying what is wrong with it."""
        algorithm, colon, encoded = text.partition(":")
        length = ALGORITHMS.get(algorithm)
        if not colon:
            wrong = "is not a digest: 'sha256:' and 64 hexadecimal digits, or 'sha512:' and 128, are wanted"
        elif length is None:
            wrong = "has an unsupported algorithm; sha256 and sha512 are supported"
        elif len(encoded) != length or not _HEX.fullmatch(encoded):
            wrong = f"is not a {algorithm} digest: {length} lower-case hexadecimal digits are wanted"
        else:
            return Digest(text)
        shown = ascii(text if len(text) <= 160 else text[:157] + "...")
        raise RegistryError(Code.DIGEST_INVALID, f"{shown} {wrong}", digest=text[:160])

    @staticmethod
    def of(content: Buffer, algorithm: str = CANONICAL) -> "Digest":
        return Digest(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    def __str__(self) -> str:
        return self.text


class Hasher(Protocol):
    """A running hash.  `update` releases the GIL for large buffers."""

    algorithm: str

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> Digest:
        """The digest of everything so far; more may follow."""
        ...

    def state(self) -> bytes | None:
        """What `resume` continues from, or None where the platform cannot save it."""
        ...


def hasher(algorithm: str = CANONICAL) -> Hasher:
    """A fresh hash.  Raises DIGEST_INVALID for an algorithm that is not ours."""
    if algorithm not in ALGORITHMS:
        raise RegistryError(
            Code.DIGEST_INVALID,
            f"the digest algorithm {algorithm[:80]!a} is not supported; sha256 and sha512 are",
            algorithm=algorithm[:80],
        )
    crypto = _libcrypto()
    return _Plain(algorithm) if crypto is None else _Saved(crypto[algorithm])


@lru_cache(maxsize=8)
def of_nothing(algorithm: str) -> Digest:
    """The digest of no bytes at all.  Raises DIGEST_INVALID for an algorithm that is not ours."""
    return hasher(algorithm).digest()


def resume(state: bytes | None, digest: Digest) -> Hasher | None:
    """Continue from a saved state that must stand for `digest`; None if it cannot be trusted."""
    crypto = _libcrypto()
    if state is None or crypto is None or not crypto[digest.algorithm].takes(state):
        return None
    continued = _Saved(crypto[digest.algorithm], state)
    return continued if continued.digest() == digest else None


class _Plain:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.update = self._hash.update

    def digest(self) -> Digest:
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")

    def state(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """One of libcrypto's SHA-2 families: the sizes in bytes of its context, block and hash, and its three functions.

    The context ends in the number of bytes that wait for a whole block, and the hash's size, 32 bits each.
    """

    name: str
    size: int
    block: int
    length: int
    init: Callable[..., int]
    update: Callable[..., int]
    final: Callable[..., int]

    def takes(self, state: bytes) -> bool:
        """Whether libcrypto may be handed this: it would write wherever the struct's counter of bytes says."""
        if len(state) != self.size:
            return False
        waiting, length = struct.unpack_from("=II", state, self.size - 8)
        return 0 <= waiting < self.block and bool(length == self.length)


class _Saved:
    """A hash whose whole state is a plain C struct, copied out and in as bytes."""

    def __init__(self, algorithm: _Algorithm, state: bytes | None = None) -> None:
        self.algorithm = algorithm.name
        self._with = algorithm
        # Twice the size: a library with a larger struct than the one we tested must not write past it.
        self._context = ctypes.create_string_buffer(algorithm.size * 2)
        if state is None:
            algorithm.init(self._context)
        else:
            ctypes.memmove(self._context, state, algorithm.size)

    def update(self, data: Buffer, /) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if not size:
            return
        if isinstance(data, bytes):
            self._with.update(self._context, data, ctypes.c_size_t(size))
        elif isinstance(data, memoryview) and data.readonly:
            self._with.update(self._context, bytes(data), ctypes.c_size_t(size))
        else:
            # One character's address is the buffer's; an array type for every size would be made, and be garbage.
            first = ctypes.byref(ctypes.c_char.from_buffer(data))
            self._with.update(self._context, first, ctypes.c_size_t(size))

    def digest(self) -> Digest:
        copy = ctypes.create_string_buffer(self._context.raw, len(self._context))
        out = ctypes.create_string_buffer(self._with.length)
        self._with.final(out, copy)
        return Digest(f"{self.algorithm}:{out.raw.hex()}")

    def state(self) -> bytes:
        return self._context.raw[: self._with.size]


@lru_cache(maxsize=1)
def _libcrypto() -> dict[str, _Algorithm] | None:
    """The SHA-2 of libcrypto, or None where it is missing or does not behave as tested."""
    try:
        library = ctypes.CDLL("libcrypto.so.3")
        found = {
            "sha256": _Algorithm(
                "sha256", 112, 64, 32, library.SHA256_Init, library.SHA256_Update, library.SHA256_Final
            ),
            "sha512": _Algorithm(
                "sha512", 216, 128, 64, library.SHA512_Init, library.SHA512_Update, library.SHA512_Final
            ),
        }
        works = all(_resumes(algorithm) for algorithm in found.values())
    except (OSError, AttributeError):
        return None
    return found if works else None


def _resumes(algorithm: _Algorithm) -> bool:
    """Hash in two halves with the state carried over as bytes, and compare with hashlib."""
    halves = bytes(range(256)) * 3, b"moorage" * 50
    first = _Saved(algorithm)
    first.update(halves[0])
    state = first.state()
    second = _Saved(algorithm, state)
    second.update(halves[1])
    return algorithm.takes(state) and second.digest() == Digest.of(b"".join(halves), algorithm.name)
