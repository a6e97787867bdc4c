"""The pages for signing in and out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lyftdata.core.errors import LyftdataError, NotSignedInError
from lyftdata.core.text import clean_text
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.cross_site import check_same_site
from lyftdata.server.http.problems import status_of_error
from lyftdata.server.runtime.services import Services
from lyftdata.web.cookies import (
    forget_session,
    read_device_mark,
    read_session,
    set_device_mark,
    set_session,
)
from lyftdata.web.destination import safe_destination
from lyftdata.web.forms import EMPTY, Form, read_form
from lyftdata.web.gate import error_page
from lyftdata.web.page import Page
from lyftdata.web.render import render

_SEE_OTHER = 303


async def show(request: Request) -> Response:
    """Show the form; anyone who is signed in already goes on."""
    services: Services = request.app.state.services
    token = read_session(request, services)
    if token is not None:
        try:
            await services.operator_sessions.identify(token, address=client_address(request.scope))
            return RedirectResponse(safe_destination(request.query_params.get("next", "")), _SEE_OTHER)
        except NotSignedInError:
            pass
        except LyftdataError as error:
            return error_page(request, error)
    # Not by the URL: a link that somebody sends must not say it.
    return _form(request, EMPTY, has_ended=token is not None)


async def sign_in(request: Request) -> Response:
    """Check name and password, and hand the session to the browser."""
    services: Services = request.app.state.services
    form = EMPTY
    try:
        services.host_check.check(request)
        check_same_site(request, issuer=services.issuer, require_origin=True)
        form = await read_form(request)
        name = clean_text(form.text("username"), 64)
        signed_in = await services.operator_sessions.sign_in(
            name,
            form.secret("password"),
            address=client_address(request.scope),
            user_agent=request.headers.get("user-agent", ""),
            unverified_mark=read_device_mark(request, services, operator=name),
        )
    except LyftdataError as error:
        return _form(request, form, problem=error)
    response = RedirectResponse(safe_destination(form.text("next")), _SEE_OTHER)
    set_session(response, request, services, signed_in.token)
    set_device_mark(response, request, services, operator=signed_in.operator.name, mark=signed_in.device_mark)
    return response


async def sign_out(page: Page) -> Response:
    """End this session."""
    await page.services.operator_sessions.end_session(
        page.actor.session_id, actor=page.actor, of_any_operator=False
    )
    return signed_out(page)


def signed_out(page: Page) -> Response:
    """Send to the sign-in page without a session."""
    response = RedirectResponse("/login", _SEE_OTHER)
    forget_session(response, page.request, page.services)
    return response


def _form(
    request: Request, form: Form, *, problem: LyftdataError | None = None, has_ended: bool = False
) -> Response:
    return render(
        "sign_in.html",
        status=200 if problem is None else status_of_error(problem),
        next=safe_destination(form.text("next") or request.query_params.get("next", "")),
        has_ended=has_ended,
        username=form.text("username")[:64],
        problem=problem,
    )
