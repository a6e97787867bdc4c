"""
Replays recorded enrollments against other rules of their key: which Workers would be admitted, wait or be refused.

The attempts are replayed in order, as if the key had been issued with the other rules: its lifetime and its uses count from the
time it was issued, and again from each rotation. What is not a rule stays as it was: a key that was revoked, and an older
generation whose grace period was over.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.enrollment_rules import broken_rules, is_approved_by_rule
from lyftdata.core.records import EnrollmentKeyRecord, EnrollmentMode
from lyftdata.core.refusals import (
    EnrollmentKeyExpiredError,
    EnrollmentKeyRevokedError,
    EnrollmentKeyUsedUpError,
)


class Outcome(StrEnum):
    """The outcome of an attempt, real or replayed."""

    ADMITTED = "admitted"
    WARNED = "warned"
    """Admitted although it breaks a rule: the key only warns."""
    PENDING = "pending"
    """It waits until an operator approves it."""
    REFUSED = "refused"


_LET_IN = frozenset({Outcome.ADMITTED, Outcome.WARNED, Outcome.PENDING})


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """
    A recorded attempt to enroll with a right key.

    Attributes:
        at: Aware UTC time.
        fingerprint: Fingerprint of the key's generation.
        worker_name: The name that it asked for.
        address: The address that it came from.
        outcome: Its real outcome.
        codes: The causes of its refusal, or, with a key that only warns, of the warning.
        worker_id: ID of the entry that it got, "" if none.
        reference: Reference of the refusal, "" if there was none.
    """

    at: datetime
    fingerprint: str
    worker_name: str
    address: str
    outcome: Outcome
    codes: tuple[str, ...] = ()
    worker_id: str = ""
    reference: str = ""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """
    The facts about a generation of the key that no rule changes.

    Attributes:
        begins_at: The beginning of its lifetime.
        uses_before: How many Workers it had enrolled before the first attempt that is replayed.
        ended_at: The end of its grace period after a rotation; None if it was not ended that way.
    """

    begins_at: datetime
    uses_before: int = 0
    ended_at: datetime | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules to replay against: those of `key`, except that each generation lives for `expires_in` from its own beginning."""

    key: EnrollmentKeyRecord
    expires_in: timedelta | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt with its replayed outcome; `codes` are the causes of a refusal, or of a warning."""

    attempt: Attempt
    outcome: Outcome
    codes: tuple[str, ...] = ()

    @property
    def is_newly_refused(self) -> bool:
        """Return whether it was admitted, or waits, and would be refused."""
        return self.outcome is Outcome.REFUSED and self.attempt.outcome in _LET_IN

    @property
    def is_newly_let_in(self) -> bool:
        """Return whether it was refused, and would be admitted or wait."""
        return self.outcome in _LET_IN and self.attempt.outcome is Outcome.REFUSED


def replay(
    attempts: Iterable[Attempt], generations: Mapping[str, Generation], rules: Rules
) -> list[Replayed]:
    """
    Return each attempt with its replayed outcome.

    Args:
        attempts: The oldest first.
        generations: The generations of the key, by fingerprint; attempts with other keys are left out.
        rules: The rules to replay against.
    """
    replay_ = _Replay(generations, rules)
    return [replay_.decide(attempt) for attempt in attempts if attempt.fingerprint in generations]


def key_life(generations: Sequence[EnrollmentKeyRecord]) -> timedelta | None:
    """Return the lifetime of each generation of a key, None for no end; from the newest one, which no rotation has shortened."""
    newest = max(generations, key=lambda record: record.generation)
    return None if newest.expires_at is None else newest.expires_at - newest.created_at


def rotation_end(record: EnrollmentKeyRecord, *, life: timedelta | None) -> datetime | None:
    """Return when a rotation ended a generation; None if it was not rotated, or had already expired."""
    if record.rotated_at is None or record.expires_at is None:
        return None
    ended_by_itself = life is not None and record.expires_at >= record.created_at + life
    return None if ended_by_itself else record.expires_at


class _Replay:
    """Decides about attempts, in order."""

    def __init__(self, generations: Mapping[str, Generation], rules: Rules) -> None:
        self._generations = generations
        self._rules = rules
        self._uses = Counter({fp: generation.uses_before for fp, generation in generations.items()})
        self._let_in: set[tuple[str, str, str]] = set()

    def decide(self, attempt: Attempt) -> Replayed:
        key = self._rules.key
        end = self._why_ended(attempt)
        broken = tuple(
            refused.code
            for refused in broken_rules(key, address=attempt.address, worker_name=attempt.worker_name)
        )
        if end or (broken and key.mode is not EnrollmentMode.WARN):
            return Replayed(attempt=attempt, outcome=Outcome.REFUSED, codes=(*end, *broken))
        if not self._spend_use(attempt):
            return Replayed(attempt=attempt, outcome=Outcome.REFUSED, codes=(EnrollmentKeyUsedUpError.code,))
        if broken:
            return Replayed(attempt=attempt, outcome=Outcome.WARNED, codes=broken)
        waits = key.mode is EnrollmentMode.APPROVE and not is_approved_by_rule(
            key, address=attempt.address, worker_name=attempt.worker_name
        )
        return Replayed(attempt=attempt, outcome=Outcome.PENDING if waits else Outcome.ADMITTED)

    def _why_ended(self, attempt: Attempt) -> tuple[str, ...]:
        """Return why the key was no longer in force: revoked, rotated, or past the lifetime of the rules."""
        if EnrollmentKeyRevokedError.code in attempt.codes:
            return (EnrollmentKeyRevokedError.code,)
        generation, life = self._generations[attempt.fingerprint], self._rules.expires_in
        is_over = life is not None and attempt.at >= generation.begins_at + life
        was_rotated = generation.ended_at is not None and attempt.at >= generation.ended_at
        return (EnrollmentKeyExpiredError.code,) if is_over or was_rotated else ()

    def _spend_use(self, attempt: Attempt) -> bool:
        """Count a use, if one is left; a host whose earlier attempt is admitted in the replay counts once, however often it retried."""
        host = (attempt.fingerprint, attempt.worker_name, attempt.address)
        if attempt.outcome is Outcome.REFUSED and host in self._let_in:
            return True
        max_uses = self._rules.key.max_uses
        if max_uses is not None and self._uses[attempt.fingerprint] >= max_uses:
            return False
        self._uses[attempt.fingerprint] += 1
        self._let_in.add(host)
        return True
