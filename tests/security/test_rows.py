"""Every attack of the list that the registry is open to so far has at least one test, named by its number."""

import re
from pathlib import Path

KEEL = {
    1: "paths by names, digests, tags and upload ids",
    2: "another algorithm, or another digest",
    3: "a manifest that reads as two things",
    4: "huge and deep JSON",
    5: "lists of any length",
    6: "texts that a pattern takes for ever to refuse",
    7: "ranges",
    8: "indexes of indexes",
    10: "blobs of other repositories",
    11: "uploads of other repositories",
    12: "another action than the one that was allowed",
    13: "rights that change with the way to sign in",
    14: "more scope than one may have",
    15: "tokens that outlive what they were given for",
    16: "forged tokens",
    17: "things of others by their names and numbers",
    18: "robots that become more",
    19: "fields that are not for clients",
    20: "SQL and its wildcards",
    21: "telling what exists",
    23: "telling who there is",
    24: "guessing passwords, and floods of sign-ins",
    25: "open by default",
    26: "forwarded headers and hosts",
    30: "being made to fetch",
    40: "pages out of content",
    41: "other sites in a browser",
    44: "secrets in logs",
    45: "forged lines of the log",
    46: "slow clients",
    47: "where a request ends",
    48: "unbounded memory",
    49: "loading what runs",
    51: "answers that are remembered",
    52: "endpoints that nobody knows of",
    53: "what we are made of",
}
"""Those that need quotas, a mirror, pages or object storage come with them."""


def test_every_attack_on_the_keel_has_a_test() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = {int(number) for number in re.findall(r"^def test_sec_(\d\d)_", text, re.MULTILINE)}
    assert tested == KEEL.keys()
