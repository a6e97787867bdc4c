"""The hash chain of the audit log reveals every kind of tampering."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import event

from lyftdata.core.audit import GENESIS, chain_hash, verify_chain
from lyftdata.core.records import ChainedAuditEvent

KEY = b"k" * 32


def chain(count, key=KEY):
    """Return a chain of that many events."""
    links, previous = [], GENESIS
    for number in range(1, count + 1):
        changed = event(details={"n": str(number)})
        link = chain_hash(changed, number=number, previous=previous, key=key)
        links.append(ChainedAuditEvent(number=number, event=changed, previous=previous, hash=link))
        previous = link
    return links


def head(links):
    """Return what the head row records for a chain."""
    return (links[-1].number, links[-1].hash) if links else (0, GENESIS)


@given(st.integers(0, 12))
def test_an_untouched_chain_is_intact(count):
    """Of any length, including an empty one."""
    links = chain(count)
    report = verify_chain(links, key=KEY, expected_head=head(links))

    assert (report.ok, report.checked, report.head_number) == (True, count, count)


@given(st.data(), st.integers(1, 10))
def test_tampering_is_found_where_it_happened(data, count):
    """A changed, removed, repeated, renumbered or swapped event is reported at most one event after it."""
    links = chain(count)
    expected = head(links)
    at = data.draw(st.integers(0, count - 1))
    kind = data.draw(st.sampled_from(["change", "remove", "repeat", "swap", "renumber"]))
    if kind == "change":
        field, value = data.draw(
            st.sampled_from([("actor", "operator:eve"), ("subject", "x"), ("details", {"n": "no"})])
        )
        links[at] = msgspec.structs.replace(
            links[at], event=msgspec.structs.replace(links[at].event, **{field: value})
        )
    elif kind == "remove":
        del links[at]
    elif kind == "repeat":
        links.insert(at, links[at])
    elif kind == "renumber":
        links[at] = msgspec.structs.replace(links[at], number=links[at].number + 1)
    elif count == 1:
        return
    else:
        other = (at + 1) % count
        links[at], links[other] = links[other], links[at]

    report = verify_chain(links, key=KEY, expected_head=expected)

    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad <= at + 2
    assert report.problem


def test_a_rewritten_chain_needs_the_key():
    """An attacker who can write to the database but lacks the key cannot forge a chain."""
    forged = chain(5, key=b"x" * 32)

    assert not verify_chain(forged, key=KEY, expected_head=head(forged)).ok


@pytest.mark.parametrize("left", [0, 1, 4])
def test_a_cut_tail_is_found(left):
    """The recorded head shows that the last events were removed."""
    links = chain(5)

    report = verify_chain(links[:left], key=KEY, expected_head=head(links))

    assert (report.ok, report.first_bad) == (False, left + 1)


def test_an_events_hash_depends_on_its_number_and_on_the_previous_hash():
    """An event cannot be moved, with its hash, to another position or into another history."""
    link = chain_hash(event(), number=1, previous=GENESIS, key=KEY)

    assert link != chain_hash(event(), number=2, previous=GENESIS, key=KEY)
    assert link != chain_hash(event(), number=1, previous=b"p" * 32, key=KEY)
