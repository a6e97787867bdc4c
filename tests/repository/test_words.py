"""The word check finds each banned word in every kind of text, and the project contains none."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("check_words", ROOT / "tools" / "check_words.py")
assert _SPEC
assert _SPEC.loader
check_words = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check_words)

RULES = check_words.rules()
WORDS = [rule.word for rule in RULES]
# A file name and a text with a gap for the word, by kind of text.
KINDS = {
    "docstring": ("a.py", 'def f():\n    """Return what {} does."""\n'),
    "comment": ("a.py", "x = 1  # what {} does\n"),
    "command line help": ("a.py", '@click.option("--x", help="{} it")\n'),
    "log message": ("a.py", 'X = LogEvent(name="x", level="info", message="It {}.")\n'),
    "page template": ("a.html", "<p>What {} does</p>\n"),
    "page of the docs": ("a.md", "# Title\n\nWhat {} does.\n"),
    "Makefile": ("Makefile", "x:  ## What {} does\n"),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_word_is_found(tmp_path, kind, word):
    """In each kind of text, in lower case and at the start of a sentence."""
    name, text = KINDS[kind]
    for form in (word, word[0].upper() + word[1:]):
        path = tmp_path / name
        path.write_text(text.format(form), encoding="utf-8")

        assert [place.word for place in check_words.places([path])] == [word]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.word)
def test_a_planted_word_is_found_in_names_and_over_lines(tmp_path, rule):
    """Underscores separate words, and a phrase may continue on the next comment line; names may have words that prose may not."""
    path = tmp_path / "a.py"
    name, comment = rule.word.replace(" ", "_"), f"that {rule.word}".replace(" ", "\n# ")
    path.write_text(f'x_{name}_y = "{name}"  # it is\n# {comment}\n', encoding="utf-8")

    found = sorted(place.line for place in check_words.places([path]))
    assert found == ([3] if rule.prose_only else [1, 1, 3])


@pytest.mark.parametrize("word", [rule.word for rule in RULES if rule.prose_only])
def test_a_name_in_backquotes_is_not_prose(tmp_path, word):
    """A docstring may mention a name with a banned word."""
    path = tmp_path / "a.py"
    path.write_text(f'"""It calls `{word}` and returns."""\n', encoding="utf-8")

    assert list(check_words.places([path])) == []


@pytest.mark.parametrize(
    "text", ["x is None", "I recommend it", "None if there is none.", "the command", "a renewed key"]
)
def test_what_only_looks_like_a_banned_word_is_allowed(tmp_path, text):
    """Longer words, Python's None, and the phrases that the table allows."""
    path = tmp_path / "a.py"
    path.write_text(f"# {text}\n", encoding="utf-8")

    assert list(check_words.places([path])) == []


def test_every_part_of_the_project_is_checked_and_has_no_banned_word():
    """Source, templates, docs, tests, benchmarks, examples and the Makefile are checked."""
    files = check_words.project_files()
    names = {str(path.relative_to(ROOT)) for path in files}

    assert {"README.md", "Makefile", "src/lyftdata/log.py", "docs/reference/glossary.md"} <= names
    assert any(name.startswith("src/lyftdata/web/templates/") for name in names)
    for directory in ("examples/", "tests/", "benchmarks/"):
        assert any(name.startswith(directory) for name in names)
    assert list(check_words.places(files)) == []


def test_blanks_after_half_a_phrase_do_not_slow_down_the_check():
    """A Python file without its code is mostly blanks, which may follow a phrase's first word."""
    blanks = ("\n" + " " * 120) * 60

    assert list(check_words.banned_in(f"all{blanks}", [check_words.Rule("all words", ())])) == []
