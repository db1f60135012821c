"""The registry beside a dictionary: push, tag, retag, delete, mount, collect and restart, in any order.

What must hold after every step: each tag and manifest of the dictionary is there, byte for byte, and no other;
what refers to a subject is listed; a blob that a manifest refers to, or whose lease runs, is there, byte for
byte; one that somebody deleted is not.  In the end, when all windows have passed: nothing else is kept.
"""

import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from moorage.features.integrity.fsck import check
from moorage.features.integrity.verify import Kind
from tests import make
from tests.databases import Server
from tests.model.nodes import ABANDONED, LEASE, SECOND, TRASH, UNDO, Fleet
from tests.soak import longer

REPOSITORIES = ["acme/app", "z"]
TAGS = ["1", "2", "Latest"]
# Half of them live in files, half in rows.
BLOBS = {letter: letter.encode() * (20_000 if letter.isupper() else 9) for letter in "ABcd"}
ARTIFACT = "application/vnd.example.thing"

repositories = st.sampled_from(REPOSITORIES)
tags = st.sampled_from(TAGS)
blobs = st.sampled_from(sorted(BLOBS))
nodes = st.integers(0, 1)
never = make.digest(b"what nobody ever pushes")


@dataclass
class Model:
    """What one repository must hold."""

    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    """Blobs that were seen here, and until when they stay without anybody's reference."""
    trash: list[tuple[int, set[str]]] = field(default_factory=list)
    """Until when a deleted manifest can come back, and the blobs it holds until then."""

    def refers(self, manifest: bytes) -> set[str]:
        """Digests of blobs and children; not of the subject."""
        parsed = json.loads(manifest)
        parts = [*parsed.get("layers", []), *parsed.get("manifests", [])]
        return {one["digest"] for one in [*parts, *([parsed["config"]] if "config" in parsed else [])]}

    def kept(self, now: int) -> set[str]:
        """Blobs that must be here now."""
        held = {digest for digest, until in self.leases.items() if until >= now}
        for manifest in self.manifests.values():
            held |= self.refers(manifest) & self.leases.keys()
        for until, digests in self.trash:
            if until >= now:
                held |= digests & self.leases.keys()
        return held


