"""Builds the report of an incident, and the cut-off."""

import msgspec

from lyftdata.core.incidents import find_public_id
from lyftdata.server.admin.incident_evidence import IncidentEvidence
from lyftdata.server.admin.incident_progress import CutOffTracker
from lyftdata.server.admin.incident_queries import IncidentQueries
from lyftdata.server.admin.incident_response import IncidentResponse
from lyftdata.server.admin.incident_steps import IncidentSteps
from lyftdata.server.admin.incident_subjects import IncidentSubjects
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.runtime.wiring.admission import AdmissionParts
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.read_models import ReadModels
from lyftdata.server.runtime.wiring.sessions import SessionParts


class IncidentParts(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an incident, and the response to it."""

    queries: IncidentQueries
    response: IncidentResponse


def build_incidents(
    basis: Basis,
    sessions: SessionParts,
    admission: AdmissionParts,
    read_models: ReadModels,
    gate: SecondOperatorGate,
) -> IncidentParts:
    """Build both from the same evidence."""
    store, clock, directory = basis.store, basis.clock, admission.directory
    given = (basis.settings.enrollment_key, basis.settings.enrollment_key_previous)
    public_ids = (find_public_id(secret.reveal()) for secret in given if secret is not None)
    subjects = IncidentSubjects(
        directory=directory,
        enrollment=admission.enrollment,
        startup_public_ids=frozenset(found for found in public_ids if found is not None),
    )
    evidence = IncidentEvidence(
        directory=directory,
        sessions=sessions.sessions,
        session_log=sessions.session_log,
        traces=sessions.traces,
        origins=admission.token_origins,
        store=store,
    )
    return IncidentParts(
        queries=IncidentQueries(
            subjects=subjects,
            evidence=evidence,
            steps=IncidentSteps(subjects=subjects, directory=directory, sessions=sessions.sessions),
            cut_offs=CutOffTracker(directory=directory, sessions=sessions.sessions),
            workers=read_models.worker_queries,
            origins=read_models.token_origin_queries,
            directory=directory,
            sessions=sessions.sessions,
            store=store,
            token_ttl_s=basis.settings.worker_token_ttl_s,
            clock=clock,
        ),
        response=IncidentResponse(
            subjects=subjects,
            evidence=evidence,
            sessions=sessions.sessions,
            gate=gate,
            store=store,
            clock=clock,
        ),
    )
