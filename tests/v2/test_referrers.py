"""end-12: referrers."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-12")
def test_referrers_are_listed_and_filtered_also_under_the_fallback_tag(client: httpx.Client) -> None:
    subject = make.push_image(client, "acme/ref", "1", b"{}", b"signed")
    link = {"mediaType": make.IMAGE, "digest": make.digest(subject), "size": len(subject)}
    referrer = make.push_image(client, "acme/ref", "sig", b"{}", subject=link, artifactType="a/sig")
    place = f"/v2/acme/ref/referrers/{make.digest(subject)}"
    listed = client.get(place).json()["manifests"]
    assert [(one["digest"], one["artifactType"]) for one in listed] == [(make.digest(referrer), "a/sig")]
    assert client.get(place, params={"artifactType": "a/other"}).json()["manifests"] == []
    tag = make.digest(subject).replace(":", "-")
    assert client.get(f"/v2/acme/ref/manifests/{tag}").json()["manifests"] == listed
