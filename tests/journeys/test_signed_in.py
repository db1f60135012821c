"""Every client at a registry that asks who one is: log in, push, pull what is private, log out, pull what is public."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.closed import PASSWORD
from tests.conftest import tool
from tests.journeys import programs
from tests.journeys.house import EVERYTHING, Home, House
from tests.journeys.programs import layer

WALT = {"user": "walt", "secret": PASSWORD}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    one = House(tmp_path_factory.mktemp("house"))
    yield one
    one.stop()


@pytest.fixture
def homes(tmp_path: Path, house: House) -> Iterator[Callable[..., Home]]:
    """Makes homes; what they brought to docker's daemon goes in the end."""
    made: list[Home] = []

    def build(folder: str, **values: object) -> Home:
        made.append(Home(tmp_path / folder, house.served.address, **values))
        (made[-1].folder / "layer.tar").write_bytes(layer(note=b"seen"))
        return made[-1]

    yield build


@dataclass(frozen=True)
class Way:
    """How one program does what all of them do; `{name}` is the repository."""

    program: str
    push: str
    pull: str
    login: str = ""
    logout: str = ""
    before: str = ""
    """What has to be in a home before."""


PLAIN = "--tls-verify=false"
STDIN = "printf %s '{secret}' |"
SKOPEO = "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false"
WAYS = [
    Way(
        "docker",
        "docker pull -q {at}/acme/app:1 && docker tag {at}/acme/app:1 {at}/{name}:1 && docker push -q {at}/{name}:1"
        " && docker rmi -f {at}/{name}:1 {at}/acme/app:1",
        "docker pull -q {at}/{name}:1 && docker rmi -f {at}/{name}:1",
        STDIN + "docker login {at} -u {user} --password-stdin",
        "docker logout {at}",
    ),
    Way(
        "podman",
        f"podman {{storage}} pull -q {PLAIN} {{at}}/acme/app:1"
        f" && podman {{storage}} push -q {PLAIN} {{at}}/acme/app:1 {{at}}/{{name}}:1",
        f"podman {{storage}} pull -q {PLAIN} {{at}}/{{name}}:1",
        STDIN + f"podman login {PLAIN} -u {{user}} --password-stdin {{at}}",
        "podman logout {at}",
    ),
    Way(
        "buildah",
        f"buildah {{storage}} pull -q {PLAIN} {{at}}/acme/app:1"
        f" && buildah {{storage}} push -q {PLAIN} {{at}}/acme/app:1 docker://{{at}}/{{name}}:1",
        f"buildah {{storage}} pull -q --policy always {PLAIN} {{at}}/{{name}}:1",
        STDIN + f"buildah login {PLAIN} -u {{user}} --password-stdin {{at}}",
        "buildah logout {at}",
    ),
    Way(
        "skopeo",
        f"{SKOPEO} docker://{{at}}/acme/app:1 docker://{{at}}/{{name}}:1",
        f"skopeo inspect {PLAIN} docker://{{at}}/{{name}}:1",
        STDIN + f"skopeo login {PLAIN} -u {{user}} --password-stdin {{at}}",
        "skopeo logout {at}",
    ),
    Way(
        "crane",
        "crane append --oci-empty-base -f layer.tar -t {at}/{name}:1",
        "crane pull {at}/{name}:1 pulled.tar",
        STDIN + "crane auth login {at} -u {user} --password-stdin",
        "crane auth logout {at}",
    ),
    Way(
        "oras",
        "oras push --plain-http {at}/{name}:1 layer.tar",
        "oras pull --plain-http -o pulled {at}/{name}:1",
        STDIN + "oras login --plain-http {at} -u {user} --password-stdin",
        "oras logout {at}",
    ),
    Way(
        "helm",
        "helm push --plain-http boat-1.0.0.tgz oci://{at}/$(dirname {name})",
        "helm pull --plain-http oci://{at}/{name} --version 1.0.0 -d ..",
        STDIN + "helm registry login --plain-http {at} -u {user} --password-stdin",
        "helm registry logout {at}",
        before="helm create boat && helm package boat --version 1.0.0",
    ),
    Way(
        "regctl",
        "regctl image copy {at}/acme/app:1 {at}/{name}:1",
        "regctl image export {at}/{name}:1 pulled.tar",
        STDIN + "regctl registry login {at} -u {user} --pass-stdin",
        "regctl registry logout {at}",
        before="regctl registry set --tls disabled {at}",
    ),
]


@pytest.mark.parametrize("way", [pytest.param(one, id=one.program, marks=pytest.mark.client(one.program)) for one in WAYS])
def test_a_client_logs_in_pushes_pulls_and_is_nobody_after_it_logged_out(
    house: House, homes: Callable[..., Home], storage: list[str], way: Way
) -> None:
    programs.docker() if way.program == "docker" else tool(way.program)
    name = "acme/boat" if way.program == "helm" else f"acme/of-{way.program}"
    home = homes("home", storage=" ".join(storage), name=name, **WALT)
    if way.before:
        home.run(way.before)
    home.refused(way.pull, name="acme/app")
    home.run(way.login)
    home.run(way.push)
    home.run(way.pull)
    home.run(way.logout)
    home.refused(way.push)
    home.refused(way.pull)
    house.publish(name)
    home.run("rm -rf pulled pulled.tar ../*.tgz")
    home.run(way.pull)
    home.refused(way.push, name="acme/deeper/never")


