"""
The cookies of an operator's session, and of the device marks of operators who have signed in on this device.

They are for pages only: the admin API reads the Authorization header alone, so that no page of another site can make
a browser use it.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, timedelta, tzinfo
from hashlib import sha256
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_operator_name
from lyftdata.core.secret import Secret
from lyftdata.server.admin.device_marks import MARK_LIFE
from lyftdata.server.admin.new_sessions import SESSION_LIFE
from lyftdata.server.admin.oidc.pending import PENDING_LIFE
from lyftdata.server.admin.second_factor_tickets import TICKET_LIFE
from lyftdata.server.runtime.services import Services
from lyftdata.web.zones import find_zone, zone_name

# A cookie without a value is as good as none.
_NO_COLUMN = "-"
_KEPT_AFTER_THE_END = timedelta(days=7)


def set_session(response: Response, request: Request, services: Services, token: Secret) -> None:
    """Hand a session's token to the browser: out of scripts' reach, for this site alone."""
    secure = _is_secure(request, services)
    # Kept beyond the session, whose end is the Server's to decide: by it the sign-in page knows that one has ended.
    life = SESSION_LIFE + _KEPT_AFTER_THE_END
    _set(response, _name(request, secure=secure), token.reveal(), life=life, secure=secure)


def read_session(request: Request, services: Services) -> str | None:
    """Return the session's token that the browser sent, or None."""
    return _read(request, _name(request, secure=_is_secure(request, services)))


def forget_session(response: Response, request: Request, services: Services) -> None:
    """Take the token back; device marks stay, for the next sign-in."""
    secure = _is_secure(request, services)
    _delete(response, _name(request, secure=secure), secure=secure)


def set_device_mark(
    response: Response, request: Request, services: Services, *, operator: str, mark: Secret
) -> None:
    """Let the browser keep that an operator has signed in on this device."""
    secure = _is_secure(request, services)
    name = _device_name(request, services, operator, secure=secure)
    _set(response, name, mark.reveal(), life=MARK_LIFE, secure=secure, samesite="strict")


def read_device_mark(request: Request, services: Services, *, operator: str) -> str:
    """Return the mark that the browser has kept of an operator of this name, or an empty text."""
    secure = _is_secure(request, services)
    return _read(request, _device_name(request, services, operator, secure=secure)) or ""


def remember_name(response: Response, request: Request, services: Services, operator: str) -> None:
    """Let the browser keep who signed in last, so that the form has the name the next time."""
    secure = _is_secure(request, services)
    _set(
        response,
        _last_name(request, secure=secure),
        operator,
        life=MARK_LIFE,
        secure=secure,
        samesite="strict",
    )


def read_name(request: Request, services: Services) -> str:
    """Return who signed in last on this device, as far as it has the form of a name; else an empty text."""
    name = _read(request, _last_name(request, secure=_is_secure(request, services))) or ""
    try:
        return parse_operator_name(name)
    except InvalidInputError:
        return ""


def set_pending_sign_in(response: Response, request: Request, services: Services, value: str) -> None:
    """Let the browser keep which sign-in it has begun at the issuer (`server.admin.oidc.pending`)."""
    secure = _is_secure(request, services)
    # Lax: the issuer sends the browser back by a link, with which a strict cookie would not come.
    _set(response, _pending_name(request, secure=secure), value, life=PENDING_LIFE, secure=secure)


def read_pending_sign_in(request: Request, services: Services) -> str | None:
    """Return what `set_pending_sign_in` has left, not verified yet, or None."""
    return _read(request, _pending_name(request, secure=_is_secure(request, services)))


def forget_pending_sign_in(response: Response, request: Request, services: Services) -> None:
    """Take it back: the sign-in was finished."""
    secure = _is_secure(request, services)
    _delete(response, _pending_name(request, secure=secure), secure=secure)


def set_ticket(response: Response, request: Request, services: Services, value: str) -> None:
    """Let the browser keep that its operator's password was right (`server.admin.second_factor_tickets`)."""
    secure = _is_secure(request, services)
    name = _ticket_name(request, secure=secure)
    _set(response, name, value, life=TICKET_LIFE, secure=secure, samesite="strict")


def read_ticket(request: Request, services: Services) -> str:
    """Return what `set_ticket` has left, not verified yet, or an empty text."""
    return _read(request, _ticket_name(request, secure=_is_secure(request, services))) or ""


