"""
Searches Workers' activity: who was last connected from a host, from an address or with a key, and when.

All conditions of a search are one scan. Every value is a bound parameter, and comparisons give the same result on both databases:
host names are stored case-folded, since databases differ in how they fold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv6Network
from itertools import compress
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, and_, func, or_, select

from lyftdata.core.networks import Network
from lyftdata.core.query_values import TextPattern, VersionRange
from lyftdata.store.address_positions import are_in
from lyftdata.store.schema import worker_traces

MAX_NAMED = 500
"""Up to this many Workers, the search is limited to their IDs; above, it searches all."""
_BATCH = 500
_ESCAPE = "\\"
_OCTET_BITS = 8
_ID = worker_traces.c.worker_id
_COLUMNS: Mapping[str, Column[Any]] = {
    "host": worker_traces.c.hostname,
    "address": worker_traces.c.address,
    "version": worker_traces.c.agent_version,
    "key": worker_traces.c.api_key_name,
    "seen": worker_traces.c.last_seen_at,
}
_MAPPED = "::ffff:"


class HostFits(msgspec.Struct, frozen=True):
    """The last host name matches a folded pattern."""

    pattern: TextPattern


class AnyTextFits(msgspec.Struct, frozen=True):
    """The last host name or address matches a folded pattern, or the last used API key has one of these names."""

    pattern: TextPattern
    keys: frozenset[str]
    """Every key name that matches the pattern: keys are few, and comparing each Worker's would take a third of the time."""


class KeyIsOneOf(msgspec.Struct, frozen=True):
    """The last used API key has one of these names."""

    names: frozenset[str]


class AddressIsIn(msgspec.Struct, frozen=True):
    """The last address is in a network."""

    network: Network


class VersionFits(msgspec.Struct, frozen=True):
    """The last agent version is one of those searched for."""

    wanted: VersionRange


class LastSeen(msgspec.Struct, frozen=True):
    """Last connected since one time, or before another."""

    since: datetime | None = None
    before: datetime | None = None


TraceCondition: TypeAlias = HostFits | AnyTextFits | KeyIsOneOf | AddressIsIn | VersionFits | LastSeen
TraceTerm: TypeAlias = Sequence[TraceCondition]
"""Conditions of one kind, any of which may match."""


def find_ids(
    conn: Connection, terms: Sequence[TraceTerm], *, among: Collection[str] | None = None
) -> list[str]:
    """
    Return the IDs of the Workers whose activity matches every term; each once, in no order.

    Args:
        conn: A connection.
        terms: At least one.
        among: IDs of Workers to limit the search to; None for all. Ignored if there are more than `MAX_NAMED`.
    """
    conditions = [condition for term in terms if (condition := _condition(term)) is not None]
    if among is not None and len(among) <= MAX_NAMED:
        conditions.append(worker_traces.c.worker_id.in_(sorted(among)))
    limits: list[set[str]] = []
    for column, values in _values(conn, terms):
        if len(values) <= _BATCH:
            conditions.append(_is_one_of(column, sorted(values)))
        else:
            joined = (_joined(conn, [_ID], [_is_one_of(column, batch)]) for batch in _batches(values))
            limits.append({worker_id for (ids,) in joined for worker_id in ids})
    addresses = [[each.network for each in term if isinstance(each, AddressIsIn)] for term in terms]
    networks = [term for term in addresses if term]
    found = _in_networks(conn, conditions, networks) if networks else _joined(conn, [_ID], conditions)[0]
    return list(set(found).intersection(*limits)) if limits else found


def values_of(conn: Connection, what: str) -> dict[str, Any]:
    """Return the last host, address, version, key or time (`seen`) of Workers, by ID; Workers without one are left out."""
    column = _COLUMNS[what]
    query = select(worker_traces.c.worker_id, column).where(column.is_not(None))
    return {row[0]: row[1] for row in conn.execute(query)}


