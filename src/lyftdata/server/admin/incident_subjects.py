"""Finds the subject of an incident that an operator names, and the keys and credentials that belong to it."""

from datetime import datetime

import msgspec

from lyftdata.core.enrollment_rules import STARTUP_NAME, is_in_force
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.incidents import IncidentSubject, SubjectKind, parse_subject
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord
from lyftdata.core.standing import key_end
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment import Enrollment


class FoundSubject(msgspec.Struct, frozen=True, kw_only=True):
    """
    An existing subject, and what belongs to it.

    `public_ids` are those of an API key's generations, `fingerprints` those of an enrollment key's. `is_live` says whether a key
    is still accepted; None if the subject is not a key.
    """

    subject: IncidentSubject
    public_ids: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    is_live: bool | None = None
    can_be_revoked: bool = False

    @property
    def audit_subject(self) -> str:
        """Return its name in the audit log."""
        return f"{self.subject.kind.value.replace('-', '_')}:{self.subject.value}"


class IncidentSubjects:
    """
    Looks up subjects in memory, by name, public ID, fingerprint or ID.

    Args:
        directory: Workers and issued keys.
        enrollment: Enrollment keys of the settings.
        startup_public_ids: Public IDs of the enrollment keys of the settings, if they have one.
    """

    def __init__(
        self, *, directory: Directory, enrollment: Enrollment, startup_public_ids: frozenset[str]
    ) -> None:
        self._directory = directory
        self._enrollment = enrollment
        self._startup_public_ids = startup_public_ids

    def find(self, text: str, *, now: datetime) -> FoundSubject:
        """
        Return the subject that a text names.

        Raises:
            InvalidInputError: See `parse_subject`.
            NotFoundError: There is no such key or Worker.
            ConflictError: `incident_subject_ambiguous`: the text names several subjects.
        """
        kind, value = parse_subject(text)
        if kind in {SubjectKind.ADDRESS, SubjectKind.HOST}:
            return FoundSubject(subject=IncidentSubject(kind, value))
        found = [
            one
            for one in (self._api_key(value, now), self._enrollment_key(value, now), self._worker(value))
            if one is not None and kind in {None, one.subject.kind}
        ]
        if len(found) > 1:
            named = ", ".join(f"'{one.subject}'" for one in found)
            raise ConflictError(
                "incident_subject_ambiguous",
                f"Several things are named '{value}'.",
                hint=f"Say which: {named}.",
            )
        if found:
            return found[0]
        noun = "incident_subject" if kind is None else kind.value.replace("-", "_")
        raise NotFoundError(noun, value, hint="" if kind else f"If it is the name of a host: 'host:{value}'.")

    def _api_key(self, text: str, now: datetime) -> FoundSubject | None:
        records = list(self._directory.api_keys())
        name = next((key.name for key in records if text in {key.name, key.public_id}), None)
        if name is None:
            return None
        generations = [key for key in records if key.name == name]
        return FoundSubject(
            subject=IncidentSubject(SubjectKind.API_KEY, name),
            public_ids=frozenset(key.public_id for key in generations),
            is_live=any(key_end(key, now=now) is None for key in generations),
            can_be_revoked=_can_be_revoked(generations),
        )

    def _enrollment_key(self, text: str, now: datetime) -> FoundSubject | None:
        current = [key.fingerprint for key in self._enrollment.keys]
        if current and text in {STARTUP_NAME, *current, *self._startup_public_ids}:
            subject = IncidentSubject(SubjectKind.ENROLLMENT_KEY, STARTUP_NAME)
            return FoundSubject(subject=subject, fingerprints=frozenset(current), is_live=True)
        records = list(self._directory.enrollment_keys())
        name = next((key.name for key in records if text in {key.name, key.public_id, key.fingerprint}), None)
        if name is None:
            # A previous key of the settings.
            if not self._directory.enrolled_with(text):
                return None
            subject = IncidentSubject(SubjectKind.ENROLLMENT_KEY, text)
            return FoundSubject(subject=subject, fingerprints=frozenset({text}), is_live=False)
        generations = [key for key in records if key.name == name]
        return FoundSubject(
            subject=IncidentSubject(SubjectKind.ENROLLMENT_KEY, name),
            fingerprints=frozenset(key.fingerprint for key in generations),
            is_live=any(is_in_force(key, now=now) for key in generations),
            can_be_revoked=_can_be_revoked(generations),
        )

    def _worker(self, text: str) -> FoundSubject | None:
        worker = self._directory.find_worker(text)
        if worker is None:
            same_name = [one for one in self._directory.workers() if one.name == text]
            if len(same_name) != 1:
                return None
            worker = same_name[0]
        return FoundSubject(subject=IncidentSubject(SubjectKind.WORKER, worker.id))


def _can_be_revoked(generations: list[ApiKeyRecord] | list[EnrollmentKeyRecord]) -> bool:
    return any(key.revoked_at is None for key in generations)
