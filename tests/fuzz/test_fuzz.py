"""Whatever arrives on the socket: an answer of the specification or a closed connection, never a failure of ours."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.edge.http import STATUS
from tests import make
from tests.conftest import Served, start
from tests.fuzz import strategies as hostile
from tests.fuzz.wire import PATIENCE, answers, talk
from tests.soak import longer

_ALWAYS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@dataclass
class Target:
    """A real server with an image that is fuzzed and one that nobody touches."""

    served: Served
    client: httpx.Client
    kept: bytes

    def upload(self) -> str:
        """The id of an upload to be ill-treated."""
        location = self.client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
        return str(location).rpartition("/")[2]

    def check(self) -> None:
        """It lives, serves, and has nothing to complain of."""
        assert self.served.process.poll() is None
        assert self.client.get("/v2/kept/app/manifests/1").content == self.kept
        assert self.client.get(f"/v2/kept/app/blobs/{make.digest(hostile.BLOB)}").content == hostile.BLOB
        for line in self.served.log.read_text().splitlines():
            assert "Traceback" not in line
            assert json.loads(line)["level"] not in {"error", "critical"}, line


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    served = start(tmp_path_factory.mktemp("fuzz") / "data", REGISTRY_LOG_ACCESSLOG_DISABLED="true")
    with httpx.Client(base_url=served.url, timeout=PATIENCE, verify=False) as client:
        kept = make.push_image(client, "kept/app", "1", hostile.CONFIG, hostile.BLOB)
        yield Target(served, client, kept)
    served.stop()


@pytest.fixture
def ready(target: Target) -> Iterator[Target]:
    """The image is there at first, and in the end all is well."""
    make.push_image(target.client, "acme/app", "1", hostile.CONFIG, hostile.BLOB)
    yield target
    target.check()


def much(few: int, many: int):
    """The same test twice: a bounded run that is the same every time, and under `slow` a long one that is not."""
    plain = settings(max_examples=few, derandomize=True, **_ALWAYS)
    long = settings(max_examples=longer(many), print_blob=True, **_ALWAYS)
    return pytest.mark.parametrize(
        "form",
        [
            pytest.param(plain, marks=pytest.mark.timeout(600)),
            pytest.param(long, marks=[pytest.mark.slow, pytest.mark.timeout(longer(3600))]),
        ],
        ids=["bounded", "long"],
    )


@much(600, 4_000)
def test_bytes_that_are_no_request_do_no_harm(ready: Target, form: settings) -> None:
    @form
    @given(pieces=hostile.raw_bytes)
    def run(pieces: list[bytes]) -> None:
        answers(talk(ready.served.port, *pieces))

    run()


@much(800, 4_000)
def test_requests_with_hostile_parts_are_answered_as_the_specification_says(ready: Target, form: settings) -> None:
    @form
    @given(sent=hostile.requests())
    def run(sent: hostile.Sent) -> None:
        raw = sent.raw(ready.upload() if "{upload}" in sent.target else "")
        found = answers(talk(ready.served.port, raw), head=sent.method == "HEAD")
        assert len(found) == 1 or sent.framing in {"long", "short"}, (found, "one request, one answer")

    run()


@much(500, 2_000)
def test_a_manifest_is_refused_or_kept_exactly(ready: Target, form: settings) -> None:
    types = st.sampled_from([make.IMAGE, make.IMAGE, make.INDEX, "", "text/plain", f"{make.IMAGE}; charset=utf-8"])

    @form
    @given(content=hostile.manifests(), media_type=types, by_tag=st.booleans())
    def run(content: bytes, media_type: str, by_tag: bool) -> None:
        reference = "fuzzed" if by_tag else make.digest(content)
        path = f"/v2/acme/app/manifests/{reference}"
        put = ready.client.put(path, content=content, headers={"Content-Type": media_type} if media_type else {})
        if put.status_code != 201:
            error = put.json()["errors"][0]
            assert put.status_code < 500, (put.status_code, error)
            assert put.status_code in {status for code, status in STATUS.items() if code.name == error["code"]}
            assert error["message"].isprintable()
            return
        got = ready.client.get(path)
        assert (got.status_code, got.content) == (200, content)
        assert got.headers["Docker-Content-Digest"] == make.digest(content)
        subject = json.loads(content).get("subject")
        if subject:
            listed = ready.client.get(f"/v2/acme/app/referrers/{subject['digest']}").json()
            assert make.digest(content) in [one["digest"] for one in listed["manifests"]]
            assert ready.client.delete(f"/v2/acme/app/manifests/{make.digest(content)}").status_code == 202

    run()
