"""`moorage user`, `org`, `team`, `robot`, `token`, `repo`, `access`: on the data folder and over the API."""

import base64
import json
import os
import pty
import re
import socket
import ssl
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from moorage.cli import console, credentials, place, remote, words
from moorage.errors import Code, RegistryError
from tests import make
from tests.authority import Authority
from tests.cli.running import environment
from tests.closed import ADMIN, PASSWORD, Closed


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    one = Closed(tmp_path_factory.mktemp("closed"), "auth:\n  refreshtokens: true\n")
    yield one
    one.stop()


@pytest.fixture
def cli(closed):
    """Runs a command on the data folder beside the server; gives status, output and complaints."""

    def run(*arguments, line=None, **environ):
        return ended(*arguments, "--data", closed.served.data, line=line, **environ)

    return run


@pytest.fixture
def away(closed, tmp_path):
    """Runs a command over the API, with what `docker login` left."""

    def run(*arguments, who=ADMIN, line=None, config=None, **environ):
        if config is None:
            auth = base64.b64encode(":".join(who or ()).encode()).decode()
            config = {"auths": {closed.served.address: {"auth": auth}}} if who else {}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return ended(*arguments, "--host", closed.served.address, line=line, DOCKER_CONFIG=str(tmp_path), **environ)

    return run


def ended(*arguments, line=None, **environ):
    done = subprocess.run(
        [sys.executable, "-m", "moorage", *map(str, arguments)],
        check=False, capture_output=True, text=True, env=environment(**environ), timeout=100,
        input=f"{line}\n" if line is not None else "",
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_user_is_added_beside_a_running_server_and_signs_in_there(closed, cli):
    status, out, err = cli("user", "add", "alice", "--password-stdin", line="four small brown boats")
    assert (status, out, err) == (0, "alice may sign in\n", "")
    assert closed.done(("alice", "four small brown boats"), "GET", "/me")["name"] == "alice"
    bearer = closed.bearer(("alice", "four small brown boats"), "registry:api:*")
    closed.done(bearer, "GET", "/me")  # so that the server remembers it
    assert cli("user", "disable", "alice")[0] == 0
    end = time.monotonic() + 5
    while closed.api(bearer, "GET", "/me").status_code == 200:
        assert time.monotonic() < end, "a disabled user's bearer token is good after 5 seconds"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["user", "show", "nobody"], 3, "moorage: there is no user 'nobody', or you may not see it\n"),
        (["user", "disable", "admin"], 5, "moorage: admin is the last administrator"),
        (["user", "admin", "admin", "--revoke"], 5, "moorage: admin is the last administrator"),
        (["org", "add", "Acme"], 1, "moorage: the account name 'Acme' is not valid"),
        (["org", "add", "admin"], 5, "moorage: the name 'admin' is taken"),
        (["access", "revoke", "999"], 3, "moorage: there is no rule '999'"),
        (["repo", "show", "acme/nothing"], 3, "moorage: there is no repository acme/nothing"),
        (["repo", "set", "acme/nothing", "--visibility", "secret"], 1, "moorage: the request is not right"),
        (["robot", "create", "ci"], 2, "Usage:"),
        (["robot", "rotate", "admin.ci", "--grace", "7"], 2, "Usage:"),
        (["team", "add", "acme"], 2, "Usage:"),
        (["token", "list"], 2, "Usage:"),
        (["user", "fly"], 2, "Usage:"),
    ],
)
def test_what_cannot_be_done_is_told_by_the_status(cli, arguments, status, words):
    code, out, err = cli(*arguments)
    assert (code, out) == (status, "")
    assert err.startswith(words), err


def test_nobody_is_said_to_sign_in_whose_account_has_ended(closed, cli):
    assert cli("user", "add", "brief", "--expires", "1s", "--password-stdin", line=PASSWORD)[0] == 0
    time.sleep(1.1)
    status, out, _ = cli("user", "enable", "brief")
    assert (status, "the account has ended" in out, "may sign in" in out) == (0, True, False)
    (listed,) = [line for line in cli("user", "list")[1].splitlines() if line.startswith("brief ")]
    assert listed.split()[1:4] == ["no", "no", "yes"]
    assert closed.api(("brief", PASSWORD), "GET", "/me").status_code == 401
    assert cli("user", "enable", "brief", "--expires", "never")[:2] == (0, "brief may sign in\n")
    assert closed.done(("brief", PASSWORD), "GET", "/me")["name"] == "brief"
    assert cli("user", "enable", "brief", "--expires", "soon")[0] == 2


