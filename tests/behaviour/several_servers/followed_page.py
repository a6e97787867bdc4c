"""A page of the docs that is followed: its commands and files, with paths, names and ports of this machine instead of those on it."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path


class FollowedPage:
    """
    The blocks of a page.

    Args:
        file: Where it is.
    """

    def __init__(self, file: Path) -> None:
        self._text = file.read_text(encoding="utf-8")
        self._blocks = re.findall(r"^```\w+\n(.*?)^```$", self._text, re.MULTILINE | re.DOTALL)

    def block(self, start: str) -> str:
        """Return the only block that starts so."""
        (block,) = (block for block in self._blocks if block.startswith(start))
        return block

    def file(self, path: str) -> str:
        """Return the content that a file is to have: the block whose first line names it, without that line."""
        return self.block(f"# {path}").partition("\n")[2]

    def commands(self, start: str) -> list[list[str]]:
        """Return the commands that start so, at whichever prompt, each as its words; at least one."""
        lines = [line for block in self._blocks for line in block.splitlines() if line[:2] in {"# ", "$ "}]
        found = [shlex.split(line[2:], comments=True) for line in lines if line[2:].startswith(start)]
        assert found, start
        return found


def assignments(text: str) -> dict[str, str]:
    """Return what the lines NAME=VALUE set, as in a file of settings."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with the parts changed that a reader is to change, each of which must be there."""
    for old, new in changes.items():
        assert old in text, f"{old} is not in {text}"
        text = text.replace(old, new)
    return text
