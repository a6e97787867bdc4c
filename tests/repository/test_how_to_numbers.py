"""The numbers in docs/how-to/ are those in the code."""

import inspect
from pathlib import Path

import pytest

from lyftdata import bounded_http, certificate_reload
from lyftdata.core import (
    backoff,
    bulk_changes,
    fleet_verdict,
    name_patterns,
    second_operator,
    syslog_messages,
)
from lyftdata.core.keyring import RotationPolicy
from lyftdata.server.admin import fleet_versions, incident_queries, version_history
from lyftdata.server.admin.alerts import ending_keys, watch
from lyftdata.server.admission import approval_queue, token_counts
from lyftdata.server.delivery import event_delivery
from lyftdata.server.runtime import writer_watch
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.sessions import hold_time
from lyftdata.store.dialects import postgresql, sqlite
from lyftdata.store.tables import refusals, token_origins, worker_sessions
from lyftdata.store.writer import health
from lyftdata.verify import WorkerVerifier, _turns
from lyftdata.web import version_chart

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
WORDS = {3: "three", 5: "five", 7: "seven", 10: "ten", 20: "twenty"}
DEFAULTS = {setting.name: setting.default for setting in TABLE}
VERIFIER = {name: given.default for name, given in inspect.signature(WorkerVerifier).parameters.items()}
KEYS = RotationPolicy(token_ttl=DEFAULTS["LYFTDATA_WORKER_TOKEN_TTL"])
NGINX_TIMEOUT_S = 60


def held_longer_from(seconds):
    """Return from how many connected Workers on polls are held for longer than this."""
    return int(seconds * hold_time._MAX_POLLS_PER_S)


def minutes(life):
    """Return a time in minutes."""
    return int(life.total_seconds()) // 60


STATED = {
    "operations": [
        f"Polls are held for {hold_time._MIN_HOLD_S:.0f} seconds, and longer in fleets of more than "
        f"{held_longer_from(hold_time._MIN_HOLD_S):,} connected Workers; "
        f"from {held_longer_from(NGINX_TIMEOUT_S):,} on, for longer than nginx's default timeout of {NGINX_TIMEOUT_S} seconds",
        f"rotate on their own every {KEYS.rotate_every.days} days",
        f"Within {WORDS[ending_keys._OLD_KEY_ENDS_SOON.days]} days of the end",
        f"fail after {postgresql.WAIT_FOR_TURN_S} seconds (PostgreSQL) or {sqlite._BUSY_TIMEOUT_S} (SQLite)",
        f"waited for more than {WORDS[int(writer_watch._LONG_WAIT_S)]} seconds",
        f"waited for more than {WORDS[int(health.STUCK_AFTER_S)]} seconds",
        f"for {VERIFIER['outage_grace_s'] / 3_600:.0f} hours more (`outage_grace_s`)",
    ],
    "when-a-secret-leaked": [
        f"for the last {token_origins.KEPT_OF_A_WORKER} of these combinations",
        f"each hour of the last {token_counts.KEPT_FOR.days} days",
        f"Sessions before the last {worker_sessions.KEPT_OF_A_WORKER} of each Worker",
        f"The list of Workers ends at {incident_queries.MAX_WORKERS:,}",
    ],
    "issue-enrollment-keys": [
        f"for {minutes(DEFAULTS['LYFTDATA_EPHEMERAL_LEAVE_AFTER'])} minutes (`LYFTDATA_EPHEMERAL_LEAVE_AFTER`)",
        f"After `LYFTDATA_APPROVAL_EXPIRES_AFTER` ({DEFAULTS['LYFTDATA_APPROVAL_EXPIRES_AFTER'].days} days)",
        f"At most {approval_queue.MAX_PENDING:,} Workers wait, {approval_queue.MAX_PENDING_OF_A_KEY} of one key",
        f"the last {refusals.MAX_ATTEMPTS:,} refusals",
    ],
    "check-workers-in-a-service": [
        f"at most {_turns.MAX_AT_ONCE} tokens of one Worker at a time",
        f"clocks may differ by {VERIFIER['leeway_s']:.0f} s (`leeway_s`)",
        f"cached keys are used for {VERIFIER['outage_grace_s'] / 3_600:.0f} h more (`outage_grace_s`)",
        f"at most one fetch in {VERIFIER['kid_retry_s']:.0f} s (`kid_retry_s`)",
        f"larger than {bounded_http.MAX_ANSWER_BYTES // 1_024} KiB or slower than {VERIFIER['timeout_s']:.0f} s",
        f"at most {VERIFIER['remember']:,} of them (`remember`)",
    ],
    "when-a-key-of-the-server-leaked": ["reloads them within half a minute"],
    "let-a-second-operator-confirm": [
        f"deleting more than {second_operator.DEFAULT_ABOVE} Workers within an hour",
        f"disabling more than {second_operator.DEFAULT_ABOVE} Workers within an hour",
        f"{minutes(second_operator.LIFE) // 60} hours have passed",
    ],
    "keep-agents-up-to-date": [
        f"{version_history.MAX_NAMED} most common versions",
        f"the {version_chart._MAX_LAYERS} most common of the period",
        f"kept for {version_history.HOURS_KEPT_FOR.days} days, and one count of each day for {version_history.DAYS_KEPT_FOR.days} days",
    ],
    "deliver-events": [
        f"growing intervals of up to {WORDS[int(event_delivery._MAX_WAIT_S // 60)]} minutes",
        f"(`Retry-After`, up to {WORDS[int(backoff._MAX_RETRY_AFTER_S // 60)]} minutes)",
        f"(cut to {syslog_messages._MAX_MSGID} characters)",
        f"`alert.ended`, {WORDS[minutes(watch._ENDS_AFTER)]} minutes after its cause was last seen",
        f"an API key expires within {ending_keys._EXPIRES_SOON.days} days",
    ],
    "operators-guide": [
        f"within the last {WORDS[fleet_verdict.EXPECTED_FOR.days]} days",
        f"at least {fleet_verdict._MOST:.0%}".replace("%", " %"),
        f"red if at least {WORDS[fleet_verdict._CRITICAL_COUNT]} Workers, "
        f"or one in {WORDS[round(1 / fleet_verdict._CRITICAL_SHARE)]} of the expected",
        f"A range in brackets stands for up to {name_patterns.MAX_NAMES} Workers",
        f"every Worker that the search finds, at most {bulk_changes.MAX_BY_SEARCH:,}",
        f"*Undo* for {minutes(bulk_changes.UNDO_WITHIN)} minutes",
    ],
}


@pytest.mark.parametrize(("page", "stated"), [(page, one) for page, many in STATED.items() for one in many])
def test_the_pages_state_the_numbers_in_the_code(page, stated):
    """A number that is changed in the code fails here until the page is updated."""
    assert stated in " ".join((PAGES / f"{page}.md").read_text(encoding="utf-8").split())


def test_numbers_that_the_pages_state_in_words_are_those_in_the_code():
    """Such as *half a minute* or *within an hour*."""
    assert certificate_reload._CERT_CHECK_EVERY_S == 30
    assert minutes(second_operator.COUNTED_WITHIN) == minutes(fleet_versions.REFUSED_WITHIN) == 60
    assert minutes(KEYS.publish_ahead) == 24 * 60
