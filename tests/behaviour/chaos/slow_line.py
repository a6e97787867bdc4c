"""
A network path with a delay.

Not every kernel has `tc … netem`, so this is a relay that passes everything on after a delay.
"""

import contextlib
import queue
import socket
import threading
import time


class SlowLine:
    """
    A path with a delay to a port of this machine; close it with `close()`.

    Args:
        port: The port that it leads to.
        delay_s: The delay in each direction.
    """

    def __init__(self, port: int, delay_s: float) -> None:
        self._port, self._delay_s = port, delay_s
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the URL of the near end."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Close every connection."""
        for end in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    self._carry(source, sink)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        on_its_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        for work in (self._take, self._deliver):
            end = source if work == self._take else sink
            threading.Thread(target=work, args=(end, on_its_way), daemon=True).start()

    def _take(self, source: socket.socket, on_its_way: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            on_its_way.put((time.monotonic() + self._delay_s, data))

    def _deliver(self, sink: socket.socket, on_its_way: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
        with contextlib.suppress(OSError):
            while True:
                at_s, data = on_its_way.get()
                time.sleep(max(0.0, at_s - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
