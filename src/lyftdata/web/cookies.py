"""
The cookies of an operator's session, and of the device marks of operators who have signed in on this device.

They are for pages only: the admin API only reads the Authorization header, so that a page of another site cannot make
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

# A cookie without a value counts as missing.
_NO_COLUMN = "-"
_KEPT_AFTER_THE_END = timedelta(days=7)


def set_session(response: Response, request: Request, services: Services, token: Secret) -> None:
    """Set the cookie with a session's token: not readable by scripts, and for this site only."""
    secure = _is_secure(request, services)
    # Kept longer than the session, whose end the Server decides: it tells the sign-in page that a session has ended.
    life = SESSION_LIFE + _KEPT_AFTER_THE_END
    _set(response, _name(request, secure=secure), token.reveal(), life=life, secure=secure)


def read_session(request: Request, services: Services) -> str | None:
    """Return the session's token that the browser sent, or None."""
    return _read(request, _name(request, secure=_is_secure(request, services)))


def forget_session(response: Response, request: Request, services: Services) -> None:
    """Delete the token; device marks stay, for the next sign-in."""
    secure = _is_secure(request, services)
    _delete(response, _name(request, secure=secure), secure=secure)


def set_device_mark(
    response: Response, request: Request, services: Services, *, operator: str, mark: Secret
) -> None:
    """Store in the browser that an operator has signed in on this device."""
    secure = _is_secure(request, services)
    name = _device_name(request, services, operator, secure=secure)
    _set(response, name, mark.reveal(), life=MARK_LIFE, secure=secure, samesite="strict")


def read_device_mark(request: Request, services: Services, *, operator: str) -> str:
    """Return the browser's mark for an operator of this name, or an empty text."""
    secure = _is_secure(request, services)
    return _read(request, _device_name(request, services, operator, secure=secure)) or ""


def remember_name(response: Response, request: Request, services: Services, operator: str) -> None:
    """Store who signed in last, so that the form is filled in with the name the next time."""
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
    """Return who signed in last on this device if it is a valid name; otherwise an empty text."""
    name = _read(request, _last_name(request, secure=_is_secure(request, services))) or ""
    try:
        return parse_operator_name(name)
    except InvalidInputError:
        return ""


def set_pending_sign_in(response: Response, request: Request, services: Services, value: str) -> None:
    """Store which sign-in at the issuer this browser has begun (`server.admin.oidc.pending`)."""
    secure = _is_secure(request, services)
    # Lax: the issuer redirects the browser back, and a strict cookie would not be sent then.
    _set(response, _pending_name(request, secure=secure), value, life=PENDING_LIFE, secure=secure)


def read_pending_sign_in(request: Request, services: Services) -> str | None:
    """Return the value of `set_pending_sign_in`, unverified, or None."""
    return _read(request, _pending_name(request, secure=_is_secure(request, services)))


def forget_pending_sign_in(response: Response, request: Request, services: Services) -> None:
    """Delete it: the sign-in is finished."""
    secure = _is_secure(request, services)
    _delete(response, _pending_name(request, secure=secure), secure=secure)


def set_ticket(response: Response, request: Request, services: Services, value: str) -> None:
    """Store that the operator's password was right (`server.admin.second_factor_tickets`)."""
    secure = _is_secure(request, services)
    name = _ticket_name(request, secure=secure)
    _set(response, name, value, life=TICKET_LIFE, secure=secure, samesite="strict")


def read_ticket(request: Request, services: Services) -> str:
    """Return the value of `set_ticket`, unverified, or an empty text."""
    return _read(request, _ticket_name(request, secure=_is_secure(request, services))) or ""


def forget_ticket(response: Response, request: Request, services: Services) -> None:
    """Delete it: the operator is signed in."""
    secure = _is_secure(request, services)
    _delete(response, _ticket_name(request, secure=secure), secure=secure)


def set_flash(
    response: Response, request: Request, services: Services, value: str, *, life: timedelta
) -> None:
    """Store the message that the next page shows once (`web.flash`)."""
    secure = _is_secure(request, services)
    _set(response, _flash_name(request, secure=secure), value, life=life, secure=secure)


def read_flash(request: Request, services: Services) -> str | None:
    """Return the value of `set_flash`, unverified, or None."""
    return _read(request, _flash_name(request, secure=_is_secure(request, services)))


def forget_flash(response: Response, request: Request, services: Services) -> None:
    """Delete it: it was shown."""
    secure = _is_secure(request, services)
    _delete(response, _flash_name(request, secure=secure), secure=secure)


def set_columns(
    response: Response, request: Request, services: Services, *, operator: str, columns: Sequence[str]
) -> None:
    """Store which columns an operator wants to see in the list of Workers."""
    secure = _is_secure(request, services)
    name = _columns_name(request, services, operator, secure=secure)
    _set(response, name, ".".join(columns) or _NO_COLUMN, life=MARK_LIFE, secure=secure, samesite="strict")


def read_columns(request: Request, services: Services, *, operator: str) -> list[str] | None:
    """Return the value of `set_columns`, unchecked; None if nothing was chosen."""
    secure = _is_secure(request, services)
    value = _read(request, _columns_name(request, services, operator, secure=secure))
    return None if value is None else value.split(".")


def set_zone(response: Response, request: Request, services: Services, zone: tzinfo) -> None:
    """Store the time zone in which this browser shows times."""
    secure = _is_secure(request, services)
    # A slash would be put in quotes.
    value = zone_name(zone).replace("/", ".")
    _set(response, _zone_name(request, secure=secure), value, life=MARK_LIFE, secure=secure, samesite="lax")


def read_zone(request: Request, services: Services) -> tzinfo:
    """Return the zone from `set_zone`; UTC if there is none, or its name is unknown."""
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
    """Set a cookie that scripts cannot read and that is not sent with a post from another site."""
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
    # Browsers only delete a cookie with the prefix __Host- by one with the attributes that the prefix requires.
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


def _read(request: Request, name: str) -> str | None:
    """
    Return the value of a cookie, or None.

    Parsed as bytes, and only if the name occurs once: a neighboring host can set a cookie for the whole domain whose name is ours
    after a space from another alphabet. Lenient parsers would accept it as ours, and the attacker would have moved the operator into
    the attacker's session.
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
    """Return the token that a form of this session must contain: only those who can read the pages know it."""
    return hmac.digest(session_token.encode("utf-8", "surrogateescape"), b"lyftdata csrf", sha256).hex()


def _is_secure(request: Request, services: Services) -> bool:
    # Behind a proxy that terminates TLS the request looks like plain HTTP; the public URL says what browsers see.
    return request.url.scheme == "https" or services.issuer.startswith("https:")


def _name(request: Request, *, secure: bool) -> str:
    """
    Return the cookie's name.

    With TLS the prefix makes browsers reject a cookie set by a neighboring host or over plain HTTP (RFC 6265bis,
    section 4.1.3.2). Without TLS, as on loopback, all ports of a host share cookies: the port in the name keeps two Servers
    from signing each other's operators out.
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
