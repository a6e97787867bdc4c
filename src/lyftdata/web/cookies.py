"""
The cookie that holds an operator's session.

It is for pages only: the admin API reads the Authorization header alone, so that no page of another site can make
a browser use it.
"""

import hmac
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.secret import Secret
from lyftdata.server.operators import SESSION_LIFE
from lyftdata.server.services import Services


def set_session(response: Response, request: Request, services: Services, token: Secret) -> None:
    """Hand a session's token to the browser: out of scripts' reach, for this site alone."""
    secure = _is_secure(request, services)
    response.set_cookie(
        _name(request, secure=secure),
        token.reveal(),
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def read_session(request: Request, services: Services) -> str | None:
    """
    Return the token that the browser sent, or None.

    Read bytewise, and only a name that comes once: a neighbouring host can set a cookie for the whole domain whose name
    is ours with a space of another alphabet before it. Parsers that are kinder take that for ours, and whoever tossed
    it would have moved the operator into a session of their own.
    """
    wanted = _name(request, secure=_is_secure(request, services)).encode()
    values = [
        value
        for header, text in request.scope["headers"]
        if header == b"cookie"
        for name, _, value in (pair.strip(b" \t").partition(b"=") for pair in text.split(b";"))
        if name == wanted
    ]
    return values[0].decode("latin-1") if len(values) == 1 else None


def forget_session(response: Response, request: Request, services: Services) -> None:
    """Take the token back."""
    secure = _is_secure(request, services)
    response.delete_cookie(
        _name(request, secure=secure), path="/", secure=secure, httponly=True, samesite="lax"
    )


def csrf_token(session_token: str) -> str:
    """Return what a form of this session must carry: only who can read the pages knows it."""
    return hmac.digest(session_token.encode("utf-8", "surrogateescape"), b"lyftdata csrf", sha256).hex()


def _is_secure(request: Request, services: Services) -> bool:
    # Behind a proxy that ends TLS the request looks plain; the public URL says what browsers see.
    return request.url.scheme == "https" or services.issuer.startswith("https:")


def _name(request: Request, *, secure: bool) -> str:
    """
    Return the cookie's name.

    With TLS the prefix makes browsers refuse one that a neighbouring host or plain HTTP has set (RFC 6265bis,
    section 4.1.3.2). Without, as on loopback, cookies are shared by every port of the host: the port in the name keeps
    two Servers from signing each other's operators out.
    """
    return "__Host-lyftdata" if secure else f"lyftdata_{request.url.port or 80}"
