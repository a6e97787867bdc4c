"""
Decides what scopes allow at a RabbitMQ broker.

The syntax is that of RabbitMQ's own OAuth 2 plugin, so that one resource serves both plugins:

    PERMISSION:VHOST/NAME               configure, write or read queues and exchanges of that name
    PERMISSION:VHOST/NAME/ROUTING-KEY   and, at topic exchanges, messages with that routing key

Each part is a pattern: `*` matches any text, including none, and `%2F` a slash. The scope may begin with the resource's audience
and a dot, as that plugin requires. A scope of any other form allows nothing.
"""

import functools
import re
from collections.abc import Sequence
from urllib.parse import unquote_plus

import msgspec

_PERMISSIONS = frozenset({"configure", "write", "read"})
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class _Pattern(msgspec.Struct, frozen=True):
    """A pattern, as the literal parts between its stars."""

    parts: tuple[str, ...]

    def matches(self, text: str) -> bool:
        """
        Return whether a name matches.

        ReDoS: by search and not by a regular expression. The Worker chooses the name, and with many stars a regular expression
        can be made to backtrack for exponential time.
        """
        first, *middle = self.parts
        if not middle:
            return text == first
        last = middle.pop()
        end = len(text) - len(last)
        if end < len(first) or not (text.startswith(first) and text.endswith(last)):
            return False
        position = len(first)
        for part in middle:
            found = text.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


class _Rights(msgspec.Struct, frozen=True):
    """What one scope allows, and where; `routing_key` is None if the scope has none."""

    permission: str
    vhost: _Pattern
    name: _Pattern
    routing_key: _Pattern | None


def may_access_vhost(scopes: Sequence[str], audience: str, *, vhost: str) -> bool:
    """Return whether scopes allow anything in a virtual host."""
    return any(rights.vhost.matches(vhost) for rights in _all_rights(tuple(scopes), audience))


def may_access_resource(
    scopes: Sequence[str], audience: str, *, permission: str, vhost: str, name: str
) -> bool:
    """Return whether scopes allow configuring, writing or reading the queue or exchange of this name."""
    return any(
        rights.permission == permission and rights.vhost.matches(vhost) and rights.name.matches(name)
        for rights in _all_rights(tuple(scopes), audience)
    )


def may_access_topic(
    scopes: Sequence[str], audience: str, *, permission: str, vhost: str, exchange: str, routing_key: str
) -> bool:
    """Return whether scopes allow writing or reading messages with this routing key at a topic exchange."""
    return any(
        rights.permission == permission
        and rights.vhost.matches(vhost)
        and rights.name.matches(exchange)
        and rights.routing_key is not None
        and rights.routing_key.matches(routing_key)
        for rights in _all_rights(tuple(scopes), audience)
    )


# Cached: called at each operation of each Worker with the scopes of a few resources.
@functools.lru_cache(maxsize=256)
def _all_rights(scopes: tuple[str, ...], audience: str) -> tuple[_Rights, ...]:
    read = (_rights(scope.removeprefix(f"{audience}.")) for scope in scopes)
    return tuple(rights for rights in read if rights is not None)


def _rights(scope: str) -> _Rights | None:
    permission, _, place = scope.partition(":")
    parts = place.split("/")
    if permission not in _PERMISSIONS or len(parts) not in {2, 3}:
        return None
    try:
        patterns = [_pattern(part) for part in parts]
    except ValueError:
        # An invalid escape: such a pattern matches nothing in the plugin either.
        return None
    vhost, name, *more = patterns
    return _Rights(permission, vhost, name, more[0] if more else None)


def _pattern(text: str) -> _Pattern:
    """Parse a pattern; split at the stars before decoding, so that `%2A` is a literal star."""
    if _BROKEN_ESCAPE.search(text):
        raise ValueError(text)
    return _Pattern(tuple(unquote_plus(part, errors="strict") for part in text.split("*")))
