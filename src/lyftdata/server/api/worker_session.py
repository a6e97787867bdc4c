"""`POST /api/worker/session`: the long poll by which a Worker is connected."""

import contextlib
import math
import random
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError, TooManyStartsError
from lyftdata.core.host_facts import read_host_facts
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import Labels
from lyftdata.core.refusals import DuplicateInstanceError, RefusedError
from lyftdata.core.text import clean_text
from lyftdata.server.admission.dpop import DpopNonceError
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.api.agent_version import check_agent_version
from lyftdata.server.api.bearer import nonce_response, verified_worker
from lyftdata.server.api.refusal_response import refusal_response
from lyftdata.server.api.session_probe import answer_probe
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.peer_watch import watch_peer
from lyftdata.server.http.request_body import read_body
from lyftdata.server.http.responses import json_response, temporarily_unavailable
from lyftdata.server.runtime.services import Services
from lyftdata.server.sessions.session import ROTATE_KEY, Boot, Directive, PollEnd, Session, find_used_key
from lyftdata.server.sessions.slot_queue import MAX_WAIT_FOR_SLOT_S


class Poll(msgspec.Struct, frozen=True):
    """What a Worker posts; `host` is what it reports about itself."""

    boot_id: Annotated[str, msgspec.Meta(min_length=8, max_length=64, pattern="^[A-Za-z0-9_.-]+$")] = ""
    """Required, except in a probe."""
    host: dict[str, str] = {}
    labels: str = ""
    sign_off: bool = False
    await_slot: bool = False
    """Whether to wait for the end of the Worker's other boot, rather than be refused because of it at once."""
    max_hold_s: Annotated[float, msgspec.Meta(ge=1)] | None = None
    """How long it may be held at most, if something in between cuts it before this Server would answer."""
    probe: Literal["now", "held", "streamed"] | None = None
    """Asks whether polls get through, without opening a session; see `session_probe`."""


_poll_decoder = msgspec.json.Decoder(Poll)


async def session(request: Request) -> Response:
    """Hold the Worker's poll until there is a directive for it, or its time is over."""
    services: Services = request.app.state.services
    try:
        return await _poll(request, services)
    except DpopNonceError:
        return nonce_response(services)
    except TooManyStartsError as error:
        return oauth_error_response(OAuthError("temporarily_unavailable", error.message, status=503))
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        # Not counted against the address: a connected Worker whose token has expired must learn that, instead of "retry
        # later", which it would take for an outage and continue working. Guessing a token is hopeless anyway.
        answer = services.refusals.record(refused, address=client_address(request.scope), limited=False)
        return refusal_response(
            answer,
            error="invalid_token",
            status=401,
            proved_error=refused.code,
            proved_status=409 if isinstance(refused, DuplicateInstanceError) else 403,
        )


async def _poll(request: Request, services: Services) -> Response:
    # The body first: between the last identification and taking the slot there must be no await, or a Worker disabled
    # in that moment would still be connected.
    body = await read_body(request)
    verified = await verified_worker(request, services)
    poll = _decode(body)
    if poll.probe is not None:
        return await answer_probe(services, verified, kind=poll.probe, max_hold_s=poll.max_hold_s)
    if poll.sign_off:
        return await _sign_off(request, services, verified, poll)
    boot = _boot(poll, services.known_secrets, address=client_address(request.scope))
    # Before anything is waited for or claimed: a refused agent must not hold anything.
    outdated = await check_agent_version(services, verified, boot)
    if poll.await_slot:
        await _wait_for_slot(request, services, verified, boot)
    await services.sessions.wait_for_previous_boot(verified.worker.id, boot.boot_id)
    async with services.cluster.claim_slot(verified.worker.id, boot, verified.claims.cred) as place:
        await services.leaving_workers.wait(verified.worker.id)
        # TOCTOU: the Worker may have been changed while waiting for another boot or for peers.
        verified = services.verifier.recheck(verified)
        current, is_new = services.sessions.attach(
            verified.worker, boot, verified.claims.cred, since=place.since
        )
    _note(services, current)
    if verified.worker.archived_at is not None:
        services.worker_archive.note_active(verified.worker.id)
    if is_new and verified.worker.rotation_asked_at is not None:
        # With the next poll: a client that does not know the directive must not take it as a reason to wait now.
        services.sessions.send_directive(verified.worker.id, ROTATE_KEY)
    if is_new and place.moves and not _describes(verified):
        # The directive for this change was queued between two polls, at the Server that it has left.
        services.sessions.ask_to_renew(verified.worker.id, verified.claims.jti)
    if is_new and not place.moves:
        return _established(services, [], outdated)
    return await _hold(request, services, current, verified, at_most_s=poll.max_hold_s, outdated=outdated)


def _describes(verified: VerifiedWorker) -> bool:
    """Return whether a token has the current name and labels of its Worker."""
    claims, worker = verified.claims, verified.worker
    return (claims.worker_name, claims.labels) == (worker.name, worker.labels)


