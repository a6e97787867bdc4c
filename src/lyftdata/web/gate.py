"""
The gate in front of every page: session, policy and CSRF.

  1. It must ask for one of the Server's names; a post must come from one of its pages: its origin, and the token that only our
     pages hold.
  2. The session's cookie must name an operator who is signed in; everybody else is sent to sign in. What the page costs
     is taken from the operator's budget.
     A form takes as long to arrive as its sender likes: once it is here, this is asked again.
  3. A first or reset password is changed before anything else.
  4. The policy table must allow the page's action to the operator's role, and to their scope if they have one.
  5. What cannot be undone, and the form for it, needs an operator who has proved lately who they are; others are asked.
  6. What the handler raises becomes a page: the form again with what was wrong, the request that waits for a second operator now, or
     an error.
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
# `live.js` sends it with what a region asks for by itself.
BACKGROUND_HEADER = "lyftdata-background"
PASSWORD_PATH = "/account/password"  # noqa: S105 - a path
_WITH_A_FIRST_PASSWORD = frozenset({PASSWORD_PATH, "/logout"})
SECOND_FACTOR_PATH = "/account/second-factor"
_WAITS = "Nothing was done yet: another operator must confirm it. Say why below."
# Errors that the person who filled in the form can fix there.
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
    Return an endpoint that lets a request through to a handler if everything above holds.

    Args:
        action: The policy table's action.
        handler: Answers the request.
        in_scope: Whether the page shows and changes nothing outside its operator's scope; any other is closed to who has one.
        again: Shows the form again when the handler says that something is wrong with it.
        again_path: The path of the page with that form, with its parts in braces.
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
    Send to what must be done before anything else: a password of one's own, a second factor, proving who one is.

    Raises:
        ForbiddenError: The operator may not take the action at all.
    """
    if page.actor.must_change_password and page.request.url.path not in _WITH_A_FIRST_PASSWORD:
        return _to_first_password(page.request)
    try:
        # Privilege escalation: a form that a viewer was never shown can be posted all the same.
        check_allowed(action, actor=page.actor, in_scope=in_scope)
        page.check_reauthenticated(action)
    except SecondFactorMissingError:
        return RedirectResponse(SECOND_FACTOR_PATH, _SEE_OTHER)
    except ReauthenticationRequiredError:
        return _to_confirm(page.request)
    return None


async def _identified(request: Request) -> Page:
    """Return the page of the operator whose session the request is of; its form is not read yet."""
    services: Services = request.app.state.services
    token = read_session(request, services)
    # DNS rebinding: a page of another site whose name was pointed at this Server has its own name in Host.
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
    Return the operator as they are now that the form is here; raises NotSignedInError.

    Persistence: a form that was sent byte by byte would do what its session may no longer do, after the session was ended.
    """
    token = read_session(page.request, page.services) or ""
    return await page.services.operator_sessions.identify_again(token, address=page.actor.address)


async def _read_form(page: Page) -> Form:
    """Return the form that was posted, if one was; raises CrossSiteError unless it is of this very session."""
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
            # What the form is about may be gone, or never was there.
            return error_page(page.request, other, page)
        response.status_code = status_of_error(error)
        return response
    except LyftdataError as error:
        return error_page(page.request, error, page)


def _go_on_elsewhere(page: Page, error: LyftdataError) -> Response:
    """Go to what must be done instead of the answer: while the form was dealt with, the session was ended, or too much time has passed."""
    if isinstance(error, SecondOperatorRequiredError):
        return page.redirect(f"/requests/{error.request_id}", done=_WAITS)
    return _to_sign_in(page.request) if isinstance(error, NotSignedInError) else _to_confirm(page.request)


async def not_found(request: Request, error: Exception) -> Response:
    """Answer for a path that does not exist, as `path_not_found`."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type; installed for this status alone
    return await path_not_found(request)


async def path_not_found(request: Request) -> Response:
    """Answer for a path that does not exist: a page to a browser, a problem below `/api`, plain text to others."""
    # A path with a line break or a null character in it never reaches the application that is mounted there.
    if request.url.path.startswith("/api/"):
        return problem(404, "not_found", "Not Found")
    if not _wants_page(request):
        return PlainTextResponse("Not Found", 404)
    return await error_page_for(request, NotFoundError("page", request.url.path[:200]))


async def query_rejected(request: Request) -> Response:
    """Answer for a query that cannot be asked, in the same forms."""
    error = InvalidInputError("query", "must not hold a null character (%00)")
    if request.url.path.startswith("/api/"):
        return problem(422, error.code, error.message, field=error.field)
    if not _wants_page(request):
        return PlainTextResponse(error.message, 422)
    return await error_page_for(request, error)


async def method_not_allowed(request: Request, error: Exception) -> Response:
    """Answer for a path that takes another method, such as the address of a form that was typed by hand."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type; installed for this status alone
    if not _wants_page(request):
        return PlainTextResponse("Method Not Allowed", 405, headers=error.headers)
    response = await error_page_for(request, _MethodNotAllowedError("There is no page at this address."))
    response.status_code = 405
    response.headers.update(error.headers or {})
    return response


async def failed(request: Request, _error: Exception) -> Response:
    """Answer where a handler failed; what it was is logged by the program that serves."""
    if not _wants_page(request):
        return PlainTextResponse("Internal Server Error", 500)
    return await error_page_for(request, _FailedError("The Server failed; its log says why."))


class _MethodNotAllowedError(LyftdataError):
    code = "method_not_allowed"


class _FailedError(LyftdataError):
    code = "internal_error"


def early_error_page(scope: Scope, error: LyftdataError) -> Response | None:
    """Return the page for a request that is answered before its page is reached, or None if it wants no page."""
    request = Request(scope)
    if request.url.path.startswith("/api/") or not _wants_page(request):
        return None
    return render("error_bare.html", status=status_of_error(error), error=error)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def error_page_for(request: Request, error: LyftdataError) -> Response:
    """Return an error as a page, with the menu for those who are signed in."""
    try:
        page = await _identified(request)
    except Exception:  # noqa: BLE001 - what failed may be the very thing that tells who is signed in
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
    """Send to the sign-in page, and back here afterwards; a fragment must not be answered with a whole page."""
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": sign_in_path(request)})
    return RedirectResponse(sign_in_path(request), _SEE_OTHER)


def _to_confirm(request: Request) -> Response:
    """Ask the operator who they are, and come back to the page that was asked for, or whose form was sent."""
    return RedirectResponse(confirm_path(request), _SEE_OTHER)


def _to_first_password(request: Request) -> Response:
    wanted = safe_destination(requested(request)) if request.method == "GET" else OVERVIEW
    query = f"?{urlencode({'next': wanted})}" if wanted != OVERVIEW else ""
    return RedirectResponse(PASSWORD_PATH + query, _SEE_OTHER)
