"""A reverse proxy as in front of most Servers: it answers 502 while there is no Server behind it."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gateway:
    """
    Passes all bytes on, in both directions.

    Args:
        port: The Server's port on loopback.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_failing = self._is_hanging = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `close` alone would not wake the thread that accepts. It could then take a connection of the next socket with the same number.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut_all()

    def fail(self) -> None:
        """Answer 502 from now on and cut every connection, as if the Server were gone."""
        self._is_failing = True
        self._cut_all()

    def hang(self) -> None:
        """Accept requests from now on without answering, like a Server that hangs."""
        self._is_hanging = True
        self._cut_all()

    def recover(self) -> None:
        """Pass requests on again."""
        self._is_failing = self._is_hanging = False
        self._cut_all()

    def _cut_all(self) -> None:
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._is_hanging:
                self._open.add(client)
                _pump(client, None)
                return
            try:
                if self._is_failing:
                    raise ConnectionRefusedError
                server = socket.create_connection(self._server)
            except ConnectionRefusedError:
                client.recv(65_536)
                client.sendall(_BAD_GATEWAY)
                return
            with server:
                self._open |= {client, server}
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()
                self._open -= {client, server}


def _pump(source: socket.socket, sink: socket.socket | None) -> None:
    """Pass data on until the connection ends; without a sink, discard it."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            if sink is not None:
                sink.sendall(data)
    if sink is not None:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
