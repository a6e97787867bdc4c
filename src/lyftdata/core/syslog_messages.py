"""Formats messages for syslog: RFC 5424, in the frames of RFC 6587 (octet counting), which RFC 5425 uses over TLS too."""

import re
from datetime import UTC, datetime

_AUTHPRIV = 10
_WARNING, _INFORMATIONAL = 4, 6
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_MAX_HOSTNAME, _MAX_MSGID = 255, 32


def format_message(text: str, *, at: datetime, hostname: str, msgid: str, is_alert: bool) -> bytes:
    """
    Return one message, framed.

    Args:
        text: ASCII. UTF-8 would need a byte order mark in front, which programs that read JSON do not expect.
        at: Aware time of the event.
        hostname: The Server's host name.
        msgid: The type of message.
        is_alert: Whether the severity is warning instead of informational.
    """
    priority = _AUTHPRIV * 8 + (_WARNING if is_alert else _INFORMATIONAL)
    timestamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    header = f"<{priority}>1 {timestamp} {_field(hostname, _MAX_HOSTNAME)} lyftdata - {_field(msgid, _MAX_MSGID)} -"
    message = f"{header} {text}".encode("ascii")
    return b"%d %b" % (len(message), message)


def _field(text: str, at_most: int) -> str:
    """Return a field of the header: printable ASCII without spaces, `-` if it is empty."""
    return _NOT_PRINTABLE.sub("?", text)[:at_most] or "-"
