"""The pages of API tokens: list, one token, issue, revoke."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from lyftdata.core.api_tokens import ApiTokenStatus
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import Role
from lyftdata.server.admin.schemas.api_tokens import ApiToken
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, folded, in_order, place_in

# The choices of the form; the command line accepts any other lifetime, up to 366 days.
LIVES = {"90d": "In 90 days", "7d": "In 7 days", "30d": "In 30 days", "365d": "In a year"}

_state = place_in(*ApiTokenStatus)
_VALUES: Mapping[str, Callable[[ApiToken], Any]] = {
    "name": lambda token: token.name,
    "status": lambda token: _state(token.status),
    "role": lambda token: token.effective_role or token.role,
    "operator": lambda token: folded(token.operator),
    "expires": lambda token: token.expires_at,
    "used": lambda token: token.last_used_at,
}
_SORTING = Sorting(path="/api-tokens", columns=_VALUES, default="name", highest_first=("used",))


async def show_list(page: Page) -> Response:
    """Show every token, those that have ended too."""
    page.check_parameters("sort")
    order = _SORTING.read(page)
    found = await page.services.api_tokens.list(actor=page.actor)
    tokens = in_order(found, order, _VALUES, tie=lambda token: token.name)
    return page.render("api_tokens.html", tokens=tokens, order=order)


async def show(page: Page) -> Response:
    """Show one token."""
    return page.render(
        "api_token.html", token=await page.services.api_tokens.get(page.part("name"), actor=page.actor)
    )


async def form(page: Page) -> Response:
    """Show the form for a new token: by default read-only, for 90 days."""
    return page.render("api_token_new.html", lives=LIVES, roles=[Role.VIEWER, Role.ADMIN])


async def issue(page: Page) -> Response:
    """Issue a token, and show it once."""
    page.form.require("life", "role")
    life, role = page.form.text("life"), page.form.text("role")
    if life not in LIVES:
        raise InvalidInputError("life", "must be one of those offered")
    if role not in set(Role):
        raise InvalidInputError("role", "must be admin or viewer")
    issued = await page.services.api_tokens.issue(
        page.form.text("name"),
        Role(role),
        scope=page.form.scope("scope"),
        expires_in=parse_duration(life),
        actor=page.actor,
    )
    return page.render_secret(
        "api_token_made.html",
        instead=f"/api-tokens/{issued.shown.name}",
        token=issued.shown,
        text=issued.text,
    )


async def ask_revoke(page: Page) -> Response:
    """Confirm revoking a token, and explain the effect."""
    return page.render(
        "api_token_confirm.html",
        token=await page.services.api_tokens.get(page.part("name"), actor=page.actor),
    )


async def revoke(page: Page) -> Response:
    """Revoke a token."""
    name = page.part("name")
    await page.services.api_tokens.revoke(name, actor=page.actor)
    return page.redirect(f"/api-tokens/{name}", done="The token is revoked: no Server accepts it any more.")
