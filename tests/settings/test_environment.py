"""The environment: names are resolved by the model, and nothing unknown prevents the start."""

from pathlib import Path

import pytest

from moorage.settings import SettingsError, load
from moorage.settings.environment import resolve
from moorage.settings.keys import walk


def settings_of(**environ):
    return load(environ=environ, search=()).settings


def warnings_of(**environ):
    return load(environ=environ, search=()).warnings


def test_every_key_can_be_set_by_its_own_variable():
    for key in walk():
        found = resolve(key.variable.removeprefix("REGISTRY_"))
        assert found is not None, key.name
        assert found.path == key.path


def test_names_with_underscores_are_found_by_walking_the_model():
    settings = settings_of(
        REGISTRY_LIMITS_TAGS_PER_PUSH="7",
        REGISTRY_LIMITS_MANIFEST_BYTES="1MiB",
        REGISTRY_LIMITS_BODY_SECONDS="1m30s",
        REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED="true",
        REGISTRY_GC_WINDOW="2d",
    )
    assert settings.limits.tags_per_push == 7
    assert settings.limits.manifest_bytes == 1024 * 1024
    assert settings.limits.body_seconds == 90
    assert settings.storage.maintenance.readonly.enabled
    assert settings.gc.window.days == 2


def test_lists_are_set_by_index_or_as_a_yaml_value():
    assert settings_of(REGISTRY_HTTP_TRUSTED_PROXIES="[10.0.0.0/8, '::1']").http.trusted_proxies == (
        "10.0.0.0/8",
        "::1/128",
    )
    assert settings_of(REGISTRY_HTTP_TRUSTED_PROXIES="10.0.0.1").http.trusted_proxies == ("10.0.0.1/32",)
    many = {f"REGISTRY_HTTP_TLS_CLIENTCAS_{number}": f"/ca/{number}" for number in range(12)}
    many |= {"REGISTRY_HTTP_TLS_CERTIFICATE": "/a", "REGISTRY_HTTP_TLS_KEY": "/b"}
    assert settings_of(**many).http.tls.clientcas == tuple(f"/ca/{number}" for number in range(12))
    platforms = settings_of(
        REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS="List",
        REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS="linux",
        REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE="arm64",
    ).validation.manifests.indexes
    assert platforms.platforms == "list"
    assert [(one.os, one.architecture) for one in platforms.platformlist] == [("linux", "arm64")]


