"""Every client at a registry that asks who one is: log in, push, pull what is private, log out, pull what is public."""

import json
from collections.abc import Callable

import pytest

from tests.closed import PASSWORD
from tests.conftest import tool
from tests.journeys import programs
from tests.journeys.house import EVERYTHING, Home, House
from tests.journeys.ways import SKOPEO, STDIN, WAYS, Way, way

WALT = {"user": "walt", "secret": PASSWORD}
Homes = Callable[..., Home]


@pytest.mark.parametrize(
    "how", [pytest.param(one, id=one.program, marks=pytest.mark.client(one.program)) for one in WAYS]
)
def test_a_client_logs_in_pushes_pulls_and_is_nobody_after_it_logged_out(
    house: House, homes: Homes, storage: list[str], how: Way
) -> None:
    how.need()
    name = f"acme/of-{how.program}"
    home = homes("home", storage=" ".join(storage), name=name, **WALT)
    if how.before:
        home.run(how.before)
    home.stranger(how.pull, name="acme/app")
    home.run(how.login)
    home.run(how.push)
    home.run(how.pull)
    home.run(how.logout)
    home.stranger(how.push)
    home.stranger(how.pull)
    house.publish(name)
    home.run("rm -rf pulled pulled.tar ../*.tgz")
    home.run(how.pull)
    home.stranger(how.push, name="acme/deeper/never")


@pytest.mark.client("docker")
@pytest.mark.parametrize("kind", ["token", "robot", "everything"])
def test_docker_logs_in_with_a_token_and_as_a_robot(house: House, homes: Homes, kind: str) -> None:
    programs.docker()
    user, secret = (
        house.robot("acme/*:pull,push") if kind == "robot" else ("walt", house.token("walt", *_scopes(kind)).secret)
    )
    home = homes("home", user=user, secret=secret, name=f"acme/by-{kind}")
    docker = way("docker")
    assert "Login Succeeded" in home.run(docker.login)
    home.run(docker.push)
    home.run(docker.pull)


def _scopes(kind: str) -> list[str]:
    return [EVERYTHING] if kind == "token" else []


@pytest.mark.client("skopeo")
def test_skopeo_takes_credentials_with_each_command(house: House, homes: Homes) -> None:
    tool("skopeo")
    home = homes("home", creds=f"walt:'{house.token('walt', EVERYTHING).secret}'")
    copy, there = "docker://{at}/acme/copy", "--tls-verify=false --creds {creds}"
    home.run(
        f"{SKOPEO} --preserve-digests --src-creds {{creds}} --dest-creds {{creds}} docker://{{at}}/acme/app:1 {copy}:1"
    )
    assert json.loads(home.run(f"skopeo inspect {there} {copy}:1"))["Digest"] == house.digest
    home.stranger(f"skopeo inspect --tls-verify=false {copy}:1")
    home.run(f"skopeo delete {there} {copy}:1")
    assert '"Tags": []' in home.run(f"skopeo list-tags {there} {copy}")


@pytest.mark.client("ctr")
def test_containerd_pulls_and_pushes_as_a_user_through_a_hosts_toml(house: House, homes: Homes, ctr: list[str]) -> None:
    url = house.served.url
    user, secret = house.robot("acme/*:pull,push")
    home = homes("home", ctr=" ".join(ctr), login=f"{user}:'{secret}'")
    hosts = home.folder / "hosts" / "registry.example"
    hosts.mkdir(parents=True)
    hosts.joinpath("hosts.toml").write_text(
        f'server = "{url}"\n[host."{url}"]\ncapabilities = ["pull", "resolve", "push"]\n'
    )
    pull = "{ctr} images pull --snapshotter native"
    home.stranger(f"{pull} --hosts-dir hosts registry.example/acme/app:1")
    home.stranger(f"{pull} --plain-http {{at}}/acme/app:1")
    home.run(f"{pull} --hosts-dir hosts --user {{login}} registry.example/acme/app:1")
    home.run(f"{pull} --plain-http --user {{login}} {{at}}/acme/app:1")
    home.stranger("{ctr} images push --plain-http {at}/acme/contained:1 {at}/acme/app:1")
    home.run("{ctr} images push --plain-http --user {login} {at}/acme/contained:1 {at}/acme/app:1")
    push = "{ctr} images push --hosts-dir hosts registry.example/acme/contained:2 {at}/acme/app:1"
    home.run(push.replace("push", "push --user {login}", 1))
    house.publish("acme/contained")
    home.run(f"{pull} --hosts-dir hosts registry.example/acme/contained:2")
    home.run(f"{pull} --plain-http {{at}}/acme/contained:1")


@pytest.mark.client("crane")
@pytest.mark.client("regctl")
@pytest.mark.parametrize("copy", ["crane copy", "regctl image copy"])
def test_a_copy_within_the_registry_mounts_across_repositories_with_a_token_of_both_scopes(
    house: House, homes: Homes, copy: str
) -> None:
    program = copy.split(maxsplit=1)[0]
    tool(program)
    home = homes("home", name=f"acme/mounted-by-{program}", **WALT)
    home.run(f"{way(program).before or 'true'} && {way(program).login}")
    home.run(f"{copy} {{at}}/acme/app:1 {{at}}/{{name}}:1")
    asked = programs.answered(house.served, f"acme/mounted-by-{program}", "PUT")
    methods = [method for method, _, status in asked if status < 400]
    assert "PUT" in methods, "the manifest"
    assert "PATCH" not in methods, "no bytes were sent"
    assert [one for one in asked if one[0] == "POST" and one[2] == 201]


@pytest.mark.client("oras")
def test_oras_attaches_to_and_discovers_at_what_is_private(house: House, homes: Homes) -> None:
    tool("oras")
    oras = way("oras")
    home = homes("home", name="acme/noted", **WALT)
    home.run(oras.login)
    home.run(oras.push)
    attach = "oras attach --plain-http --artifact-type a/note {at}/{name}:1 layer.tar:text/plain"
    discover = "oras discover --plain-http {at}/{name}:1"
    home.run(attach)
    assert "a/note" in home.run(discover)
    home.run(oras.logout)
    home.stranger(attach.replace("a/note", "a/other"))
    home.stranger(discover)
    house.publish("acme/noted")
    assert "a/note" in home.run(discover)
    home.stranger(attach.replace("a/note", "a/other"))


@pytest.mark.client("cosign")
def test_cosign_signs_and_verifies_what_is_private(house: House, homes: Homes) -> None:
    tool("cosign")
    home = homes("home", image=f"{house.served.address}/acme/app@{house.digest}", **WALT)
    home.run("COSIGN_PASSWORD= cosign generate-key-pair")
    sign = (
        "COSIGN_PASSWORD= cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false"
        " --allow-http-registry -y {image}"
    )
    verify = "cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry {image}"
    home.stranger(sign)
    home.run(STDIN + "cosign login {at} -u {user} --password-stdin")
    home.run(sign)
    assert "acme/app" in home.run(verify)
    home.run("rm config.json")
    home.stranger(verify)
