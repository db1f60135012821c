"""The pages in docs/ say what is so: every setting, metric and command is there, and no other."""

import importlib
import pkgutil
import re
import sys

import pytest
import typer

import moorage
from moorage.cli.commands import Commands, app
from moorage.cli.lazy import imported
from moorage.settings.keys import walk
from moorage.telemetry import metrics
from tests.conftest import ROOT

DOCS = ROOT / "docs"
OPTION = r"(?<=`)--?[a-z]+(?:-[a-z]+)*"


def page(name):
    return (DOCS / name).read_text()


def rows(name, cells):
    """The rows of a page's tables, as lists of cells."""
    found = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in page(name).splitlines() if line.startswith("| `")]
    assert all(len(row) == cells for row in found)
    return found


def test_the_reference_of_settings_is_what_the_settings_say(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    import settings_reference

    assert page("configuration.md") == settings_reference.whole(), "run python tools/settings_reference.py"


def test_every_setting_has_its_row_with_its_variable():
    named = {row[0]: row[3] for row in rows("configuration.md", 4)}
    assert set(named) == {f"`{key.name}`<br>`{key.variable}`" for key in walk()}
    for key in walk():
        assert (f"Ignored: {key.ignored}" in named[f"`{key.name}`<br>`{key.variable}`"]) is bool(key.ignored)


def test_every_metric_is_listed_with_its_labels():
    for module in pkgutil.walk_packages(moorage.__path__, "moorage."):  # some are imported when they are first needed
        if module.name != "moorage.__main__" and ".migrations" not in module.name:
            importlib.import_module(module.name)
    listed = {row[0].strip("`"): row[1:] for row in rows("metrics.md", 4)}
    ours = [family.shape for family in metrics._families.values() if not family.shape[1].startswith("moorage_test")]
    assert set(listed) == {name + "_total" * (kind == "Counter") for kind, name, *_ in ours}
    for kind, name, text, labels in ours:
        shown = listed[name + "_total" * (kind == "Counter")]
        assert shown == [kind.lower(), ", ".join(f"`{label}`" for label in labels), text]


def commands():
    """Every command that can be run, by its name."""
    for name in typer.main.get_command(app).commands:
        command = imported(name, Commands.table[name][0])
        for inner in getattr(command, "commands", {}).values():
            yield f"{name} {inner.name}", inner
        if not hasattr(command, "commands"):
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_is_explained_with_its_options(name, command):
    start = page("commands.md").split(f"\n## moorage {name}\n")
    assert len(start) == 2, f"no section for {name}"
    section = start[1].partition("\n## ")[0]
    options = {option for one in command.params if one.name != "help" for option in one.opts if option[0] == "-"}
    if "--host" in options:
        options -= set(
            re.findall(OPTION, page("commands.md").partition("\n## Managing")[2].partition("\n## moorage")[0])
        )
    assert set(re.findall(OPTION, section)) == options


def test_no_command_is_explained_that_is_not_there():
    explained = set(re.findall(r"^## moorage ([a-z][a-z -]*)$", page("commands.md"), re.MULTILINE))
    assert explained == {name for name, _ in commands()}


def test_links_between_pages_lead_somewhere():
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    for one in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", one.read_text()):
            assert (one.parent / target).exists(), f"{one.name}: {target}"
