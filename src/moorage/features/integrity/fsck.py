"""One whole pass over everything: rows against bytes, and bytes against rows.

    database   SQLite's own check of its file; where it fails, nothing else is believed
    blobs      missing, unreadable, wrong size, wrong hash; those that wait for a push, or could not be checked
    manifests  wrong size, wrong hash; edges, subject, artifact type and annotations against the bytes
    storage    bytes that no row names
    rows       that refer to rows which are gone

It may run beside a server.  Rows are compared with rows on one snapshot; whatever concerns bytes is looked up
again before it counts, because it may have been deleted or pushed again meanwhile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from moorage.core.registry import SECOND, Registry
from moorage.db import blobs, collection, state, trash
from moorage.db.blobs import Blob
from moorage.db.collection import Collection
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.integrity import edges, rows, settle, verify
from moorage.features.integrity.rows import Edge, Row
from moorage.features.integrity.settle import Then
from moorage.features.integrity.verify import Kind, Reading, is_rotten
from moorage.storage.store import BlobStore, StoredKey

_PAGE: Final = 200
_PAGE_BYTES: Final = 4 * 1024 * 1024
_SLICE: Final = 16 * 1024 * 1024
_HOLDERS: Final = 3
"""How many repositories a finding names."""

_SOUND: Final = "it is held back as damaged, and is sound"

NAME: Final = "fsck"
"""Under which the outcome of the last whole pass is remembered."""

Told = Callable[[str, int, int | None], None]
"""Hears how far the pass has come: the part, how much of it is done, and of how much, None where nobody knows.

Blobs and manifests are counted in bytes, stored objects in objects.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: a digest, a key or a row, and the repositories it concerns."""

    kind: Kind
    what: str
    where: str
    words: str
    then: Then = Then.LEFT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the last whole pass found: when it ended, and how many findings by what became of them."""

    at: int
    left: int
    quarantined: int
    repaired: int

    @property
    def consistent(self) -> bool:
        """Whether rows and bytes agreed in the end, but for what is known to be damaged and served no more."""
        return self.left == 0


def outcome(tx: Tx) -> Outcome | None:
    """The outcome of the last whole pass; None where there was none yet."""
    kept = state.get(tx, NAME)
    return Outcome(**kept) if kept else None


def check(registry: Registry, *, repair: bool, keep: int, told: Told = lambda *_: None) -> Iterator[Finding]:
    """Look at everything once, and give each finding as it is made; blocking.

    Exhausted, its outcome has been written down, unless the database itself is damaged.
    `keep` says for how many microseconds an orphan must have lain still, and how long it stays in the trash then.
    Raises RegistryError or OSError where the database or the storage cannot be read.
    """
    told("database", 0, None)
    broken = registry.db.verify_now(whole=True)
    if broken:
        yield from (Finding(Kind.DATABASE, "the file", "", words) for words in broken)
        return
    before, counts = registry.db.read_now(collection.look), dict.fromkeys(Then, 0)
    for finding in _Pass(registry, repair, keep, told).findings():
        counts[finding.then] += 1
        yield finding
    ended = Outcome(registry.now(), counts[Then.LEFT], counts[Then.QUARANTINED], counts[Then.REPAIRED])
    registry.db.write_now(_remember, ended, before)


def _remember(tx: Tx, ended: Outcome, before: Collection) -> None:
    value = {"at": ended.at, "left": ended.left, "quarantined": ended.quarantined, "repaired": ended.repaired}
    state.put(tx, NAME, value, ended.at)
    if ended.consistent:
        collection.arm_after_check(tx, before, ended.at)


