"""
The login of a Kafka broker, and nothing else.

No broker is among the packages that tests may install. To verify the token of a real client, this answers
the three requests of a SASL/OAUTHBEARER login (KIP-255, KIP-152; RFC 7628): ApiVersions, SaslHandshake and
SaslAuthenticate. After the login, requests are not answered.
"""

import contextlib
import queue
import re
import socket
import struct
import threading
from collections.abc import Iterator

from lyftdata.verify import InvalidTokenError, WorkerIdentity, WorkerVerifier

_API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 18, 17, 36
_UNSUPPORTED_VERSION, _AUTHENTICATION_FAILED = 35, 58
_MECHANISM = b"OAUTHBEARER"
# The requests that are answered, each in the oldest version that clients still use.
_SPOKEN = ((_API_VERSIONS, 0, 0), (_SASL_HANDSHAKE, 0, 1), (_SASL_AUTHENTICATE, 0, 0))
_BEARER = re.compile(rb"n,.*?,\x01auth=Bearer ([^\x01]+)\x01")


class KafkaLogins:
    """Listens on loopback; `admitted` has each Worker that logged in, `refused` the code of each refusal."""

    def __init__(self, verifier: WorkerVerifier) -> None:
        self._verifier = verifier
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.admitted: queue.Queue[WorkerIdentity] = queue.Queue()
        self.refused: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        # `close` alone would not wake the thread that accepts. It could then take a connection of the next socket with the same number.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            for key, version, number, body in _requests(connection):
                answer = struct.pack(">i", number) + self._answer(key, version, body)
                connection.sendall(struct.pack(">i", len(answer)) + answer)

    def _answer(self, key: int, version: int, body: bytes) -> bytes:
        if key == _API_VERSIONS:
            error = 0 if version == 0 else _UNSUPPORTED_VERSION
            return struct.pack(">hi", error, len(_SPOKEN)) + b"".join(
                struct.pack(">hhh", *api) for api in _SPOKEN
            )
        if key == _SASL_HANDSHAKE:
            return struct.pack(">hi", 0, 1) + _text(_MECHANISM)
        if key == _SASL_AUTHENTICATE:
            return self._authenticate(body)
        raise EOFError

    def _authenticate(self, body: bytes) -> bytes:
        found = _BEARER.search(body)
        try:
            if found is None:
                raise InvalidTokenError("The client sent no bearer token.")
            self.admitted.put(self._verifier.verify(found[1].decode()))
        except InvalidTokenError as error:
            self.refused.put(error.code)
            return (
                struct.pack(">h", _AUTHENTICATION_FAILED)
                + _text(error.public.encode())
                + struct.pack(">i", 0)
            )
        return struct.pack(">hhi", 0, -1, 0)


def _requests(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the key, version, correlation ID and remaining bytes of each request."""
    stream = connection.makefile("rb")
    while True:
        (length,) = struct.unpack(">i", _exactly(stream.read(4), 4))
        request = _exactly(stream.read(length), length)
        key, version, number = struct.unpack(">hhi", request[:8])
        yield key, version, number, request[8:]


def _exactly(read: bytes, length: int) -> bytes:
    if len(read) != length:
        raise EOFError
    return read


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value
