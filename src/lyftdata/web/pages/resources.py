"""The pages of resources, the services for which Workers may get tokens."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from lyftdata.server.admin.resources import ResourceChange
from lyftdata.server.admin.schemas.resources import Resource
from lyftdata.web.edit import read_edit, seal_fields
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, folded, in_order

_VALUES: Mapping[str, Callable[[Resource], Any]] = {
    "name": lambda resource: resource.name,
    "audience": lambda resource: folded(resource.audience),
    "scopes": lambda resource: folded(resource.scopes),
    "workers": lambda resource: resource.workers,
}
_SORTING = Sorting(path="/resources", columns=_VALUES, default="name", highest_first=("workers",))
_SAVED = "Saved. Tokens given from now on follow it."


async def show_list(page: Page) -> Response:
    """Show every resource."""
    page.check_parameters("sort")
    order = _SORTING.read(page)
    found = page.services.resource_queries.list_all(scope=page.actor.scope)
    resources = in_order(found, order, _VALUES, tie=lambda resource: resource.name)
    return page.render("resources.html", resources=resources, order=order)


async def form(page: Page) -> Response:
    """Show the form for a new resource."""
    return page.render("resource_form.html", resource=None)


async def add(page: Page) -> Response:
    """Add a resource."""
    name = page.form.text("name")
    await page.services.resources.add(name, ResourceChange(**_given(page)), actor=page.actor)
    return page.redirect(f"/resources/{name}", done=_SAVED)


async def show(page: Page) -> Response:
    """Show one resource, with the form to change it."""
    resource = page.services.resource_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render(
        "resource.html",
        resource=resource,
        before=page.seal(_key_in_force(page, resource.name)),
        issuer=page.services.issuer,
        seen=page.seen(seal_fields(_editable(resource))),
    )


async def change(page: Page) -> Response:
    """Change a resource."""
    name = page.part("name")
    current = _editable(page.services.resource_queries.get(name, scope=page.actor.scope))
    edit = read_edit(page, current=current, given=_given(page))
    await page.services.resources.change(
        name, ResourceChange(**edit.changes), expected=edit.expected, actor=page.actor
    )
    return page.redirect(f"/resources/{name}", done=_SAVED)


async def issue_key(page: Page) -> Response:
    """Issue the resource's key, and show it once."""
    name = page.part("name")
    page.check_unchanged(_key_in_force(page, name))
    key = await page.services.resources.issue_key(name, actor=page.actor)
    return page.render_secret(
        "resource_key.html", instead=f"/resources/{name}", name=name, key=key, issuer=page.services.issuer
    )


async def ask_delete(page: Page) -> Response:
    """Confirm deleting, and explain its effect."""
    resource = page.services.resource_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render("resource_confirm.html", resource=resource)


async def delete(page: Page) -> Response:
    """Delete a resource."""
    name = page.part("name")
    await page.services.resources.delete(name, actor=page.actor)
    return page.redirect("/resources", done=f"{name} was deleted.")


def _key_in_force(page: Page, name: str) -> str | None:
    """Return the public part of a resource's key."""
    return next((r.key_public_id for r in page.services.directory.resources() if r.name == name), None)


def _editable(resource: Resource) -> dict[str, object]:
    return {name: getattr(resource, name) for name in ResourceChange.__struct_fields__}


def _given(page: Page) -> dict[str, Any]:
    """Return the posted fields; sets are in the order in which they are stored."""
    form = page.form
    return {
        "audience": form.text("audience"),
        "scopes": sorted(set(form.words("scopes"))),
        "for_all_workers": form.is_on("for_all_workers"),
        "include_enrolled": form.is_on("include_enrolled"),
        "worker_ids": sorted(set(form.words("worker_ids"))),
        "worker_names": sorted(set(form.lines("worker_names"))),
        "labels": sorted(set(form.words("labels"))),
    }
