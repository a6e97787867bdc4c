"""The pages for signing in and out."""

import contextlib
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lyftdata.core.errors import (
    IssuerSignInError,
    LyftdataError,
    NotSignedInError,
    SecondFactorFailedError,
)
from lyftdata.core.text import clean_text, count
from lyftdata.server.admin.password_sign_in import PasswordRight, SignedIn
from lyftdata.server.admin.second_factor_check import RECOVERY_CODE, SecondFactorChoices
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.cross_site import check_same_site
from lyftdata.server.http.problems import retry_headers, status_of_error
from lyftdata.server.runtime.services import Services
from lyftdata.store import StoreError
from lyftdata.web.cookies import (
    csrf_token,
    forget_session,
    forget_ticket,
    read_device_mark,
    read_name,
    read_session,
    read_ticket,
    remember_name,
    set_device_mark,
    set_flash,
    set_session,
    set_ticket,
)
from lyftdata.web.destination import safe_destination
from lyftdata.web.faults import find_fault
from lyftdata.web.flash import FLASH_LIFE, Flash, seal_flash
from lyftdata.web.forms import EMPTY, read_form
from lyftdata.web.gate import error_page
from lyftdata.web.page import Page
from lyftdata.web.render import render

_SEE_OTHER = 303


async def show(request: Request) -> Response:
    """Show the form; redirect those who are already signed in."""
    services: Services = request.app.state.services
    token = read_session(request, services)
    destination = safe_destination(request.query_params.get("next", ""))
    if token is not None:
        try:
            await services.operator_sessions.identify(token, address=client_address(request.scope))
            return RedirectResponse(destination, _SEE_OTHER)
        except NotSignedInError:
            pass
        except LyftdataError as error:
            return error_page(request, error)
    # Not from the URL: a link from somebody else must not be able to say that.
    return await sign_in_form(request, destination=destination, has_ended=token is not None)


async def sign_in(request: Request) -> Response:
    """Check name and password, and set the session cookie."""
    services: Services = request.app.state.services
    form = EMPTY
    try:
        services.host_check.check(request)
        check_same_site(request, issuer=services.issuer, require_origin=True)
        form = await read_form(request)
        name = clean_text(form.text("username"), 64)
        signed_in = await services.password_sign_in.begin_sign_in(
            name,
            form.secret("password"),
            address=client_address(request.scope),
            user_agent=request.headers.get("user-agent", ""),
            unverified_mark=read_device_mark(request, services, operator=name),
        )
    except LyftdataError as error:
        wanted = form.text("next") or request.query_params.get("next", "")
        return await sign_in_form(
            request,
            destination=safe_destination(wanted),
            username=form.text("username")[:64],
            problem=error,
        )
    if isinstance(signed_in, PasswordRight):
        destination = safe_destination(form.text("next"))
        response = await _second_factor_form(services, signed_in.ticket, destination)
        set_ticket(response, request, services, signed_in.ticket)
        return response
    return _opened(request, signed_in, form.text("next"))


async def check_second_factor(request: Request) -> Response:
    """Check the second factor of a sign-in whose password was right, and set the session cookie."""
    services: Services = request.app.state.services
    form, ticket = EMPTY, read_ticket(request, services)
    try:
        services.host_check.check(request)
        check_same_site(request, issuer=services.issuer, require_origin=True)
        form = await read_form(request)
        signed_in = await services.password_sign_in.finish_sign_in(
            ticket,
            code=form.secret("code"),
            passkey=form.secret("passkey"),
            address=client_address(request.scope),
            user_agent=request.headers.get("user-agent", ""),
        )
    except LyftdataError as error:
        destination = safe_destination(form.text("next"))
        return await _second_factor_form(services, ticket, destination, problem=error)
    response = _opened(request, signed_in, form.text("next"))
    forget_ticket(response, request, services)
    if signed_in.session.second_factor == RECOVERY_CODE:
        # The session is open, and the code is used up: if the rest cannot be counted now, the message is omitted.
        with contextlib.suppress(StoreError):
            await _say_what_is_left(request, response, signed_in, safe_destination(form.text("next")))
    return response


