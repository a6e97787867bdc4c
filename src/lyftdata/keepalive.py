"""
TCP keepalive options, with which both ends notice a dead connection after half a minute.

A held poll is silent for up to four minutes. If the other host is gone, or a device in between has dropped the connection, neither
end learns of it without keepalive: the Worker would count as online, and wait for an answer, until the poll's time is over.
"""

import socket

# A segment of 40 bytes and its answer every 15 seconds for each silent connection: 10,000 Workers cause 700 a second.
IDLE_S = 15
EVERY_S = 5
TIMES = 3
GONE_AFTER_S = IDLE_S + EVERY_S * TIMES

_ON_TCP = {
    "TCP_KEEPIDLE": IDLE_S,
    "TCP_KEEPINTVL": EVERY_S,
    "TCP_KEEPCNT": TIMES,
    # Keepalive does not cover unacknowledged data, which would be retransmitted for a quarter of an hour. In milliseconds.
    "TCP_USER_TIMEOUT": GONE_AFTER_S * 1000,
}


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return the options to set on a socket: level, option, value; without those that the system lacks."""
    known = [(getattr(socket, name), value) for name, value in _ON_TCP.items() if hasattr(socket, name)]
    asked = [(socket.IPPROTO_TCP, option, value) for option, value in known]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *asked]
