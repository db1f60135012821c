"""What hostile or broken clients send."""

import copy
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_from_bytes

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import make

BLOB = b"blob" * 10_000
"""A blob of the repository that is fuzzed; in a file."""
CONFIG = b"{}"
MANIFEST = make.image(CONFIG, BLOB)
ALIEN = make.digest(b"nobody has this")

# Raw bytes, and requests with damage

REQUESTS = [
    b"GET /v2/ HTTP/1.1\r\nHost: here\r\n\r\n",
    b"GET /v2/acme/app/manifests/1 HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n",
    b"GET /v2/acme/app/blobs/%b HTTP/1.1\r\nHost: here\r\nRange: bytes=0-99\r\n\r\n" % make.digest(BLOB).encode(),
    b"HEAD /v2/acme/app/manifests/1 HTTP/1.1\r\nHost: here\r\n\r\n",
    b"POST /v2/acme/app/blobs/uploads/ HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n",
    b"POST /v2/acme/app/blobs/uploads/?digest=%b HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
    % make.digest(CONFIG).encode(),
    b"PATCH /v2/acme/app/blobs/uploads/x HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n%b"
    % b"5\r\nhello\r\n0\r\n\r\n",
    b"PUT /v2/acme/app/manifests/1 HTTP/1.1\r\nHost: here\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
    % (make.IMAGE.encode(), len(MANIFEST), MANIFEST),
]

TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"%", b"%00", b"%2F", b"%ff", b"/", b"?", b"#", b"\xff",
    b"\r\n\r\n", b"HTTP/1.1", b"HTTP/9.9", b"Host: there\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"Expect: 200-maybe\r\n", b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"X: " + b"x" * 70_000 + b"\r\n", b"A" * 300,
]  # fmt: skip


@st.composite
def damaged(draw: DrawFn) -> bytes:
    """One or two requests, cut, doubled, shuffled and with bytes put in."""
    raw = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(raw)))
        size = draw(st.integers(0, 40))
        piece = draw(
            st.one_of(st.just(b""), st.sampled_from(TOKENS), st.binary(max_size=4), st.just(raw[at:][:size] * 2))
        )
        raw = raw[:at] + piece + raw[at + draw(st.sampled_from([0, 0, 1, size])) :]
    return raw


