"""HTTP clients that call an application in the test's own process with a worker token."""

from typing import Any

import httpx2

_BASE_URL = "http://service.test"


def wsgi_client(app: Any, *, token: str | None = None) -> httpx2.Client:
    """
    Return a client of a WSGI application (Flask, Django, …).

    Args:
        app: The application.
        token: Sent with each request; without one the request carries no credential.
    """
    return httpx2.Client(
        transport=httpx2.WSGITransport(app=app), base_url=_BASE_URL, headers=bearer_headers(token)
    )


def asgi_client(app: Any, *, token: str | None = None) -> httpx2.AsyncClient:
    """
    Return a client of an ASGI application (FastAPI, Starlette, …). Its lifespan is not run, and no websocket opened.

    Args:
        app: The application.
        token: Sent with each request; without one the request carries no credential.
    """
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url=_BASE_URL, headers=bearer_headers(token)
    )


def bearer_headers(token: str | None) -> dict[str, str]:
    """Return the header that carries a token; empty without a token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}
