"""
The gate for every page: session, policy and CSRF.

  1. The request must be for one of the Server's names; a post must come from one of its pages: by its origin, and by the token that
     only our pages have.
  2. The session cookie must belong to a signed-in operator; anyone else is sent to sign in. The cost of the page is charged to
     the operator's budget.
     The sender of a form decides how long it takes to arrive: once it has, this is checked again.
  3. A first or reset password must be changed before anything else.
  4. The policy table must allow the page's action to the operator's role, and to their scope if they have one.
  5. Actions that cannot be undone, and their forms, require that the operator has authenticated recently; otherwise they must do it again.
  6. An exception from the handler becomes a page: the form again with what was wrong, the request that now waits for a second
     operator, or an error.
"""

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from lyftdata.core.actor import Actor
from lyftdata.core.errors import (
    ConflictError,
    InvalidInputError,
    LoginFailedError,
    LoginLockedError,
    LyftdataError,
    NotFoundError,
    NotSignedInError,
    ReauthenticationRequiredError,
    SecondFactorFailedError,
    SecondFactorMissingError,
    SecondFactorRequiredError,
    SecondOperatorRequiredError,
)
from lyftdata.core.log_events.server import PAGE_FAILED
from lyftdata.core.policy import check_allowed
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.operator_budget import PAGE_COST
from lyftdata.server.api.operator_gate import note_operator
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.cross_site import CrossSiteError, check_same_site
from lyftdata.server.http.problems import problem, retry_headers, status_of_error
from lyftdata.server.runtime.services import Services
from lyftdata.web.cookies import csrf_token, read_session, read_zone
from lyftdata.web.destination import (
    OVERVIEW,
    confirm_path,
    requested,
    safe_destination,
    sign_in_path,
)
from lyftdata.web.forms import EMPTY, MAX_FORM_BYTES, Form, read_form
from lyftdata.web.page import Handler, Page
from lyftdata.web.render import render

_log = get_logger(__name__)

_SEE_OTHER = 303
STREAM_PATH = "/events"
# `live.js` sends it with requests that a region makes by itself.
BACKGROUND_HEADER = "lyftdata-background"
PASSWORD_PATH = "/account/password"  # noqa: S105 - a path
_WITH_A_FIRST_PASSWORD = frozenset({PASSWORD_PATH, "/logout"})
SECOND_FACTOR_PATH = "/account/second-factor"
_WAITS = "Nothing was done yet: another operator must confirm it. Say why below."
# Errors that the person who filled in the form can correct there.
_FIXED_IN_THE_FORM = (
    InvalidInputError,
    ConflictError,
    NotFoundError,
    LoginFailedError,
    LoginLockedError,
    SecondFactorFailedError,
    SecondFactorRequiredError,
)


def guarded(
    action: str,
    handler: Handler,
    *,
    in_scope: bool = False,
    again: Handler | None = None,
    again_path: str = "",
) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint that passes a request to a handler if all of the above holds.

    Args:
        action: The policy table's action.
        handler: Answers the request.
        in_scope: Whether the page shows and changes nothing outside its operator's scope; other pages reject operators with a scope.
        again: Shows the form again if the handler reports an error in it.
        again_path: The path of the page with that form, with path parameters in braces.
    """

    async def endpoint(request: Request) -> Response:
        try:
            page = await _identified(request)
        except NotSignedInError:
            return _to_sign_in(request)
        except LyftdataError as error:
            return error_page(request, error)
        try:
            page.form = await _read_form(page)
            if request.method == "POST":
                page.actor = await _identified_again(page)
            elsewhere = _find_first_step(page, action, in_scope=in_scope)
        except NotSignedInError:
            return _to_sign_in(request)
        except LyftdataError as error:
            return error_page(request, error, page)
        return elsewhere or await _answer(page, handler, again, again_path)

    return endpoint


def _find_first_step(page: Page, action: str, *, in_scope: bool) -> Response | None:
    """
    Redirect to what must be done first: changing a first password, setting up a second factor, authenticating again.

    Raises:
        ForbiddenError: The operator may not take the action at all.
    """
    if page.actor.must_change_password and page.request.url.path not in _WITH_A_FIRST_PASSWORD:
        return _to_first_password(page.request)
    try:
        # Privilege escalation: a viewer can post a form that they were never shown.
        check_allowed(action, actor=page.actor, in_scope=in_scope)
        page.check_reauthenticated(action)
    except SecondFactorMissingError:
        return RedirectResponse(SECOND_FACTOR_PATH, _SEE_OTHER)
    except ReauthenticationRequiredError:
        return _to_confirm(page.request)
    return None


async def _identified(request: Request) -> Page:
    """Return the page for the operator of the request's session; its form is not read yet."""
    services: Services = request.app.state.services
    token = read_session(request, services)
    # DNS rebinding: a page of another site whose name was pointed at this Server sends its own name in Host.
    services.host_check.check(request)
    if request.method == "POST":
        # CSRF, step 1: a form of another site is sent with our cookie, but with its own origin.
        check_same_site(request, issuer=services.issuer, require_origin=True)
    if token is None:
        raise NotSignedInError("You are not signed in.")
    actor = await services.operator_sessions.identify(
        token,
        address=client_address(request.scope),
        cost=PAGE_COST,
        is_background=request.url.path == STREAM_PATH or BACKGROUND_HEADER in request.headers,
    )
    note_operator(request.scope, actor.account)
    return Page(
        request=request,
        services=services,
        actor=actor,
        csrf=csrf_token(token),
        mark=services.events.mark,
        zone=read_zone(request, services),
    )


