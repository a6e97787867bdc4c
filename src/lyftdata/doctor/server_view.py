"""Diagnoses a Worker from what the Server knows about it and from its last attempt: `lyftdata doctor --as WORKER`."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from lyftdata.core.records import Approval
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding
from lyftdata.doctor.poll_path import describe_skew

_ON_ITS_HOST = "On the Worker's host, with its environment: lyftdata doctor worker"


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the admin API returns about a Worker; each member as in the API.

    Attributes:
        named: The ID or name that the operator gave.
        worker: The entry, or None if there is none with that ID or name.
        refusals: Refused attempts that claim to be this Worker, the latest first.
        last_refusal: The latest of them with the whole reason, or None.
        origins: The origins of its token requests, the latest first.
        sessions: Its sessions, the latest first.
        keys: API keys that it may use, or could before they ended.
        copies: Directories that were refused as copies of its identity.
        server_version: The Server's version.
    """

    named: str
    worker: dict[str, Any] | None
    refusals: Sequence[dict[str, Any]] = ()
    last_refusal: dict[str, Any] | None = None
    origins: Sequence[dict[str, Any]] = ()
    sessions: Sequence[dict[str, Any]] = ()
    keys: Sequence[dict[str, Any]] = ()
    copies: Sequence[dict[str, Any]] = ()
    server_version: str = ""

    @property
    def was_refused(self) -> bool:
        """Whether the last known attempt was refused."""
        refused = self.last_refusal
        return refused is not None and not any(origin["last_at"] >= refused["at"] for origin in self.origins)

    @property
    def live_keys(self) -> list[dict[str, Any]]:
        """The API keys that it may use now."""
        return [key for key in self.keys if key["status"] == "live"]

    def last_attempt(self) -> dict[str, Any] | None:
        """Return the last known attempt: credential, origin, audience and result; None if there was none."""
        refused = self.last_refusal
        if refused is not None and self.was_refused:
            return {
                "at": refused["at"],
                "address": refused["address"],
                "claimed": refused["claimed_worker"],
                "credential": refused["api_key"] or self._proved_credential(refused),
                "proved": refused["proved"],
                "audience": None,
                "outcome": refused["code"],
                "reference": refused["reference"],
                "detail": refused["detail"],
            }
        if not self.origins:
            return None
        origin = self.origins[0]
        return {
            "at": origin["last_at"],
            "address": origin["address"],
            "claimed": self.worker["id"] if self.worker else self.named,
            "credential": origin["credential"],
            "proved": True,
            "audience": origin["audience"],
            "outcome": "token_given",
            "reference": None,
            "detail": "",
        }

    def _proved_credential(self, refused: dict[str, Any]) -> str | None:
        """Return the credential that a refused attempt has proved, None if none; a refusal names only API keys."""
        if not refused["proved"]:
            return None
        if self.worker is None or refused["claimed_worker"] != self.worker["id"]:
            # Only a registration claims a Worker by something other than its ID.
            return "enrollment key"
        return "identity key" if self.worker["thumbprint"] else "API key"


def examine_view(view: ServerView) -> Iterator[Finding]:
    """Yield why a Worker is not admitted, or what is wrong although it is."""
    worker = view.worker
    if worker is None:
        yield from _unknown(view)
        return
    is_online = worker["status"] == "online"
    yield from _entry(worker)
    if not is_online:
        yield from _absence(view, worker)
    elif view.was_refused:
        yield _refused(view, findings.REFUSED_WHILE_ONLINE)
    for copy in view.copies:
        if copy["decision"] is None:
            yield Finding(
                findings.IDENTITY_COPIED,
                f"A copy of its identity was refused at {copy['last_at']}: {_host(copy, 'host', 'address')}; accepted: "
                f"{_host(copy, 'other_host', 'other_address')}.",
                f"If the refused host is the right one: lyftdata workers continue-copy {worker['id']} {copy['reference']}. If it "
                f"is to be another Worker: lyftdata workers reenroll-copy {worker['id']} {copy['reference']}",
            )
    yield from _networks(view, worker)
    skew = describe_skew(server=view.server_version, worker=worker["host"].get("agent_version", ""))
    if skew is not None:
        yield skew


