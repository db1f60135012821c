"""How each program logs in, pushes, pulls and logs out, as one types it in a home (house.py)."""

from dataclasses import dataclass

from tests.conftest import tool
from tests.journeys import programs


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

    def need(self) -> None:
        """Skip where the program is missing."""
        if self.program == "docker":
            programs.docker()
        else:
            tool(self.program)


PLAIN = "--tls-verify=false"
STDIN = "printf %s '{secret}' |"
SKOPEO = "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false"
WAYS = [
    Way(
        "docker",
        "docker pull -q {at}/acme/app:1 && docker tag {at}/acme/app:1 {at}/{name}:1 && docker push -q {at}/{name}:1;"
        " status=$?; docker rmi -f {at}/{name}:1 {at}/acme/app:1; exit $status",
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
        "helm push --plain-http *-1.0.0.tgz oci://{at}/$(dirname {name})",
        "helm pull --plain-http oci://{at}/{name} --version 1.0.0 -d ..",
        STDIN + "helm registry login --plain-http {at} -u {user} --password-stdin",
        "helm registry logout {at}",
        before="helm create $(basename {name}) && helm package $(basename {name}) --version 1.0.0",
    ),
    Way(
        "regctl",
        "regctl artifact put -f layer.tar {at}/{name}:1",
        "regctl manifest get {at}/{name}:1",
        STDIN + "regctl registry login {at} -u {user} --pass-stdin",
        "regctl registry logout {at}",
        before="regctl registry set --tls disabled {at}",
    ),
]


def way(program: str) -> Way:
    return next(one for one in WAYS if one.program == program)