def _in_networks(
    conn: Connection, conditions: Sequence[ColumnElement[bool]], terms: Sequence[Sequence[Network]]
) -> list[str]:
    ids, addresses = _joined(conn, [_ID, worker_traces.c.address], conditions)
    # The database compares addresses as text: check its matches again.
    for networks in terms:
        fits = are_in(addresses, networks)
        if not all(fits):
            ids, addresses = list(compress(ids, fits)), list(compress(addresses, fits))
    return ids


def _joined(
    conn: Connection, columns: Sequence[ColumnElement[str]], conditions: Sequence[ColumnElement[bool]]
) -> list[list[str]]:
    """Return the values of these columns, in the same order; neither an ID nor an address contains a space."""
    # Aggregated into one text: fetching a row for each would take three times as long.
    query = select(*(func.aggregate_strings(column, " ") for column in columns)).where(*conditions)
    return [text.split(" ") if text else [] for text in conn.execute(query).one()]


def _values(conn: Connection, terms: Sequence[TraceTerm]) -> Iterator[tuple[Column[Any], set[str]]]:
    """Yield columns with the values of which they must have one."""
    for term in terms:
        names = {name for each in term if isinstance(each, KeyIsOneOf) for name in each.names}
        versions = [each.wanted for each in term if isinstance(each, VersionFits)]
        if isinstance(term[0], KeyIsOneOf):
            yield worker_traces.c.api_key_name, names
        if versions:
            column = worker_traces.c.agent_version
            distinct = conn.execute(select(column).where(column.is_not(None)).distinct()).scalars().all()
            yield column, {text for text in distinct if any(one.matches(text) for one in versions)}


def _condition(term: TraceTerm) -> ColumnElement[bool] | None:
    """Return a condition that holds for every matching Worker, for addresses also for others; None if `_values` covers the term."""
    conditions = [condition for each in term if (condition := _part_of(each)) is not None]
    return or_(*conditions) if conditions else None


def _part_of(wanted: TraceCondition) -> ColumnElement[bool] | None:
    traces = worker_traces.c
    match wanted:
        case HostFits(pattern=pattern):
            return _fits(traces.hostname, pattern)
        case AnyTextFits(pattern=pattern, keys=keys):
            return or_(
                _fits(traces.hostname, pattern), _fits(traces.address, pattern), *_by_key(keys, pattern)
            )
        case AddressIsIn(network=network):
            return _may_be_in(traces.address, network)
        case LastSeen(since=since, before=before):
            at = traces.last_seen_at
            return and_(*([at > since] if since else []), *([at < before] if before else []))
        case _:
            return None


def _by_key(names: frozenset[str], pattern: TextPattern) -> Iterator[ColumnElement[bool]]:
    column = worker_traces.c.api_key_name
    if len(names) > _BATCH:
        yield _fits(func.lower(column), pattern)
    elif names:
        yield _is_one_of(column, sorted(names))


def _is_one_of(column: Column[Any], values: Sequence[str]) -> ColumnElement[bool]:
    # Without an index: a search may match most rows of a fleet, and each would be looked up separately.
    return func.coalesce(column, "").in_(values)


def _batches(values: Iterable[str]) -> list[list[str]]:
    wanted = sorted(values)
    return [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]


def _fits(column: ColumnElement[str], pattern: TextPattern) -> ColumnElement[bool]:
    if pattern.is_whole and len(pattern.parts) == 1:
        return column == pattern.parts[0]
    inner = "%".join(map(_escaped, pattern.parts))
    return column.like(inner if pattern.is_whole else f"%{inner}%", escape=_ESCAPE)


def _escaped(text: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text


def _may_be_in(address: ColumnElement[str], network: Network) -> ColumnElement[bool]:
    """Return a condition that holds for every address in the network, and for few others."""
    if isinstance(network, IPv6Network):
        # The text of an IPv6 address can be shortened anywhere.
        return address.contains(":")
    whole = network.prefixlen // _OCTET_BITS
    octets = str(network.network_address).split(".")[:whole]
    start = ".".join(octets) + ("." if 0 < whole < len(network.network_address.packed) else "")
    return or_(address.startswith(start, autoescape=True), address.startswith(_MAPPED))
