"""Which source wins, where the data goes, and what the start has to say."""

import os
import pathlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.settings import Settings, load
from moorage.settings.keys import known
from moorage.settings.values import format_duration, parse_duration, parse_seconds, parse_size


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "config.yml"
        file.write_text(text)
        return file

    return write


def test_command_line_beats_environment_beats_file_beats_default(config):
    file = config("http: {addr: ':1'}\nlog: {level: error}\ncatalog: {maxentries: 5}\n")
    environ = {"REGISTRY_HTTP_ADDR": ":2", "REGISTRY_LOG_LEVEL": "warn"}
    loaded = load(file, environ=environ, overrides={"http.addr": ":3", "data": None})
    assert loaded.settings.http.addr == ":3"
    assert loaded.settings.log.level == "warn"
    assert loaded.settings.catalog.maxentries == 5
    assert loaded.settings.tags.maxtags == 1000
    names = ("http.addr", "log.level", "catalog.maxentries", "tags.maxtags")
    assert [loaded.origins[name] for name in names] == [
        "command line",
        "REGISTRY_LOG_LEVEL",
        f"{file}:3",
        "default",
    ]
    assert set(loaded.origins) == {key.name for key in known().values()}


def test_the_first_file_found_is_read_and_a_named_one_comes_first(tmp_path):
    files = [tmp_path / name for name in ("a.yml", "b.yml", "c.yml")]
    for number, file in enumerate(files[1:], start=1):
        file.write_text(f"catalog: {{maxentries: {number}}}\n")
    search = tuple(files)
    assert load(environ={}, search=search).source == files[1]
    assert load(environ={}, search=(files[0],)).source is None
    environ = {"REGISTRY_CONFIGURATION_PATH": str(files[2])}
    assert load(environ=environ, search=search).settings.catalog.maxentries == 2
    assert load(files[1], environ=environ, search=search).settings.catalog.maxentries == 1


def test_data_lands_on_the_volume_that_is_already_mounted(config):
    file = config("storage: {filesystem: {rootdirectory: /srv/registry}}\n")
    settings = load(file, environ={}).settings
    assert (settings.data, settings.blobs) == (Path("/srv/registry"), Path("/srv/registry"))
    apart = load(config(file.read_text() + "data: /srv/rows\n"), environ={}).settings
    assert (apart.data, apart.blobs) == (Path("/srv/rows"), Path("/srv/registry"))
    assert apart.database_url == "sqlite:////srv/rows/moorage.db"


def test_a_folder_on_the_command_line_has_everything_whatever_a_file_says(config):
    file = config("storage: {filesystem: {rootdirectory: /srv/registry}}\nlog: {level: debug}\n")
    given = {"data": "/srv/new"}
    named = load(file, environ={}, overrides=given)
    assert (named.settings.data, named.settings.blobs) == (Path("/srv/new"), Path("/srv/new"))
    assert (named.source, named.settings.log.level) == (file, "debug")
    assert named.origins["storage.filesystem.rootdirectory"] == "default"
    (warning,) = named.warnings
    assert warning.startswith(f"{file}:1: storage.filesystem.rootdirectory is not used")
    by_variable = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/srv/disk"}
    assert load(file, environ=by_variable, overrides=given).settings.blobs == Path("/srv/disk")


def test_where_a_folder_is_given_no_file_is_looked_for(config):
    file = config("storage: {filesystem: {rootdirectory: /srv/registry}}\nlog: {level: debug}\n")
    found = load(environ={}, search=(file,), overrides={"data": "/srv/new"})
    assert (found.source, found.settings.blobs, found.settings.log.level) == (None, Path("/srv/new"), "info")
    assert found.warnings == [f"{file} is not read, because --data is given; name it with --config if you mean it"]
    by_variable = load(environ={"REGISTRY_CONFIGURATION_PATH": str(file)}, search=(), overrides={"data": "/srv/new"})
    assert (by_variable.source, by_variable.settings.log.level) == (file, "debug")
    assert load(environ={"REGISTRY_DATA": "/srv/rows"}, search=(file,)).settings.blobs == Path("/srv/registry")


