"""Which states make a Worker or its credential invalid, and that no other state does."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON, api_key, worker

from lyftdata.core.records import Approval, Strategy
from lyftdata.core.standing import (
    Problem,
    entry_problem,
    is_for,
    key_end,
    key_problem,
    standing_problem,
)
from lyftdata.core.tokens import Credential

HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
GOOD_ENTRY = worker(epoch=7)
ENROLLED = worker(epoch=7, strategy=Strategy.AUTO_ENROLLMENT, thumbprint="thumb")
BY_KEY = Credential("key", "AAAAAAAAAA", 7)
BY_IDENTITY = Credential("jkt", "thumb", 7)


@dataclass(frozen=True)
class Case:
    """A state of the Worker and its credential, and the problem that is reported."""

    entry: object
    credential: Credential = BY_KEY
    key: object = api_key()
    problem: Problem | None = None


CASES = {
    "an API key in order": Case(GOOD_ENTRY),
    "an identity key in order": Case(ENROLLED, BY_IDENTITY, None),
    "deleted": Case(None, problem=Problem.WORKER_DELETED),
    "superseded": Case(worker(epoch=7, superseded_by="w-2"), problem=Problem.SUPERSEDED),
    "disabled": Case(worker(epoch=7, enabled=False), problem=Problem.WORKER_DISABLED),
    "superseded and disabled": Case(
        worker(epoch=7, superseded_by="w-2", enabled=False), problem=Problem.SUPERSEDED
    ),
    "waiting for approval": Case(
        worker(epoch=7, approval=Approval.PENDING), problem=Problem.AWAITING_APPROVAL
    ),
    "denied": Case(worker(epoch=7, approval=Approval.DENIED), problem=Problem.APPROVAL_DENIED),
    "not approved in time": Case(
        worker(epoch=7, approval=Approval.EXPIRED), problem=Problem.APPROVAL_EXPIRED
    ),
    "waiting and disabled": Case(
        worker(epoch=7, approval=Approval.PENDING, enabled=False), problem=Problem.WORKER_DISABLED
    ),
    "enabled again": Case(worker(epoch=8), problem=Problem.EARLIER_EPOCH),
    "of a later epoch than the entry": Case(worker(epoch=6), problem=Problem.EARLIER_EPOCH),
    "the key is gone": Case(GOOD_ENTRY, key=None, problem=Problem.API_KEY_GONE),
    "the entry came back by the other strategy": Case(ENROLLED, problem=Problem.API_KEY_GONE),
    "revoked": Case(GOOD_ENTRY, key=api_key(revoked_at=NOON - HOUR), problem=Problem.API_KEY_REVOKED),
    "revoked and expired": Case(
        GOOD_ENTRY, key=api_key(revoked_at=NOON, expires_at=NOON - HOUR), problem=Problem.API_KEY_REVOKED
    ),
    "expires at this very moment": Case(
        GOOD_ENTRY, key=api_key(expires_at=NOON), problem=Problem.API_KEY_EXPIRED
    ),
    "rotated away": Case(
        GOOD_ENTRY, key=api_key(rotated_at=NOON - HOUR, expires_at=NOON), problem=Problem.API_KEY_ROTATED
    ),
    "rotated, in its grace": Case(GOOD_ENTRY, key=api_key(rotated_at=NOON, expires_at=NOON + MOMENT)),
    "expires a moment later": Case(GOOD_ENTRY, key=api_key(expires_at=NOON + MOMENT)),
    "issued for this Worker": Case(GOOD_ENTRY, key=api_key(for_all_workers=False, worker_ids=("w-1",))),
    "issued for another Worker": Case(
        GOOD_ENTRY,
        key=api_key(for_all_workers=False, worker_ids=("w-2",)),
        problem=Problem.API_KEY_NOT_FOR_WORKER,
    ),
    "issued for a Worker that was deleted": Case(
        GOOD_ENTRY, key=api_key(for_all_workers=False), problem=Problem.API_KEY_NOT_FOR_WORKER
    ),
    "another identity key": Case(
        ENROLLED, Credential("jkt", "other", 7), None, Problem.IDENTITY_KEY_REPLACED
    ),
    "an identity key, and the entry came back with none": Case(
        GOOD_ENTRY, BY_IDENTITY, None, Problem.IDENTITY_KEY_REPLACED
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_first_problem_is_reported(case):
    """The entry comes first, then the epoch, then the credential; an end takes effect in that very moment."""
    assert standing_problem(case.entry, case.credential, key=case.key, now=NOON) is case.problem


entries = st.one_of(
    st.none(),
    st.builds(
        worker,
        epoch=st.integers(0, 2),
        enabled=st.booleans(),
        superseded_by=st.sampled_from([None, "w-2"]),
        strategy=st.sampled_from(Strategy),
        thumbprint=st.sampled_from([None, "thumb", "other"]),
    ),
)
ends = st.one_of(st.none(), st.integers(-2, 2).map(lambda hours: NOON + hours * HOUR))
keys = st.one_of(
    st.none(),
    st.builds(
        api_key,
        revoked_at=ends,
        expires_at=ends,
        rotated_at=ends,
        for_all_workers=st.booleans(),
        worker_ids=st.sampled_from([(), ("w-1",), ("w-2",), ("w-0", "w-1", "w-2")]),
    ),
)
credentials = st.builds(
    Credential,
    st.sampled_from(["key", "jkt"]),
    st.sampled_from(["AAAAAAAAAA", "thumb", "None"]),
    st.integers(0, 2),
)


@given(entry=entries, credential=credentials, key=keys)
def test_the_whole_rule_agrees_with_its_parts(entry, credential, key):
    """No state of entry, epoch and credential is accepted by the whole rule but not by its parts, or the other way round."""
    problem = standing_problem(entry, credential, key=key, now=NOON)
    parts = [entry_problem(entry)]
    if entry is not None:
        parts.append(None if credential.epoch == entry.epoch else Problem.EARLIER_EPOCH)
        if credential.kind == "jkt":
            same = entry.thumbprint is not None and credential.value == entry.thumbprint
            parts.append(None if same else Problem.IDENTITY_KEY_REPLACED)
        else:
            is_by_key = entry.strategy is Strategy.API_KEY
            parts.append(
                key_problem(key, worker_id=entry.id, now=NOON) if is_by_key else Problem.API_KEY_GONE
            )

    assert problem is next((part for part in parts if part is not None), None)


@given(key=keys.filter(bool), worker_id=st.sampled_from(["w-1", "w-2", "w-3"]))
def test_a_key_that_has_ended_is_refused_for_every_worker(key, worker_id):
    """Whichever Workers it was issued for, and whatever else is wrong with it."""
    end = key_end(key, now=NOON)

    if end is not None:
        assert key_problem(key, worker_id=worker_id, now=NOON) is end


@pytest.mark.parametrize("problem", Problem)
def test_each_problem_has_a_sentence(problem):
    """Operators read it."""
    assert problem.sentence.endswith(".")


@given(
    allowed=st.frozensets(st.text("ab-1", min_size=1, max_size=3)),
    worker_id=st.text("ab-1", min_size=1, max_size=3),
)
def test_a_key_is_only_for_the_workers_that_it_lists(allowed, worker_id):
    """However many they are, and however similar their IDs are."""
    key = api_key(for_all_workers=False, worker_ids=tuple(sorted(allowed)))

    assert is_for(key, worker_id) is (worker_id in allowed)
