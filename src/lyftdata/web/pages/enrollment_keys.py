"""Enrollment keys issued by operators: show, issue, rotate, revoke; the list is on the page of Auto-Enrollment."""

from collections.abc import Sequence
from datetime import timedelta

from starlette.responses import Response

from lyftdata.core.durations import parse_duration
from lyftdata.core.enrollment_rules import STARTUP_NAME
from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules, IssuedEnrollmentKey
from lyftdata.server.admin.enrollment_watch import Newcomers
from lyftdata.server.admin.schemas.enrollment import EnrollmentKey
from lyftdata.web.page import Page
from lyftdata.web.pages.api_keys import GRACES
from lyftdata.web.pages.new_workers import wanted_command
from lyftdata.web.snippets import snippets

_WILDCARDS = frozenset("*?")
# The choices of the form, the safest first; the command line accepts any other lifetime.
LIVES = {"24h": "In a day", "1h": "In an hour", "7d": "In 7 days", "30d": "In 30 days", "": "Never"}


async def show(page: Page) -> Response:
    """Show one key, and the Workers that enroll with it."""
    key = await _issued_key(page)
    return page.render("enrollment_key.html", key=key, newcomers=await _newcomers(page, key))


async def waiting(page: Page) -> Response:
    """Show which Workers have enrolled with a key, which of them are connected, and which were refused."""
    key = await _issued_key(page)
    return page.render("_waiting_enrollment.html", key=key, newcomers=await _newcomers(page, key))


async def form(page: Page) -> Response:
    """Show the form for a new key: by default for one Worker, for a day."""
    return page.render("enrollment_key_new.html", lives=LIVES)


async def issue(page: Page) -> Response:
    """Issue a key, and show it once."""
    page.form.require("life", "uses", "worker_name", "networks", "mode", "approve_name", "approve_networks")
    life, command = page.form.text("life"), wanted_command(page)
    if life not in LIVES:
        raise InvalidInputError("life", "must be one of those offered")
    rules = EnrollmentKeyRules(
        expires_in=parse_duration(life) if life else None,
        max_uses=parse_max_uses(page.form.text("uses")),
        worker_name=page.form.text("worker_name") or None,
        networks=page.form.words("networks"),
        labels=parse_label_text(page.form.text("labels")),
        ephemeral=page.form.is_on("ephemeral"),
        mode=parse_mode(page.form.text("mode")),
        approve_name=page.form.text("approve_name") or None,
        approve_networks=page.form.words("approve_networks"),
    )
    issued = await page.services.enrollment_keys.issue(page.form.text("name"), rules, actor=page.actor)
    return await _made(page, issued, "issued", command=command)


async def ask_rotate(page: Page) -> Response:
    """Confirm a rotation, and explain its effect."""
    return page.render(
        "enrollment_key_confirm.html", action="rotate", key=await _issued_key(page), graces=GRACES
    )


async def rotate(page: Page) -> Response:
    """Create the next generation, and show it once."""
    grace = page.form.text("grace")
    if grace not in GRACES:
        raise InvalidInputError("grace", "must be one of those offered")
    length: timedelta = parse_duration(grace)
    page.check_unchanged((await _issued_key(page)).generation)
    issued = await page.services.enrollment_keys.rotate(page.part("name"), grace=length, actor=page.actor)
    return await _made(page, issued, "rotated")


async def ask_end_previous(page: Page) -> Response:
    """Confirm ending the old key, and explain the effect."""
    return page.render(
        "enrollment_key_confirm.html", action="end-previous", key=await _issued_key(page), graces=GRACES
    )


async def end_previous(page: Page) -> Response:
    """End the older generations of a key."""
    name = page.part("name")
    page.check_unchanged((await _issued_key(page)).generation)
    await page.services.enrollment_keys.end_previous(name, actor=page.actor)
    return page.redirect(f"/enrollment/{name}", done="The old key has ended: it enrolls no more Workers.")


async def ask_revoke(page: Page) -> Response:
    """Confirm revoking a key, and explain the effect."""
    return page.render(
        "enrollment_key_confirm.html", action="revoke", key=await _issued_key(page), graces=GRACES
    )


async def revoke(page: Page) -> Response:
    """Revoke a key."""
    name = page.part("name")
    await page.services.enrollment_keys.revoke(name, actor=page.actor)
    return page.redirect(f"/enrollment/{name}", done="The key is revoked: it enrolls no more Workers.")


async def _issued_key(page: Page) -> EnrollmentKey:
    """Return the key of the page; the one of the settings has no page. Raises NotFoundError."""
    name = page.part("name")
    if name == STARTUP_NAME:
        raise NotFoundError("enrollment_key", name)
    return await page.services.enrollment_key_queries.get(name, scope=page.actor.scope)


async def _made(
    page: Page, issued: IssuedEnrollmentKey, what: str, *, command: Sequence[str] = ()
) -> Response:
    key = await page.services.enrollment_key_queries.get(issued.record.name, scope=page.actor.scope)
    name = key.worker_name if key.worker_name and not _WILDCARDS & set(key.worker_name) else None
    plain = {"LYFTDATA_URL": page.services.issuer, "LYFTDATA_WORKER_NAME": name or "choose-a-name"}
    return page.render_secret(
        "enrollment_key_made.html",
        instead=f"/enrollment/{key.name}",
        key=key,
        text=issued.text,
        what=what,
        newcomers=await _newcomers(page, key),
        has_name=name is not None,
        snippets=snippets(
            plain,
            secret="LYFTDATA_AUTO_ENROLLMENT_KEY",  # noqa: S106 - a variable's name
            name="worker",
            command=command,
            ca=await page.ca_to_paste(),
        ),
    )


async def _newcomers(page: Page, key: EnrollmentKey) -> Newcomers:
    return await page.services.enrollment_watch.find(
        key.fingerprint,
        since=key.rotated_at or key.created_at or page.services.clock(),
        scope=page.actor.scope,
        with_wrong_keys=page.may("refusals.read"),
    )


def parse_mode(text: str) -> EnrollmentMode:
    """Parse the mode in a form; raises InvalidInputError."""
    if text not in list(EnrollmentMode):
        raise InvalidInputError("mode", "must be one of those offered")
    return EnrollmentMode(text)


def parse_max_uses(text: str) -> int | None:
    """Return how many Workers a key may enroll; None if the field is empty, for any number. Raises InvalidInputError."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidInputError("max_uses", "must be a whole number, or empty for any number")
    return int(text[:9])
