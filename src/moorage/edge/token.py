"""The token endpoint: credentials and scopes in, a bearer token out (Docker's token and OAuth2 specifications).

    GET  /token?service=…&scope=…&scope=…[&offline_token=true]        Basic credentials, a certificate's, or nobody's
    POST /token   grant_type=password | refresh_token                 the form that helm and containerd send
    GET  /.well-known/jwks.json                                       whom others may believe

What is asked for and may not be had is left out: only credentials that prove nothing are refused.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from moorage.access.actor import Identity
from moorage.access.bearer import Bearer
from moorage.access.credentials import Credentials, Login
from moorage.access.offline import Offline
from moorage.access.rules import Authority
from moorage.access.scopes import Scopes
from moorage.edge.http import Request, Response, render, retry
from moorage.edge.meter import Meter
from moorage.errors import Code, RegistryError

PATHS: Final = frozenset({"/token", "/service/token"})
KEYS: Final = "/.well-known/jwks.json"

_FORM: Final = "application/x-www-form-urlencoded"
_LONGEST: Final = 64 * 1024
"""Bytes of a form."""

_FIELDS: Final = 200
_NO_STORE: Final = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks the token endpoint for, in whichever form."""

    identity: Identity
    scopes: Scopes
    offline: bool
    client: str


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Answers the token endpoint of one registry."""

    authority: Authority
    credentials: Credentials
    bearer: Bearer
    offline: Offline
    meter: Meter | None = None

    async def respond(self, request: Request) -> Response:
        """Never raises: what is refused is rendered."""
        request.route = KEYS if request.path == KEYS else "/token"
        try:
            if request.path == KEYS:
                return await self._keys(request)
            if request.method == "POST":
                return await self._posted(request)
            if request.method in {"GET", "HEAD"}:
                return await self._asked(request)
        except RegistryError as error:
            return render(error, ("Cache-Control", "no-store"), *retry(error))
        return render(
            RegistryError(Code.UNSUPPORTED, "a token is asked for with GET or POST", allow=["GET", "POST"]),
            ("Allow", "GET, POST"),
        )

    async def _asked(self, request: Request) -> Response:
        self._check_service(request.parameter("service"))
        header = request.header("authorization")
        if header is not None and header.partition(" ")[0].lower() != "basic":
            wrong = RegistryError(Code.UNAUTHORIZED, "the token endpoint wants a user name and password (Basic)")
            self.authority.notes.fail(wrong, request.peer)
            raise wrong
        # Programs come here with the same password for every image.  What is remembered of it must stand this very
        # moment: the token lives for long.
        await self.authority.look()
        identity = await self.authority.authenticate(header, request.peer, request.certificate)
        scopes = Scopes.parse(request.parameters("scope"))
        # A refresh token stands for a password that the client need not keep; a certificate is kept anyway, and ends.
        wanted = header is not None and request.parameter("offline_token") == "true"
        offline = wanted and self.offline.asked_for
        return await self._answer(request, Asked(identity, scopes, offline, request.parameter("client_id") or ""))

    async def _posted(self, request: Request) -> Response:
        form = await _form(request)
        self._check_service(form.get("service", [None])[0])
        grant = form.get("grant_type", [""])[0]
        first = {name: values[0] for name, values in form.items()}
        try:
            if grant == "password":
                login = Login(first.get("username", ""), first.get("password", ""))
                identity = await self.credentials.sign_in(login, request.peer)
            elif grant == "refresh_token":
                identity = await self.credentials.refresh(first.get("refresh_token", ""))
            else:
                return _oauth("unsupported_grant_type", "use grant_type=password or grant_type=refresh_token")
        except RegistryError as error:
            if error.code is not Code.UNAUTHORIZED:
                raise
            self.authority.notes.fail(error, request.peer)
            return _oauth("invalid_grant", error.message)
        offline = first.get("access_type") == "offline" and grant == "password"
        scopes = Scopes.parse(form.get("scope", []))
        return await self._answer(request, Asked(identity, scopes, offline, first.get("client_id", "")))

    async def _answer(self, request: Request, asked: Asked) -> Response:
        identity = asked.identity
        actor = identity.actor
        request.facts["actor"] = actor.name
        if self.meter is not None:
            self.meter.known(request, identity)
            self.meter.let_in(request, identity)
        given = await self.authority.grant(identity, asked.scopes)
        name = actor.name if actor.signed_in else ""
        told = identity.unproved or identity.credential
        token = await self.bearer.mint(name, actor.id, identity.token_id, told, given, identity.credentials_at)
        now = datetime.fromtimestamp(self.bearer.now() // 1_000_000, UTC)
        document: dict[str, object] = {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.bearer.seconds,
            "issued_at": now.isoformat().replace("+00:00", "Z"),
            "scope": " ".join(
                f"{one['type']}:{one['name']}:{','.join(map(str, one['actions']))}"  # type: ignore[call-overload]
                for one in given.claims()
            ),
        }
        if identity.token_id is not None:
            self.authority.notes.use(identity.token_id, actor.name, request.peer)
        elif actor.signed_in:
            self.authority.notes.add("sign-in.done", actor.name, address=request.peer, credential=identity.credential)
        if asked.offline and actor.id is not None and identity.token_id is None:
            document["refresh_token"] = await self.offline.issue(identity, asked.client)
        return Response(200, list(_NO_STORE), json.dumps(document).encode())

    async def _keys(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            raise RegistryError(Code.UNSUPPORTED, "the keys can only be read", allow=["GET"])
        return Response(
            200, [("Content-Type", "application/jwk-set+json")], json.dumps(await self.bearer.keys.published()).encode()
        )

    def _check_service(self, service: str | None) -> None:
        if service and service != self.bearer.service:
            raise RegistryError(
                Code.REQUEST_INVALID,
                f"tokens are given here for the service {self.bearer.service!a} only, as its challenges say",
            )


async def _form(request: Request) -> dict[str, list[str]]:
    """The fields of a posted form.  Raises REQUEST_INVALID."""
    if (request.header("content-type") or "").partition(";")[0].strip().lower() != _FORM:
        raise RegistryError(Code.REQUEST_INVALID, f"the token endpoint wants a form ({_FORM})")
    content = bytearray()
    async for piece in request.body:
        content += piece
        if len(content) > _LONGEST:
            raise RegistryError(Code.REQUEST_INVALID, f"the form is larger than {_LONGEST} bytes")
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"):
            fields.setdefault(name, []).append(value)
    except ValueError:
        raise RegistryError(Code.REQUEST_INVALID, "the form cannot be read: it is not UTF-8 text in fields") from None
    if any("\0" in text for name, values in fields.items() for text in (name, *values)):
        raise RegistryError(Code.REQUEST_INVALID, "the form cannot be read: it holds a NUL")
    return fields


def _oauth(error: str, words: str) -> Response:
    """A refusal in OAuth2's form (RFC 6749 §5.2), and in ours, for clients that read the one or the other."""
    body = {
        "error": error,
        "error_description": words,
        "errors": [{"code": Code.UNAUTHORIZED.name, "message": words}],
    }
    return Response(400, list(_NO_STORE), json.dumps(body).encode(), error=Code.UNAUTHORIZED)
