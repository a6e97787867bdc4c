"""The pages of passkeys: add one, remove one's own, and remove another operator's."""

from collections.abc import Sequence

from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import PasskeyRecord
from lyftdata.web.page import Page
from lyftdata.web.pages.sign_in import signed_out


async def form(page: Page) -> Response:
    """Ask for a name, and have the browser create a passkey; say so if browsers cannot create one for this Server."""
    is_possible = page.services.passkeys.is_possible
    found = await page.services.second_factors.status(page.actor.operator)
    return page.render(
        "passkey_new.html",
        options=await page.services.passkeys.begin(actor=page.actor) if is_possible else "",
        is_first=not found.has_any,
    )


async def add(page: Page) -> Response:
    """Store what the browser has created; with the first second factor, show recovery codes once."""
    codes = await page.services.passkeys.add(
        page.form.text("name"), page.form.secret("passkey"), actor=page.actor
    )
    if codes:
        return page.render_secret("recovery_codes.html", instead="/account", codes=codes)
    return page.redirect("/account", done="The passkey was added.")


async def ask_remove(page: Page) -> Response:
    """Confirm removal of the operator's own passkey, and explain its effect."""
    return await _ask(page, page.actor.operator, is_own=True)


async def remove(page: Page) -> Response:
    """Remove the operator's own passkey."""
    await page.services.passkeys.remove(page.part("passkey_id"), actor=page.actor)
    return page.redirect("/account", done="The passkey was removed. Your other sessions were ended.")


async def ask_remove_of(page: Page) -> Response:
    """Confirm removal of another operator's passkey, and explain its effect."""
    operator = await page.services.operators.get(page.part("name"))
    return await _ask(page, operator.name, is_own=False)


async def remove_of(page: Page) -> Response:
    """Remove another operator's passkey."""
    name = page.part("name")
    await page.services.passkeys.remove_of(name, page.part("passkey_id"), actor=page.actor)
    if name == page.actor.operator:
        return signed_out(page)
    return page.redirect(
        "/operators", done=f"A passkey of {name} was removed, and their sessions were ended."
    )


async def _ask(page: Page, operator: str, *, is_own: bool) -> Response:
    found = await page.services.second_factors.status(operator)
    passkey = _find(found.passkeys, page.part("passkey_id"))
    is_last = not found.factors and len(found.passkeys) == 1
    return page.render(
        "passkey_remove.html", passkey=passkey, operator=operator, is_own=is_own, is_last=is_last
    )


def _find(passkeys: Sequence[PasskeyRecord], passkey_id: str) -> PasskeyRecord:
    for passkey in passkeys:
        if passkey.id == passkey_id:
            return passkey
    raise NotFoundError("passkey", passkey_id)
