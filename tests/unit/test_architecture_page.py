"""The architecture page names what is there."""

import importlib
import re
from pathlib import Path

import pytest

import lyftdata

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(lyftdata.__file__).parent
WALKS = PAGE.partition("## Three walks")[2]
NAMES = re.findall(r"`((?:client|core|server|store|worker)(?:\.\w+)+)`", WALKS)


def find(name):
    """Return what a dotted name below the package stands for; raises AttributeError."""
    parts = name.split(".")
    found, rest = importlib.import_module("lyftdata"), parts
    while rest and (
        PACKAGE.joinpath(*parts[: len(parts) - len(rest) + 1]).is_dir() or is_module(parts, rest)
    ):
        found = importlib.import_module(".".join(["lyftdata", *parts[: len(parts) - len(rest) + 1]]))
        rest = rest[1:]
    for part in rest:
        found = getattr(found, part)
    return found


def is_module(parts, rest):
    """Return whether the next part of a name is a module's file."""
    return PACKAGE.joinpath(*parts[: len(parts) - len(rest) + 1]).with_suffix(".py").is_file()


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_each_function_of_a_walk_exists(name):
    """A function that the page sends its reader to can be called under that name."""
    assert callable(find(name))


def test_the_walks_are_found():
    """A change of the page's form does not leave the test above without names."""
    assert len(set(NAMES)) > 30
    assert WALKS.count("\n### ") == 3


def test_each_folder_of_the_server_and_the_store_is_on_the_map():
    """A newcomer finds a phrase for every package of the Server and of the store."""
    folders = [
        folder.relative_to(PACKAGE).as_posix()
        for room in ("server", "store")
        for folder in sorted((PACKAGE / room).iterdir())
        if (folder / "__init__.py").exists()
    ]

    assert [folder for folder in folders if f"`{folder}/`" not in PAGE] == []
