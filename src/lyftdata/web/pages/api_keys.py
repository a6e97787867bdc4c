"""The pages of API keys: list, one key, issue, rotate, allow, revoke."""

from datetime import timedelta

from starlette.responses import Response

from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.server.admin.api_key_order import KeyColumn
from lyftdata.server.admin.api_keys import IssuedKey
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, in_order

PER_PAGE = 100
_SORTING = Sorting(
    path="/api-keys",
    columns=[column.value for column in KeyColumn],
    default="name",
    highest_first=(KeyColumn.FOR, KeyColumn.CONNECTED, KeyColumn.USED),
)
# What the form offers; any other life can be had by the command line.
LIVES = {"": "Never", "7d": "In 7 days", "30d": "In 30 days", "90d": "In 90 days", "365d": "In a year"}
GRACES = {"0s": "At once", "1h": "In an hour", "24h": "In a day", "7d": "In 7 days"}


async def show_list(page: Page) -> Response:
    """Show every key that has the text in its name, a page at a time."""
    page.check_parameters("q", "sort", "page")
    order = _SORTING.read(page, q=page.query("q"))
    part = page.query("q").casefold()
    groups = page.services.api_key_queries.find(
        lambda record: part in record.name.casefold(), scope=page.actor.scope
    )
    column = KeyColumn(order.column)
    value = await page.services.api_key_order.values_of(column, scope=page.actor.scope)
    found = in_order(groups, order, {column: value}, tie=lambda group: group[0].name)
    pages = max(1, -(-len(found) // PER_PAGE))
    number = page.number(pages)
    return page.render(
        "api_keys.html",
        keys=await page.services.api_key_queries.show(
            found[(number - 1) * PER_PAGE : number * PER_PAGE], scope=page.actor.scope
        ),
        total=len(found),
        order=order,
        number=number,
        pages=pages,
    )


async def show(page: Page) -> Response:
    """Show one key."""
    return page.render(
        "api_key.html", key=await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    )


async def form(page: Page) -> Response:
    """Show the form for a new key: for the Worker in a link, under a name that the operator may change."""
    worker_id = page.query("worker")
    return page.render(
        "api_key_new.html",
        lives=LIVES,
        worker_ids=page.form.text("workers") or worker_id,
        name=page.form.text("name") or (page.services.api_keys.suggest_name(worker_id) if worker_id else ""),
    )


async def issue(page: Page) -> Response:
    """Issue a key, and show it once."""
    life = page.form.text("life")
    if life not in LIVES:
        raise InvalidInputError("life", "must be one of those offered")
    issued = await page.services.api_keys.issue(
        page.form.text("name"),
        worker_ids=_worker_ids(page),
        expires_in=parse_duration(life) if life else None,
        actor=page.actor,
    )
    return await _made(page, issued, "issued")


async def ask_rotate(page: Page) -> Response:
    """Confirm a rotation, and explain its effect."""
    key = await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render("api_key_confirm.html", action="rotate", key=key, graces=GRACES, worker="")


async def rotate(page: Page) -> Response:
    """Create the next generation, and show it once."""
    grace = page.form.text("grace")
    if grace not in GRACES:
        raise InvalidInputError("grace", "must be one of those offered")
    length: timedelta = parse_duration(grace)
    key = await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    page.check_unchanged(key.generation)
    issued = await page.services.api_keys.rotate(page.part("name"), grace=length, actor=page.actor)
    return await _made(page, issued, "rotated")


async def ask_end_previous(page: Page) -> Response:
    """Confirm ending the old key, and show which Workers will be cut off."""
    key = await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render("api_key_confirm.html", action="end-previous", key=key, graces=GRACES, worker="")


async def end_previous(page: Page) -> Response:
    """End the older generations of a key."""
    name = page.part("name")
    page.check_unchanged((await page.services.api_key_queries.get(name, scope=page.actor.scope)).generation)
    await page.services.api_keys.end_previous(name, actor=page.actor)
    return page.redirect(
        f"/api-keys/{name}",
        done="The old key has ended, and every Worker that still used it is cut off: at other Servers within a second.",
    )


async def ask_revoke(page: Page) -> Response:
    """Confirm revoking a key, and show which Workers will be cut off."""
    key = await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render("api_key_confirm.html", action="revoke", key=key, graces=GRACES, worker="")


async def revoke(page: Page) -> Response:
    """Revoke a key."""
    name = page.part("name")
    await page.services.api_keys.revoke(name, actor=page.actor)
    return page.redirect(
        f"/api-keys/{name}",
        done="The key is revoked, and every Worker that used it is cut off: at other Servers within a second.",
    )


async def ask_allow(page: Page) -> Response:
    """Confirm allowing a Worker, and explain the effect."""
    key = await page.services.api_key_queries.get(page.part("name"), scope=page.actor.scope)
    return page.render(
        "api_key_confirm.html", action="allow", key=key, graces=GRACES, worker=page.query("worker")
    )


async def allow(page: Page) -> Response:
    """Allow one more Worker to use a key."""
    name = page.part("name")
    await page.services.api_keys.allow(name, page.form.all("worker"), actor=page.actor)
    return page.redirect(
        f"/api-keys/{name}", done="Allowed. A Worker that was refused for it may be started again."
    )


async def _made(page: Page, issued: IssuedKey, what: str) -> Response:
    key = await page.services.api_key_queries.get(issued.record.name, scope=page.actor.scope)
    return page.render_secret(
        "api_key_made.html", instead=f"/api-keys/{key.name}", key=key, text=issued.text, what=what
    )


def _worker_ids(page: Page) -> list[str] | None:
    """Return the Workers that a key is for, None for every Worker: never by omission."""
    match page.form.text("for"):
        case "all":
            return None
        case "chosen":
            ids = page.form.words("workers")
            if not ids:
                others = "" if page.actor.scope.is_limited else ", or choose every Worker"
                raise InvalidInputError("workers", f"Enter at least one Worker ID{others}.")
            return ids
        case _:
            raise InvalidInputError("for", "must be chosen Workers or every Worker")
