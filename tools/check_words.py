"""
Checks that no text of the project has a word that docs/contributing/words.md says not to use.

    python tools/check_words.py    print each such place; exit 1 if there is one
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "contributing" / "words.md"
_TEXTS = frozenset(
    {
        "",
        ".conf",
        ".config",
        ".css",
        ".html",
        ".java",
        ".js",
        ".json",
        ".md",
        ".mjs",
        ".py",
        ".rb",
        ".service",
    }
    | {".sh", ".toml", ".txt", ".yaml", ".yml"}
)
# The page itself, the history of what older versions said, and texts of others.
_NOT_OURS = re.compile(
    r"docs/contributing/words\.md|CHANGELOG\.md|LICENSE|requirements/.*|.*\.min\.js|.*package-lock\.json|.*\.json"
)


class Rule(NamedTuple):
    """A word, and the longer phrases in which it is allowed."""

    word: str
    allowed: tuple[str, ...]


class Place(NamedTuple):
    """Where a word stands."""

    path: Path
    line: int
    word: str


def rules() -> list[Rule]:
    """Return the rules in the page's table."""
    section = PAGE.read_text(encoding="utf-8").partition("## Words not to use")[2]
    found = []
    for line in section.splitlines():
        cells = line.split("|")
        if line.startswith("| `"):
            allowed = tuple(re.findall("`([^`]+)`", cells[3]))
            found += [Rule(word, allowed) for word in re.findall("`([^`]+)`", cells[1])]
    return found


def banned_in(text: str, known: Iterable[Rule]) -> Iterator[tuple[int, str]]:
    """Yield each banned word in a text, with the offset of its first letter; underscores separate words, as spaces do."""
    for rule in known:
        for match in _pattern(rule.word).finditer(text):
            around = text[max(0, match.start() - 40) : match.end() + 40]
            if not any(_pattern(phrase).search(around) for phrase in rule.allowed):
                yield match.start(), rule.word


def _pattern(phrase: str) -> re.Pattern[str]:
    # In lower case or with a capital at its start, so that Python's None is not found. Phrases may be broken
    # over two lines, the second with a comment's sign.
    first, rest = phrase[0], [re.escape(part) for part in phrase[1:].split(" ")]
    gap = r"(?:[ \t]|_|\n[ \t]*(?:#|//|\*)?[ \t]*)+"
    return re.compile(rf"(?<![A-Za-z])[{first}{first.upper()}]{gap.join(rest)}(?![A-Za-z])")


def places(paths: Iterable[Path]) -> Iterator[Place]:
    """Yield every place in these files with a banned word."""
    known = rules()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for offset, word in banned_in(text, known):
            yield Place(path, text.count("\n", 0, offset) + 1, word)


def project_files() -> list[Path]:
    """Return the files of the project whose text is checked."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    chosen = [name for name in listed if Path(name).suffix in _TEXTS and not _NOT_OURS.fullmatch(name)]
    return [ROOT / name for name in chosen if (ROOT / name).is_file()]


def run() -> int:
    """Print each place; return the exit code."""
    found = list(places(project_files()))
    for place in found:
        sys.stderr.write(
            f"{place.path.relative_to(ROOT)}:{place.line}: '{place.word}' ({PAGE.relative_to(ROOT)})\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(run())
