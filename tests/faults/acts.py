"""What a registry is killed at: pushes of every form, manifests, tags, deletions, the collector, migration."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import rows
from tests.faults.clients import INLINE, image
from tests.faults.points import Scene
from tests.faults.wire import BROKEN, Client, digest_of

QUIET = {
    "REGISTRY_GC_ENABLED": "false",
    "REGISTRY_SCRUB_ENABLED": "false",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": "false",
}
"""Nothing happens but what the act asks for."""

MICROSECOND = 1_000_000


def content(scene: Scene, salt: str, size: int = INLINE + 4000) -> bytes:
    """Bytes that no other attempt has."""
    words = f"{salt} {scene.place.data.name} {scene.number} ".encode()
    return (words * (size // len(words) + 1))[:size]


@dataclass
class Quiet:
    """An act with nothing in the background, that is prepared by nothing and can be done again."""

    environment: dict[str, str] = field(default_factory=lambda: dict(QUIET))

    def prepare(self, scene: Scene) -> None:
        """Nothing is needed."""

    def act(self, scene: Scene) -> bool:
        with scene.client() as client:
            return self.ask(client, scene)

    def ask(self, client: Client, scene: Scene) -> bool:
        raise NotImplementedError

    def hold(self, scene: Scene) -> None:
        """There is nothing that it would do by itself."""

    def verify(self, scene: Scene) -> list[str]:
        return []

    def repeat(self, scene: Scene) -> list[str]:
        return [] if self.act(scene) else [f"{type(self).__name__} cannot be done again"]


@dataclass
class PushBlob(Quiet):
    """A blob in one of the forms, and of either kind: in its row, or in the store."""

    form: str = "whole"
    size: int = INLINE + 4000
    upload: str | None = None

    def ask(self, client: Client, scene: Scene) -> bool:
        done = client.push_blob(scene.repository, content(scene, "blob", self.size), self.form)
        self.upload = client.upload
        return done

    def verify(self, scene: Scene) -> list[str]:
        """An upload that is still there goes on where it says it stands."""
        if self.upload is None:
            return []
        with scene.client() as client:
            resumed = client.resume(scene.repository, content(scene, "blob", self.size), self.upload)
        return ["O2: an upload cannot be resumed where it says"] if resumed is False else []


@dataclass
class PushManifest(Quiet):
    """A manifest by a tag, its blobs being there."""

    def prepare(self, scene: Scene) -> None:
        with scene.client() as client:
            assert client.push_blob(scene.repository, content(scene, "config", 200))
            assert client.push_blob(scene.repository, content(scene, "layer"))

    def body(self, scene: Scene) -> bytes:
        return image(content(scene, "config", 200), content(scene, "layer"))

    def ask(self, client: Client, scene: Scene) -> bool:
        return client.put_manifest(scene.repository, self.body(scene), "1")

    def verify(self, scene: Scene) -> list[str]:
        """The manifest and its tag come together."""
        with scene.client(recorded=False) as client:
            found = [client.ask("GET", f"/v2/{scene.repository}/manifests/{one}")[0] for one in self.names(scene)]
        return [] if len(set(found)) == 1 else [f"O2: a manifest and its tag are half there: {found}"]

    def names(self, scene: Scene) -> tuple[str, str]:
        return "1", digest_of(self.body(scene))


@dataclass
class MoveTag(PushManifest):
    """A tag moves from one manifest to another that is pushed with it."""

    def prepare(self, scene: Scene) -> None:
        super().prepare(scene)
        with scene.client() as client:
            assert client.put_manifest(scene.repository, self.before(scene), "1")

    def before(self, scene: Scene) -> bytes:
        return image(content(scene, "config", 200))

    def verify(self, scene: Scene) -> list[str]:
        with scene.client(recorded=False) as client:
            named = client.ask("GET", f"/v2/{scene.repository}/manifests/1")[2]
            there = client.ask("GET", f"/v2/{scene.repository}/manifests/{digest_of(self.body(scene))}")[0] == 200
        wanted = self.body(scene) if there else self.before(scene)
        return [] if named == wanted else ["O2: a tag and its manifest are half moved"]


@dataclass
class Delete(PushManifest):
    """Of a manifest with its tag, of a tag alone, or of a blob that nothing refers to."""

    what: str = "manifest"

    def prepare(self, scene: Scene) -> None:
        super().prepare(scene)
        with scene.client() as client:
            if self.what != "blob":
                assert client.put_manifest(scene.repository, self.body(scene), "1")

    def ask(self, client: Client, scene: Scene) -> bool:
        references = {"manifest": digest_of(self.body(scene)), "tag": "1", "blob": digest_of(content(scene, "layer"))}
        return client.delete(self.what, scene.repository, references[self.what])

    def verify(self, scene: Scene) -> list[str]:
        return super().verify(scene) if self.what == "manifest" else []

    def repeat(self, scene: Scene) -> list[str]:
        """It is deleted now, or was before: then there is nothing to delete."""
        self.act(scene)
        return []


@dataclass
class Mount(PushManifest):
    """A blob of another repository."""

    def ask(self, client: Client, scene: Scene) -> bool:
        return client.mount(f"{scene.repository}/other", scene.repository, digest_of(content(scene, "layer")))

    def verify(self, scene: Scene) -> list[str]:
        return []


@dataclass
class Heal(PushManifest):
    """A blob whose file has gone, pushed to another repository."""

    key: str = ""

    def prepare(self, scene: Scene) -> None:
        super().prepare(scene)
        with scene.client() as client:
            assert client.put_manifest(scene.repository, self.body(scene), "1")
        self.key = self.named(scene)
        rows.files(scene.place)[self.key].rename(self.kept(scene))

    def ask(self, client: Client, scene: Scene) -> bool:
        return client.push_blob(f"{scene.repository}/other", content(scene, "layer"), "stream")

    def hold(self, scene: Scene) -> None:
        """Until the push was committed the file is still the blob's, and it was we who took it."""
        if self.named(scene) == self.key:
            self.kept(scene).rename(scene.place.data / self.key)

    def verify(self, scene: Scene) -> list[str]:
        layer = content(scene, "layer")
        with scene.client(recorded=False) as client:
            found = client.ask("GET", f"/v2/{scene.repository}/blobs/{digest_of(layer)}")[2]
        return super().verify(scene) + ([] if found == layer else ["O2: a blob is neither whole nor healed"])

    def named(self, scene: Scene) -> str:
        digest = digest_of(content(scene, "layer"))
        ((key,),) = rows.ask(scene.place, "SELECT storage_key FROM blobs WHERE digest = ?", digest)
        return str(key)

    def kept(self, scene: Scene) -> Path:
        return scene.place.data.parent / "kept"