async def _say_what_is_left(
    request: Request, response: Response, signed_in: SignedIn, destination: str
) -> None:
    """Make the next page say that a recovery code was used, and what to do: the app may be lost, and the next code may be the last one."""
    services: Services = request.app.state.services
    left = (await services.second_factors.status(signed_in.operator.name)).recovery_codes
    sentence = (
        f"You have signed in with a recovery code, and {count(left, 'code') if left else 'none'} {'is' if left in {0, 1} else 'are'} left. "
        "If your app or passkey is lost, replace it under Account; you can make new recovery codes there, too."
    )
    value = seal_flash(
        Flash(sentence),
        path=unquote(urlsplit(destination).path),
        session_secret=csrf_token(signed_in.token.reveal()),
        now=services.clock(),
        life=FLASH_LIFE,
    )
    set_flash(response, request, services, value, life=FLASH_LIFE)


async def _second_factor_form(
    services: Services, ticket: str, destination: str, *, problem: LyftdataError | None = None
) -> Response:
    """Return the page that asks for the second factor; no one is signed in yet."""
    try:
        choices = await services.password_sign_in.second_factor_choices(ticket)
    except SecondFactorFailedError:
        # The ticket names no operator, so only a code can be offered.
        choices = SecondFactorChoices(has_app=True, passkey_options="")
    return render(
        "second_factor.html",
        status=200 if problem is None else status_of_error(problem),
        next=destination,
        problem=problem,
        choices=choices,
        fault=find_fault(problem, {"code"}),
    )


def _opened(request: Request, signed_in: SignedIn, destination: str) -> Response:
    services: Services = request.app.state.services
    response = RedirectResponse(safe_destination(destination), _SEE_OTHER)
    set_session(response, request, services, signed_in.token)
    set_device_mark(response, request, services, operator=signed_in.operator.name, mark=signed_in.device_mark)
    remember_name(response, request, services, signed_in.operator.name)
    return response


async def sign_out(page: Page) -> Response:
    """End this session."""
    await page.services.operator_sessions.end_session(
        page.actor.session_id, actor=page.actor, of_any_operator=False
    )
    return signed_out(page)


def signed_out(page: Page) -> Response:
    """Redirect to the sign-in page, without a session."""
    response = RedirectResponse("/login", _SEE_OTHER)
    forget_session(response, page.request, page.services)
    return response


async def sign_in_form(
    request: Request,
    *,
    destination: str,
    username: str = "",
    problem: LyftdataError | None = None,
    has_ended: bool = False,
) -> Response:
    """
    Return the page with every available way to sign in: the issuer, and the password form.

    Args:
        request: The request.
        destination: The page to continue with, already checked.
        username: What was entered.
        problem: Why the last attempt failed.
        has_ended: Whether the browser had a session that has ended.
    """
    services: Services = request.app.state.services
    is_first = not await services.operators.has_anyone_signed_in()
    response = render(
        "sign_in.html",
        status=200 if problem is None else status_of_error(problem),
        next=destination,
        has_ended=has_ended,
        username=username or read_name(request, services) or ("admin" if is_first else ""),
        problem=problem,
        issuer=None if services.oidc is None else services.oidc.sign_in.config.host,
        # At the public URL, to which the issuer redirects back: the cookie of the sign-in belongs to that host.
        sign_in_url=f"{services.issuer}/login/oidc",
        # An issuer with a session for this browser would return the same account again and again.
        offers_another_account=isinstance(problem, IssuerSignInError),
        takes_passwords=await services.password_check.is_enabled(),
        is_first_sign_in=is_first,
    )
    if problem is not None:
        response.headers.update(retry_headers(problem))
    return response
