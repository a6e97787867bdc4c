"""TCP keepalive: a connection whose peer is gone is closed."""

import socket

from lyftdata.keepalive import GONE_AFTER_S, IDLE_S, keepalive_options
from lyftdata.server.runtime.settings_values import BindAddress
from lyftdata.serving import listen


def test_accepted_connections_have_tcp_keepalive():
    """They inherit the listening socket's options: a probe after 15 s idle, closed after 30 s."""
    with listen(BindAddress("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as accepted:
            found = {
                (level, option): accepted.getsockopt(level, option)
                for level, option, _ in keepalive_options()
            }

    assert found == {(level, option): value for level, option, value in keepalive_options()}
    assert found[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
    assert found[socket.IPPROTO_TCP, socket.TCP_KEEPIDLE] == IDLE_S == 15
    assert found[socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT] == GONE_AFTER_S * 1000 == 30_000
