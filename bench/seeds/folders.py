"""Distribution's folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.seeds import Seeds


def _repositories_of(data: Path) -> Path:
    return data / "docker/registry/v2/repositories"


def tags(data: Path, repository: str, names: Sequence[str]) -> None:
    """Where each tag points, and where it has ever pointed."""
    folder = _repositories_of(data) / repository / "_manifests/tags"
    link = (folder / "seed/current/link").read_text()
    for tag in names:
        current = folder / tag / "current"
        index = folder / tag / "index" / link.replace(":", "/")
        for one in (current, index):
            one.mkdir(parents=True)
            (one / "link").write_text(link)


def repositories(data: Path, _repository: str, names: Sequence[str]) -> None:
    """Empty ones: catalogs list whatever has a folder for layers (2.8) or manifests (v3), and open none."""
    for name in names:
        for folder in ("_layers", "_manifests"):
            (_repositories_of(data) / name / folder).mkdir(parents=True)


SEEDS: Final = Seeds(tags, repositories)
