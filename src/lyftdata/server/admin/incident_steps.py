"""What a cut-off does not do in an incident: the steps that an operator must take by hand, with the keys that they concern."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from lyftdata.core.enrollment_rules import STARTUP_NAME
from lyftdata.core.errors import LyftdataError
from lyftdata.core.incidents import StepCode, SubjectKind
from lyftdata.core.text import count
from lyftdata.server.admin.incident_evidence import Evidence
from lyftdata.server.admin.incident_subjects import FoundSubject, IncidentSubjects
from lyftdata.server.admin.schemas.incidents import IncidentStep, IncidentTokens
from lyftdata.server.admission.directory import Directory
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import key_of

_IS_KEY = frozenset({SubjectKind.API_KEY, SubjectKind.ENROLLMENT_KEY})
_MAX_KEYS = 20


class IncidentSteps:
    """Derives the steps from the subject of an incident, and from the keys that its Workers have."""

    def __init__(self, *, subjects: IncidentSubjects, directory: Directory, sessions: Sessions) -> None:
        self._subjects = subjects
        self._directory = directory
        self._sessions = sessions

    def list_steps(
        self, found: FoundSubject, evidence: Evidence, tokens: Sequence[IncidentTokens], *, now: datetime
    ) -> list[IncidentStep]:
        """Return the steps, the most urgent first."""
        if found.subject.kind in _IS_KEY:
            steps = list(_replace_key(found))
        else:
            steps = [*self._keys_held(evidence, now), *_clean_up()]
        if any(each.valid_until > now for each in tokens):
            steps.append(_step(StepCode.OFFLINE_TOKENS, _OFFLINE))
        return steps

    def _keys_held(self, evidence: Evidence, now: datetime) -> Iterator[IncidentStep]:
        """Yield a step for each valid key of the Workers of a host or network: it must be assumed to be known to the attacker."""
        held = [*self._api_keys_held(evidence, now), *self._enrollment_keys_held(evidence, now)]
        for found in held[:_MAX_KEYS]:
            name, link = found.subject.value, str(found.subject)
            if found.subject.kind is SubjectKind.API_KEY:
                others = self._others_connected(found, evidence)
                more = (
                    f" {count(others, 'other Worker')} {'is' if others == 1 else 'are'} connected with it."
                    if others
                    else ""
                )
                text = f"Replace the API key `{name}`, which a Worker there used.{more}"
                yield _step(StepCode.REPLACE_API_KEY, text, subject=link)
            else:
                text = f"Replace the enrollment key `{name}`: a Worker there enrolled with it, and it is still accepted."
                yield _step(StepCode.REPLACE_ENROLLMENT_KEY, text, subject=link)

    def _api_keys_held(self, evidence: Evidence, now: datetime) -> list[FoundSubject]:
        public_ids: dict[str, None] = {}
        for worker_id in evidence.reasons:
            for origin in evidence.origins[worker_id]:
                kind, _, value = origin.credential.partition(".")
                public_ids |= {value: None} if kind == "key" else {}
            session = self._sessions.find(worker_id)
            kind, value = ("", "") if session is None else key_of(session)
            public_ids |= {value: None} if kind == "key" else {}
        return self._live(SubjectKind.API_KEY, list(public_ids), now)

    def _enrollment_keys_held(self, evidence: Evidence, now: datetime) -> list[FoundSubject]:
        fingerprints: dict[str, None] = {}
        for worker_id in evidence.reasons:
            worker = self._directory.find_worker(worker_id)
            if worker is not None and worker.enrolled_with:
                fingerprints[worker.enrolled_with] = None
        return self._live(SubjectKind.ENROLLMENT_KEY, list(fingerprints), now)

    def _live(self, kind: SubjectKind, texts: Sequence[str], now: datetime) -> list[FoundSubject]:
        by_name: dict[str, FoundSubject] = {}
        for text in texts:
            try:
                found = self._subjects.find(f"{kind.value}:{text}", now=now)
            except LyftdataError:
                # The key no longer exists.
                continue
            if found.is_live:
                by_name[found.subject.value] = found
        return list(by_name.values())

    def _others_connected(self, found: FoundSubject, evidence: Evidence) -> int:
        connected = {w for public_id in found.public_ids for w in self._sessions.online_with_key(public_id)}
        return len(connected - evidence.reasons.keys())


_OFFLINE = (
    "Services that check tokens offline accept tokens that were issued before the cut-off until they expire. "
    "Where that is too long, reject the IDs of these Workers there."
)


def _replace_key(found: FoundSubject) -> Iterator[IncidentStep]:
    if found.subject.kind is SubjectKind.API_KEY:
        yield _step(
            StepCode.ISSUE_API_KEY,
            "Issue another API key, put it on the hosts of these Workers, and start them again. A revoked key cannot be brought back.",
        )
    elif found.subject.value == STARTUP_NAME:
        yield _step(
            StepCode.CHANGE_SETTING,
            "Change `LYFTDATA_AUTO_ENROLLMENT_KEY` on every Server and start them again, without the old one in `LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS`. "
            "Until then every host that knows it can enroll.",
        )
    elif found.is_live:
        yield _step(
            StepCode.ISSUE_ENROLLMENT_KEY,
            "Issue another enrollment key for hosts that have yet to enroll. Workers that are enrolled do not need it.",
        )


def _clean_up() -> Iterator[IncidentStep]:
    yield _step(
        StepCode.REBUILD_HOST,
        "Rebuild the host before its Workers return. Where an identity key may have been copied, delete the entry: a disabled Worker comes back with the same key.",
    )
    yield _step(
        StepCode.CHECK_OPERATORS,
        "If operators worked on that host, end their sessions and revoke the API tokens that were kept there.",
    )


def _step(code: StepCode, text: str, *, subject: str | None = None) -> IncidentStep:
    return IncidentStep(code=code, text=text, subject=subject)
