"""The page of the operator's own account: password and sessions."""

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.web.cookies import read_device_mark, set_device_mark, set_session, set_zone
from lyftdata.web.destination import came_from, safe_destination
from lyftdata.web.page import Page
from lyftdata.web.pages.sign_in import signed_out
from lyftdata.web.session_list import sort_sessions
from lyftdata.web.zones import find_zone


async def show(page: Page) -> Response:
    """Show one's own sessions."""
    found = await page.services.operator_sessions.list(page.actor.operator)
    session_order, sessions = sort_sessions(page, "/account", found)
    return page.render(
        "account.html",
        operator=await page.services.operators.get(page.actor.operator),
        second_factor=await page.services.second_factors.status(page.actor.operator),
        sessions=sessions,
        session_order=session_order,
    )


async def choose_zone(page: Page) -> Response:
    """Store the time zone for this browser, and go back to where it was chosen."""
    name = page.form.text("zone")
    if not name and not page.form.is_on("typed"):
        # Without scripts, only the operator knows the local time zone.
        return page.redirect("/account#times")
    zone = find_zone(name)
    if zone is None:
        raise InvalidInputError("zone", "must be a name of the time zone database, such as Europe/Berlin")
    response = page.redirect(came_from(page.request))
    set_zone(response, page.request, page.services, zone)
    return response


async def password(page: Page) -> Response:
    """Show the form for a new password; after a first or reset password it is the only page."""
    wanted = page.form.text("next") or page.request.query_params.get("next", "")
    return page.render("password.html", next=safe_destination(wanted))


async def change_password(page: Page) -> Response:
    """Change the password; other sessions end."""
    if page.form.secret("new").reveal() != page.form.secret("again").reveal():
        raise InvalidInputError("again", "The new password must be typed the same twice.")
    operator = page.actor.operator
    mark = await page.services.operator_passwords.change_own_password(
        page.form.secret("current"),
        page.form.secret("new"),
        actor=page.actor,
        unverified_mark=read_device_mark(page.request, page.services, operator=operator),
    )
    # After a first password the operator continues to the page that was requested.
    wanted = safe_destination(page.form.text("next")) if page.actor.must_change_password else "/account"
    path, _, query = wanted.partition("?")
    response = page.redirect(
        path, query=query, done="Your password was changed. Your other sessions were ended."
    )
    set_device_mark(response, page.request, page.services, operator=operator, mark=mark)
    return response


async def confirm(page: Page) -> Response:
    """Ask the operator to authenticate again, before an action that cannot be undone."""
    wanted = page.form.text("next") or page.request.query_params.get("next", "")
    return page.render(
        "confirm.html",
        next=safe_destination(wanted),
        operator=await page.services.operators.get(page.actor.operator),
        has_second_factor=(await page.services.second_factors.status(page.actor.operator)).has_any,
        choices=await page.services.reauthentication.choices(actor=page.actor),
        sign_in_url=f"{page.services.issuer}/login/oidc",
    )


async def prove(page: Page) -> Response:
    """Check the password and the second factor, set the session's new token, and continue to the requested page."""
    done = await page.services.reauthentication.reauthenticate(
        page.form.secret("password"),
        page.form.secret("code"),
        passkey=page.form.secret("passkey"),
        actor=page.actor,
    )
    path, _, query = safe_destination(page.form.text("next")).partition("?")
    response = page.redirect(path, query=query)
    set_session(response, page.request, page.services, done.token)
    return response


async def end_session(page: Page) -> Response:
    """End one of the operator's own sessions, or any for an admin."""
    ended = page.part("session_id")
    await page.services.operator_sessions.end_session(
        ended, actor=page.actor, of_any_operator=page.may("sessions.revoke_any")
    )
    if ended == page.actor.session_id:
        return signed_out(page)
    back = "/operators" if page.form.is_on("from_operators") else "/account"
    return page.redirect(back, done="The session was ended.")


async def sign_out_everywhere(page: Page) -> Response:
    """End every session of the operator, including the current one."""
    await page.services.operator_sessions.end_all_sessions(actor=page.actor)
    return signed_out(page)
