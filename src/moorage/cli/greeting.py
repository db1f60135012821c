"""What `serve` says once it listens: where, with what, and the lines to copy."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import moorage
from moorage.access.first import ADMIN
from moorage.telemetry import redact, visible
from moorage.telemetry.lines import renderer

if TYPE_CHECKING:
    from moorage.settings import Settings


def greet(settings: "Settings", url: str, name: str, debug: str | None, first_password: Path | None = None) -> None:
    """Say that the registry listens: for people, or as one event in the log's own format.

    `name` is how docker knows the place, unless `http.host` does.  What lies at `first_password` is shown this once,
    and on a terminal only: a log is no place for it.
    """
    if settings.http.host:
        name = urlsplit(settings.http.host).netloc
    database = "" if settings.database_url.startswith("sqlite") else "PostgreSQL"
    login = [] if settings.auth.open else [f"docker login {name} -u {ADMIN}"]
    lines = [*login, f"docker tag IMAGE {name}/acme/app:1", f"docker push {name}/acme/app:1"]
    title = f"Moorage {moorage.__version__} listens on {url}"
    formatter = settings.log.formatter or ("text" if sys.stdout.isatty() else "json")
    if formatter == "text":
        facts = {"data": f"{settings.data}", "database": database, "health, metrics": debug or ""}
        shown = [f"  {fact:15} {value}" for fact, value in facts.items() if value]
        who = _who(settings, first_password)
        text = "\n".join([title, *shown, "", *who, "", *(f"  {line}" for line in lines), ""])
        print("\n".join(visible(line) for line in text.split("\n")), flush=True)
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event: dict[str, object] = {"ts": now, "level": "info", "msg": title, "logger": "moorage"}
    event |= {"data": str(settings.data), "open": settings.auth.open, "try": lines}
    event |= {"first_password": str(first_password)} if first_password else {}
    event |= {"database": database} if database else {}
    event |= {"debug": debug} if debug else {}
    event |= {name: value for name, value in redact(settings.log.fields).items() if name not in event}
    print(renderer(formatter, colour=False)(event), flush=True)


def _who(settings: "Settings", first_password: Path | None) -> list[str]:
    """Who may come in, and with what."""
    if settings.auth.open:
        return ["OPEN: anyone who reaches it may push, pull and delete."]
    if first_password is None:
        return ["Closed: whoever is not signed in sees public repositories only."]
    if not sys.stdout.isatty():
        return [f"The first administrator is '{ADMIN}', whose password is in {first_password} until it is changed."]
    return [
        f"The first administrator is '{ADMIN}', with the password {first_password.read_text().strip()}",
        f"It is shown this once, and kept in {first_password} until it is changed.",
    ]
