"""The page on which an operator confirms the sign-in of a command line, by the code that it shows (RFC 8628, section 3.3)."""

from starlette.responses import Response

from lyftdata.core.device_login import DeviceLoginRecord, read_user_code
from lyftdata.core.errors import DeviceLoginError
from lyftdata.core.networks import network_of_host
from lyftdata.web.page import Page

_PATH = "/device"
_BAD_REQUEST = 400


async def show(page: Page) -> Response:
    """Ask for the code; with one, show which command line requests the sign-in, and ask for a decision."""
    page.check_parameters("user_code")
    typed = page.query("user_code")
    if not typed:
        return _form(page)
    try:
        found = await page.services.device_logins.find(typed, actor=page.actor)
    except DeviceLoginError as error:
        page.problem = error
        return _form(page)
    # Opening a link, which anyone may have sent, must not decide anything (RFC 8628, section 5.4).
    return page.render(
        "device_confirm.html",
        user_code=read_user_code(typed),
        login=found,
        is_elsewhere=_is_elsewhere(page, found),
    )


async def decide(page: Page) -> Response:
    """Approve or deny the sign-in that was shown."""
    page.form.require("user_code", "decision")
    approve = page.form.text("decision") == "approve"
    try:
        found = await page.services.device_logins.decide(
            page.form.text("user_code"), approve=approve, actor=page.actor
        )
    except DeviceLoginError as error:
        page.problem = error
        return _form(page)
    where = found.host or found.address
    done = (
        f"Signed in: the command line on {where} goes on by itself. Its session is listed here, where you can end it."
        if approve
        else "Denied. Nothing was signed in."
    )
    # Not the form: asking for another code would look like an unfinished task.
    return page.redirect("/account", done=done)


def _form(page: Page) -> Response:
    status = 200 if page.problem is None else _BAD_REQUEST
    return page.render("device.html", status=status, typed=page.query("user_code", max_length=20))


def _is_elsewhere(page: Page, found: DeviceLoginRecord) -> bool:
    """Return whether the command line is in a different network from this browser."""
    return network_of_host(found.address) != network_of_host(page.actor.address)
