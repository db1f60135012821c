"""`moorage backup` and `moorage restore`."""

from pathlib import Path
from typing import Annotated

import typer

from moorage.cli.data import Config, Data, Progress, bytes_in_words, rows, settings_of
from moorage.cli.lock import lock
from moorage.core.identity import is_known
from moorage.core.registry import wall_clock
from moorage.features.backup import restore as restoring
from moorage.features.backup import save as saving
from moorage.storage.filesystem import FilesystemStore
from moorage.telemetry import visible

_SHOWN = 20
"""Digests that are told; more would only scroll by."""


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DEST", help="The folder to back up into.")],
    config: Config = None,
    data: Data = None,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave in DEST what earlier backups had, and this one has not.")
    ] = False,
) -> None:
    """Back up rows and blobs, of a running registry as well; only what is new is written."""
    settings = settings_of(config, data)
    with rows(settings) as database:
        store = FilesystemStore(settings.blobs)
        is_known(database, store, settings.blobs_in_words)
        done = saving.save(database, store, folder, keep_old=keep, progress=Progress("backing up"))
    kept = done.record
    new = done.linked + done.copied
    how = ", linked" if done.linked and not done.copied else ""
    print(
        visible(
            f"{folder}: {kept.repositories} repositories, {kept.manifests} manifests, {kept.blobs} blobs "
            f"({kept.files} files, {bytes_in_words(kept.size)}) as of {kept.at}"
        )
    )
    print(f"new: {new} files, {bytes_in_words(done.added)}{how}; removed: {done.removed}")
    if kept.missing:
        _tell(kept.missing, "missing or damaged in the registry's own storage, and not in the backup")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="SRC", help="The folder that `moorage backup` wrote.")],
    config: Config = None,
    data: Data = None,
    *,
    partial: Annotated[
        bool, typer.Option("--partial", help="Restore what there is of a backup that lacks some of its blobs.")
    ] = False,
) -> None:
    """Restore a backup into an empty registry; `serve` must not run. Run `moorage fsck` afterwards."""
    settings = settings_of(config, data)
    lock(settings)  # until the end of the process
    store = FilesystemStore(settings.blobs)
    done = restoring.restore(
        folder,
        settings.database_url,
        store,
        settings.data,
        wall_clock(),
        partial=partial,
        progress=Progress("restoring"),
    )
    kept = done.record
    print(
        visible(
            f"restored {kept.repositories} repositories, {kept.manifests} manifests, {kept.blobs} blobs "
            f"as of {kept.at}: {done.copied} files, {bytes_in_words(done.size)}; {done.kept} were there already"
        )
    )
    print("collection is disarmed: nothing is reclaimed until `moorage fsck` has passed, or `moorage gc arm`")
    if done.missing:
        _tell(done.missing, "not restored: not in the backup, or damaged there; push them again")


def _tell(digests: list[str] | tuple[str, ...], what: str) -> None:
    typer.echo(f"{len(digests)} blobs are {what}:", err=True)
    for digest in digests[:_SHOWN]:
        typer.echo(f"  {digest}", err=True)
    if len(digests) > _SHOWN:
        typer.echo(f"  and {len(digests) - _SHOWN} more", err=True)
    raise typer.Exit(1)
