"""
What `docker build` sends to the builder, and what each COPY takes from it, computed without a daemon.

The patterns are those of a `.dockerignore` (moby/patternmatcher): the last one that matches a path or a parent directory
decides; `*` and `?` stop at a slash, `**` does not; `!` includes again. Checked against what buildah 1.28 copies.
"""

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Pattern(NamedTuple):
    """One line of a `.dockerignore`."""

    regex: re.Pattern[str]
    takes_in: bool


def read_patterns(text: str) -> list[Pattern]:
    """Read a `.dockerignore`."""
    patterns = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        takes_in = pattern.startswith("!")
        cleaned = posixpath.normpath(pattern.removeprefix("!").strip()).lstrip("/")
        patterns.append(Pattern(re.compile(_regex(cleaned)), takes_in))
    return patterns


def _regex(pattern: str) -> str:
    """Translate a pattern as moby does, character by character."""
    made, rest = "", pattern
    while rest:
        if rest.startswith("**"):
            rest = rest[2:].removeprefix("/")
            made += "(.*/)?" if rest else ".*"
            continue
        character, rest = rest[0], rest[1:]
        if character == "\\" and rest:
            made, rest = made + re.escape(rest[0]), rest[1:]
        else:
            made += {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]"}.get(character, re.escape(character))
    return made + r"\Z"


def is_left_out(path: str, patterns: Sequence[Pattern]) -> bool:
    """Return whether a file is left out of the context: the last pattern that matches it or a parent directory decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    left_out = False
    for pattern in patterns:
        if any(pattern.regex.match(name) for name in above):
            left_out = not pattern.takes_in
    return left_out


def context_of(root: Path, dockerfile: str = "Dockerfile") -> list[str]:
    """
    Return the files that a build with this directory as its context could copy.

    Args:
        root: The directory.
        dockerfile: The Dockerfile's path in it; `NAME.dockerignore` next to it takes precedence over `.dockerignore`.
    """
    own, common = root / f"{dockerfile}.dockerignore", root / ".dockerignore"
    ignore = own if own.exists() else common
    patterns = read_patterns(ignore.read_text(encoding="utf-8")) if ignore.exists() else []
    files = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if not path.is_dir())
    return [file for file in files if not is_left_out(file, patterns)]


class Instruction(NamedTuple):
    """An instruction of a Dockerfile (`FROM`, `COPY` and so on) and its arguments."""

    name: str
    rest: str


def read_dockerfile(text: str) -> Iterator[Instruction]:
    """Parse a Dockerfile: drop comments and join continued lines."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield Instruction(name.upper(), rest.strip())


def copied(instructions: Sequence[Instruction], context: Sequence[str]) -> list[str]:
    """Return the files of the context that a COPY or ADD takes, in any stage."""
    taken: set[str] = set()
    for name, rest in instructions:
        words = shlex.split(rest)
        if name in {"COPY", "ADD"} and not any(word.startswith("--from=") for word in words):
            sources = [word for word in words if not word.startswith("--")][:-1]
            taken |= {file for file in context if any(_is_below(file, source) for source in sources)}
    return sorted(taken)


def _is_below(file: str, source: str) -> bool:
    wanted = posixpath.normpath(source).lstrip("/")
    return wanted == "." or re.match(_regex(wanted).removesuffix(r"\Z") + r"(/|\Z)", file) is not None
