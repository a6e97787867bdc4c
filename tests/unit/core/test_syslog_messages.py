"""Messages in syslog format."""

from tests.builders import NOON

from lyftdata.core.syslog_messages import format_message


def test_a_message_is_framed_by_its_length():
    """RFC 5424, framed by octet counting (RFC 6587)."""
    message = format_message(
        '{"a":1}', at=NOON, hostname="lyft.example", msgid="worker.created", is_alert=False
    )

    assert message == (
        b'82 <86>1 2026-03-01T12:00:00.000000Z lyft.example lyftdata - worker.created - {"a":1}'
    )
    length, _, rest = message.partition(b" ")
    assert int(length) == len(rest)


def test_a_value_cannot_break_out_of_its_header_field():
    """Spaces and other characters that end a field are replaced, and long values are truncated; an alert has severity warning."""
    message = format_message("x", at=NOON, hostname="a b\n", msgid="m" * 40, is_alert=True)

    assert message.partition(b" ")[2] == (
        b"<84>1 2026-03-01T12:00:00.000000Z a?b? lyftdata - " + b"m" * 32 + b" - x"
    )
