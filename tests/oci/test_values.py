"""The specification's values, against slower and more obvious ways to say the same."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code, RegistryError
from moorage.oci import digest, ranges
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest
from moorage.oci.names import RepositoryName, Tag, parse_reference


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(["sha256", "sha512"]))
def test_any_chunking_hashes_alike_even_with_the_state_carried_over(chunks: list[bytes], algorithm: str) -> None:
    running = digest.hasher(algorithm)
    for chunk in chunks:
        running.update(bytearray(chunk))
        continued = digest.resume(running.state(), running.digest())
        if continued is not None:
            running = continued
    assert running.digest().hex == hashlib.new(algorithm, b"".join(chunks)).hexdigest()


def test_a_state_that_does_not_stand_for_its_digest_is_not_trusted() -> None:
    running = digest.hasher()
    running.update(b"one")
    assert digest.resume(running.state(), Digest.of(b"other")) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_damaged_hash_state_is_not_believed(algorithm: str) -> None:
    """Libcrypto itself would write wherever the count in a damaged state leads it."""
    running = digest.hasher(algorithm)
    running.update(b"some bytes")
    state = running.state()
    assert state is not None
    for at in range(len(state)):
        damaged = bytearray(state)
        damaged[at] ^= 0x80
        continued = digest.resume(bytes(damaged), running.digest())
        assert continued is None or at >= 40  # old bytes behind those that wait for their block count for nothing
    for tail in (b"\xff" * 8, b"\xff\xff\xff\x7f" + state[-4:], b""):
        assert digest.resume(state[:-8] + tail, running.digest()) is None


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_a_slice(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    try:
        found = ranges.requested(f"bytes={first}-{last}", size)
    except RegistryError as refused:
        assert refused.code is Code.RANGE_INVALID
        assert not content[first : last + 1]
        return
    assert found is not None
    assert b"".join(content[one.start : one.stop] for one in found) == content[first : last + 1]


@given(st.text(max_size=300))
def test_parsing_never_raises_anything_but_a_named_refusal(text: str) -> None:
    for parse in (RepositoryName.parse, Tag.parse, Digest.parse, parse_reference):
        try:
            parsed = parse(text)
        except RegistryError:
            continue
        assert str(parsed) == text


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_manifest_or_refused(body: bytes) -> None:
    try:
        Manifest.parse(body, None)
    except RegistryError as refused:
        assert refused.code is Code.MANIFEST_INVALID


@pytest.mark.parametrize("text", ["sha256:abc", "md5:" + "a" * 32, "sha256:" + "A" * 64, "sha256:../x", "sha256"])
def test_a_bad_digest_is_refused(text: str) -> None:
    with pytest.raises(RegistryError) as refused:
        Digest.parse(text)
    assert refused.value.code is Code.DIGEST_INVALID


def test_a_name_of_one_component_belongs_to_library() -> None:
    assert RepositoryName.parse("alpine").owner == "library"
    assert RepositoryName.parse("acme/team/app").owner == "acme"