def forget_ticket(response: Response, request: Request, services: Services) -> None:
    """Take it back: the operator is signed in."""
    secure = _is_secure(request, services)
    _delete(response, _ticket_name(request, secure=secure), secure=secure)


def set_flash(
    response: Response, request: Request, services: Services, value: str, *, life: timedelta
) -> None:
    """Let the browser carry what the next page says once (`web.flash`)."""
    secure = _is_secure(request, services)
    _set(response, _flash_name(request, secure=secure), value, life=life, secure=secure)


def read_flash(request: Request, services: Services) -> str | None:
    """Return what `set_flash` has left, not verified yet, or None."""
    return _read(request, _flash_name(request, secure=_is_secure(request, services)))


def forget_flash(response: Response, request: Request, services: Services) -> None:
    """Take it back: it was shown."""
    secure = _is_secure(request, services)
    _delete(response, _flash_name(request, secure=secure), secure=secure)


def set_columns(
    response: Response, request: Request, services: Services, *, operator: str, columns: Sequence[str]
) -> None:
    """Let the browser keep which columns an operator wants to see in the list of Workers."""
    secure = _is_secure(request, services)
    name = _columns_name(request, services, operator, secure=secure)
    _set(response, name, ".".join(columns) or _NO_COLUMN, life=MARK_LIFE, secure=secure, samesite="strict")


def read_columns(request: Request, services: Services, *, operator: str) -> list[str] | None:
    """Return what `set_columns` has left, unchecked; None if nothing was chosen."""
    secure = _is_secure(request, services)
    value = _read(request, _columns_name(request, services, operator, secure=secure))
    return None if value is None else value.split(".")


def set_zone(response: Response, request: Request, services: Services, zone: tzinfo) -> None:
    """Let the browser keep in which zone it shows times."""
    secure = _is_secure(request, services)
    # A slash would be put between quotes.
    value = zone_name(zone).replace("/", ".")
    _set(response, _zone_name(request, secure=secure), value, life=MARK_LIFE, secure=secure, samesite="lax")


def read_zone(request: Request, services: Services) -> tzinfo:
    """Return what `set_zone` has left; UTC if that is nothing, or no zone's name."""
    value = _read(request, _zone_name(request, secure=_is_secure(request, services))) or ""
    return find_zone(value.replace(".", "/")) or UTC


def _set(
    response: Response,
    name: str,
    value: str,
    *,
    life: timedelta,
    secure: bool,
    samesite: Literal["lax", "strict"] = "lax",
) -> None:
    """Set a cookie that scripts cannot read and that another site's page cannot have sent with a post."""
    response.set_cookie(
        name,
        value,
        max_age=int(life.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite=samesite,
    )


def _delete(response: Response, name: str, *, secure: bool) -> None:
    # Browsers delete a cookie with the prefix __Host- only by one with the attributes that it demands.
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


def _read(request: Request, name: str) -> str | None:
    """
    Return the value of a cookie, or None.

    Read bytewise, and only a name that comes once: a neighbouring host can set a cookie for the whole domain whose name
    is ours with a space of another alphabet before it. Lenient parsers take that for ours, and anyone who set it would
    have moved the operator into a session of their own.
    """
    wanted = name.encode()
    values = [
        value
        for header, text in request.scope["headers"]
        if header == b"cookie"
        for found, _, value in (pair.strip(b" \t").partition(b"=") for pair in text.split(b";"))
        if found == wanted
    ]
    return values[0].decode("latin-1") if len(values) == 1 else None


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


def _flash_name(request: Request, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_flash"


def _last_name(request: Request, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_last_name"


def _ticket_name(request: Request, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_second_factor"


def _pending_name(request: Request, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_sign_in"


def _zone_name(request: Request, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_zone"


def _columns_name(request: Request, services: Services, operator: str, *, secure: bool) -> str:
    return f"{_name(request, secure=secure)}_columns_{services.device_marks.name_tag(operator)}"


def _device_name(request: Request, services: Services, operator: str, *, secure: bool) -> str:
    """Return the name of an operator's device mark; operators who share a browser have one each."""
    return f"{_name(request, secure=secure)}_device_{services.device_marks.name_tag(operator)}"
