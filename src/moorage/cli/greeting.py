"""What `serve` says once it listens: where, with what, and the lines to copy."""

import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

import moorage
from moorage.settings import Settings
from moorage.telemetry import redact, visible
from moorage.telemetry.lines import renderer


def greet(settings: Settings, url: str, name: str, debug: str | None) -> None:
    """Say that the registry listens: for people, or as one event in the log's own format.

    `name` is how docker knows the place, unless `http.host` does.
    """
    if settings.http.host:
        name = urlsplit(settings.http.host).netloc
    database = "" if settings.database_url.startswith("sqlite") else "PostgreSQL"
    lines = [f"docker tag IMAGE {name}/acme/app:1", f"docker push {name}/acme/app:1"]
    title = f"Moorage {moorage.__version__} listens on {url}"
    formatter = settings.log.formatter or ("text" if sys.stdout.isatty() else "json")
    if formatter == "text":
        facts = {"data": f"{settings.data}", "database": database, "health, metrics": debug or ""}
        shown = [f"  {fact:15} {value}" for fact, value in facts.items() if value]
        warning = "OPEN: anyone who reaches it may push, pull and delete."
        text = "\n".join([title, *shown, "", warning, "", *(f"  {line}" for line in lines), ""])
        print("\n".join(visible(line) for line in text.split("\n")), flush=True)
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event: dict[str, object] = {"ts": now, "level": "info", "msg": title, "logger": "moorage"}
    event |= {"data": str(settings.data), "open": True, "try": lines}
    event |= {"database": database} if database else {}
    event |= {"debug": debug} if debug else {}
    event |= {name: value for name, value in redact(settings.log.fields).items() if name not in event}
    print(renderer(formatter, colour=False)(event), flush=True)