def alone(*arguments, line=""):
    """A command where there is no terminal at all; gives its status, and its complaint without the frame."""
    done = subprocess.run(
        [sys.executable, "-m", "moorage", *map(str, arguments)],
        check=False, capture_output=True, text=True, env=environment(COLUMNS="300"), timeout=100, input=line,
        start_new_session=True,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_without_a_terminal_the_option_that_is_missing_is_named(closed):
    data = ("--data", closed.served.data)
    status, told = alone("user", "add", "nobody", *data)
    assert (status, "--password-stdin" in told, "Warning" in told) == (2, True, False)
    closed.done(ADMIN, "POST", "/users", {"name": "petra", "password": PASSWORD})
    with closed.signed_in(("petra", PASSWORD)) as client:
        make.push_image(client, "petra/app", "1", b"{}")
    status, told = alone("repo", "delete", "petra/app", *data)
    assert (status, "--yes" in told) == (2, True)
    assert alone("repo", "delete", "petra/app", *data, line="y\n")[0] == 0


def test_the_line_that_is_missing_is_named(closed, away):
    closed.done(ADMIN, "POST", "/users", {"name": "linus", "password": PASSWORD})
    words = {"": "the new password", "four small brown boats": "your old password"}
    for line, missing in words.items():
        status, _, told = away("user", "passwd", "--password-stdin", line=line, who=("linus", PASSWORD), COLUMNS="300")
        assert (status, f"{missing}" in told) == (2, True), told


def test_a_place_that_is_ambiguous_or_empty_is_refused(closed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, told = ended("user", "list", "--host", closed.served.address, "--data", closed.served.data)
    assert (status, "--host asks a server" in told) == (2, True)
    for command in (("serve", "--listen", "127.0.0.1:0"), ("fsck",), ("backup", "to"), ("user", "list")):
        assert ended(*command, "--data", "")[0] == 2, command
    assert list(tmp_path.iterdir()) == []


def test_an_invitation_that_is_not_let_says_what_to_set(cli):
    status, _, told = cli("user", "invite", "guest")
    assert (status, "accounts.signup is off; set it to invite" in told) == (4, True)


def test_a_weak_password_makes_nobody(cli):
    status, out, err = cli("user", "add", "weak", "--password-stdin", line="short")
    assert (status, out) == (1, "")
    assert err == "moorage: a password has 10 to 1024 characters; choose another\n"
    assert cli("user", "show", "weak")[0] == 3
    assert cli("user", "add", "weak", "--password-stdin")[0] == 2


def test_a_secret_is_printed_once_alone_on_standard_output(cli):
    cli("org", "add", "shown", "--owner", "admin")
    status, out, err = cli("robot", "create", "shown.ci", "--allow", "shown/*:pull,push", "--expires", "90d")
    assert status == 0
    assert re.fullmatch(r"mrgr_[0-9A-Za-z]{38}\n", out)
    assert "shown this once" in err
    assert "mrgr_" not in err
    status, out, err = cli("robot", "rotate", "shown.ci", "--json")
    assert (status, err) == (0, "")
    assert out.count("mrgr_") == 1
    assert json.loads(out)["secret"].startswith("mrgr_")
    for listing in (["robot", "list", "shown"], ["token", "list", "--user", "shown.ci", "--json"]):
        assert "mrg" not in "".join(map(str, cli(*listing)[1:]))


def test_lists_are_columns_or_json_and_a_table_on_a_terminal(cli, closed):
    status, out, _ = cli("user", "list")
    head, *rows = out.splitlines()
    assert (status, head.split()[:3]) == (0, ["NAME", "ADMIN", "DISABLED"])
    assert "admin" in [row.split()[0] for row in rows]
    listed = json.loads(cli("user", "list", "--json")[1])
    assert listed[0].keys() == {"name", "admin", "disabled", "visibility", "created_at", "expires_at", "expired"}
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "moorage", "user", "list", "--data", closed.served.data],
        check=True, stdout=theirs, stdin=subprocess.DEVNULL, env=environment(TERM="xterm", COLUMNS="200"), timeout=100,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "\x1b[1m" in shown
    assert "admin" in shown


def test_nothing_is_done_where_there_is_no_registry(tmp_path):
    status, out, err = ended("user", "list", "--data", tmp_path / "empty")
    assert (status, out) == (1, "")
    assert "name a server with --host" in err
    assert not (tmp_path / "empty").exists()


def test_over_the_api_a_command_is_whoever_docker_logged_in(closed, away):
    user = closed.user()
    assert json.loads(away("repo", "list", "--json", who=user)[1]) == []
    status, out, err = away("user", "list", who=user)
    assert (status, out) == (4, "")
    assert err == (f"moorage: {user[0]} (a password) may not do that: it is for administrators; ask one of them\n")
    assert away("token", "create", "laptop", "--scope", f"{user[0]}/*:pull", who=user)[0] == 0
    (token,) = json.loads(away("token", "list", "--json", who=user)[1])
    assert (
        away("token", "revoke", str(token["id"]), who=user)[1]
        == f"the token {token['id']} is good for nothing any more\n"
    )
    assert away("token", "revoke", str(token["id"]), who=user)[0] == 3


def test_whoever_is_not_signed_in_ends_with_4(closed, away):
    status, out, err = away("user", "list", who=None)
    assert (status, out) == (4, "")
    host = closed.served.address
    assert err == f"moorage: nobody is signed in to {host} on this machine; docker login {host}\n"
    status, _, err = away("user", "list", who=("admin", "wrong"))
    assert status == 4
    assert "the user name or password is wrong" in err


def test_one_changes_ones_own_password_by_knowing_it(closed, away):
    user = closed.user()
    status, _, err = away("user", "passwd", "--password-stdin", who=user, line="another password\nnot the old one")
    assert status == 4
    assert err.startswith("moorage: the old password is wrong")
    assert away("user", "passwd", "--password-stdin", who=user, line=f"another password\n{PASSWORD}")[0] == 0
    assert away("repo", "list", who=user)[0] == 4
    assert away("repo", "list", who=(user[0], "another password"))[0] == 0


def test_credentials_come_from_helpers_and_from_identity_tokens(closed, away, tmp_path):
    user = closed.user()
    program = tmp_path / "docker-credential-kept"
    program.write_text(
        f'#!/bin/sh\nread host; [ "$1 $host" = "get {closed.served.address}" ] || exit 1\n'
        f'printf \'{{"Username": "{user[0]}", "Secret": "{user[1]}"}}\'\n'
    )
    program.chmod(stat.S_IRWXU)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for config in ({"credsStore": "kept"}, {"credHelpers": {closed.served.address: "kept"}}):
        assert away("repo", "list", "--json", config=config, PATH=path)[:2] == (0, "[]\n")
    status, _, err = away("repo", "list", config={"credsStore": "missing"}, PATH=path)
    assert (status, "docker-credential-missing, which is not installed" in err) == (1, True)
    offline = closed.client.get("/token", params={"service": "moorage", "offline_token": "true"}, auth=user).json()
    auth = base64.b64encode(f"{user[0]}:".encode()).decode()
    config = {"auths": {closed.served.address: {"auth": auth, "identitytoken": offline["refresh_token"]}}}
    assert away("token", "list", "--json", config=config)[:2] == (0, "[]\n")


def test_a_server_that_is_not_there_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"localhost:9": {"auth": "YTpi"}}}))
    status, out, err = ended("user", "list", "--host", "localhost:9", DOCKER_CONFIG=str(tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith("moorage: localhost:9 cannot be reached")


def test_what_is_wrong_with_tls_is_told_with_what_to_do(closed, tmp_path):
    host = closed.served.address
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "YTpi"}}}))
    status, _, err = ended("user", "list", "--host", f"https://{host}", DOCKER_CONFIG=str(tmp_path))
    assert (status, "it speaks no TLS" in err, f"http://{host}" in err) == (1, True, True)
    certificate, key = Authority(tmp_path / "own", "authority").issue("registry")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        host = f"localhost:{listening.getsockname()[1]}"
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "YTpi"}}}))

        def shake() -> None:
            with listening.accept()[0] as one, suppress(OSError):
                tls.wrap_socket(one, server_side=True)

        with ThreadPoolExecutor(1) as server:
            server.submit(shake)
            status, _, err = ended("user", "list", "--host", f"https://{host}", DOCKER_CONFIG=str(tmp_path))
    assert (status, "its certificate is not believed" in err, f"/etc/docker/certs.d/{host}/ca.crt" in err) == (
        1, True, True,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["", "user@host", "ftp://host", "host/path", "host:port", "http://"])
