"""Decides whether a refusal ends a Worker's identity, and how the Worker gets another one."""

from collections.abc import Awaitable, Callable

import msgspec

from lyftdata.client.credentials import Credential
from lyftdata.core.errors import SettingsError
from lyftdata.core.log_events.worker import ENROLLING_AGAIN, ENROLLING_AS_NEW, IDENTITY_NOT_DISCARDED
from lyftdata.core.refusals import EnrollAsNewError
from lyftdata.core.strategy import StoredIdentity
from lyftdata.core.text import clean_text
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.log import emit, get_logger
from lyftdata.worker.client import RefusedByServerError, ServerClient
from lyftdata.worker.identity.enrollment import enroll_as_new, obtain_identity
from lyftdata.worker.identity.state import StateDirectory, StateError
from lyftdata.worker.settings import WorkerSettings

_log = get_logger(__name__)

Obtain = Callable[[WorkerSettings, StateDirectory, ServerClient, CurrentEnrollmentKey], Awaitable[Credential]]
"""Obtains an identity for a Worker with its enrollment key."""


class Succession(msgspec.Struct, frozen=True):
    """
    How a new identity replaces one that can no longer be used.

    Attributes:
        obtain: Obtains the new identity.
        discarded: The identity to remove from the directory first; None if it stays there until the new one exists.
    """

    obtain: Obtain
    discarded: StoredIdentity | None = None


def find_succession(
    refused: RefusedByServerError, settings: WorkerSettings, directory: StateDirectory, *, is_first: bool
) -> Succession | None:
    """
    Return how the Worker gets another identity after a refusal, and log it; None if the refusal does not end the identity.

    Args:
        refused: The refusal.
        settings: The Worker's settings.
        directory: The Worker's own directory.
        is_first: Whether this run enrolled, and no token request has succeeded since.
    """
    if settings.enrollment_key is None:
        return None
    reference = clean_text(refused.reference, 32)
    if refused.cause_code == EnrollAsNewError.code:
        stored = directory.load_identity()
        copy_of = "" if stored is None else stored.worker_id
        emit(_log, ENROLLING_AS_NEW, copy_of=copy_of, reference=reference)
        return Succession(enroll_as_new)
    # An ephemeral Worker whose entry is gone gets the refusal of an unknown Worker, without a cause. For an identity that this run has
    # just been given, there must be another reason.
    if not refused.final or refused.cause_code or is_first or settings.api_key is not None:
        return None
    stored = directory.load_identity()
    if stored is None or not stored.ephemeral or settings.worker_name is None:
        return None
    emit(_log, ENROLLING_AGAIN, worker_id=stored.worker_id, reference=reference)
    return Succession(obtain_identity, discarded=stored)


def discard_removed(directory: StateDirectory) -> None:
    """Discard the identity of an ephemeral Worker whose entry is gone: the next start enrolls at once, without being refused first."""
    try:
        stored = directory.load_identity()
        if stored is not None and stored.ephemeral:
            directory.discard_identity(stored)
    except (StateError, SettingsError) as error:
        emit(_log, IDENTITY_NOT_DISCARDED, problem=error.message)
