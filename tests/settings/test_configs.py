"""Configurations as people have them for Docker Registry: exactly what we say to each."""

from pathlib import Path

import pytest

from moorage.settings import SettingsError, load

CONFIGS = Path(__file__).parent / "configs"


def keys(lines):
    """Line number and key of each report."""
    found = []
    for line in lines:
        place, _, rest = line.partition(": ")
        found.append((int(place.rpartition(":")[2]), rest.split(" ")[0]))
    return found


def test_plain_filesystem_behind_nginx_is_taken_as_it_is():
    loaded = load(CONFIGS / "behind-nginx.yml", environ={})
    settings = loaded.settings
    assert settings.data == settings.blobs == Path("/var/lib/registry")
    assert settings.database_url == "sqlite:////var/lib/registry/moorage.db"
    assert settings.log.accesslog.disabled
    assert settings.log.fields == {"service": "registry", "environment": "production"}
    assert settings.auth.provider == "htpasswd"
    assert settings.auth.htpasswd.path == Path("/auth/htpasswd")
    assert settings.http.endpoint == ("0.0.0.0", 5000)
    assert settings.http.secret == "08154711"
    assert settings.http.draintimeout.total_seconds() == 60
    assert settings.http.headers["Access-Control-Allow-Credentials"] == ("true",)
    assert settings.storage.maintenance.uploadpurging.age.days == 7
    assert loaded.warnings == []
    assert loaded.notices == []
    assert keys(loaded.ignored) == [
        (14, "storage.filesystem.maxthreads"),
        (17, "storage.cache"),
        (33, "http.relativeurls"),
        (44, "health"),
    ]


def test_s3_is_the_only_fault_of_a_cloud_configuration():
    with pytest.raises(SettingsError) as caught:
        load(CONFIGS / "s3-redis.yml", environ={})
    assert [str(fault).removeprefix(str(CONFIGS)) for fault in caught.value.faults] == [
        "/s3-redis.yml:5: storage.s3: this storage is not yet supported; use `filesystem`"
    ]
    assert keys(caught.value.ignored) == [
        (17, "storage.redirect"),
        (18, "storage.cache"),
        (19, "storage.tag"),
        (28, "redis"),
        (40, "http.http2"),
        (41, "notifications"),
    ]
    assert "notareal" not in str(caught.value)
    assert "notareal" not in "".join(caught.value.ignored)


def test_pull_through_of_version_2_needs_another_way_to_its_certificate():
    with pytest.raises(SettingsError) as caught:
        load(CONFIGS / "pull-through.yml", environ={})
    (fault,) = caught.value.faults
    assert (fault.where.rpartition(":")[2], fault.key) == ("15", "http.tls.letsencrypt")
    assert "reverse proxy" in fault.problem
    assert keys(caught.value.ignored) == [(8, "storage.cache"), (19, "compatibility"), (22, "proxy")]
    assert keys(caught.value.warnings) == [(3, "loglevel")]


def test_pull_through_without_the_certificate_loads_and_says_what_it_will_not_do(tmp_path):
    text = (CONFIGS / "pull-through.yml").read_text()
    start, end = text.index("  tls:"), text.index("compatibility:")
    file = tmp_path / "config.yml"
    file.write_text(text[:start] + text[end:])
    loaded = load(file, environ={})
    assert loaded.settings.log.level == "debug"
    assert any("proxy is accepted and not acted on" in line for line in loaded.ignored)
    assert "closed" in loaded.notices[0]
    assert "deleted" in loaded.notices[1]