def _unknown(view: ServerView) -> Iterator[Finding]:
    yield Finding(
        findings.WORKER_UNKNOWN,
        f"The Server has no Worker with the ID or name {clean_text(view.named, 128)}.",
        "Compare LYFTDATA_WORKER_ID with: lyftdata workers list --search TEXT. A deleted Worker is in the audit log.",
    )
    if view.last_refusal is not None:
        yield _refused(view, findings.REFUSED)


def _entry(worker: dict[str, Any]) -> Iterator[Finding]:
    if not worker["enabled"]:
        yield Finding(
            findings.WORKER_DISABLED,
            f"{worker['id']} is disabled.",
            f"To let it connect again: lyftdata workers enable {worker['id']}",
        )
    if worker["superseded_by"]:
        yield Finding(
            findings.WORKER_SUPERSEDED,
            f"{worker['id']} was superseded by {worker['superseded_by']}, which enrolled under its name.",
            "Use the new entry; if the old host is the right one, delete the new entry and let the host enroll again.",
        )
    if worker["approval"]:
        yield _not_approved(worker)


def _not_approved(worker: dict[str, Any]) -> Finding:
    approve = f"lyftdata enrollment approve {worker['id']}"
    if worker["approval"] == Approval.PENDING:
        return Finding(
            findings.WORKER_NOT_APPROVED,
            f"{worker['id']} is waiting for approval. The fingerprint of its identity key is {worker['thumbprint']}.",
            f"If its host logs the same fingerprint (`awaiting_approval`): {approve}",
        )
    what = (
        f"An operator has denied {worker['id']}."
        if worker["approval"] == Approval.DENIED
        else f"No operator decided about {worker['id']} in time."
    )
    return Finding(
        findings.WORKER_NOT_APPROVED, what, f"If it may come in: {approve}, then start it again on its host"
    )


def _absence(view: ServerView, worker: dict[str, Any]) -> Iterator[Finding]:
    """Yield why it is not connected: refused, without a key, never seen, or gone for an unknown reason."""
    if worker["strategy"] == "api_key" and not view.live_keys:
        yield Finding(
            findings.NO_USABLE_KEY,
            f"No API key that is in force is for {worker['id']}.",
            f"Issue one: lyftdata api-key issue NAME --worker {worker['id']}",
        )
    if view.was_refused:
        yield _refused(view, findings.REFUSED)
    elif worker["approval"]:
        # A Worker that waits for approval keeps asking for tokens: neither refusals nor origins are recorded for it.
        return
    elif not view.origins and not view.sessions:
        yield Finding(findings.NEVER_SEEN, f"{worker['id']} has never asked for a token.", _ON_ITS_HOST)
    elif worker["enabled"] and not worker["superseded_by"]:
        yield Finding(
            findings.WORKER_ABSENT,
            f"{worker['id']} is not connected, and nothing was refused since its last token. {_last_session(view)}".strip(),
            _ON_ITS_HOST,
        )


def _last_session(view: ServerView) -> str:
    if not view.sessions:
        return "It has never opened a session."
    last = view.sessions[0]
    return f"Its last session, from {last['address']}, ended at {last['ended_at'] or '?'}: {last['end'].replace('_', ' ') or '?'}."


def _refused(view: ServerView, check: findings.Check) -> Finding:
    refused = view.last_refusal or {}
    proved = "" if refused["proved"] else " Who sent it is not proved."
    detail = f" {refused['detail']}" if refused["detail"] else ""
    return Finding(
        check,
        f"At {refused['at']}, from {refused['address']}: {refused['code']}. {refused['meaning']}{detail}{proved} "
        f"Reference {refused['reference']}.",
        refused["remedy"],
    )


def _networks(view: ServerView, worker: dict[str, Any]) -> Iterator[Finding]:
    for origin in view.origins:
        if origin["elsewhere_at"]:
            yield Finding(
                findings.TOKEN_FROM_ELSEWHERE,
                f"At {origin['elsewhere_at']} a token was asked for from {origin['address']} while the Worker was connected from "
                f"{origin['session_address']}.",
                f"If that was not the Worker, see who used the credential: lyftdata incident worker:{worker['id']} --since 24h",
            )


def _host(copy: dict[str, Any], host: str, address: str) -> str:
    return f"{copy[host] or '?'} ({copy[address]})"