async def _identified_again(page: Page) -> Actor:
    """
    Return the operator in their current state, now that the form has arrived; raises NotSignedInError.

    Persistence: after the session was ended, a form sent byte by byte could still do what the session may no longer do.
    """
    token = read_session(page.request, page.services) or ""
    return await page.services.operator_sessions.identify_again(token, address=page.actor.address)


async def _read_form(page: Page) -> Form:
    """Return the posted form, if any; raises CrossSiteError unless it is from this very session."""
    if page.request.method != "POST":
        return EMPTY
    form = await read_form(page.request, at_most=MAX_FORM_BYTES)
    # CSRF, step 2: another site cannot read the token of this session. Compared in constant time.
    if not hmac.compare_digest(form.text("csrf").encode(), page.csrf.encode()):
        raise CrossSiteError("This form is from another session.", hint="Load the page again.")
    return form


async def _answer(page: Page, handler: Handler, again: Handler | None, again_path: str) -> Response:
    try:
        return await handler(page)
    except (ReauthenticationRequiredError, NotSignedInError, SecondOperatorRequiredError) as error:
        return _go_on_elsewhere(page, error)
    except _FIXED_IN_THE_FORM as error:
        if again is None or page.request.method != "POST":
            return error_page(page.request, error, page)
        page.problem = error
        parts = {name: quote(str(part), safe="") for name, part in page.request.path_params.items()}
        page.instead = again_path.format(**parts)
        try:
            response = await again(page)
        except LyftdataError as other:
            # The object of the form may have been deleted, or never existed.
            return error_page(page.request, other, page)
        response.status_code = status_of_error(error)
        return response
    except LyftdataError as error:
        return error_page(page.request, error, page)


def _go_on_elsewhere(page: Page, error: LyftdataError) -> Response:
    """Redirect to what must be done instead: while the form was processed, the session was ended, or its authentication became too old."""
    if isinstance(error, SecondOperatorRequiredError):
        return page.redirect(f"/requests/{error.request_id}", done=_WAITS)
    return _to_sign_in(page.request) if isinstance(error, NotSignedInError) else _to_confirm(page.request)


async def not_found(request: Request, error: Exception) -> Response:
    """Answer for a path that does not exist, like `path_not_found`."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type; installed for this status alone
    return await path_not_found(request)


async def path_not_found(request: Request) -> Response:
    """Answer for a path that does not exist: a page for a browser, a problem below `/api`, plain text for others."""
    # A path that contains a line break or a null character never reaches the application mounted there.
    if request.url.path.startswith("/api/"):
        return problem(404, "not_found", "Not Found")
    if not _wants_page(request):
        return PlainTextResponse("Not Found", 404)
    return await error_page_for(request, NotFoundError("page", request.url.path[:200]))


async def query_rejected(request: Request) -> Response:
    """Answer for a query that cannot be processed, in the same forms."""
    error = InvalidInputError("query", "must not hold a null character (%00)")
    if request.url.path.startswith("/api/"):
        return problem(422, error.code, error.message, field=error.field)
    if not _wants_page(request):
        return PlainTextResponse(error.message, 422)
    return await error_page_for(request, error)


async def method_not_allowed(request: Request, error: Exception) -> Response:
    """Answer for a path that requires another method, such as the URL of a form entered by hand."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type; installed for this status alone
    if not _wants_page(request):
        return PlainTextResponse("Method Not Allowed", 405, headers=error.headers)
    response = await error_page_for(request, _MethodNotAllowedError("There is no page at this address."))
    response.status_code = 405
    response.headers.update(error.headers or {})
    return response


async def failed(request: Request, _error: Exception) -> Response:
    """Answer if a handler failed; the program that serves logs the error."""
    if not _wants_page(request):
        return PlainTextResponse("Internal Server Error", 500)
    return await error_page_for(request, _FailedError("The Server failed; its log says why."))


class _MethodNotAllowedError(LyftdataError):
    code = "method_not_allowed"


class _FailedError(LyftdataError):
    code = "internal_error"


def early_error_page(scope: Scope, error: LyftdataError) -> Response | None:
    """Return the page for a request that is answered before its page is reached, or None if it does not accept a page."""
    request = Request(scope)
    if request.url.path.startswith("/api/") or not _wants_page(request):
        return None
    return render("error_bare.html", status=status_of_error(error), error=error)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def error_page_for(request: Request, error: LyftdataError) -> Response:
    """Return an error as a page, with the menu for signed-in operators."""
    try:
        page = await _identified(request)
    except Exception:  # noqa: BLE001 - what failed may be needed to find out who is signed in
        page = None
    return error_page(request, error, page)


def error_page(request: Request, error: LyftdataError, page: Page | None = None) -> Response:
    """Return an error as a page, with what to do."""
    status = status_of_error(error)
    if status >= 500:  # noqa: PLR2004
        emit(_log, PAGE_FAILED, path=request.url.path, problem=str(error))
    if page is None or page.actor.must_change_password or page.actor.must_add_second_factor:
        response = render("error_bare.html", status=status, error=error)
    else:
        response = page.render("error.html", status=status, error=error)
    response.headers.update(retry_headers(error))
    return response


def _to_sign_in(request: Request) -> Response:
    """Redirect to the sign-in page, and back here afterwards; a fragment must not be answered with a whole page."""
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": sign_in_path(request)})
    return RedirectResponse(sign_in_path(request), _SEE_OTHER)


def _to_confirm(request: Request) -> Response:
    """Redirect to authenticating again, and from there to the requested page, or the page of the posted form."""
    return RedirectResponse(confirm_path(request), _SEE_OTHER)


def _to_first_password(request: Request) -> Response:
    wanted = safe_destination(requested(request)) if request.method == "GET" else OVERVIEW
    query = f"?{urlencode({'next': wanted})}" if wanted != OVERVIEW else ""
    return RedirectResponse(PASSWORD_PATH + query, _SEE_OTHER)