async def _sign_off(request: Request, services: Services, verified: VerifiedWorker, poll: Poll) -> Response:
    """End the session; an ephemeral Worker learns whether its entry is gone, so that it does not come back with the same identity."""
    await _move_here(services, verified, poll.boot_id)
    services.sessions.sign_off(verified.worker.id, poll.boot_id)
    is_removed = await services.ephemeral_workers.sign_off(
        verified.worker, boot_id=poll.boot_id, address=client_address(request.scope)
    )
    return json_response({"session": "ended", "hold_s": 0, "directives": [], "removed": is_removed})


async def _move_here(services: Services, verified: VerifiedWorker, boot_id: str) -> None:
    """
    Move the session of a boot that signs off from a peer to this Server, where it then ends.

    The agent signs off on a new connection, which a load balancer may send to any Server. At the peer that has the session, the Worker
    would count as lost after a while.
    """
    worker_id = verified.worker.id
    if services.store.is_shared and not services.sessions.is_online(worker_id):
        # It may have connected to a peer a moment ago.
        await services.store.refresh(full=True)
    session = services.sessions.find(worker_id)
    is_here = services.sessions.find_here(worker_id) is not None
    if session is None or is_here or session.boot.boot_id != boot_id:
        return
    # Another boot that got the slot in the meantime keeps it.
    with contextlib.suppress(DuplicateInstanceError):
        async with services.cluster.claim_slot(worker_id, session.boot, verified.claims.cred) as place:
            verified = services.verifier.recheck(verified)
            services.sessions.attach(verified.worker, session.boot, verified.claims.cred, since=place.since)


async def _wait_for_slot(request: Request, services: Services, verified: VerifiedWorker, boot: Boot) -> None:
    """Wait for the end of the Worker's other boot; raises OAuthError, which is never sent, if this one has disconnected meanwhile."""
    left_s = verified.claims.exp - services.clock().timestamp()
    is_here = await services.sessions.wait_for_slot(
        verified.worker.id,
        boot.boot_id,
        within_s=max(0.0, min(MAX_WAIT_FOR_SLOT_S, left_s)),
        watch_peer=partial(watch_peer, request.receive),
    )
    if not is_here:
        raise OAuthError("invalid_request", "The connection was closed.")


async def _hold(
    request: Request,
    services: Services,
    current: Session,
    verified: VerifiedWorker,
    *,
    at_most_s: float | None,
    outdated: dict[str, Any] | None,
) -> Response:
    # The poll ends with its token and with its API key: a Worker does not stay connected with an expired credential.
    ends_s = [float(verified.claims.exp)]
    key = find_used_key(current, services.directory.find_api_key)
    if key is not None and key.expires_at is not None:
        ends_s.append(key.expires_at.timestamp())
    now = services.clock()
    left_s = max(1.0, min(ends_s) - now.timestamp())
    hold_s = min(services.sessions.hold_s(), math.inf if at_most_s is None else at_most_s)
    if services.sessions.begin_hold(current):
        # A fleet that reconnects together would otherwise poll in step from then on, and exceed the limit in each wave.
        hold_s = max(1.0, hold_s * random.random())  # noqa: S311 - no secret: it spreads them over one interval
    outcome = await services.sessions.wait(
        current,
        hold_s=min(hold_s, left_s),
        watch_peer=partial(watch_peer, request.receive),
    )
    match outcome:
        case Directive():
            return _established(services, [outcome], outdated)
        case PollEnd.STOPPING:
            return temporarily_unavailable("The Server is stopping.", retry_after_s=1, close=True)
        case _:
            return _established(services, [], outdated)


def _established(
    services: Services, directives: list[Directive], outdated: dict[str, Any] | None
) -> Response:
    answer = {"session": "established", "hold_s": services.sessions.hold_s(), "directives": directives}
    return json_response(answer if outdated is None else answer | {"outdated": outdated})


def _decode(body: bytes) -> Poll:
    try:
        poll = _poll_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OAuthError(
            "invalid_request", f"The poll cannot be read: {clean_text(str(error), 200)}"
        ) from None
    if not poll.boot_id and poll.probe is None:
        raise OAuthError(
            "invalid_request", "The poll cannot be read: Object missing required field `boot_id`"
        )
    return poll


def _boot(poll: Poll, known_secrets: KnownSecrets, *, address: str) -> Boot:
    facts = read_host_facts(poll.host, known_secrets)
    labels = known_secrets.hide_labels(_labels(poll.labels))
    return Boot(boot_id=poll.boot_id, host=facts, reported_labels=labels, address=address)


def _labels(text: str) -> Labels:
    try:
        return parse_label_text(text) if text else {}
    except InvalidInputError as error:
        raise OAuthError("invalid_request", f"labels: {error.message}") from None


def _note(services: Services, current: Session) -> None:
    services.origin_watch.worker_polled(current)
    key = find_used_key(current, services.directory.find_api_key)
    services.traces.worker_seen(
        current.worker_id,
        at=services.clock(),
        address=current.boot.address,
        api_key_name=key.name if key is not None else None,
        host=current.boot.host,
    )
