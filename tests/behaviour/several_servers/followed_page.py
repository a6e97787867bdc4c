"""Follow a page of the docs: its commands and files, with the paths, names and ports replaced by those of this machine."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path


class FollowedPage:
    """
    The blocks of a page.

    Args:
        file: The page.
    """

    def __init__(self, file: Path) -> None:
        self._text = file.read_text(encoding="utf-8")
        self._blocks = re.findall(r"^```\w+\n(.*?)^```$", self._text, re.MULTILINE | re.DOTALL)

    def block(self, start: str) -> str:
        """Return the only block with this start."""
        (block,) = (block for block in self._blocks if block.startswith(start))
        return block

    def file(self, path: str) -> str:
        """Return the content that the page gives a file: the block whose first line names it, without that line."""
        return self.block(f"# {path}").partition("\n")[2]

    def commands(self, start: str) -> list[list[str]]:
        """Return the commands with this start, at either prompt, each split into words; fail if there are none."""
        lines = [line for block in self._blocks for line in block.splitlines() if line[:2] in {"# ", "$ "}]
        found = [shlex.split(line[2:], comments=True) for line in lines if line[2:].startswith(start)]
        assert found, start
        return found


def assignments(text: str) -> dict[str, str]:
    """Return the settings in the lines NAME=VALUE of a settings file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with the parts replaced that a reader must replace; fail if one of them is missing."""
    for old, new in changes.items():
        assert old in text, f"{old} is not in {text}"
        text = text.replace(old, new)
    return text