@dataclass
class Cancel(Quiet):
    """An upload that has begun is given up."""

    upload: str | None = None

    def ask(self, client: Client, scene: Scene) -> bool:
        self.upload = None
        try:
            _, headers, _ = client.ask("POST", f"/v2/{scene.repository}/blobs/uploads/")
            self.upload = headers["location"]
            client.ask("PATCH", self.upload, content(scene, "upload"))
            return client.ask("DELETE", self.upload)[0] == 204
        except BROKEN:
            return False

    def verify(self, scene: Scene) -> list[str]:
        """It is gone, or can still be finished."""
        if self.upload is None:
            return []
        with scene.client() as client:
            resumed = client.resume(scene.repository, content(scene, "upload"), self.upload)
        return ["O2: an upload that was not cancelled cannot be resumed"] if resumed is False else []


@dataclass
class Collect(Quiet):
    """One run of the collector, with something to do for each of its steps.

    In one repository each: a deleted manifest that can no longer be restored, a blob whose lease ran out, a blob that
    waited long enough in the trash.  We let time pass by moving it in the rows, and give the job no holder, as if its
    lease had run out as well.
    """

    environment: dict[str, str] = field(
        default_factory=lambda: QUIET | {"REGISTRY_GC_ENABLED": "true", "REGISTRY_GC_INTERVAL": "400ms"}
    )
    pushed: list[str] = field(default_factory=list)

    def prepare(self, scene: Scene) -> None:
        with scene.client() as client:
            for salt in ("purged", "loose", "lost"):
                name = f"{scene.repository}/{salt}"
                assert client.push_blob(name, content(scene, salt))
            config = content(scene, "purged", 200)
            name = f"{scene.repository}/purged"
            assert client.push_blob(name, config)
            body = image(config, content(scene, "purged"))
            assert client.put_manifest(name, body, "1")
            assert client.delete("manifest", name, digest_of(body))
            assert client.delete("blob", f"{scene.repository}/lost", digest_of(content(scene, "lost")))
            kept = content(scene, "kept", 200)
            assert client.push_blob(f"{scene.repository}/kept", kept)
            assert client.put_manifest(f"{scene.repository}/kept", image(kept), "1")

    def act(self, scene: Scene) -> bool:
        """Let the time come, and wait until it is all done or the registry is dead."""
        lost = digest_of(content(scene, "lost"))
        with scene.client() as client:
            client.let_expire(f"{scene.repository}/loose", digest_of(content(scene, "loose")))
        loose = f"(SELECT id FROM repositories WHERE name = '{scene.repository}/loose')"
        just_now = time.time_ns() // 1000 - 1000
        rows.change(
            scene.place,
            "UPDATE trash_manifests SET purge_after = 0",
            "UPDATE trash_tags SET purge_after = 0",
            "UPDATE trash_links SET purge_after = 0",
            f"UPDATE links SET leased_until = {just_now} WHERE repository_id IN {loose}",
            "UPDATE jobs SET leased_until = 0, due_at = 0 WHERE name = 'gc'",
        )
        left = (
            "SELECT (SELECT count(*) FROM blobs WHERE digest = ?) + (SELECT count(*) FROM trash_blobs)"
            f" + (SELECT count(*) FROM links WHERE repository_id IN {loose})"
        )
        return _comes_to_nothing(scene, left, lost)

    def hold(self, scene: Scene) -> None:
        """A collector that goes on at once may have put right what is to be seen, before anybody looks."""
        later = time.time_ns() // 1000 + 1800 * 1_000_000
        rows.change(scene.place, f"UPDATE jobs SET leased_until = 0, due_at = {later} WHERE name = 'gc'")

    def repeat(self, scene: Scene) -> list[str]:
        """What was collected is pushed again, and must stay whatever the collector had still to do.

        That it does now: left to later attempts, its keys would be unlinked once more in each, and every attempt would
        have more points than the one before.
        """
        with scene.client() as client:
            blob = content(scene, "lost")
            name = f"{scene.repository}/again"
            config = content(scene, "again", 200)
            done = client.push_blob(name, blob) and client.push_blob(name, config)
            done = done and client.put_manifest(name, image(config, blob), "1")
        rows.change(scene.place, "UPDATE jobs SET due_at = 0 WHERE name = 'gc'")
        assert _comes_to_nothing(scene, "SELECT count(*) FROM trash_blobs")
        return [] if done else ["what was collected cannot be pushed again"]


