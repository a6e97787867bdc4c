"""Messages over a socket pair, one JSON object a line; neither side ever blocks."""

import socket
from typing import Generic, TypeVar

import msgspec

_READ_BYTES = 65_536
# The metrics of a process are some 20 kB. A process that does not read must not fill the supervisor's memory.
_MAX_UNSENT_BYTES = 4_000_000

Incoming = TypeVar("Incoming")


class ChannelClosedError(Exception):
    """The other side has ended."""


class Channel(Generic[Incoming]):
    """
    One end of the line between the supervisor and a process.

    Args:
        stream: A connected stream socket; owned by the channel from then on.
        incoming: The type of the messages that come from the other side.
    """

    def __init__(self, stream: socket.socket, incoming: type[Incoming] | object) -> None:
        stream.setblocking(False)
        self._stream = stream
        self._decoder = msgspec.json.Decoder(incoming)
        self._unsent = bytearray()
        self._half_line = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for whatever waits for it."""
        return self._stream.fileno()

    def has_unsent(self) -> bool:
        """Return whether `flush` is to be called once the socket takes more."""
        return bool(self._unsent)

    def send(self, message: msgspec.Struct) -> None:
        """Send a message, now or with later flushes; dropped if the other side has not read megabytes."""
        if len(self._unsent) < _MAX_UNSENT_BYTES:
            self._unsent += msgspec.json.encode(message) + b"\n"
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes; what is for a side that has gone is dropped, and `receive` says so."""
        try:
            while self._unsent:
                del self._unsent[: self._stream.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def receive(self) -> list[Incoming]:
        """
        Return the messages that have arrived; the rest, if there is more, with the next call.

        Raises:
            ChannelClosedError: There will be no more.
        """
        try:
            read = self._stream.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosedError from error
        if not read:
            raise ChannelClosedError
        *lines, rest = (bytes(self._half_line) + read).split(b"\n")
        self._half_line = bytearray(rest)
        return [self._decoder.decode(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._stream.close()
