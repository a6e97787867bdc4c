"""
Searches Workers' activity: who was last connected from a host, an address or with a key, and when.

Each search is one scan. Every value is a bound parameter, and a comparison gives the same on both databases: host names are
kept folded, since databases differ in what they take for upper and lower case.
"""

import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select

from lyftdata.core.networks import Network, is_in
from lyftdata.core.query_values import TextPattern, VersionRange
from lyftdata.store.schema import worker_traces

_BATCH = 500
_ESCAPE = "\\"
_OCTET_BITS = 8
_OCTETS = 4
_COLUMNS: Mapping[str, Column[Any]] = {
    "host": worker_traces.c.hostname,
    "address": worker_traces.c.address,
    "version": worker_traces.c.agent_version,
    "key": worker_traces.c.api_key_name,
    "seen": worker_traces.c.last_seen_at,
}
_MAPPED = "::ffff:"


def ids_by_host(conn: Connection, pattern: TextPattern) -> set[str]:
    """Return the IDs of the Workers whose last host name fits."""
    return _ids(conn, _fits(worker_traces.c.hostname, pattern))


def ids_by_text(conn: Connection, pattern: TextPattern) -> set[str]:
    """Return the IDs of the Workers whose last host name, address or API key fits."""
    columns = (worker_traces.c.hostname, worker_traces.c.address, func.lower(worker_traces.c.api_key_name))
    return _ids(conn, or_(*(_fits(column, pattern) for column in columns)))


def ids_by_key(conn: Connection, names: Collection[str]) -> set[str]:
    """Return the IDs of the Workers that used a key with one of these names last."""
    return _ids_in(conn, worker_traces.c.api_key_name, names)


def ids_by_address(conn: Connection, network: Network) -> set[str]:
    """Return the IDs of the Workers whose last address is in a network."""
    address = worker_traces.c.address
    # As one text, as in `_ids`: neither an ID nor an address has a space in it.
    each = worker_traces.c.worker_id + " " + address
    query = select(func.aggregate_strings(each, " ")).where(_may_be_in(address, network))
    words = (conn.execute(query).scalar() or "").split(" ")
    # A database compares texts: what it finds is compared again.
    is_in_network = _test_of(network)
    return {
        worker_id for worker_id, text in zip(words[::2], words[1::2], strict=False) if is_in_network(text)
    }


def ids_by_version(conn: Connection, wanted: VersionRange) -> set[str]:
    """Return the IDs of the Workers whose last agent was of a version that is wanted."""
    version = worker_traces.c.agent_version
    distinct = conn.execute(select(version).where(version.is_not(None)).distinct()).scalars()
    return _ids_in(conn, version, [text for text in distinct if wanted.matches(text)])


def ids_seen(conn: Connection, *, since: datetime | None = None, before: datetime | None = None) -> set[str]:
    """Return the IDs of the Workers that were last connected since one time, or before another."""
    at = worker_traces.c.last_seen_at
    conditions = [*([at > since] if since else []), *([at < before] if before else [])]
    return _ids(conn, *conditions)


def values_of(conn: Connection, what: str) -> dict[str, Any]:
    """Return host, address, version, key or last time (`seen`) of Workers, by their ID; those without are left out."""
    column = _COLUMNS[what]
    query = select(worker_traces.c.worker_id, column).where(column.is_not(None))
    return {row[0]: row[1] for row in conn.execute(query)}


def _ids(conn: Connection, *conditions: ColumnElement[bool]) -> set[str]:
    # One text for all of them, which no ID has a space in: a row for each would take three times as long.
    query = select(func.aggregate_strings(worker_traces.c.worker_id, " ")).where(*conditions)
    return set((conn.execute(query).scalar() or "").split())


def _ids_in(conn: Connection, column: Column[Any], values: Collection[str]) -> set[str]:
    found: set[str] = set()
    for batch in _batches(values):
        found |= _ids(conn, column.in_(batch))
    return found


def _batches(values: Iterable[str]) -> list[list[str]]:
    wanted = sorted(set(values))
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
    """Return a condition that every address in the network fulfils, and few others."""
    if isinstance(network, IPv6Network):
        # Its text can be shortened anywhere.
        return address.contains(":")
    whole = network.prefixlen // _OCTET_BITS
    octets = str(network.network_address).split(".")[:whole]
    start = ".".join(octets) + ("." if 0 < whole < len(network.network_address.packed) else "")
    return or_(address.startswith(start, autoescape=True), address.startswith(_MAPPED))


def _test_of(network: Network) -> Callable[[str], bool]:
    """Return what tells whether an address is in a network, for a hundred thousand of them."""
    if isinstance(network, IPv6Network):
        return lambda address: _is_in(address, network)
    whole = network.prefixlen // _OCTET_BITS
    # Of IPv4, the octets before are what the database has compared, and those behind may be any.
    known: dict[str, bool] = {}

    def is_in_network(address: str) -> bool:
        if ":" in address:
            return _is_in(address, network)
        octets = address.split(".", whole + 1)[: whole + 1]
        start = ".".join(octets)
        found = known.get(start)
        if found is None:
            found = known[start] = _is_in(start + ".0" * (_OCTETS - len(octets)), network)
        return found

    return is_in_network


def _is_in(address: str, network: Network) -> bool:
    """Return what `is_in` does; of ordinary addresses ten times as fast, since there may be a hundred thousand."""
    family = socket.AF_INET if isinstance(network, IPv4Network) else socket.AF_INET6
    try:
        number = int.from_bytes(socket.inet_pton(family, address))
    except (OSError, ValueError):
        return is_in(address, network)
    return number & int(network.netmask) == int(network.network_address)
