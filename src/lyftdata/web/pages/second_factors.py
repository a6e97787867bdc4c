"""The pages of the operator's own second factor, and for resetting another operator's."""

from markupsafe import Markup
from starlette.responses import Response

from lyftdata.server.admin.qr_codes import qr_svg
from lyftdata.web.page import Page
from lyftdata.web.pages.sign_in import signed_out


async def form(page: Page) -> Response:
    """Show a new secret, or the same one again if the code was wrong."""
    sent = page.form.secret("setup")
    if page.problem is not None and page.problem.code == "invalid_input" and sent.reveal():
        setup = page.services.second_factors.resume_totp(sent, actor=page.actor)
    else:
        setup = await page.services.second_factors.begin_totp(actor=page.actor)
    found = await page.services.second_factors.status(page.actor.operator)
    # Drawn by the Server into the page: as a separate image, the secret would be in its URL.
    qr_code = Markup(qr_svg(setup.uri.reveal()))  # noqa: S704 - the library draws it; no text of anybody's is in it
    return page.render("second_factor_setup.html", setup=setup, qr_code=qr_code, replaces=bool(found.factors))


async def confirm(page: Page) -> Response:
    """Store the app, and show the recovery codes once."""
    codes = await page.services.second_factors.confirm_totp(
        page.form.secret("setup"), page.form.secret("code"), actor=page.actor
    )
    return page.render_secret("recovery_codes.html", instead="/account", codes=codes)


async def renew_recovery_codes(page: Page) -> Response:
    """Generate new recovery codes, and show them once."""
    codes = await page.services.second_factors.renew_recovery_codes(actor=page.actor)
    return page.render_secret("recovery_codes.html", instead="/account", codes=codes)


async def ask_remove(page: Page) -> Response:
    """Confirm removal of the operator's own app, and explain its effect."""
    found = await page.services.passkeys.list(page.actor.operator)
    return page.render("second_factor_remove.html", operator=page.actor.operator, is_own=True, passkeys=found)


async def remove(page: Page) -> Response:
    """Remove the operator's own app."""
    await page.services.second_factors.remove_app(actor=page.actor)
    return page.redirect("/account", done="Your app was removed. Your other sessions were ended.")


async def ask_reset(page: Page) -> Response:
    """Confirm a reset of another operator's second factor, and explain its effect."""
    operator = await page.services.operators.get(page.part("name"))
    found = await page.services.passkeys.list(operator.name)
    return page.render("second_factor_remove.html", operator=operator.name, is_own=False, passkeys=found)


async def reset(page: Page) -> Response:
    """Reset another operator's second factor."""
    name = page.part("name")
    await page.services.second_factors.reset(name, actor=page.actor)
    if name == page.actor.operator:
        return signed_out(page)
    return page.redirect(
        "/operators", done=f"The second factor of {name} was removed, and their sessions were ended."
    )
