"""Checks the Server's answers: whether it is the Server that answers, and whether it accepts this Worker."""

import shlex
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from lyftdata.bounded_http import Answer
from lyftdata.client.credentials import Credential
from lyftdata.client.server_clock import ServerClock
from lyftdata.core.errors import SettingsError
from lyftdata.core.origins import same_origin
from lyftdata.core.refusals import cause_of
from lyftdata.core.text import clean_text, parse_reference
from lyftdata.doctor import findings
from lyftdata.doctor.answer_faults import check_of_failure, check_of_status
from lyftdata.doctor.findings import Finding, each_problem
from lyftdata.doctor.poll_path import check_held_requests, check_version
from lyftdata.worker.client import (
    Issuers,
    RefusedByServerError,
    ServerClient,
    ServerUnreachableError,
)
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.enrollment import confirmed_identity
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import WorkerSettings


def _look_up(reference: str) -> str:
    """Return the command for an operator. Command injection: an untrusted answer may have chosen the reference, and people paste this."""
    return f"An operator sees the cause: lyftdata refusals show {shlex.quote(clean_text(reference))}"


async def check_answers(
    settings: WorkerSettings,
    client: ServerClient,
    clock: ServerClock,
    *,
    announce: Callable[[float], None] | None,
) -> AsyncIterator[Finding]:
    """
    Yield what is wrong with the Server's answers. Requests a token, as the Worker's next start would; never enrolls.

    Args:
        settings: The Worker's settings.
        client: The Server.
        clock: The client's clock.
        announce: Called with the seconds for which a request will be held; None skips that check.
    """
    try:
        issuers = await client.issuers()
    except ServerUnreachableError as error:
        yield _unanswered(error)
        return
    if clock.is_skewed():
        yield Finding(
            findings.CLOCK_OFF,
            f"This host's clock is {clock.describe_skew()}.",
            "Turn on time synchronization: timedatectl set-ntp true",
        )
    directory = StateDirectory(settings.jobs_dir)
    credential = choose_credential(settings, directory)
    if credential is None and directory.load_identity() is None:
        yield _issuer_differs(settings, issuers) or Finding(
            findings.NOT_ENROLLED, "This Worker has not enrolled yet.", "Start it: lyftdata run worker"
        )
        return
    async for finding in _check_token(settings, client, directory, credential, announce=announce):
        yield finding


def _issuer_differs(settings: WorkerSettings, issuers: Issuers) -> Finding | None:
    expected = settings.public_url or settings.url
    if any(same_origin(issuer, expected) for issuer in (issuers.current, *issuers.previous)):
        return None
    called = clean_text(issuers.current, 200)
    return Finding(
        findings.ISSUER_DIFFERS,
        f"The Server at {settings.url} calls itself {called}, so this Worker does not enroll there.",
        f"Set LYFTDATA_PUBLIC_URL={settings.url} on the Server; or, if {called} is right, LYFTDATA_PUBLIC_URL={shlex.quote(called)} here.",
    )


async def _check_token(
    settings: WorkerSettings,
    client: ServerClient,
    directory: StateDirectory,
    credential: Credential | None,
    *,
    announce: Callable[[float], None] | None,
) -> AsyncIterator[Finding]:
    try:
        chosen = credential or await confirmed_identity(settings, directory, client)
        reply = await client.token(chosen)
        answer = await client.probe_session(reply.access_token)
    except RefusedByServerError as error:
        yield _refused(error)
    except SettingsError as error:
        for finding in each_problem(
            findings.NO_CREDENTIAL, error, "Correct it as described, then start the Worker again."
        ):
            yield finding
    except ServerUnreachableError as error:
        yield _unanswered(error)
    else:
        lost = _check_session_answer(settings, answer)
        if lost is not None:
            yield lost
            return
        skew = check_version(answer)
        if skew is not None:
            yield skew
        hold_s = answer.json_object().get("hold_s")
        if announce is not None and isinstance(hold_s, float | int):
            async for finding in check_held_requests(
                client, reply.access_token, hold_s=float(hold_s), announce=announce
            ):
                yield finding


def _unanswered(error: ServerUnreachableError) -> Finding:
    check = check_of_status(error.status) if error.status else check_of_failure(error)
    return Finding(check, error.message, error.hint or "Check LYFTDATA_URL.")


def _refused(error: RefusedByServerError) -> Finding:
    cause = f" ({error.cause_code})" if error.cause_code else ""
    reference = f" Reference {error.reference}." if error.reference else ""
    return Finding(findings.REFUSED, f"{error.message}{cause}{reference}", _remedy(error))


def _remedy(error: RefusedByServerError) -> str:
    # Command injection: people paste a fix, and whatever answers at the address could choose the remedy in its answer.
    cause = cause_of(error.cause_code)
    return (cause.remedy if cause else "") or (
        _look_up(error.reference) if error.reference else "Try again later."
    )


def _check_session_answer(settings: WorkerSettings, answer: Answer) -> Finding | None:
    """Check the answer to a probe: the Server reads it only after accepting the token; one without support for probes finds it invalid."""
    body = answer.json_object()
    error = body.get("error")
    if answer.status == HTTPStatus.OK and body.get("session") == "none":
        return None
    if answer.status == HTTPStatus.BAD_REQUEST and error == "invalid_request":
        return None
    where = f"{settings.url}/api/worker/session"
    reference = parse_reference(body.get("reference"))
    if answer.status == HTTPStatus.UNAUTHORIZED and reference:
        return Finding(
            findings.TOKEN_LOST,
            f"{where} refused the token that {settings.url} had just given. Reference {reference}.",
            f"{_look_up(reference)}. If it is missing_credentials, let the proxy in front of the Server pass the "
            "Authorization header on (nginx: proxy_set_header Authorization $http_authorization;). Otherwise requests reach "
            "several Servers that do not share a database.",
        )
    if isinstance(error, str) and reference:
        return Finding(
            findings.REFUSED,
            f"{where} refused the new token. Reference {reference}.",
            _look_up(reference),
        )
    return Finding(
        findings.SESSIONS_BLOCKED,
        f"{where} answered {answer.status}, and not as a lyftdata Server does.",
        "Let proxies and firewalls in front of the Server pass POST requests to /api/worker/session.",
    )