@st.composite
def in_pieces(draw: DrawFn, whole: SearchStrategy[bytes]) -> list[bytes]:
    raw = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=2)))
    return [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


raw_bytes = in_pieces(st.one_of(st.binary(max_size=300), damaged(), damaged(), damaged()))

# Requests that are requests

digests = st.sampled_from(
    [make.digest(BLOB), make.digest(CONFIG), make.digest(MANIFEST), ALIEN, make.digest(BLOB, "sha512"),
     "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha1:" + "a" * 40, "md5:x", ":", "sha256+b64u:" + "a" * 43,
     "sha256:" + "a" * 5000, "sha256-" + "a" * 64]
)  # fmt: skip
names = st.sampled_from(
    ["acme/app"] * 16 + ["z", "acme/app/blobs/uploads", "tags/list", "ACME/app", "a//b", "../etc", "a" * 300, "",
     "_catalog", "manifests/blobs", "a/b/c/d/e/f/g/h", "a__b", "a___b", ".", "uploads", "\N{RIGHT-TO-LEFT OVERRIDE}/x"]
)  # fmt: skip
tags = st.sampled_from(
    ["1"] * 8 + ["latest", "-x", ".x", "a" * 128, "a" * 129, "sha256-" + "a" * 64, "ä", "a b", "a/b", "", "@"]
)
uploads = st.sampled_from(
    ["00000000-0000-0000-0000-000000000000", "x", "", "../../x", "%2e%2e", "9" * 500, "A0-", "{upload}", "{upload}"]
)
words = st.one_of(names, tags, digests, uploads, st.text(max_size=20))
numbers = st.sampled_from(
    ["0", "1", "-1", "1e3", "9" * 30, "0x10", "\N{FULLWIDTH DIGIT ONE}", "", " 1", "NaN", "1000001"]
)


@st.composite
def escaped(draw: DrawFn, texts: SearchStrategy[str]) -> str:
    """As it stands in an address: well escaped, escaped where that is needless, or with bytes that are no text."""
    text = draw(texts)
    if "{upload}" in text:
        return text
    form = draw(st.sampled_from(["plain"] * 20 + ["whole", "twice", "bytes", "nul", "half"]))
    if form == "whole":
        return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    plain = quote(text, safe="/:@+", errors="surrogatepass")
    extra = {
        "twice": plain.replace("%", "%25"),
        "bytes": plain + quote_from_bytes(b"\xff\xc0\x80"),
        "nul": plain + "%00",
    }
    return extra.get(form, plain + "%" if form == "half" else plain)


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] * 4 + ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"]
PARAMETERS = ["digest", "digest-algorithm", "mount", "from", "n", "last", "tag", "artifactType", "_state", "ns"]
HEADERS: dict[str, SearchStrategy[str]] = {
    "Range": st.sampled_from(
        ["bytes=0-", "bytes=-5", "bytes=5-1", "bytes=0-0,1-1", "bytes=" + ",".join(["0-1"] * 2000), "bytes=x", "bytes",
         "bytes=99999999999999999999-", "lines=0-1", "bytes=-0", "bytes=0-" + "9" * 400, "", "bytes=39999-40000"]
    ),
    "Content-Range": st.sampled_from(
        ["0-4", "bytes 0-4/5", "5-1", "-1-4", "9" * 20 + "-" + "9" * 20, "x", "0-4/*", "", "\xb9-\xb2"]
    ),
    "If-None-Match": st.sampled_from(["*", f'"{make.digest(MANIFEST)}"', "W/x", '"' * 50, ",,,", ""]),
    "If-Match": st.sampled_from(["*", f'"{make.digest(MANIFEST)}"', "W/x", '"' * 50, ",,,", ""]),
    "If-Range": st.sampled_from(["x", f'"{make.digest(BLOB)}"', "Wed, 21 Oct 2015 07:28:00 GMT"]),
    "Content-Type": st.sampled_from(
        [make.IMAGE, make.INDEX, "application/vnd.docker.distribution.manifest.v2+json", "text/plain", "x", "",
         f"{make.IMAGE}; charset=utf-8", "a/b;" + ";" * 500, "application/json\xe9"]
    ),
    "Accept": st.sampled_from(["*/*", make.INDEX, "", ",,;q=", "x" * 3000]),
    "Expect": st.sampled_from(["100-continue", "x"]),
    "X-Request-Id": st.sampled_from(["mine", "a b", "\xff", "x" * 500]),
    "X-Forwarded-Host": st.just("evil"),
    "Connection": st.sampled_from(["close", "keep-alive", "x,,y"]),
    "Docker-Content-Digest": digests,
}  # fmt: skip


@dataclass
class Sent:
    """A request; `{upload}` in its target stands for an upload that exists."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    framing: str

    def raw(self, upload: str) -> bytes:
        lines = [f"{self.method} {self.target.replace('{upload}', upload)} HTTP/1.1", "Host: here"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        body = self.body
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        elif self.framing != "none" or body:
            lines.append(f"Content-Length: {len(body) + {'long': 7, 'short': -1 if body else 0}.get(self.framing, 0)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@st.composite
def requests(draw: DrawFn) -> Sent:
    """A request to one of the specification's endpoints, or to something beside them."""
    name = draw(escaped(names))
    path = draw(
        st.one_of(
            st.just(f"/v2/{name}/tags/list"),
            st.just(f"/v2/{name}/blobs/uploads/"),
            st.sampled_from(["/v2/", "/v2", "/v2/_catalog", "/", "//v2/", "/readyz", "/v2/_catalog/", "*", "/v3/x"]),
            escaped(st.one_of(tags, digests, st.text(max_size=20))).map(f"/v2/{name}/manifests/{{}}".format),
            escaped(st.one_of(digests, st.text(max_size=20))).map(f"/v2/{name}/blobs/{{}}".format),
            escaped(uploads).map(lambda one: f"/v2/acme/app/blobs/uploads/{one}"),
            escaped(digests).map(f"/v2/{name}/referrers/{{}}".format),
            st.lists(escaped(words), max_size=5).map(lambda parts: "/v2/" + "/".join(parts)),
        )
    )
    pairs = draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), escaped(st.one_of(words, numbers))), max_size=3))
    query = "&".join(f"{key}={value}" for key, value in pairs) + draw(st.sampled_from(["", "", "", "&", "&=&", "=%ff"]))
    chosen = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3))
    return Sent(
        draw(st.sampled_from(METHODS)),
        path + (f"?{query}" if query else ""),
        [(key, draw(HEADERS[key])) for key in chosen],
        draw(st.sampled_from([b"", b"", b"hello", CONFIG, MANIFEST, MANIFEST[:-1], BLOB, b"\0" * 300_000])),
        draw(st.sampled_from(["length"] * 6 + ["chunked"] * 3 + ["none", "long", "short"])),
    )


