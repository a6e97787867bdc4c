"""Reads the system's certificates once: reading them takes 50 ms of CPU time, and each `httpx2.get` would do it again."""

import functools
import ssl

import httpcore2

_read = httpcore2.default_ssl_context


@functools.cache
def _default_ssl_context(*, _trust_env: bool = True) -> ssl.SSLContext:
    return _read(_trust_env=_trust_env)


def share_certificates() -> None:
    """Give each HTTP client in this process the same default TLS context."""
    httpcore2.default_ssl_context = _default_ssl_context