def _comes_to_nothing(scene: Scene, left: str, *parameters: str) -> bool:
    """Wait until the collector has left none of what a query counts; False where the registry died."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if scene.is_dead():
            return False
        if rows.ask(scene.place, left, *parameters) == [(0,)]:
            return True
        time.sleep(0.01)
    raise AssertionError("the collector does not do its work")


@dataclass
class Purge(Quiet):
    """One run of the purger of uploads."""

    environment: dict[str, str] = field(
        default_factory=lambda: (
            QUIET
            | {
                "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": "true",
                "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL": "400ms",
            }
        )
    )

    upload: str = ""

    def prepare(self, scene: Scene) -> None:
        """An upload that is abandoned, and one that was finished."""
        with scene.client() as client:
            assert client.push_blob(scene.repository, content(scene, "finished"), "stream")
            _, headers, _ = client.ask("POST", f"/v2/{scene.repository}/blobs/uploads/")
            self.upload = headers["location"]
            status, _, _ = client.ask("PATCH", self.upload, content(scene, "upload"))
            assert status == 202

    def act(self, scene: Scene) -> bool:
        rows.change(
            scene.place,
            "UPDATE uploads SET started_at = 0, touched_at = 0 WHERE finished IS NULL",
            "UPDATE jobs SET leased_until = 0, due_at = 0 WHERE name = 'uploadpurging'",
        )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if scene.is_dead():
                return False
            if rows.ask(scene.place, "SELECT count(*) FROM uploads WHERE finished IS NULL") == [(0,)]:
                return True
            time.sleep(0.01)
        raise AssertionError("the purger does not do its work")

    def repeat(self, scene: Scene) -> list[str]:
        """The upload is gone, or can still be finished."""
        with scene.client() as client:
            resumed = client.resume(scene.repository, content(scene, "upload"), self.upload)
        return ["O2: an upload that was not purged cannot be resumed"] if resumed is False else []


ACTS: dict[str, Quiet] = {
    "blob in one request": PushBlob(),
    "small blob in one request": PushBlob(size=300),
    "blob in a stream": PushBlob(form="stream"),
    "blob in its last request": PushBlob(form="last"),
    "blob in chunks": PushBlob(form="chunks", size=2 * INLINE + 9000),
    "manifest": PushManifest(),
    "tag": MoveTag(),
    "delete manifest": Delete(what="manifest"),
    "delete tag": Delete(what="tag"),
    "delete blob": Delete(what="blob"),
    "mount": Mount(),
    "heal": Heal(),
    "cancel": Cancel(),
    "collect": Collect(),
    "purge uploads": Purge(),
}
