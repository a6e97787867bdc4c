"""Resources: services for which Workers may get tokens."""

from starlette.responses import Response

from lyftdata.server import queries
from lyftdata.server.resources import ResourceChange
from lyftdata.web.page import Page

_SAVED = "Saved. Tokens given from now on follow it."


async def show_list(page: Page) -> Response:
    """Show every resource."""
    return page.render("resources.html", resources=queries.list_resources(page.services))


async def form(page: Page) -> Response:
    """Show the form for a new resource."""
    return page.render("resource_form.html", resource=None)


async def add(page: Page) -> Response:
    """Define a resource."""
    name = page.form.text("name")
    await page.services.resources.add(name, _change(page), actor=page.actor)
    return page.redirect(f"/resources/{name}", done=_SAVED)


async def show(page: Page) -> Response:
    """Show one resource, and let it be changed."""
    resource = queries.get_resource(page.services, page.part("name"))
    return page.render(
        "resource.html",
        resource=resource,
        before=page.seal(_key_in_force(page, resource.name)),
        issuer=page.services.issuer,
    )


async def change(page: Page) -> Response:
    """Change a resource."""
    name = page.part("name")
    await page.services.resources.change(name, _change(page), actor=page.actor)
    return page.redirect(f"/resources/{name}", done=_SAVED)


async def issue_key(page: Page) -> Response:
    """Make the resource's key, and show it once."""
    name = page.part("name")
    page.check_unchanged(_key_in_force(page, name))
    key = await page.services.resources.issue_key(name, actor=page.actor)
    return page.render_secret(
        "resource_key.html", instead=f"/resources/{name}", name=name, key=key, issuer=page.services.issuer
    )


async def ask_delete(page: Page) -> Response:
    """Say what deleting does, and ask."""
    resource = queries.get_resource(page.services, page.part("name"))
    return page.render("resource_confirm.html", resource=resource)


async def delete(page: Page) -> Response:
    """Delete a resource."""
    name = page.part("name")
    await page.services.resources.delete(name, actor=page.actor)
    return page.redirect("/resources", done=f"{name} was deleted.")


def _key_in_force(page: Page, name: str) -> str | None:
    """Return the public part of a resource's key."""
    return next((r.key_public_id for r in page.services.directory.resources() if r.name == name), None)


def _change(page: Page) -> ResourceChange:
    return ResourceChange(
        audience=page.form.text("audience"),
        scopes=page.form.words("scopes"),
        for_all_workers=page.form.is_on("for_all_workers"),
        include_enrolled=page.form.is_on("include_enrolled"),
        worker_ids=page.form.words("worker_ids"),
        worker_names=page.form.lines("worker_names"),
        labels=page.form.words("labels"),
    )