class Machine(RuleBasedStateMachine):
    """One run: a fleet on a fresh database, and a Model for each repository."""

    server: Server | None = None
    template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-model-"))
        if self.server is None:
            shutil.copy(self.template, self.folder / "registry.db")
            url = f"sqlite:///{self.folder / 'registry.db'}"
        else:
            url = self.server.create(schema=True)
        self.fleet = Fleet(url, self.folder / "blobs")
        self.fleet.start()
        self.models = {name: Model() for name in REPOSITORIES}
        self.content = {make.digest(one): one for one in BLOBS.values()}
        self.uploads: list[tuple[str, str, bytes]] = []

    # What clients do

    @rule(name=repositories, blob=blobs, node=nodes, form=st.sampled_from(["whole", "two", "chunks"]))
    def push_blob(self, name: str, blob: str, node: int, form: str) -> None:
        content = BLOBS[blob]
        digest = make.digest(content)
        if form == "whole":
            answer = self.fleet.ask(node, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        else:
            place = self.fleet.ask(node, "POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
            rest = content
            if form == "chunks":
                half = len(content) // 2
                first = self.fleet.ask(1 - node, "PATCH", place, content[:half], content_range=f"0-{half - 1}")
                assert first.status == 202, first
                place, rest = first.headers["Location"], content[half:]
            answer = self.fleet.ask(node, "PUT", f"{place}?digest={digest}", rest)
        assert answer.status == 201, answer
        self._lease(name, digest)

    @rule(name=repositories, blob=blobs, node=nodes)
    def begin_an_upload_and_leave(self, name: str, blob: str, node: int) -> None:
        place = self.fleet.ask(node, "POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        self.fleet.ask(node, "PATCH", place, BLOBS[blob][:-1])
        self.uploads.append((place, name, BLOBS[blob]))

    @precondition(lambda self: self.uploads)
    @rule(node=nodes, which=st.integers(0, 99))
    def come_back_to_an_upload(self, node: int, which: int) -> None:
        place, name, blob = self.uploads.pop(which % len(self.uploads))
        digest = make.digest(blob)
        state = self.fleet.ask(node, "GET", place)
        if state.status == 404:
            return
        assert state.headers["Range"] == f"0-{len(blob) - 2}"
        answer = self.fleet.ask(1 - node, "PUT", f"{place}?digest={digest}", blob[-1:])
        assert answer.status == 201, answer
        self._lease(name, digest)

    @rule(name=repositories, source=repositories, blob=blobs, node=nodes)
    def mount(self, name: str, source: str, blob: str, node: int) -> None:
        digest = make.digest(BLOBS[blob])
        there = self.fleet.ask(node, "GET", f"/v2/{source}/blobs/{digest}").status == 200
        answer = self.fleet.ask(1 - node, "POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
        assert answer.status == (201 if there else 202), answer
        if there:
            self._lease(name, digest)

    @rule(name=repositories, which=st.integers(0, 99), node=nodes, slowly=st.booleans())
    def ask_whether_a_blob_is_there(self, name: str, which: int, node: int, slowly: bool) -> None:
        seen = sorted(self.models[name].leases) or [never]
        digest = seen[which % len(seen)]
        if self.fleet.ask(node, "HEAD", f"/v2/{name}/blobs/{digest}").status == 200:
            # Leave to skip the upload: it stays for at least half a lease.
            self._lease(name, digest, LEASE // 2)
            if slowly:  # to push what refers to it
                self.collect_for(LEASE // 2 - SECOND, 1 - node, 1)

    @rule(
        name=repositories,
        parts=st.lists(blobs, min_size=1, max_size=3),
        tag=tags | st.none(),
        subject=st.integers(0, 99) | st.none(),
        complete=st.sampled_from([True, True, False]),
        node=nodes,
    )
    def push_image(
        self, name: str, parts: list[str], tag: str | None, subject: int | None, complete: bool, node: int
    ) -> None:
        for blob in parts if complete else ():
            self.push_blob(name, blob, node, "whole")
        extra: dict[str, Any] = {}
        if subject is not None:
            extra = {"subject": self._some_manifest(subject), "artifactType": ARTIFACT}
        self._put(node, name, make.image(*map(BLOBS.__getitem__, parts), **extra), tag, make.IMAGE)

    @rule(name=repositories, children=st.lists(st.integers(0, 99), max_size=2), tag=tags | st.none(), node=nodes)
    def push_index(self, name: str, children: list[int], tag: str | None, node: int) -> None:
        entries = [self._some_manifest(number) for number in children]
        index = {"schemaVersion": 2, "mediaType": make.INDEX, "manifests": entries}
        self._put(node, name, json.dumps(index).encode(), tag, make.INDEX)

    @rule(name=repositories, tag=tags, which=st.integers(0, 99), node=nodes)
    def retag(self, name: str, tag: str, which: int, node: int) -> None:
        known = self.models[name].manifests
        if known:
            content = known[sorted(known)[which % len(known)]]
            self._put(node, name, content, tag, json.loads(content)["mediaType"])

    @rule(name=repositories, tag=tags, node=nodes)
    def delete_tag(self, name: str, tag: str, node: int) -> None:
        answer = self.fleet.ask(node, "DELETE", f"/v2/{name}/manifests/{tag}")
        assert answer.status == (202 if self.models[name].tags.pop(tag, None) else 404), answer

    @rule(name=repositories, which=st.integers(0, 99), node=nodes)
    def delete_manifest(self, name: str, which: int, node: int) -> None:
        model = self.models[name]
        if not model.manifests:
            return
        digest = sorted(model.manifests)[which % len(model.manifests)]
        assert self.fleet.ask(node, "DELETE", f"/v2/{name}/manifests/{digest}").status == 202
        content = model.manifests.pop(digest)
        model.tags = {tag: to for tag, to in model.tags.items() if to != digest}
        # It goes on holding what it held: what it had to do without may come later, and is not its own.
        model.trash.append((self.fleet.clock.at + UNDO, model.refers(content) & model.leases.keys()))

    @rule(name=repositories, blob=blobs, node=nodes)
    def delete_blob(self, name: str, blob: str, node: int) -> None:
        model, digest = self.models[name], make.digest(BLOBS[blob])
        answer = self.fleet.ask(node, "DELETE", f"/v2/{name}/blobs/{digest}")
        if any(digest in model.refers(one) for one in model.manifests.values()) and digest in model.leases:
            assert answer.status == 405, answer
        elif digest in model.kept(self.fleet.clock.at):
            assert answer.status == 202, answer
        else:
            assert answer.status in (202, 404), answer
        if answer.status == 202:
            model.leases.pop(digest, None)
            for _, held in model.trash:
                held.discard(digest)

    # What happens by itself

    @rule(
        span=st.sampled_from([0, SECOND, TRASH + SECOND, LEASE // 2 + SECOND, LEASE + SECOND, UNDO + SECOND]),
        node=nodes,
        steps=st.integers(1, 4),
    )
    def collect(self, span: int, node: int, steps: int) -> None:
        self.collect_for(span, node, steps)

    def collect_for(self, span: int, node: int, steps: int) -> None:
        """Let time pass; then the jobs do `steps` steps."""
        self.fleet.clock.at += span
        for _ in range(steps):
            for job in range(3):
                self.fleet.work(node, job)

    @rule(sparse=st.booleans())
    def restart(self, sparse: bool) -> None:
        # A power cut may take the row of an upload, which is not synced, and leave its bytes.
        orphan = str(uuid.uuid4())
        turn = self.fleet.nodes[0].store.append(f"blobs/u/{orphan[:2]}/{orphan}", ())
        turn.write(b"whose")
        turn.close()
        self.fleet.stop()
        self.fleet.sparse = sparse
        self.fleet.start()

    # What must hold

    @invariant()
    def everything_promised_is_there(self) -> None:
        if not hasattr(self, "fleet"):
            return
        for name, model in self.models.items():
            self._check_manifests(name, model)
            for digest in model.kept(self.fleet.clock.at):
                if digest in self.content:
                    got = self.fleet.ask(0, "GET", f"/v2/{name}/blobs/{digest}")
                    assert (got.status, got.content) == (200, self.content[digest]), (name, digest, got.status)

    def _check_manifests(self, name: str, model: Model) -> None:
        listed = self.fleet.ask(0, "GET", f"/v2/{name}/tags/list")
        if listed.status == 200:
            assert json.loads(listed.content)["tags"] == sorted(model.tags)
        else:
            assert listed.status == 404
            assert not model.manifests
        for reference, digest in [*model.tags.items(), *((one, one) for one in model.manifests)]:
            got = self.fleet.ask(1, "GET", f"/v2/{name}/manifests/{reference}")
            assert (got.status, got.content) == (200, model.manifests[digest])
            assert got.headers["Docker-Content-Digest"] == digest
        subjects: dict[str, set[str]] = {}
        for digest, content in model.manifests.items():
            subject = json.loads(content).get("subject")
            subjects.setdefault(digest, set())
            if subject:
                subjects.setdefault(subject["digest"], set()).add(digest)
        for subject, expected in subjects.items():
            answer = self.fleet.ask(0, "GET", f"/v2/{name}/referrers/{subject}")
            assert {one["digest"] for one in json.loads(answer.content)["manifests"]} == expected

    def teardown(self) -> None:
        if not hasattr(self, "fleet"):
            return
        try:
            self._check({Kind.ORPHAN})
            self._converge()
            self._check(set())
            self._only_what_is_referred_to_is_left()
        finally:
            self.fleet.end()
            shutil.rmtree(self.folder)
            if self.server is not None:
                self.server.drop(self.fleet.url)

    def _check(self, expected: set[Kind]) -> None:
        """Rows and bytes agree, after whatever happened.  Some manifests may be from a time when we were sparse."""
        registry = self.fleet.nodes[0].registry
        sparse = replace(registry, policy=replace(registry.policy, sparse=True))
        found = [one for one in check(sparse, repair=False, keep=TRASH) if one.kind not in expected]
        assert found == [], found

    def _converge(self) -> None:
        """Let every window pass, one after the other, with the jobs at work."""
        for span in (ABANDONED + SECOND, UNDO + SECOND, LEASE + SECOND, TRASH + SECOND, TRASH + SECOND, SECOND):
            self.fleet.clock.at += span
            for job in range(3):
                while self.fleet.work(0, job):
                    pass
        self.everything_promised_is_there()

    def _only_what_is_referred_to_is_left(self) -> None:
        files: set[str] = set()
        for name, model in self.models.items():
            for digest, content in self.content.items():
                there = self.fleet.ask(0, "GET", f"/v2/{name}/blobs/{digest}").status == 200
                assert there == (digest in model.kept(self.fleet.clock.at)), (name, digest)
                if there and len(content) > 16 * 1024:
                    files.add(digest)
        assert len(list(self.fleet.nodes[0].store.keys())) == len(files)

    # Parts of the above

    def _lease(self, name: str, digest: str, span: int = LEASE) -> None:
        leases = self.models[name].leases
        leases[digest] = max(leases.get(digest, 0), self.fleet.clock.at + span)

    def _some_manifest(self, number: int) -> dict[str, object]:
        """The descriptor of a manifest that some repository has or had, or of one that nobody ever pushes."""
        known = {digest: one for model in self.models.values() for digest, one in model.manifests.items()}
        if not known or number % 5 == 4:
            return {"mediaType": make.IMAGE, "digest": never, "size": 23}
        content = known[sorted(known)[number % len(known)]]
        return make.descriptor(content, json.loads(content)["mediaType"])

    def _put(self, node: int, name: str, content: bytes, tag: str | None, media_type: str) -> None:
        model, digest = self.models[name], make.digest(content)
        answer = self.fleet.ask(node, "PUT", f"/v2/{name}/manifests/{tag or digest}", content, content_type=media_type)
        refers = model.refers(content)
        sure = model.kept(self.fleet.clock.at) | model.manifests.keys()
        if answer.status != 201:
            error = json.loads(answer.content)["errors"][0]
            assert error["code"] == "MANIFEST_BLOB_UNKNOWN", error
            assert not self.fleet.sparse
            assert digest not in model.manifests
            assert set(error["detail"]["missing"]) <= refers - sure
            return
        known = digest in model.manifests
        model.manifests[digest] = content
        if tag:
            model.tags[tag] = digest
        for one in () if known else refers - sure:
            # What it found although nobody promised it any more is promised from now on.
            if one in self.content and self.fleet.ask(node, "GET", f"/v2/{name}/blobs/{one}").status == 200:
                model.leases.setdefault(one, 0)
            else:
                model.leases.pop(one, None)
                assert self.fleet.sparse, f"{one} was missing, and nobody said so"


_COMMON = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


def test_the_registry_agrees_with_a_dictionary_on_sqlite(sqlite_template: Path) -> None:
    machine = type("OnSQLite", (Machine,), {"template": sqlite_template})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, **_COMMON))


def test_the_registry_agrees_with_a_dictionary_on_postgresql(postgresql_server: Server) -> None:
    machine = type("OnPostgreSQL", (Machine,), {"server": postgresql_server})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=40, **_COMMON))


@pytest.mark.slow
@pytest.mark.timeout(longer(1200))
def test_the_registry_agrees_with_a_dictionary_for_long(sqlite_template: Path) -> None:
    machine = type("OnSQLite", (Machine,), {"template": sqlite_template})
    run_state_machine_as_test(machine, settings=settings(max_examples=longer(100), stateful_step_count=60, **_COMMON))


def test_a_head_that_lets_a_client_skip_its_upload_keeps_the_blob(sqlite_url: str, tmp_path: Path) -> None:
    fleet = Fleet(sqlite_url, tmp_path / "blobs")
    fleet.start()
    blob, digest = BLOBS["A"], make.digest(BLOBS["A"])
    fleet.ask(0, "POST", f"/v2/z/blobs/uploads/?digest={digest}", blob)
    for _ in range(4):
        fleet.clock.at += LEASE * 2 // 3
        assert fleet.ask(1, "HEAD", f"/v2/z/blobs/{digest}").status == 200
        fleet.work(0, 0)
    fleet.clock.at += LEASE + SECOND
    fleet.work(0, 0)
    assert fleet.ask(1, "HEAD", f"/v2/z/blobs/{digest}").status == 404
    fleet.end()
