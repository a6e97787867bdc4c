"""The pages of operators: accounts, roles and sessions."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from lyftdata.core.api_tokens import ApiTokenStatus
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import format_labels
from lyftdata.core.records import OperatorRecord, Role
from lyftdata.core.secret import Secret
from lyftdata.web.edit import read_edit, seal_fields
from lyftdata.web.page import Page
from lyftdata.web.pages.sign_in import signed_out
from lyftdata.web.session_list import sort_sessions
from lyftdata.web.sorting import Sorting, in_order

PER_PAGE = 25
_VALUES: Mapping[str, Callable[[OperatorRecord], Any]] = {
    "name": lambda operator: operator.name,
    "role": lambda operator: operator.role.value,
    "scope": lambda operator: sorted(operator.scope.items()) if operator.scope else None,
    "added": lambda operator: operator.created_at,
}
_SORTING = Sorting(path="/operators", columns=_VALUES, default="name", highest_first=("added",))


async def show(page: Page) -> Response:
    """Show every operator, and the open sessions that one may see."""
    page.check_parameters("sort", "sessions", "page")
    # Each table keeps the order of the other.
    order = _SORTING.read(page, sessions=page.query("sessions"), page=page.query("page"))
    operators = in_order(
        await page.services.operators.list(), order, _VALUES, tie=lambda operator: operator.name
    )
    can_see_all = page.may("sessions.revoke_any")
    found = await page.services.operator_sessions.list(None if can_see_all else page.actor.operator)
    session_order, sessions = sort_sessions(page, "/operators", found, sort=page.query("sort"))
    pages = max(1, -(-len(sessions) // PER_PAGE))
    number = page.number(pages)
    return page.render(
        "operators.html",
        operators=operators,
        order=order,
        session_order=session_order,
        having_second_factor=await page.services.second_factors.operators_with_factors(),
        sessions=sessions[(number - 1) * PER_PAGE : number * PER_PAGE],
        open_sessions=Counter(session.operator for session in sessions),
        total=len(sessions),
        number=number,
        pages=pages,
        roles=list(Role),
        seen={operator.name: seal_fields({"role": operator.role}) for operator in operators},
    )


async def add(page: Page) -> Response:
    """Create an operator, and show the first password once."""
    name = page.form.text("name")
    scope = page.form.scope("scope")
    password = await page.services.operators.add(name, _role(page), None, scope=scope, actor=page.actor)
    return _shown_once(page, name, password)


async def set_role(page: Page) -> Response:
    """Change a role."""
    role, operator = _role(page), await page.services.operators.get(page.part("name"))
    edit = read_edit(page, current={"role": operator.role}, given={"role": role})
    if edit.changes:
        expected = operator.role if edit.expected else None
        await page.services.operator_permissions.set_role(
            operator.name, role, expected=expected, actor=page.actor
        )
    return page.redirect("/operators", done=f"{page.part('name')} is now {role}.")


async def ask_scope(page: Page) -> Response:
    """Ask for the labels of a limit, and explain its effect."""
    operator = await page.services.operators.get(page.part("name"))
    return page.render("operator_scope.html", operator=operator, seen=_seen_scope(operator))


async def set_scope(page: Page) -> Response:
    """Limit an operator to Workers with certain labels, or remove the limit."""
    operator, scope = await page.services.operators.get(page.part("name")), page.form.scope("scope")
    edit = read_edit(page, current={"scope": operator.scope or {}}, given={"scope": scope or {}})
    if edit.changes:
        await page.services.operator_permissions.set_scope(operator.name, scope, actor=page.actor)
    outcome = f"is limited to {format_labels(scope)}" if scope else "has no limit"
    return page.redirect("/operators", done=f"{operator.name} {outcome}.")


async def ask_reset(page: Page) -> Response:
    """Confirm a new password, and explain its effect."""
    operator = await page.services.operators.get(page.part("name"))
    tokens = await _live_tokens(page, operator.name)
    return page.render("operator_confirm.html", action="reset", operator=operator, tokens=tokens)


async def reset(page: Page) -> Response:
    """Set a new password for an operator, and show it once."""
    name = page.part("name")
    page.check_unchanged((await page.services.operators.get(name)).password_hash)
    password = await page.services.operator_passwords.reset_password(name, None, actor=page.actor)
    return _shown_once(page, name, password)


async def ask_delete(page: Page) -> Response:
    """Confirm deleting, and explain its effect."""
    operator = await page.services.operators.get(page.part("name"))
    tokens = await _live_tokens(page, operator.name)
    return page.render("operator_confirm.html", action="delete", operator=operator, tokens=tokens)


async def delete(page: Page) -> Response:
    """Delete an operator."""
    name = page.part("name")
    await page.services.operators.delete(name, actor=page.actor)
    return page.redirect(
        "/operators", done=f"{name} was deleted, their sessions were ended, and their API tokens revoked."
    )


async def ask_end_sessions(page: Page) -> Response:
    """Confirm ending an operator's sessions, and show whose."""
    operator = await page.services.operators.get(page.part("name"))
    return page.render("operator_confirm.html", action="end-sessions", operator=operator)


async def end_sessions(page: Page) -> Response:
    """End every session of an operator."""
    name = page.part("name")
    await page.services.operator_sessions.end_all_sessions(actor=page.actor, of=name)
    if name == page.actor.operator:
        return signed_out(page)
    return page.redirect("/operators", done=f"The sessions of {name} were ended.")


async def _live_tokens(page: Page, operator: str) -> list[str]:
    """Return the names of the valid API tokens that act for an operator."""
    tokens = await page.services.api_tokens.list(actor=page.actor)
    return [one.name for one in tokens if one.operator == operator and one.status is ApiTokenStatus.LIVE]


def _shown_once(page: Page, name: str, password: Secret) -> Response:
    return page.render_secret("operator_made.html", instead="/operators", name=name, password=password)


def _seen_scope(operator: OperatorRecord) -> str:
    return seal_fields({"scope": operator.scope or {}})


def _role(page: Page) -> Role:
    role = page.form.text("role")
    if role not in set(Role):
        raise InvalidInputError("role", "must be admin or viewer")
    return Role(role)
