"""Asking a registry over HTTP and writing down what came of it.  Shares no code with the server."""

import contextlib
import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.faults.history import FAIL, OK, UNKNOWN, History

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BROKEN = (OSError, http.client.HTTPException)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Refused(Exception):  # noqa: N818 - an answer
    """The registry answered, and not as wished."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(status, content[:300])
        self.status = status
        self.code = ""
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            self.code = json.loads(content)["errors"][0]["code"]


class Unsent(Exception):  # noqa: N818 - an answer
    """Nobody listened, so nothing was asked."""


class Client:
    """One connection, made anew whenever it broke; for one thread."""

    def __init__(self, port: int, history: History | None = None, timeout: float = 60) -> None:
        self._port, self._history, self._timeout = port, history, timeout
        self._connection: http.client.HTTPConnection | None = None
        self.upload: str | None = None
        """Where the last upload that was begun goes on."""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, method: str, path: str, content: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their lower-case names, and the whole body.  Raises what `http.client` does, or Unsent."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
            try:
                self._connection.connect()
            except OSError as error:
                self.close()
                raise Unsent from error
        try:
            self._connection.request(method, path, content, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = self._connection.getresponse()
            body = answer.read()
        except BROKEN:
            self.close()
            raise
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def push_blob(self, repository: str, content: bytes, form: str = "whole") -> bool:
        """Push a blob: `whole`, `stream` (POST, PATCH, PUT), `last` (POST, PUT with body), `chunks`, or `doubted`: a
        stream that somebody cancels while it is finished.
        """
        digest = digest_of(content)
        deed = self._begin("push-blob", repository=repository, digest=digest, size=len(content), form=form)
        return self._finish(deed, lambda: self._push(repository, content, digest, form))

    def resume(self, repository: str, content: bytes, upload: str) -> bool | None:
        """Go on with an upload where it stands, to its end; None where there is no such upload any more."""
        status, headers, _ = self.ask("GET", upload)
        if status == 404:
            return None
        last = int(headers["range"].partition("-")[2])
        offset = last + 1 if last else 0
        digest = digest_of(content)
        deed = self._begin("push-blob", repository=repository, digest=digest, size=len(content), form="resumed")
        path, rest = f"{upload}{'&' if '?' in upload else '?'}digest={digest}", content[offset:]
        headers = {"Content_Range": f"{offset}-{len(content) - 1}"} if rest else {}
        return self._finish(deed, lambda: self._expect(201, "PUT", path, rest, **headers))

    def mount(self, repository: str, source: str, digest: str) -> bool:
        deed = self._begin("mount", repository=repository, source=source, digest=digest)

        def act() -> dict[str, Any]:
            status, _, body = self.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}")
            if status != 201:
                raise Refused(404 if status == 202 else status, body)
            return {"status": status}

        return self._finish(deed, act)

    def put_manifest(self, repository: str, content: bytes, tag: str | None) -> bool:
        """Push a manifest by tag, or by digest where there is none."""
        parsed, digest = json.loads(content), digest_of(content)
        blobs = [one["digest"] for one in (parsed["config"], *parsed["layers"])]
        deed = self._begin("put-manifest", repository=repository, digest=digest, tag=tag, blobs=blobs)
        path = f"/v2/{repository}/manifests/{tag or digest}"
        return self._finish(deed, lambda: self._expect(201, "PUT", path, content, Content_Type=MANIFEST))

    def delete(self, what: str, repository: str, reference: str) -> bool:
        """Delete a `manifest`, `tag` or `blob`."""
        name = "tag" if what == "tag" else "digest"
        deed = self._begin(f"delete-{what}", repository=repository, **{name: reference})
        path = f"/v2/{repository}/{'blobs' if what == 'blob' else 'manifests'}/{reference}"
        return self._finish(deed, lambda: self._expect(202, "DELETE", path))

    def let_expire(self, repository: str, digest: str) -> None:
        """Write down that from here on nothing protects a blob that nobody refers to."""
        self._begin("let-expire", repository=repository, digest=digest)

    def get(self, what: str, repository: str, reference: str) -> bytes | None:
        """Read a `manifest` or `blob`; None where there is none, or nobody knows."""
        deed = self._begin(f"get-{what}", repository=repository, reference=reference)
        found: list[bytes] = []

        def act() -> dict[str, Any]:
            status, headers, body = self.ask("GET", f"/v2/{repository}/{what}s/{reference}", Accept=MANIFEST)
            if status == 404:
                return {"status": status, "found": None}
            if status != 200:
                raise Refused(status, body)
            found.append(body)
            return {"status": status, "found": headers.get("docker-content-digest"), "hashed": digest_of(body)}

        self._finish(deed, act)
        return found[0] if found else None

    def _push(self, repository: str, content: bytes, digest: str, form: str) -> dict[str, Any]:
        uploads = f"/v2/{repository}/blobs/uploads/"
        if form == "whole":
            return self._expect(201, "POST", f"{uploads}?digest={digest}", content)
        place = self._place("POST", uploads)
        if form in ("stream", "doubted"):
            place = self._place("PATCH", place, content)
        if form == "chunks":
            half = len(content) // 2
            for start, piece in ((0, content[:half]), (half, content[half:])):
                place = self._place("PATCH", place, piece, Content_Range=f"{start}-{start + len(piece) - 1}")
        path = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        with self._cancelling(place) if form == "doubted" else contextlib.nullcontext():
            return self._expect(201, "PUT", path, content if form == "last" else None)

    @contextlib.contextmanager
    def _cancelling(self, place: str) -> Iterator[None]:
        def cancel() -> None:
            time.sleep(random.uniform(0, 0.003))
            with contextlib.suppress(*BROKEN, Unsent):
                other.ask("DELETE", place)

        other = Client(self._port, timeout=self._timeout)
        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            other.close()

    def _place(self, method: str, path: str, content: bytes | None = None, **headers: str) -> str:
        """Where the upload goes on, after an answer that accepts it."""
        status, given, body = self.ask(method, path, content, **headers)
        if status != 202:
            raise Refused(status, body)
        where = urlsplit(given["location"])
        self.upload = where.path + (f"?{where.query}" if where.query else "")
        return self.upload

    def _expect(
        self, wanted: int, method: str, path: str, content: bytes | None = None, **headers: str
    ) -> dict[str, Any]:
        status, _, body = self.ask(method, path, content, **headers)
        if status != wanted:
            raise Refused(status, body)
        return {"status": status}

    def _begin(self, kind: str, **arguments: Any) -> str:
        return self._history.begin(kind, **arguments) if self._history else ""

    def _finish(self, deed: str, act: Any) -> bool:
        """Do it and write down what came of it; whether it was done."""
        result: dict[str, Any] = {}
        try:
            result, outcome = act(), OK
        except Refused as answer:
            # A server's own failure says nothing about what it did before.
            outcome = UNKNOWN if answer.status >= 500 else FAIL
            result = {"status": answer.status, "code": answer.code}
        except Unsent:
            outcome = FAIL
        except BROKEN:
            outcome = UNKNOWN
        if self._history:
            self._history.end(deed, outcome, **result)
        return outcome == OK