def test_an_element_of_the_files_list_can_be_replaced(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text("http: {tls: {certificate: /c, key: /k, clientcas: [/a, /b]}}\n")
    loaded = load(file, environ={"REGISTRY_HTTP_TLS_CLIENTCAS_1": "/c"})
    assert loaded.settings.http.tls.clientcas == ("/a", "/c")


def test_a_gap_in_a_list_is_a_fault():
    with pytest.raises(SettingsError, match="there is no element 0 before it"):
        settings_of(REGISTRY_HTTP_TLS_CLIENTCAS_3="/a")


@pytest.mark.parametrize("name", ["Access-Control-Allow-Origin", "ACCESS_CONTROL_ALLOW_ORIGIN"])
@pytest.mark.parametrize("value", ["['*']", "*", '"*"'])
def test_headers_are_set_as_docker_registrys_users_do(name, value):
    if value == "*":  # an alias in YAML
        with pytest.raises(SettingsError, match="is not valid YAML"):
            settings_of(**{f"REGISTRY_HTTP_HEADERS_{name}": value})
        return
    headers = settings_of(**{f"REGISTRY_HTTP_HEADERS_{name}": value}).http.headers
    assert headers == {"Access-Control-Allow-Origin": ("*",)}


def test_naming_a_driver_picks_it_and_keeps_the_rest(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text("storage:\n  filesystem: {rootdirectory: /x}\n  delete: {enabled: false}\n")
    loaded = load(file, environ={"REGISTRY_STORAGE": "inmemory"})
    assert loaded.settings.storage.driver == "inmemory"
    assert not loaded.settings.storage.delete.enabled
    assert loaded.settings.ephemeral
    assert loaded.origins["storage.filesystem.rootdirectory"] == "default"
    assert loaded.origins["storage.inmemory"] == "REGISTRY_STORAGE"


def test_auth_by_name_and_parts_as_in_docker_registrys_manual(tmp_path):
    environ = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    }
    auth = settings_of(**environ).auth
    assert (auth.provider, auth.htpasswd.realm, auth.htpasswd.path) == (
        "htpasswd",
        "Registry Realm",
        Path("/auth/htpasswd"),
    )
    file = tmp_path / "config.yml"
    file.write_text("auth: {open: true}\n")
    assert not load(file, environ=environ).settings.auth.open
    assert settings_of(REGISTRY_AUTH="none").auth.open


def test_a_value_can_come_from_a_file_without_its_line_end(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    loaded = load(environ={"REGISTRY_ADMIN_PASSWORD_FILE": str(secret)}, search=())
    assert loaded.settings.admin.password == "correct horse"
    assert loaded.origins["admin.password"] == "REGISTRY_ADMIN_PASSWORD_FILE"
    assert "correct" not in repr(loaded.settings)
    with pytest.raises(SettingsError, match=r"given twice, by REGISTRY_ADMIN_PASSWORD as well") as caught:
        settings_of(REGISTRY_ADMIN_PASSWORD="hunter2", REGISTRY_ADMIN_PASSWORD_FILE=str(secret))
    assert "hunter2" not in str(caught.value)


def test_a_whole_section_can_come_from_a_file_where_any_key_may_stand(tmp_path):
    fields = tmp_path / "fields.yml"
    fields.write_text("{service: s}\n")
    assert settings_of(REGISTRY_LOG_FIELDS_FILE=str(fields)).log.fields == {"service": "s"}
    assert settings_of(REGISTRY_LOG_FIELDS_KEY_FILE="k").log.fields == {"key_file": "k"}


def test_a_text_stays_the_text_that_was_given():
    assert settings_of(REGISTRY_HTTP_SECRET="0123").http.secret == "0123"
    assert settings_of(REGISTRY_HTTP_SECRET="a: b # c").http.secret == "a: b # c"
    assert settings_of(REGISTRY_LOG_FIELDS_SERVICE_NAME="x").log.fields == {"service_name": "x"}


def test_kubernetes_service_links_never_prevent_the_start():
    links = {
        "REGISTRY_PORT": "tcp://10.96.0.1:5000",
        "REGISTRY_SERVICE_HOST": "10.96.0.1",
        "REGISTRY_SERVICE_PORT": "5000",
        "REGISTRY_SERVICE_PORT_HTTP": "5000",
        "REGISTRY_PORT_5000_TCP": "tcp://10.96.0.1:5000",
        "REGISTRY_PORT_5000_TCP_PROTO": "tcp",
        "REGISTRY_PORT_5000_TCP_PORT": "5000",
        "REGISTRY_PORT_5000_TCP_ADDR": "10.96.0.1",
        "REGISTRY_HTTP_PORT": "tcp://10.96.0.2:80",
        "REGISTRY_HTTP_SERVICE_HOST": "10.96.0.2",
        "REGISTRY_PROXY_SERVICE_HOST": "10.96.0.3",
        "REGISTRY_PROXY_PORT_80_TCP": "tcp://10.96.0.3:80",
        "REGISTRY_DATA_PORT": "tcp://10.96.0.4:80",
    }
    loaded = load(environ=links, search=())
    assert loaded.settings == load(environ={}, search=()).settings
    assert len(loaded.warnings) == 1
    assert "enableServiceLinks" in loaded.warnings[0]
    assert loaded.ignored == []


def test_unknown_names_only_warn_and_say_what_was_perhaps_meant():
    assert warnings_of(REGISTRY_STORAGE_DELETE_ENABELD="true") == [
        "REGISTRY_STORAGE_DELETE_ENABELD is not a setting and is ignored; did you mean REGISTRY_STORAGE_DELETE_ENABLED?"
    ]
    assert warnings_of(REGISTRY_WOMBAT="x") == ["REGISTRY_WOMBAT is not a setting and is ignored"]
    assert warnings_of(REGISTRY_VERSION="2.8.3", REGISTRYX="1", REGISTRY="2") == []
    assert warnings_of(REGISTRY_HTTP_ADDR="") == ["REGISTRY_HTTP_ADDR is empty and changes nothing"]
