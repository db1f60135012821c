"""What is wrong is told all at once, with its line, and with what was perhaps meant."""

import pytest

from moorage.settings import SettingsError, load


@pytest.fixture
def faults_of(tmp_path):
    def check(text, **environ):
        file = tmp_path / "config.yml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(SettingsError) as caught:
            load(file, environ=environ)
        return [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]

    return check


def test_every_fault_of_every_source_is_told_together(faults_of):
    faults = faults_of(
        """\
version: 0.1
storage:
  filesytem: {rootdirectory: /x}
  delete: {enabled: perhaps}
http:
  addr: 5000
  secret: a
  secret: b
gc: {window: 0s, undo: 60}
limits: {manifest_bytes: many}
""",
        REGISTRY_CATALOG_MAXENTRIES="none",
        REGISTRY_ADMIN_PASSWORD_FILE="/none",
    )
    assert faults == [
        "config.yml:3: storage.filesytem: there is no such key; did you mean 'storage.filesystem'?",
        "config.yml:4: storage.delete.enabled: must be true or false, not 'perhaps'",
        "config.yml:5: http: `addr` must be HOST:PORT such as ':5000' or '127.0.0.1:5000', not '5000'",
        "config.yml:8: http.secret: is given twice; the first time on line 7",
        "config.yml:9: gc.window: must be longer than 0s",
        "config.yml:9: gc.undo: must be a duration such as '30s', '1h30m' or '7d', not '60'; did you mean '60s'?",
        "config.yml:10: limits.manifest_bytes: must be a size in bytes such as 4194304, '64MiB' or '1.5GB', not 'many'",
        "REGISTRY_ADMIN_PASSWORD_FILE: admin.password: the file /none cannot be read: No such file or directory",
        "REGISTRY_CATALOG_MAXENTRIES: catalog.maxentries: must be a whole number, not 'none'",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 0.1\nhttp:\n\taddr: x\n", "config.yml:3: YAML: is indented by a tab; YAML wants spaces"),
        ("a: [1\nb: 2\n", "config.yml:2: YAML: "),
        ("version: 0.1\n---\nversion: 0.1\n", "config.yml:2: YAML: expected a single document"),
        ("- a\n", "config.yml: must be keys and values"),
        ("just words\n", "config.yml: must be keys and values"),
        (b"a: \xff\n", "config.yml:1: is not UTF-8 text"),
        ("version: 0.1\nhttp: {host: 'a\x00b'}\n", "config.yml:2: has a character that YAML does not allow"),
        ("http: &a\n  tls: *a\n", "config.yml:1: http.tls.tls.tls: is nested too deeply, or contains itself"),
        ("? [a]\n: b\n", "config.yml:1: has a key that is not text"),
        ("log: {fields: {a: !!python/name:os.system x}}\n", "config.yml:1: log.fields.a: has a YAML tag"),
        ("[" * 3000, "config.yml: is nested too deeply"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_a_fault_with_its_line(faults_of, text, fault):
    assert faults_of(text)[0].startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 0.2\n", "1: version: must be '0.1', not '0.2'"),
        ("storage: {rootdirectory: /x}\n", ("1: storage.rootdirectory: there is no such key; "
                                            "did you mean 'storage.filesystem.rootdirectory'?")),
        ("storage: s3\n", "1: storage.s3: this storage is not yet supported"),
        ("storage:\n  s3:\n", "2: storage.s3: this storage is not yet supported"),
        ("storage: {inmemory: , filesystem: {rootdirectory: /x}}\n", "1: storage: names two storage drivers"),
        ("storage: [a]\n", "1: storage: must be a section of keys"),
        ("auth: {htpasswd: {path: /a}, token: {realm: a, service: b, issuer: c, jwks: /d}}\n",
         "1: auth: names several providers, htpasswd, token; keep one"),
        ("auth: {htpasswd: {path: /a}, open: true}\n", "1: auth: cannot be open to everybody"),
        ("auth: {certificates: true}\n", "1: auth.certificates: needs http.tls.clientcas: a certificate that nobody"),
        (("http: {tls: {certificate: /a, key: /b, clientcas: [/c], clientauth: request-client-cert}}\n"
          "auth:\n  certificates: true\n"), "3: auth.certificates: needs http.tls.clientauth to verify"),
        ("auth: {certificates: true, open: true}\n", "1: auth: lets `certificates` sign in the registry's own"),
        ("auth: {certificates: true, htpasswd: {path: /a}}\n", "1: auth: lets `certificates` sign in"),
        ("http: {tls: {clientcas: [/c]}}\n", "1: http.tls: needs `certificate` and `key` where `clientcas` wants"),
        ("auth:\n  htpasswd:\n", "2: auth.htpasswd.path: is required"),
        ("auth: {token: {realm: a, service: b, issuer: c}}\n", "1: auth.token: needs `rootcertbundle` or `jwks`"),
        ("auth: kerberos\n", "1: auth.kerberos: there is no such key"),
        ("http: {host: registry.example.com}\n", "1: http.host: must be a URL"),
        ("http: {host: 'https://a.example/registry'}\n", "1: http.host: must end after the host and port"),
        ("http: {prefix: registry}\n", "1: http.prefix: must begin and end with a slash"),
        ("http: {addr: '::1:5000'}\n", "1: http: `addr` needs brackets around an IPv6 address"),
        ("http: {net: unix, addr: ':5000'}\n", "1: http: needs the absolute path of a socket"),
        ("http: {tls: {certificate: /a}}\n", "1: http.tls: needs both `certificate` and `key`"),
        ("http: {tls: {minimumtls: tls1.0}}\n", "1: http.tls.minimumtls: TLS 1.0 and 1.1 are no longer safe"),
        ("http: {tls: {ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]}}\n", "1: http.tls.ciphersuites: names cipher suites"),
        ("http: {headers: {'X Y': [a]}}\n", "1: http.headers: names a header that cannot be"),
        ("http: {headers: {content-length: ['5']}}\n", "1: http.headers: gives the header content-length, which is"),
        ("http: {headers: {X-Content-Type-Options: [sniff]}}\n", "1: http.headers: gives the header X-Content-Type-"),
        ("http: {tls: {clientauth: require-any-client-cert}}\n", "1: http.tls.clientauth: would want a certificate"),
        ('http: {headers: {X-Y: ["a\\nb"]}}\n', "1: http.headers: gives the header X-Y a value"),
        ("http: {trusted_proxies: [10.0.0.0/33]}\n", "1: http.trusted_proxies: "),
        ("http: {accel: /stored}\n", "1: http: needs the nginx that `accel` is for in `trusted_proxies`"),
        ("http: {accel: /stored/, trusted_proxies: unix}\n", "1: http.accel: must be the path of a location of nginx"),
        ("http: {allow: [10.0.0.0/33]}\n", "1: http.allow: '10.0.0.0/33' does not appear to be"),
        ("http: {deny: [10.0.0.0/8, '']}\n", "1: http.deny: '' does not appear to be"),
        ("http: {deny: [unix]}\n", "1: http.deny: 'unix' does not appear to be"),
        ("http: {debug: {allow: here}}\n", "1: http.debug.allow: 'here' does not appear to be"),
        ("http: {workers: 0}\n", "1: http.workers: must be a number from 1 to 999, or 'auto', not '0'"),
        ("http: {workers: many}\n", "1: http.workers: must be a number from 1 to 999, or 'auto', not 'many'"),
        ("storage: inmemory\nhttp: {workers: 2}\n", "2: http.workers: must be 1 where storage is in memory"),
        ("log: {level: loud}\n", "1: log.level: must be 'error', 'warn', 'info' or 'debug', not 'loud'"),
        ("validation: {manifests: {urls: {allow: ['(']}}}\n",
         "1: validation.manifests.urls.allow: is not a regular expression"),
        ("database: {url: 'mysql://root:hunter2@db/x'}\n", "1: database.url: must begin with 'sqlite:///'"),
        ("limits: {tags_per_push: 0}\n", "1: limits.tags_per_push: must be more than 0"),
        ("limits: {header_bytes: 1}\n", "1: limits.header_bytes: must be at least 4096"),
        ("limits: {body_seconds: soon}\n", "1: limits.body_seconds: must be a duration"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_words(faults_of, text, fault):
    assert faults_of(text)[0].startswith(f"config.yml:{fault}")


def test_a_secret_is_never_repeated_in_a_fault(faults_of):
    faults = faults_of(
        "http: {secret: [hunter2]}\ndatabase: {url: 'mysql://root:hunter2@db/x'}\nadmin: {password: {a: hunter2}}\n"
    )
    assert len(faults) == 3
    assert "hunter2" not in "".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "admin:\n  password:hunter2\n",
        "admin: {password:hunter2}\n",
        "admin: {password:hunter2: 1, password:hunter2: 2}\n",
        "admin: {password: *hunter2}\n",
        "admin: {password: !hunter2}\n",
        "admin: {password: !hunter2 x}\n",
        "http: {host: 'https://bob:hunter2@registry.example.com'}\n",
        "database:hunter2\n",
    ],
)
def test_a_mistyped_secret_is_not_repeated_either(faults_of, text):
    assert "hunter2" not in "".join(faults_of(text))


def test_a_named_file_that_is_not_there_is_a_fault(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yml: cannot be read: No such file"):
        load(tmp_path / "none.yml", environ={})
    with pytest.raises(SettingsError, match=r"none\.yml: cannot be read: No such file"):
        load(environ={"REGISTRY_CONFIGURATION_PATH": str(tmp_path / "none.yml")})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path, environ={})


@pytest.mark.parametrize("rate", ["0/minute", "many", "5", "1/second; 9/minute", "600/fortnight", "-3/hour"])
def test_a_rate_that_is_none_is_told_with_one_that_is(faults_of, rate):
    must = "must be one rate such as '600/minute' or '100 per 6 hours'"
    assert faults_of(f"limits:\n  rates:\n    signed_in: '{rate}'\n") == [
        f"config.yml:3: limits.rates.signed_in: {must}, not '{rate}'"
    ]
