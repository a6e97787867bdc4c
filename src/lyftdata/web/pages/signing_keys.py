"""The page of the Server's signing keys: list, rotate, withdraw."""

from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.second_operator import ProtectedAction
from lyftdata.server.admin.schemas.signing_keys import SigningKey
from lyftdata.server.admin.views import signing_key_views
from lyftdata.web.page import Page

_PATH = "/signing-keys"


async def show_list(page: Page) -> Response:
    """Show every published key."""
    return page.render("signing_keys.html", keys=await _keys(page))


async def ask_rotate(page: Page) -> Response:
    """Confirm an immediate rotation, and explain its effect."""
    return await _confirm(page, withdrawn=None)


async def rotate(page: Page) -> Response:
    """Make another key sign now."""
    page.check_unchanged(_state(await _keys(page)))
    await page.services.signing_key_rotation.rotate_now(withdraw=(), actor=page.actor)
    return page.redirect(
        _PATH, done="Another key signs now. Tokens of the previous key stay valid until they expire."
    )


async def ask_withdraw(page: Page) -> Response:
    """Confirm withdrawing a key, and explain the effect."""
    kid = page.part("kid")
    if all(key.kid != kid for key in await _keys(page)):
        raise NotFoundError("signing_key", kid)
    return await _confirm(page, withdrawn=kid)


async def withdraw(page: Page) -> Response:
    """Withdraw a key, and make another one sign now."""
    page.check_unchanged(_state(await _keys(page)))
    await page.services.signing_key_rotation.rotate_now(withdraw=(page.part("kid"),), actor=page.actor)
    return page.redirect(_PATH, done="The key is withdrawn: every Server refuses its tokens.")


async def _confirm(page: Page, *, withdrawn: str | None) -> Response:
    return page.render(
        "signing_keys_confirm.html",
        withdrawn=withdrawn,
        must_confirm=withdrawn is not None
        and await page.services.second_operator_settings.must_confirm(ProtectedAction.WITHDRAW_SIGNING_KEY),
        state=_state(await _keys(page)),
        path=_PATH,
    )


async def _keys(page: Page) -> list[SigningKey]:
    return signing_key_views(await page.services.signing_keys.read_all(), page.services.clock())


def _state(keys: list[SigningKey]) -> list[tuple[str, str]]:
    """Return the state with which a form is shown: if it is sent twice, it must not rotate twice."""
    return [(key.kid, key.state) for key in keys]
