"""Sign-in at the issuer: the redirect there, the way back, and the end of a session there."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lyftdata.core.errors import IssuerUnavailableError, LyftdataError, NotFoundError
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.responses import NO_STORE
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.wiring.oidc import OidcParts
from lyftdata.web.cookies import (
    forget_pending_sign_in,
    read_pending_sign_in,
    set_pending_sign_in,
    set_session,
)
from lyftdata.web.destination import safe_destination
from lyftdata.web.forms import read_form
from lyftdata.web.gate import path_not_found
from lyftdata.web.pages.sign_in import sign_in_form

_SEE_OTHER = 303


async def begin(request: Request) -> Response:
    """Redirect the browser to the issuer."""
    services: Services = request.app.state.services
    if services.oidc is None:
        return await path_not_found(request)
    destination = safe_destination(request.query_params.get("next", ""))
    asks_again = request.query_params.get("again") == "yes"
    try:
        services.host_check.check(request)
        begun = await services.oidc.sign_in.begin(destination, asks_again=asks_again)
    except LyftdataError as error:
        return await sign_in_form(request, destination=destination, problem=error)
    response = RedirectResponse(begun.url, _SEE_OTHER, headers=NO_STORE)
    set_pending_sign_in(response, request, services, begun.cookie)
    return response


async def finish(request: Request) -> Response:
    """Handle the browser's return from the issuer, and open a session."""
    services: Services = request.app.state.services
    if services.oidc is None:
        return await path_not_found(request)
    try:
        services.host_check.check(request)
        signed_in = await services.oidc.sign_in.finish(
            _single_values(request),
            unverified_cookie=read_pending_sign_in(request, services),
            address=client_address(request.scope),
            user_agent=request.headers.get("user-agent", ""),
        )
    except LyftdataError as error:
        response = await sign_in_form(request, destination="/", problem=error)
    else:
        response = RedirectResponse(safe_destination(signed_in.next), _SEE_OTHER, headers=NO_STORE)
        set_session(response, request, services, signed_in.token)
    # The sign-in is finished, whether it succeeded or not.
    forget_pending_sign_in(response, request, services)
    return response


async def log_out(request: Request) -> Response:
    """Handle a logout token, sent by the issuer itself: no browser, no cookie (Back-Channel Logout, section 2.5)."""
    services: Services = request.app.state.services
    if services.oidc is None:
        return await path_not_found(request)
    try:
        await _end_sessions(services.oidc, request)
    except IssuerUnavailableError:
        return Response(status_code=503, headers=NO_STORE)
    except LyftdataError:
        return Response(status_code=400, headers=NO_STORE)
    return Response(status_code=200, headers=NO_STORE)


async def _end_sessions(oidc: OidcParts, request: Request) -> None:
    form = await read_form(request, at_most=65_536)
    token = form.text("logout_token")
    if not token:
        raise NotFoundError("logout_token", "")
    await oidc.logout.end_sessions(token, address=client_address(request.scope))


def _single_values(request: Request) -> dict[str, str]:
    """Return the parameters that occur once; of a repeated code or issuer none is used (RFC 6749, section 3.1)."""
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return {name: found[0] for name, found in values.items() if len(found) == 1}
