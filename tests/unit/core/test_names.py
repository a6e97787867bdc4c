"""The rules for names, IDs and labels."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import seeded_bytes

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import (
    format_labels,
    generate_reference,
    generate_worker_id,
    parse_api_key_name,
    parse_label_text,
    parse_labels,
    parse_operator_name,
    parse_worker_id,
    parse_worker_name,
)
from lyftdata.core.text import clean_text


@pytest.mark.parametrize("text", ["a", "7", "press-01", "a.b-c", "A" * 64])
def test_valid_worker_ids_are_accepted(text):
    """1 to 64 letters, digits, dots and hyphens, starting with a letter or digit."""
    assert parse_worker_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", ".a", "a" * 65, "a b", "a_b", "é", "a\n", "a/b", "a\x00"])
def test_invalid_worker_ids_are_rejected(text):
    """Also a valid ID followed by a newline; the error names the field."""
    with pytest.raises(InvalidInputError) as refused:
        parse_worker_id(text)
    assert refused.value.field == "id"


@pytest.mark.parametrize(
    ("text", "name"),
    [(" press ", "press"), ("e\u0301", "é"), ("日本", "日本"), ("n" * 64, "n" * 64), ("a b", "a b")],
)
def test_worker_names_are_trimmed_and_composed(text, name):
    """Names have 1 to 64 printable characters, and are stored in NFC."""
    assert parse_worker_name(text) == name


@pytest.mark.parametrize("text", ["", "   ", "n" * 65, "a\nb", "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800"])
def test_deceptive_names_are_rejected(text):
    """Control, direction and zero-width characters could make two names look alike."""
    with pytest.raises(InvalidInputError):
        parse_worker_name(text)


@pytest.mark.parametrize(
    ("text", "fine"),
    [("abcd", False), ("abcde", True), ("a" * 50, True), ("a" * 51, False), ("a b c", False)],
)
def test_rules_for_names_of_api_keys(text, fine):
    """They have 5 to 50 letters, digits, hyphens and underscores."""
    if fine:
        assert parse_api_key_name(text) == text
    else:
        with pytest.raises(InvalidInputError):
            parse_api_key_name(text)


@pytest.mark.parametrize("text", ["", "Ada", "1a", "a" * 65, "a:b", "ада"])
def test_names_of_operators_are_plain_ascii(text):
    """Lower case, starting with a letter."""
    with pytest.raises(InvalidInputError):
        parse_operator_name(text)


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"-a": "x"},
        {"a" * 64: ""},
        {"a": "v" * 64},
        {"a": "x,y"},
        {"a": "x=y"},
        {"a": "é"},
        {"a": " x"},
        {f"k{n}": "" for n in range(33)},
    ],
)
def test_invalid_labels_are_rejected(labels):
    """At most 32 labels, keys and values up to 63 characters, and only what the one-line form can express."""
    with pytest.raises(InvalidInputError) as refused:
        parse_labels(labels)
    assert refused.value.field == "labels"


def test_a_duplicate_label_is_rejected():
    """Which of the two values was meant is not guessed."""
    with pytest.raises(InvalidInputError):
        parse_label_text("zone=a,zone=b")


_KEYS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=63)
_VALUES = st.text(string.ascii_letters + string.digits + "-_./: ", max_size=63).map(str.strip)


@given(st.dictionaries(_KEYS, _VALUES, max_size=32))
def test_labels_survive_their_one_line_form(labels):
    """All valid labels can be formatted and parsed again."""
    assert parse_label_text(format_labels(labels)) == labels


def test_generated_ids_and_references_are_valid():
    """A reference has eight characters, none of which is easily misread."""
    source = seeded_bytes()

    assert parse_worker_id(generate_worker_id(source))
    reference = generate_reference(source)
    assert len(reference) == 8
    assert not set(reference) & set("ILOU")


@given(st.text(max_size=300))
def test_cleaned_text_is_harmless(text):
    """Whatever an unknown caller sends is printed without control characters and with a bounded length."""
    cleaned = clean_text(text, 64)

    assert len(cleaned) <= 64
    assert all(character.isprintable() or character == "\ufffd" for character in cleaned)


@pytest.mark.parametrize(
    "name",
    [
        "twin\u034f",
        "twin\u3164",
        "\u3164",
        "\u2800",
        "twin\ufe0f",
        "tw\u115fin",
        "twin\U000e0100",
        "e\u0301\u0302\u0303\u0304",
    ],
)
def test_names_with_invisible_characters_are_rejected(name):
    """With them, and with stacked combining marks, one name could pass for another."""
    with pytest.raises(InvalidInputError, match="printable"):
        parse_worker_name(name)


@pytest.mark.parametrize(
    "name", ["Pr\u00ebss \u2713", "\u5370\u5237\u6a5f-01", "\u092e\u0936\u0940\u0928", "\u1ec7", "Vi\u1ec7t"]
)
def test_names_in_all_scripts_are_accepted(name):
    """Combining marks that a script needs are allowed."""
    assert parse_worker_name(name) == name
