"""
Detects copies of an identity by a counter in each assertion (docs/decisions/0026).

A Worker's directory holds a number. Each signature takes the next number and the time at which it is taken; both only grow, and are
on disk before the assertion is sent. So in one directory numbers and times have the same order, even if assertions are lost on the
way. Two copies of a directory take the same numbers at different times, which shows at the first signature of the second one:

    number and time   both higher than the highest known       accepted, and the highest from now on
                      both lower                               another process was faster: accepted for 90 s, once
                      one higher and the other not             a copy

Nothing here reads a clock: all times are those that the Worker has signed.
"""

import re
from enum import Enum, auto
from typing import Annotated

import msgspec

from lyftdata.core._jose import JwsError
from lyftdata.core.structs import prepare_structs

CLAIM = "lyftdata_counter"
LATE_WITHIN_MS = 90_000
MAX_RECENT = 64
_MAX = 2**53
_MAX_HOST = 64
_NOT_IN_HOSTNAMES = re.compile(r"[^A-Za-z0-9._-]")

Position = tuple[int, int]
"""A number, and the time at which it was taken, in milliseconds since 1970."""

Bounded = Annotated[int, msgspec.Meta(ge=0, le=_MAX)]


class SignatureNumber(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    The counter in an assertion.

    Attributes:
        number: The number of this signature, from 1.
        at_ms: When the number was taken, in milliseconds since 1970, by the host's clock, but never before the last one.
        is_repeated: Whether the directory could not be written: number and time are those of the last signature.
        refused_as: The reference under which the Server has refused this directory as a copy; "" if it has not.
        host: The host name that it reports; for operators.
    """

    number: Bounded
    at_ms: Bounded
    is_repeated: bool = False
    refused_as: Annotated[str, msgspec.Meta(max_length=16, pattern=r"^[0-9A-Z]*\Z")] = ""
    host: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*\Z")] = ""

    @property
    def position(self) -> Position:
        """Return number and time."""
        return self.number, self.at_ms


prepare_structs(SignatureNumber)


class CounterState(msgspec.Struct, frozen=True):
    """
    The highest accepted position, and in `recent` the accepted ones before it, the latest first: those of the last 90 seconds, and one more.

    A position that was sent only by a process that could not write its directory appears in `recent` one extra time: the process
    that took it may still send it.

    Bounded: a Worker that keeps signing fills only its own share.
    """

    highest: Position
    recent: tuple[Position, ...] = ()


class Verdict(Enum):
    """What a signature number shows."""

    ACCEPTED = auto()
    STALE = auto()
    """Signed long before others that were accepted: no sign of a copy, but a new signature is required."""
    CLONED = auto()
    """Two directories use the counter: one of them is a copy."""


def judge(state: CounterState | None, signed: SignatureNumber) -> tuple[Verdict, CounterState]:
    """
    Decide about a signature, and return the state after it.

    Args:
        state: The state of the identity key; None if it has not counted yet.
        signed: The counter in the assertion, which was verified and was not used before.
    """
    here = signed.position
    own = (here,) if signed.is_repeated else ()
    if state is None:
        return Verdict.ACCEPTED, CounterState(here, own)
    if _follows(here, state.highest):
        return Verdict.ACCEPTED, CounterState(here, _kept(here, (*own, state.highest, *state.recent)))
    if signed.is_repeated:
        return _judge_repeated(here, state), state
    return _judge_late(here, state)


def _judge_late(here: Position, state: CounterState) -> tuple[Verdict, CounterState]:
    """Decide about a position that is not higher than the highest."""
    if (state.highest, *state.recent).count(here) > 1:
        # Taken by a process that held the file lock for so long that another process, which could not get the lock, sent it first.
        return Verdict.ACCEPTED, _taken(here, state)
    if not _is_ordered(here, state):
        return Verdict.CLONED, state
    if here[1] < state.highest[1] - LATE_WITHIN_MS or len(state.recent) >= MAX_RECENT:
        return Verdict.STALE, state
    return Verdict.ACCEPTED, CounterState(state.highest, tuple(sorted((here, *state.recent), reverse=True)))


def _judge_repeated(here: Position, state: CounterState) -> Verdict:
    """Decide about a directory that could not be written, and so repeats its last number."""
    if here == state.highest:
        return Verdict.ACCEPTED
    # Either another process of the host took the next number just after this one read it, or there is a copy. The next signature shows which.
    is_late = here[1] >= state.highest[1] - LATE_WITHIN_MS and _is_ordered(here, state)
    return Verdict.STALE if is_late or here in state.recent else Verdict.CLONED


def _taken(here: Position, state: CounterState) -> CounterState:
    """Return the state after the process that took a position has sent it: it is not accepted again."""
    at = state.recent.index(here)
    return CounterState(state.highest, (*state.recent[:at], *state.recent[at + 1 :]))


def _follows(later: Position, earlier: Position) -> bool:
    return later[0] > earlier[0] and later[1] > earlier[1]


def _is_ordered(here: Position, state: CounterState) -> bool:
    """Return whether one directory can have taken this position and all known ones."""
    return all(_follows(here, known) or _follows(known, here) for known in (state.highest, *state.recent))


def _kept(highest: Position, before: tuple[Position, ...]) -> tuple[Position, ...]:
    """Return the positions to remember: those of the last 90 seconds, and the one before them, below which none is accepted."""
    within = highest[1] - LATE_WITHIN_MS
    kept = min(len(before), MAX_RECENT - 1)
    # The latest come first.
    while kept and before[kept - 1][1] < within:
        kept -= 1
    return before[: kept + 1]


def host_label(hostname: str) -> str:
    """Return a host name in the form that assertions carry."""
    return _NOT_IN_HOSTNAMES.sub("-", hostname)[:_MAX_HOST]


def to_claim(signed: SignatureNumber) -> dict[str, object]:
    """Return the value of the claim `CLAIM`."""
    claim: dict[str, object] = msgspec.to_builtins(signed)
    return claim


def counter_claim(claims: dict[str, object]) -> SignatureNumber | None:
    """
    Return the counter of an assertion; None if it has none, such as those of third-party clients.

    Raises:
        JwsError: The claim is not a counter.
    """
    claim = claims.get(CLAIM)
    if claim is None:
        return None
    try:
        return msgspec.convert(claim, SignatureNumber)
    except msgspec.ValidationError as error:
        raise JwsError(f"Its claim {CLAIM} is not a counter.") from error
