"""
Check that no text in the project contains a word that docs/contributing/words.md forbids.

    python tools/check_words.py    print each occurrence; exit 1 if there is any
"""

import io
import re
import subprocess
import sys
import tokenize
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
        ".lua",
        ".md",
        ".mjs",
        ".py",
        ".rb",
        ".service",
    }
    | {".sh", ".toml", ".txt", ".yaml", ".yml"}
)
# The page itself, the changelog, and third-party texts.
_NOT_OURS = re.compile(
    r"docs/contributing/words\.md|CHANGELOG\.md|LICENSE|requirements/.*|.*\.min\.js|.*package-lock\.json|.*\.json"
)

# In Python, a string with a space in it is prose; other strings are data.
_PROSE_TOKENS = frozenset({"COMMENT", "STRING", "FSTRING_MIDDLE"})


class Rule(NamedTuple):
    """A forbidden word, longer phrases in which it is allowed, and whether names may contain it."""

    word: str
    allowed: tuple[str, ...]
    prose_only: bool = False


class Place(NamedTuple):
    """An occurrence of a word."""

    path: Path
    line: int
    word: str


def rules() -> list[Rule]:
    """Return the rules in the page's table."""
    page = PAGE.read_text(encoding="utf-8")
    everywhere, _, in_prose = page.partition("## Words not to use")[2].partition(
        "## Words not to use in prose"
    )
    return [*_rules_of(everywhere, prose_only=False), *_rules_of(in_prose, prose_only=True)]


def _rules_of(table: str, *, prose_only: bool) -> Iterator[Rule]:
    for line in table.splitlines():
        cells = line.split("|")
        if line.startswith("| `"):
            allowed = tuple(re.findall("`([^`]+)`", cells[3]))
            yield from (Rule(word, allowed, prose_only) for word in re.findall("`([^`]+)`", cells[1]))


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
    # Possessive: a gap ends where a letter begins, and trying every way to divide long runs of blanks would take forever.
    gap = r"(?:[ \t_]|\n[ \t]*+(?:#|//|\*)?+)++"
    return re.compile(rf"(?<![A-Za-z])[{first}{first.upper()}]{gap.join(rest)}(?![A-Za-z])")


def places(paths: Iterable[Path]) -> Iterator[Place]:
    """Yield every place in these files with a banned word."""
    known = rules()
    everywhere = [rule for rule in known if not rule.prose_only]
    in_prose = [rule for rule in known if rule.prose_only]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        prose = prose_of(text) if path.suffix == ".py" else text
        for offset, word in (*banned_in(text, everywhere), *banned_in(prose, in_prose)):
            yield Place(path, text.count("\n", 0, offset) + 1, word)


def prose_of(source: str) -> str:
    """Return Python with spaces for all but comments and strings of several words, without names in backquotes; every offset stays."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    kept = re.sub(r"[^\n]", " ", source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in _PROSE_TOKENS and " " in token.string:
            begin = starts[token.start[0] - 1] + token.start[1]
            end = starts[token.end[0] - 1] + token.end[1]
            text = re.sub(r"`[^`\n]*`", lambda name: " " * len(name[0]), source[begin:end])
            kept = kept[:begin] + text + kept[end:]
    return kept


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