@dataclass(frozen=True, slots=True)
class _Pass:
    registry: Registry
    repair: bool
    keep: int
    told: Told

    def findings(self) -> Iterator[Finding]:
        totals = self.registry.db.scan_now(rows.totals)
        yield from self._blobs(totals.blob_bytes)
        yield from self._manifests(totals.manifest_bytes)
        yield from self._storage()
        for words in self.registry.db.scan_now(rows.strays):
            yield Finding(Kind.DATABASE, "a row", "", words)

    def _blobs(self, total: int) -> Iterator[Finding]:
        done, after = 0, 0
        self.told("blobs", 0, total)
        while page := self.registry.db.scan_now(rows.blobs_after, after, _PAGE):
            for blob in page:
                reading = Reading(self.registry.store, blob)
                try:
                    while taken := reading.go_on(_SLICE):
                        done += taken
                        self.told("blobs", done, total)
                finally:
                    reading.close()
                yield from self._blob(reading)
            after = page[-1].id

    def _blob(self, reading: Reading) -> Iterator[Finding]:
        blob = reading.blob
        try:
            damage = reading.damage()
        except RegistryError as error:
            _, where = self.registry.db.scan_now(_again, blob)
            yield Finding(Kind.UNCHECKED, str(blob.digest), where, error.message)
            return
        if damage is None and blob.damaged is None:
            return
        now, where = self.registry.db.scan_now(_again, blob)
        if now is None or now.key != blob.key or (now.damaged is None and damage is None):
            return
        if now.damaged is not None and is_rotten(damage):
            yield Finding(Kind.DAMAGED, str(blob.digest), where, damage.words, Then.QUARANTINED)
            return
        kind, words = (damage.kind, damage.words) if damage else (Kind.DAMAGED, _SOUND)
        then = Then.LEFT
        if self.repair:
            then = self.registry.db.write_now(settle.blob, blob, damage, self.registry.now())
        yield Finding(kind, str(blob.digest), where, words, then)

    def _manifests(self, total: int) -> Iterator[Finding]:
        done, after = 0, 0
        self.told("manifests", 0, total)
        while page := self.registry.db.scan_now(_manifests, after):
            for row, between in page:
                yield from self._manifest(row, between)
                done += row.stored.size
            after = page[-1][0].stored.id
            self.told("manifests", done, total)

    def _manifest(self, row: Row, between: list[Edge]) -> Iterator[Finding]:
        stored, db = row.stored, self.registry.db
        damage = verify.content(stored.digest, stored.size, row.content)
        if is_rotten(damage) and stored.damaged:
            yield self._of(row, Kind.DAMAGED, damage.words, Then.QUARANTINED)
        elif damage is not None or stored.damaged:
            kind, words = (damage.kind, damage.words) if damage else (Kind.DAMAGED, _SOUND)
            then = Then.LEFT
            if self.repair:
                then = db.write_now(settle.manifest, stored.id, self.registry.now())
            yield self._of(row, kind, words, then)
        if not is_rotten(damage):
            yield from self._references(row, between)

    def _references(self, row: Row, between: list[Edge]) -> Iterator[Finding]:
        db, now, policy = self.registry.db, self.registry.now(), self.registry.policy
        faults = left = edges.faults(row, between, sparse=policy.sparse)
        if faults and self.repair:
            db.write_now(settle.references, row.stored.id, now, now + policy.lease)
            left = db.scan_now(_faults, row.stored.id, policy.sparse)
        for words in faults:
            yield self._of(row, Kind.EDGE, words, Then.LEFT if words in left else Then.REPAIRED)

    @staticmethod
    def _of(row: Row, kind: Kind, words: str, then: Then) -> Finding:
        return Finding(kind, str(row.stored.digest), row.repository.name.value, words, then)

    def _storage(self) -> Iterator[Finding]:
        done = 0
        self.told("storage", 0, None)
        keys = self.registry.store.keys()
        while listed := list(islice(keys, _PAGE)):
            yield from self._orphans(listed)
            done += len(listed)
            self.told("storage", done, None)

    def _orphans(self, listed: list[StoredKey]) -> Iterator[Finding]:
        """Listed first and looked up after; and what the collector has removed since then is no orphan either."""
        db, now = self.registry.db, self.registry.now()
        old = [one for one in listed if one.modified * SECOND < now - self.keep]
        unnamed = db.scan_now(trash.unnamed, [one.key for one in old]) if old else set()
        orphans = [one for one in old if one.key in unnamed and _is_stored(self.registry.store, one.key)]
        if orphans and self.repair:
            found = [(one.key, one.size) for one in orphans]
            db.write_now(trash.discard_unnamed, found, now + self.keep)
        for one in orphans:
            words = f"no row names these {one.size} bytes"
            yield Finding(Kind.ORPHAN, one.key, "", words, Then.REPAIRED if self.repair else Then.LEFT)


def _again(tx: Tx, blob: Blob) -> tuple[Blob | None, str]:
    """The blob as it is now, and some of the repositories that hold it."""
    return rows.blob(tx, blob.id), ", ".join(name.value for name in blobs.holders(tx, blob.digest, _HOLDERS))


def _manifests(tx: Tx, after: int) -> list[tuple[Row, list[Edge]]]:
    """A page of manifests with their edges, on one snapshot."""
    page = rows.manifests_after(tx, after, _PAGE, _PAGE_BYTES)
    between = rows.edges_between(tx, page[0].stored.id, page[-1].stored.id) if page else {}
    return [(row, between.get(row.stored.id, [])) for row in page]


def _faults(tx: Tx, identity: int, sparse: bool) -> list[str]:
    """What is wrong with a manifest's rows now."""
    row = rows.manifest(tx, identity)
    return edges.faults(row, rows.edges_between(tx, identity, identity).get(identity, []), sparse=sparse) if row else []


def _is_stored(store: BlobStore, key: str) -> bool:
    """Whether there are bytes under a key, be it that they may not be read."""
    try:
        store.size(key)
    except RegistryError as error:
        return error.code is not Code.BLOB_UNKNOWN
    return True
