"""A command as an operator types it: words and quotes as in a shell, but nothing that only a shell can do."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.command_lines import MAX_COMMAND, parse_command
from lyftdata.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ", []),
        ("python /opt/press.py --fast", ["python", "/opt/press.py", "--fast"]),
        (
            """sh -c 'cd /opt && exec "$1" | tee $HOME/log' x""",
            ["sh", "-c", 'cd /opt && exec "$1" | tee $HOME/log', "x"],
        ),
        (r"a b\ c 'd e' \| \~ x~ \$HOME", ["a", "b c", "d e", "|", "~", "x~", "$HOME"]),
        ('a "b | c" "" m\u00fcller', ["a", "b | c", "", "m\u00fcller"]),
    ],
)
def test_words_and_quotes_are_parsed_as_in_a_shell(text, words):
    """Quoted text may contain every printable character."""
    assert list(parse_command(text)) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a | b", "without a shell, which '|'"),
        ("a && b", "without a shell, which '&'"),
        ("a;b", "without a shell, which ';'"),
        ("a > /tmp/log", "without a shell, which '>'"),
        ("a $HOME/b", r"without a shell, which '\$'"),
        ('a "$HOME/b"', r"without a shell, which '\$'"),
        ("a `id`", "a backquote"),
        ("(a)", r"which '\('"),
        ("a ~/b", "which '~'"),
        ("~/b", "which '~'"),
        ("a 'b", "with nothing behind it"),
        ("a b\\", "with nothing behind it"),
        ("'' b", "must begin with a program"),
        ("a\nb", "one line"),
        ("a\x00b", "one line"),
        ("a \u202eb", "one line"),
        ("a" * (MAX_COMMAND + 1), "at most"),
        ("curl -H lyftdata_4dGhbYmBk1_" + "a" * 30, "must not hold a credential"),
    ],
)
def test_shell_syntax_and_credentials_are_rejected(text, said):
    """In a unit file, shell syntax would be an argument: the program would not do what it did in the terminal."""
    with pytest.raises(InvalidInputError, match=said) as refused:
        parse_command(text)
    assert refused.value.field == "command"


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_every_argument_can_be_written(words):
    """Quoted by the shell's rules, every printable text is parsed unchanged."""
    text = shlex.join(words)
    if len(text) <= MAX_COMMAND and text.isprintable() and text == text.strip():
        assert list(parse_command(text)) == words
