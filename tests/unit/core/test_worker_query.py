"""The search language: how a search is parsed, and the errors for what cannot be parsed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worker_searches import REJECTED, SEARCHES

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.query_values import Age, TextPattern
from lyftdata.core.query_words import QueryError, quote
from lyftdata.core.records import KeyRotation, State, Strategy
from lyftdata.core.worker_query import (
    FIELDS,
    Field,
    LabelMatch,
    is_asked,
    label_term,
    parse_worker_query,
    search_terms,
    with_term,
)


def test_each_word_of_a_search_becomes_a_term():
    """With its field, its values, and whether it excludes."""
    query = parse_worker_query('  name:"press 1",binder -gpu zone=eu-1 seen:<1h30m ')

    name, gpu, zone, seen = query.terms
    assert (name.field, name.conditions) == (
        Field.NAME,
        (TextPattern(("press 1",), is_whole=False), TextPattern(("binder",), is_whole=False)),
    )
    assert (gpu.field, gpu.is_negated) == (Field.TEXT, True)
    assert zone.conditions == (LabelMatch("zone", TextPattern(("eu-1",), is_whole=True)),)
    assert seen.conditions == (Age("<", timedelta(minutes=90)),)
    assert query.text[zone.start : zone.end] == "zone=eu-1"


@pytest.mark.parametrize("search", [search for search, _ in SEARCHES])
def test_every_search_of_the_table_can_be_parsed(search):
    """The same table tests the databases and the API. Parsing the result again gives the same terms."""
    query = parse_worker_query(search)

    assert parse_worker_query(query.text).terms == query.terms


@pytest.mark.parametrize(("search", "position", "message"), REJECTED)
def test_an_invalid_search_is_an_error_with_its_position(search, position, message):
    """The error has the position of the character, and the nearest field or value that exists."""
    with pytest.raises(QueryError) as caught:
        parse_worker_query(search)

    assert (caught.value.field, caught.value.position) == ("q", position)
    assert message in caught.value.message
    assert f"at character {position}: " in caught.value.message


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_rejected(text):
    """No text raises another error, and one with a word never matches everything."""
    try:
        query = parse_worker_query(text)
    except QueryError:
        return
    assert bool(query.terms) is bool(text.strip())


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40))
def test_a_quoted_text_is_literal(text):
    """No character has a special meaning in a value that the program has quoted."""
    (term,) = parse_worker_query(f"name:={quote(text)}").terms

    (pattern,) = term.conditions
    assert isinstance(pattern, TextPattern)
    assert len(pattern.parts) == 1


@given(st.text(max_size=20), st.lists(st.text(max_size=4), min_size=2, max_size=4))
def test_a_pattern_matches_its_parts_with_anything_between(filler, parts):
    """A partial pattern also matches within a longer text."""
    text = filler.join(parts)

    assert TextPattern(tuple(parts), is_whole=True).matches(text)
    assert TextPattern(tuple(parts), is_whole=False).matches(f"before{text}after")


def test_a_facet_edits_the_search_as_a_person_would():
    """It replaces only the value of its field, and can remove it again."""
    query = parse_worker_query('name:"a  b" status:offline -status:denied')

    assert with_term(query, Field.STATUS, "online") == 'name:"a  b" -status:denied status:online'
    assert with_term(query, Field.STATUS, "") == 'name:"a  b" -status:denied'
    assert with_term(query, Field.STRATEGY, "api_key").endswith("strategy:api_key")
    assert is_asked(query, Field.STATUS, "offline")
    assert not is_asked(query, Field.STATUS, "denied")
    assert not is_asked(parse_worker_query("status:offline,online"), Field.STATUS, "offline")


@pytest.mark.parametrize(("key", "value"), [("zone", "eu-1"), ("gpu", ""), ("a.b/c-d", 'odd "x" *\\')])
def test_the_term_of_a_label_finds_the_workers_that_have_it(key, value):
    """Whatever characters its value contains."""
    (term,) = parse_worker_query(label_term(key, value)).terms

    expected = TextPattern((value,), is_whole=True) if value else None
    assert term.conditions == (LabelMatch(key, expected),)


def test_filters_are_equivalent_to_terms():
    """Each filter of the API adds a term, with a literal value without wildcards."""
    query = search_terms(
        "press",
        status=State.OFFLINE,
        strategy=Strategy.API_KEY,
        label="zone=eu-*",
        key="press-keys",
        enrolled="abcd",
        inactive="30d",
        rotation=KeyRotation.DONE,
    )

    assert [term.field for term in query.terms] == [
        Field.TEXT,
        Field.STATUS,
        Field.STRATEGY,
        Field.LABEL,
        Field.KEY,
        Field.ENROLLED,
        Field.INACTIVE,
        Field.ROTATION,
    ]
    assert query.terms[3].conditions == (LabelMatch("zone", TextPattern(("eu-*",), is_whole=True)),)
    with pytest.raises(QueryError):
        search_terms("   ")
    with pytest.raises(InvalidInputError):
        search_terms(None, inactive="soon")


def test_every_field_has_a_valid_example():
    """The reference shows it, and it uses that field."""
    for field, rule in FIELDS.items():
        (term,) = parse_worker_query(rule.example).terms
        assert term.field == field