# Manifests

IMAGE: dict[str, Any] = json.loads(MANIFEST)
ARTIFACT: dict[str, Any] = {
    **IMAGE,
    "artifactType": "application/vnd.example.thing",
    "subject": make.descriptor(MANIFEST, make.IMAGE),
    "annotations": {"org.opencontainers.image.title": "x"},
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": make.INDEX,
    "manifests": [{**make.descriptor(MANIFEST, make.IMAGE), "platform": {"os": "linux", "architecture": "amd64"}}],
}
RAW = {
    "depth": "[" * 60_000 + "]" * 60_000,
    "objects": '{"a":' * 3000 + "1" + "}" * 3000,
    "infinite": "1e999",
    "NaN": "NaN",
    "long": "9" * 6000,
    "fraction": "2.0",
    "negative": "-0",
    "surrogate": '"\\ud800"',
    "pair": '"\\ud83d\\ude00"',
    "nul": '"\\u0000"',
    "twice": '{"digest":"a","digest":"b"}',
    "list": "[" + ",".join(["{}"] * 50_000) + "]",
    "layers": "[" + ",".join([json.dumps(make.descriptor(CONFIG, "a/b"))] * 5000) + "]",
    "annotations": "{" + ",".join(f'"k{number}":"v"' for number in range(20_000)) + "}",
    "broken": "{",
    "control": '"\n"',
}
"""Values that `json.dumps` would not write."""

VALUES = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 1.5, 2**63, 10**30, "", "x", [], {}, [[]], "a/b", "\0", ALIEN, "x" * 3000, [None]]
    ),
    st.sampled_from(sorted(RAW)).map(lambda key: f"<{key}>"),
    digests,
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda one: st.lists(one, max_size=3), max_leaves=5),
)  # fmt: skip


EXTRA = st.sampled_from(["annotations", "subject", "platform", "urls", "data", "size", "x"])


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key in keys for place in _places(value[key], (*path, key)))]


@st.composite
def manifests(draw: DrawFn) -> bytes:
    """A manifest, or what was one before some of its values were changed, dropped or given twice."""
    document: Any = json.loads(json.dumps(draw(st.sampled_from([IMAGE, ARTIFACT, INDEX]))))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(document)
        *way, last = draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        value = copy.deepcopy(draw(VALUES))  # the next change may go into it
        if draw(st.booleans()):
            holder[last] = value
        elif isinstance(holder, dict):
            holder[draw(EXTRA)] = value
        elif len(holder) > 1 or draw(st.booleans()):
            holder.append(value)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    for key, raw in RAW.items():
        text = text.replace(f'"<{key}>"', raw, 1)
    edit = draw(st.sampled_from([""] * 10 + ["double", "cut", "mark", "space", "behind", "latin", "sixteen"]))
    if edit == "double":
        key, value = draw(st.sampled_from(sorted(IMAGE))), draw(st.sampled_from(["1", "[]", '""', "null"]))
        text = f'{{"{key}":{value},' + text[1:]
    content = text.encode("utf-8", "surrogatepass")
    return {
        "cut": content[: draw(st.integers(0, len(content)))],
        "mark": b"\xef\xbb\xbf" + content,
        "space": b" \n" + content + b"\n",
        "behind": content + content[:10],
        "latin": content + b"\xe9",
        "sixteen": text.encode("utf-16", "surrogatepass"),
    }.get(edit, content)
