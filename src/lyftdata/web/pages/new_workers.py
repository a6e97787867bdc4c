"""The pages for adding a range of Workers: the confirmation, all keys in one download, and how many have connected."""

import base64
import io
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from lyftdata.core.bulk_changes import CREATED
from lyftdata.core.command_lines import parse_command
from lyftdata.core.env_files import check_url, env_file, env_file_name
from lyftdata.core.errors import NotFoundError
from lyftdata.core.name_patterns import expand_worker_ids, expand_worker_names
from lyftdata.core.records import WorkerRecord
from lyftdata.core.secret import Secret
from lyftdata.server.admin.scope_checks import with_scope_labels
from lyftdata.server.admin.workers import AddedWorkers, NewKey
from lyftdata.store import audit_log
from lyftdata.web.page import Page
from lyftdata.web.snippets import env_file_snippets, snippets

_NEW_KEYS = {"existing": None, "one": NewKey.SHARED}
_SHOWN = 8
_MAX_GROUPS = 200
_MAX_DIGITS = 18


async def ask(page: Page) -> Response:
    """Show which Workers a range stands for, before they are added."""
    names, ids = expand_worker_names(page.form.text("name")), page.form.text("id")
    command = wanted_command(page)
    return page.render(
        "workers_new_confirm.html",
        names=names,
        ids=expand_worker_ids(ids, size=len(names)) if ids else None,
        labels=with_scope_labels(page.actor.scope, page.form.labels("labels")),
        choice=page.form.text("with"),
        command=shlex.join(command),
        shown=_SHOWN,
    )


async def create(page: Page) -> Response:
    """Add them, and show their keys once."""
    choice, command = page.form.text("with"), wanted_command(page)
    check_url(page.services.issuer)
    added = await page.services.workers.add_many(
        page.form.text("name"),
        ids=page.form.text("id") or None,
        labels=page.form.labels("labels"),
        new_key=_NEW_KEYS.get(choice, NewKey.EACH),
        existing_key=page.form.text("key_name") if choice == "existing" else None,
        actor=page.actor,
    )
    page.services.budget.charge_added(page.actor.account, len(added.records))
    first, last = added.records[0], added.records[-1]
    stem = f"{_stem(first)}-to-{_stem(last)}"
    context: dict[str, Any] = {
        "workers": added.records,
        "stem": stem,
        "key_name": added.issued[0].record.name if added.issued else page.form.text("key_name"),
        **await _state(page, added.number, added.records),
    }
    page.instead = "/workers"
    plain, ca = {"LYFTDATA_URL": page.services.issuer}, await page.ca_to_paste()
    if not added.issued:
        example = {**plain, "LYFTDATA_WORKER_ID": first.id}
        pasted = snippets(
            example,
            secret="LYFTDATA_WORKER_API_KEY",  # noqa: S106 - a variable's name
            name=first.id,
            command=command,
            ca=ca,
        )
        return page.render("workers_made.html", archive=None, snippets=pasted, **context)
    return page.render_secret(
        "workers_made.html",
        instead=page.instead,
        archive=_download(page.services.issuer, added, ca),
        shared_key=added.issued[0].text if choice == "one" else None,
        snippets=env_file_snippets(
            archive=f"{stem}.zip", file=env_file_name(first.name, first.id), command=command, ca=ca
        ),
        **context,
    )


def wanted_command(page: Page) -> Sequence[str]:
    """
    Return the program that the new Workers will run; it is included in the copyable texts, but not stored.

    Raises:
        InvalidInputError: It violates the rules of `core.command_lines`, or contains a secret of this Server.
    """
    text = page.form.text("command")
    page.services.known_secrets.check("command", text)
    return parse_command(text)


async def waiting(page: Page) -> Response:
    """Show how many of the Workers added together are online, and which were refused."""
    text = page.part("number")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0
    records = await _added(page, number)
    return page.render("_waiting_many.html", **await _state(page, number, records))


async def _added(page: Page, number: int) -> list[WorkerRecord]:
    """
    Return the remaining Workers of a group of events, within the scope.

    Raises:
        NotFoundError: No such group, or none of its Workers is left within the scope: the two are indistinguishable.
    """
    store, directory = page.services.store, page.services.directory
    group = await store.read(lambda conn: audit_log.find_event(conn, number))
    if group is None or group.event.action != CREATED:
        raise NotFoundError("bulk_change", str(number))
    size = int(group.event.details["count"])
    events = await store.read(lambda conn: audit_log.events_after(conn, after=number, limit=size))
    found = (directory.find_worker(event.event.subject.removeprefix("worker:")) for event in events)
    records = [record for record in found if record is not None and page.actor.scope.covers_worker(record)]
    # Enumeration: otherwise a team could tell from the numbers when another team added Workers.
    if not records:
        raise NotFoundError("bulk_change", str(number))
    return records


async def _state(page: Page, number: int, records: Sequence[WorkerRecord]) -> dict[str, Any]:
    """Return the state that the panel shows."""
    missing = [record for record in records if page.services.sessions.find(record.id) is None]
    since: Mapping[str, datetime] = {record.id: record.created_at for record in missing}
    groups = await page.services.refusal_queries.list_groups(limit=_MAX_GROUPS) if missing else []
    refused = {
        group.claimed_worker: group
        for group in reversed(groups)
        if group.claimed_worker in since and group.last_at >= since[group.claimed_worker]
    }
    return {
        "number": number,
        "total": len(records),
        "online": len(records) - len(missing),
        "waiting": missing,
        "refused": list(refused.values()),
    }


def _download(url: str, added: AddedWorkers, ca: str | None) -> str:
    """
    Return a ZIP with an environment file for each Worker, and the CA certificate of the Server if they need it, as a `data:` URL.

    It is only in this response: neither the Server nor the browser's history stores it (decision 9).
    """
    keys: Mapping[str, Secret] = {
        worker_id: issued.text for issued in added.issued for worker_id in issued.record.worker_ids
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in added.records:
            file = env_file_name(record.name, record.id)
            text = env_file(url=url, worker_id=record.id, api_key=keys[record.id])
            archive.writestr(_entry(file, record.created_at, mode=0o600), text)
        if ca:
            archive.writestr(_entry("ca.pem", added.records[0].created_at, mode=0o644), ca)
    return "data:application/zip;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def _entry(name: str, at: datetime, *, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, at.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o100000 | mode) << 16
    return entry


def _stem(record: WorkerRecord) -> str:
    return env_file_name(record.name, record.id).removesuffix(".env")
