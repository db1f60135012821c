"""`moorage gc`: whether anything may be destroyed, and saying so."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from moorage.cli.data import Config, Data, bytes_in_words, rows, settings_of
from moorage.cli.lock import lock
from moorage.core import identity
from moorage.core.registry import wall_clock
from moorage.db import collection
from moorage.db.collection import Collection
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.storage.filesystem import FilesystemStore
from moorage.telemetry import visible

app = typer.Typer(
    help="See and say whether unreferenced content may be destroyed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def status(config: Config = None, data: Data = None) -> None:
    """Tell whether collection is armed. Ends with 1 where it is not."""
    with rows(settings_of(config, data)) as database:
        found = database.read_now(collection.look)
    if found.armed:
        print("collection is armed")
        return
    since = datetime.fromtimestamp(found.since / 1_000_000, UTC).isoformat(timespec="seconds")
    print(visible(f"collection is disarmed since {since}: {found.reason}"))
    raise typer.Exit(1)


@app.command()
def arm(
    config: Config = None,
    data: Data = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Let through what the breaker stopped, as much of it as it told.")
    ] = False,
) -> None:
    """Let collection destroy what is due, whatever disarmed it."""
    with rows(settings_of(config, data)) as database:
        before = database.write_now(_arm, once, wall_clock())
    if before.armed:
        print("collection was armed already")
    elif once:
        print(f"collection is armed; {before.objects} blobs, {bytes_in_words(before.size)}, may go at once")
    else:
        print(visible(f"collection is armed; it was disarmed because: {before.reason}"))


@app.command()
def adopt(config: Config = None, data: Data = None) -> None:
    """Accept the blob folder for this database, after exchanging it on purpose; `serve` must not run.

    Disarms collection.
    """
    settings = settings_of(config, data)
    with rows(settings) as database:
        lock(settings)  # until the end of the process
        store = FilesystemStore(settings.blobs)
        changed = database.write_now(_adopt, store.identity, wall_clock())
    if not changed:
        print(visible(f"{settings.blobs} was known already"))
        return
    print(visible(f"{settings.blobs} is the blob folder from now on"))
    print("collection is disarmed: nothing is reclaimed until `moorage fsck` has passed, or `moorage gc arm`")


def _arm(tx: Tx, once: bool, now: int) -> Collection:
    found = collection.look(tx)
    if once and found.cause != "breaker":
        raise RegistryError(Code.UNSUPPORTED, "--once lets through what the breaker stopped, and it stopped nothing")
    if not found.armed:
        collection.arm(tx, now, objects=found.objects if once else 0, size=found.size if once else 0)
    return found


def _adopt(tx: Tx, store: str, now: int) -> bool:
    if identity.remembered(tx) == store:
        return False
    identity.remember(tx, store, now)
    collection.disarm(tx, "storage", "the blob folder was changed by `moorage gc adopt`; run `moorage fsck`", now)
    return True