def test_a_host_that_is_none_is_told(host):
    with pytest.raises(RegistryError) as told:
        remote._address(host)
    assert told.value.code is Code.REQUEST_INVALID


@pytest.mark.parametrize(
    ("host", "scheme"),
    [("localhost:5000", "http"), ("127.0.0.1", "http"), ("[::1]:5000", "http"), ("registry.example.com", "https"),
     ("localhost.example.com", "https"), ("http://registry.lan:5000", "http"), ("https://localhost/", "https")],
)  # fmt: skip
def test_credentials_leave_this_machine_by_tls_only_unless_it_is_written(host, scheme):
    assert remote._address(host)[0] == scheme


def test_no_name_becomes_another_address():
    assert place.target("users", "a/b?c", "tokens", n=1) == "/users/a%2Fb%3Fc/tokens?n=1"
    assert place.target("repositories", "acme/app") == "/repositories/acme/app"
    assert place.target("users", "\udcff", owner="\udcff") == "/users/%3F?owner=%3F"


def test_a_life_is_a_duration():
    assert words.seconds("90d") == 90 * 24 * 3600
    assert words.seconds(None) is None


def test_what_credentials_there_are_is_never_shown():
    assert PASSWORD not in repr(credentials.Found("alice", PASSWORD))
    assert console._cell("a\x1b[31mb") == "a\\x1b[31mb"