@pytest.mark.client("docker")
@pytest.mark.parametrize("kind", ["token", "robot", "everything"])
def test_docker_logs_in_with_a_token_and_as_a_robot(house: House, homes: Callable[..., Home], kind: str) -> None:
    programs.docker()
    user, secret = house.robot("acme/*:pull,push") if kind == "robot" else ("walt", house.token("walt", *_scopes(kind))[1])
    home = homes("home", user=user, secret=secret, name=f"acme/by-{kind}")
    docker = WAYS[0]
    assert "Login Succeeded" in home.run(docker.login)
    home.run(docker.push)
    home.run(docker.pull)


def _scopes(kind: str) -> list[str]:
    return [EVERYTHING] if kind == "token" else []


@pytest.mark.client("skopeo")
def test_skopeo_takes_credentials_with_each_command(house: House, homes: Callable[..., Home]) -> None:
    tool("skopeo")
    home = homes("home", creds=f"walt:'{house.token('walt', EVERYTHING)[1]}'")
    copy, there = "docker://{at}/acme/copy", "--tls-verify=false --creds {creds}"
    home.run(f"{SKOPEO} --src-creds {{creds}} --dest-creds {{creds}} docker://{{at}}/acme/app:1 {copy}:1")
    assert json.loads(home.run(f"skopeo inspect {there} {copy}:1"))["Digest"] == house.digest
    home.refused(f"skopeo inspect --tls-verify=false {copy}:1")
    home.run(f"skopeo delete {there} {copy}:1")
    assert '"Tags": []' in home.run(f"skopeo list-tags {there} {copy}")


@pytest.mark.client("ctr")
def test_containerd_pulls_and_pushes_as_a_user_through_a_hosts_toml(
    house: House, homes: Callable[..., Home], ctr: list[str]
) -> None:
    url = house.served.url
    user, secret = house.robot("acme/*:pull,push")
    home = homes("home", ctr=" ".join(ctr), login=f"{user}:'{secret}'")
    hosts = home.folder / "hosts" / "registry.example"
    hosts.mkdir(parents=True)
    hosts.joinpath("hosts.toml").write_text(
        f'server = "{url}"\n[host."{url}"]\ncapabilities = ["pull", "resolve", "push"]\n'
    )
    pull = "{ctr} images pull --snapshotter native"
    home.refused(f"{pull} --hosts-dir hosts registry.example/acme/app:1")
    home.refused(f"{pull} --plain-http {{at}}/acme/app:1")
    home.run(f"{pull} --hosts-dir hosts --user {{login}} registry.example/acme/app:1")
    home.run(f"{pull} --plain-http --user {{login}} {{at}}/acme/app:1")
    home.refused("{ctr} images push --plain-http {at}/acme/contained:1 {at}/acme/app:1")
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
    house: House, homes: Callable[..., Home], copy: str
) -> None:
    program = copy.split()[0]
    tool(program)
    way = next(one for one in WAYS if one.program == program)
    home = homes("home", name=f"acme/mounted-by-{program}", **WALT)
    home.run(f"{way.before or 'true'} && {way.login}")
    home.run(f"{copy} {{at}}/acme/app:1 {{at}}/{{name}}:1")
    asked = programs.answered(house.served, f"acme/mounted-by-{program}", 4)
    methods = [method for method, _, status in asked if status < 400]
    assert "PUT" in methods, "the manifest"
    assert "PATCH" not in methods, "no bytes were sent"
    assert [one for one in asked if one[0] == "POST" and one[2] == 201]


@pytest.mark.client("oras")
def test_oras_attaches_to_and_discovers_at_what_is_private(house: House, homes: Callable[..., Home]) -> None:
    tool("oras")
    way = next(one for one in WAYS if one.program == "oras")
    home = homes("home", name="acme/noted", **WALT)
    home.run(way.login)
    home.run(way.push)
    attach = "oras attach --plain-http --artifact-type a/note {at}/{name}:1 layer.tar:text/plain"
    discover = "oras discover --plain-http {at}/{name}:1"
    home.run(attach)
    assert "a/note" in home.run(discover)
    home.run(way.logout)
    home.refused(attach.replace("a/note", "a/other"))
    home.refused(discover)
    house.publish("acme/noted")
    assert "a/note" in home.run(discover)
    home.refused(attach.replace("a/note", "a/other"))


@pytest.mark.client("cosign")
def test_cosign_signs_and_verifies_what_is_private(house: House, homes: Callable[..., Home]) -> None:
    tool("cosign")
    home = homes("home", image=f"{house.served.address}/acme/app@{house.digest}", **WALT)
    home.run("COSIGN_PASSWORD= cosign generate-key-pair")
    sign = (
        "COSIGN_PASSWORD= cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false"
        " --allow-http-registry -y {image}"
    )
    verify = "cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry {image}"
    home.refused(sign)
    home.run(STDIN + "cosign login {at} -u {user} --password-stdin")
    home.run(sign)
    assert "acme/app" in home.run(verify)
    home.run("rm config.json")
    home.refused(verify)