def test_without_a_volume_the_users_own_folder_serves(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert load(environ={"HOME": "/home/a"}, search=()).settings.data == Path("/home/a/.local/share/moorage")
    assert load(environ={"XDG_DATA_HOME": "/x"}, search=()).settings.data == Path("/x/moorage")
    monkeypatch.setattr(os, "access", lambda *_: True)
    loaded = load(environ={"HOME": "/home/a"}, search=())
    assert loaded.settings.data == Path("/var/lib/registry")
    assert loaded.origins["data"] == "default"


def test_a_relative_folder_is_below_the_current_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load(environ={}, overrides={"data": "data"}, search=()).settings.data == tmp_path / "data"


def test_an_empty_file_and_empty_sections_are_the_defaults(config):
    plain = load(environ={}, search=()).settings
    assert load(config(""), environ={}).settings == plain
    assert load(config("# nothing\n"), environ={}).settings == plain
    assert load(config("version: 0.1\nhttp:\n  tls:\nstorage:\nredis:\n"), environ={}).settings == plain
    assert load(config("storage:\n  inmemory:\n"), environ={}).settings.storage.driver == "inmemory"


def test_yaml_merges_and_anchors_work(config):
    text = "log: &l {level: debug}\nstorage: {filesystem: &f {rootdirectory: /a}}\nhttp: {tls: {}}\n"
    assert load(config(text + "catalog: {<<: {maxentries: 4}}\n"), environ={}).settings.catalog.maxentries == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["closed", "deleted"]),
        ("auth: {open: true}\n", ["deleted"]),
        ("auth: {htpasswd: {path: /a}}\nstorage: {delete: {enabled: true}}\n", []),
        ("auth: {silly: {realm: a, service: b}}\nstorage: {delete: {enabled: false}}\n", ["silly"]),
        ("auth: none\nstorage: inmemory\n", ["deleted", "in memory"]),
    ],
)
def test_what_differs_from_docker_registry_is_said_at_the_start(config, text, words):
    notices = load(config(text), environ={}).notices
    assert len(notices) == len(words)
    for word, notice in zip(words, notices, strict=True):
        assert word in notice


def test_images_of_docker_registry_that_are_not_read_are_told(tmp_path: Path) -> None:
    told = "has images that Docker Registry keeps there"
    assert not any(told in one for one in load(None, environ={}, overrides={"data": str(tmp_path)}).notices)
    (tmp_path / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)
    assert any(told in one for one in load(None, environ={}, overrides={"data": str(tmp_path)}).notices)


def test_settings_cannot_be_changed_and_hide_their_secrets():
    settings = Settings.model_validate(
        {
            "http": {"secret": "hunter2"},
            "database": {"url": "postgresql://a:hunter2@h/d"},
            "admin": {"password": "hunter2"},
        }
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.database)
    with pytest.raises(ValueError, match="frozen"):
        settings.http.addr = ":1"  # type: ignore[misc]


def test_ciphers_have_openssls_names():
    tls = Settings.model_validate(
        {"http": {"tls": {"ciphersuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]}}}
    ).http.tls
    assert tls.openssl_ciphers == "ECDHE-RSA-AES128-GCM-SHA256"


@given(st.integers(min_value=0, max_value=10**14).map(lambda micros: timedelta(microseconds=micros)))
def test_a_duration_survives_being_written_and_read(value):
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5400), ("168h", 604800), ("7d", 604800), ("1.5s", 1.5), ("10ms", 0.01), ("0", 0), (".5m", 30)],
)
def test_durations_are_gos_and_days(text, seconds):
    assert parse_duration(text).total_seconds() == seconds
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1", "-1s", "1 h", "1w", "1h30", "1e3s", "99999999999999d", "\u0661s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("4194304", 4194304), ("64MiB", 64 << 20), ("1.5 GB", 1_500_000_000), ("4kB", 4000), (7, 7)]
)
def test_sizes_have_units(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "64M", "-1", "1 XiB", "MiB", True])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_loading_reads_nothing_but_the_file(config, monkeypatch):
    file = config("storage: {filesystem: {rootdirectory: /nowhere/at/all}}\n")
    monkeypatch.setattr(pathlib.Path, "mkdir", lambda *_a, **_k: pytest.fail("made a folder"))
    assert load(file, environ={}).settings.data == Path("/nowhere/at/all")
