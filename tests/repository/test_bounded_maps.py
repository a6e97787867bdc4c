"""Maps that callers can fill are bounded, and evict the least recently used entry."""

from datetime import UTC, datetime

from lyftdata.core import lockout
from lyftdata.core.lockout import Claim, Lockout
from lyftdata.server.admin import operator_budget
from lyftdata.server.admin.operator_budget import OperatorBudget, session_digest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_failed_sign_ins_with_made_up_names_are_bounded(monkeypatch):
    """Failures for names that do not exist evict older ones of that kind, but never those of an existing operator."""
    monkeypatch.setattr(lockout, "_MAX_COUNTS", 8)
    counts = Lockout(per_pair=1, per_network=1_000)
    claims = [Claim(name=f"made-up-{n}", address=f"192.0.2.{n}", exists=False) for n in range(20)]

    for claim in (Claim(name="ada", address="198.51.100.1", exists=True), *claims):
        attempt = counts.begin(claim, now=NOON)
        counts.failed(attempt, now=NOON)
        counts.end(attempt)

    assert len(counts._pairs[False]) == 8
    assert counts.begin(claims[0], now=NOON).wait_s == 0
    assert counts.begin(claims[-1], now=NOON).wait_s > 0
    assert counts.begin(Claim(name="ada", address="198.51.100.1", exists=True), now=NOON).wait_s > 0


def test_remembered_sessions_of_operators_are_bounded(monkeypatch):
    """Beyond the bound, the least recently used session is evicted."""
    monkeypatch.setattr(operator_budget, "_MAX_SESSIONS", 2)
    budget = OperatorBudget()
    tokens = [b"lyftdata_session_%d" % n for n in range(3)]
    for token in (tokens[0], tokens[1], tokens[0], tokens[2]):
        budget.remember_session(session_digest(token), "ada")

    known = [budget.operator_of([(b"authorization", b"Bearer " + token)]) for token in tokens]

    assert known == ["ada", None, "ada"]
