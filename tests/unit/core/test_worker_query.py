"""The language of searches: what is understood, and what is said about what is not."""

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


def test_a_search_is_understood_word_by_word():
    """Each word becomes one term, which knows its field, its values, and whether it excludes."""
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
def test_every_search_of_the_table_is_understood(search):
    """What databases and API are tested with, the parser takes; read again, it says the same."""
    query = parse_worker_query(search)

    assert parse_worker_query(query.text).terms == query.terms


@pytest.mark.parametrize(("search", "position", "message"), REJECTED)
def test_what_cannot_be_understood_is_an_error_that_says_where(search, position, message):
    """The error names the character at fault, and the nearest field or value that exists."""
    with pytest.raises(QueryError) as caught:
        parse_worker_query(search)

    assert (caught.value.field, caught.value.position) == ("q", position)
    assert message in caught.value.message
    assert f"at character {position}: " in caught.value.message


@given(st.text(max_size=60))
def test_any_text_is_understood_or_rejected(text):
    """No text ends in another error, and none that holds a word finds everything."""
    try:
        query = parse_worker_query(text)
    except QueryError:
        return
    assert bool(query.terms) is bool(text.strip())


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40))
def test_a_quoted_text_stands_for_itself(text):
    """Any value that is quoted by the program is found as it is: no character of it has a meaning."""
    (term,) = parse_worker_query(f"name:={quote(text)}").terms

    (pattern,) = term.conditions
    assert isinstance(pattern, TextPattern)
    assert len(pattern.parts) == 1


@given(st.text(max_size=20), st.lists(st.text(max_size=4), min_size=2, max_size=4))
def test_a_pattern_matches_what_it_was_made_of(filler, parts):
    """A text made of the parts with anything in between fits the pattern, and so does one around it fit as a part."""
    text = filler.join(parts)

    assert TextPattern(tuple(parts), is_whole=True).matches(text)
    assert TextPattern(tuple(parts), is_whole=False).matches(f"before{text}after")


def test_a_facet_writes_the_text_that_one_could_have_typed():
    """It replaces the value of its field and nothing else, and takes it out again."""
    query = parse_worker_query('name:"a  b" status:offline -status:denied')

    assert with_term(query, Field.STATUS, "online") == 'name:"a  b" -status:denied status:online'
    assert with_term(query, Field.STATUS, "") == 'name:"a  b" -status:denied'
    assert with_term(query, Field.STRATEGY, "api_key").endswith("strategy:api_key")
    assert is_asked(query, Field.STATUS, "offline")
    assert not is_asked(query, Field.STATUS, "denied")
    assert not is_asked(parse_worker_query("status:offline,online"), Field.STATUS, "offline")


@pytest.mark.parametrize(("key", "value"), [("zone", "eu-1"), ("gpu", ""), ("a.b/c-d", 'odd "x" *\\')])
def test_a_label_leads_to_those_that_have_it(key, value):
    """Its term asks for this label, whatever its value holds."""
    (term,) = parse_worker_query(label_term(key, value)).terms

    expected = TextPattern((value,), is_whole=True) if value else None
    assert term.conditions == (LabelMatch(key, expected),)


def test_filters_are_short_for_terms():
    """Each filter of the API is one term more, and takes its value as it is, without wildcards."""
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


def test_every_field_has_an_example_that_is_understood():
    """What the reference shows of a field uses that field."""
    for field, rule in FIELDS.items():
        (term,) = parse_worker_query(rule.example).terms
        assert term.field == field
