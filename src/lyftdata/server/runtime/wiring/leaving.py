"""Builds the parts that remove Workers that have left, and replaced registrations."""

from datetime import timedelta

import msgspec

from lyftdata.server.admin.ephemeral_workers import EphemeralWorkers
from lyftdata.server.admin.leaving_workers import LeavingWorkers
from lyftdata.server.admin.repeated_registrations import RepeatedRegistrations
from lyftdata.server.runtime.wiring.admission import AdmissionParts
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.sessions import SessionParts


class LeavingParts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that remove entries automatically."""

    leaving_workers: LeavingWorkers
    ephemeral_workers: EphemeralWorkers
    repeated_registrations: RepeatedRegistrations


def build_leaving(basis: Basis, sessions: SessionParts, admission: AdmissionParts) -> LeavingParts:
    """Build them around one guard, so that no Worker connects while its entry is being removed."""
    settings = basis.settings
    leaving = LeavingWorkers(sessions.sessions)
    return LeavingParts(
        leaving_workers=leaving,
        ephemeral_workers=EphemeralWorkers(
            store=basis.store,
            directory=admission.directory,
            sessions=sessions.sessions,
            leaving=leaving,
            metrics=admission.metrics,
            after=settings.ephemeral_leave_after,
            token_ttl=timedelta(seconds=settings.worker_token_ttl_s),
            clock=basis.clock,
        ),
        repeated_registrations=RepeatedRegistrations(
            store=basis.store,
            directory=admission.directory,
            sessions=sessions.sessions,
            leaving=leaving,
            metrics=admission.metrics,
            kept_for=settings.replaced_kept_for,
            clock=basis.clock,
        ),
    )
