"""The numbers in docs/explanation/security-model.md are those in the code."""

import inspect
from pathlib import Path

import pytest

from lyftdata.core import (
    api_tokens,
    assertions,
    enrollment,
    enrollment_limit,
    enrollment_secrets,
    nonces,
)
from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.lockout import Lockout
from lyftdata.core.policy import ACTIONS
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.core.records import Role
from lyftdata.server.admin import (
    api_token_uses,
    audit_export,
    checkpoint_schedule,
    device_marks,
    new_sessions,
    operator_budget,
    passkey_challenges,
)
from lyftdata.server.admin.oidc import issuer, limits, pending
from lyftdata.server.admission import returning
from lyftdata.server.api import operator_gate
from lyftdata.server.http import request_body
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.streams import events
from lyftdata.store.tables import known_networks
from lyftdata.web.render import HEADERS

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "explanation" / "security-model.md").read_text(encoding="utf-8").split())
WORDS = {2: "two", 4: "four", 5: "five", 10: "ten", 12: "twelve", 15: "fifteen"}
DEFAULTS = {setting.name: setting.default for setting in TABLE}
HOUR_S = 3_600


def default_of(function, argument):
    """Return the default value of a function's argument."""
    return inspect.signature(function).parameters[argument].default


def minutes(life):
    """Return a time in minutes, as a word."""
    return WORDS[int(life.total_seconds()) // 60]


def hours(life):
    """Return a time in hours, as a word."""
    return WORDS[int(life.total_seconds()) // HOUR_S]


def every_s(limiter):
    """Return the seconds in which a limiter forgives one failure."""
    return round(1 / limiter._refill_per_s)


def stretching_mib():
    """Return the memory that a scrypt call takes (RFC 7914, section 2: 128 * N * r bytes)."""
    return 128 * enrollment_secrets._SCRYPT_N * enrollment_secrets._SCRYPT_R // 2**20


FAILURES = FailureLimiter()
ENROLLMENTS = EnrollmentLimit()


@pytest.mark.parametrize(
    "stated",
    [
        f"After {FAILURES._burst} failures from one address (then one every {every_s(FAILURES)} seconds)",
        f"Beyond {ENROLLMENTS._networks._burst} wrong keys from one network (an IPv4 address, an IPv6 /64), "
        f"{ENROLLMENTS._sites._burst} from an IPv6 /48 or {ENROLLMENTS._all._burst} in total",
        f"or {enrollment_limit._MAX_SITES:,} anywhere are guessing",
        f"with {stretching_mib()} MiB of memory each",
        f"is valid for a minute (from a third-party client for up to {WORDS[assertions.MAX_LIFE_S // 60]})",
        f"accepted for {assertions.LEEWAY_S} seconds longer",
        f"a nonce that expires after {WORDS[nonces.LIFE_S // 60]} minutes",
        f"after {minutes(pending.PENDING_LIFE)} minutes opens nothing",
        f"at most {WORDS[issuer._MAX_AT_ONCE]} exchanges at once",
        f"after {limits._CODES_BURST} wrong codes one network has one exchange every",
        f"{WORDS[limits._AUDITED_BURST]} refusals are audited, then one every {WORDS[round(1 / limits._AUDITED_PER_S / 60)]} minutes",
        f"keeps their session for up to {hours(new_sessions.SESSION_LIFE)} hours",
        f"within {minutes(DEFAULTS['LYFTDATA_REAUTHENTICATE_AFTER'])} minutes (`LYFTDATA_REAUTHENTICATE_AFTER`)",
        f"ends after {hours(DEFAULTS['LYFTDATA_OPERATOR_IDLE_LIMIT'])} hours (`LYFTDATA_OPERATOR_IDLE_LIMIT`)",
        f"within {minutes(passkey_challenges.CHALLENGE_LIFE)} minutes and after a PIN or fingerprint",
        f"at most {events._MAX_PER_OPERATOR} event streams and {WORDS[audit_export._MAX_EXPORTS_PER_OPERATOR]} exports",
        f"is *known* for an operator for {known_networks.KNOWN_FOR.days} days after a sign-in",
        f"after a sign-in, for {device_marks.MARK_LIFE.days} days",
        f"until it expires (at most {api_tokens.MAX_LIFE.days} days)",
        f"up to {minutes(api_token_uses._WRITE_AFTER)} minutes old",
        f"For {minutes(returning._RECONNECT_WITHIN)} minutes after the Server's start",
        f"until its token expires: {DEFAULTS['LYFTDATA_WORKER_TOKEN_TTL'] // 60} minutes unless you set `LYFTDATA_WORKER_TOKEN_TTL`",
        f"A form may take {WORDS[int(request_body._BODY_WITHIN_S)]} seconds to arrive",
        f"| one device mark | {default_of(Lockout, 'per_device')} |",
        f"| one name from one network | {default_of(Lockout, 'per_pair')} |",
        f"| one network (an IPv4 address, an IPv6 /64) | {default_of(Lockout, 'per_network')} |",
        f"| one name from anywhere | {default_of(Lockout, 'per_name')} |",
    ],
)
def test_the_page_states_the_limits_in_the_code(stated):
    """A limit that is changed in the code fails here until the page is updated."""
    assert stated in PAGE


def test_limits_that_the_page_states_in_words_are_those_in_the_code():
    """Such as *a minute*, *an hour* or *three*."""
    assert default_of(assertions.make_assertion, "ttl_s") == 60
    assert enrollment.MAX_PROOF_LIFE_S == default_of(enrollment.make_proof, "ttl_s") == 60
    assert default_of(enrollment.verify_proof, "leeway_s") == assertions.LEEWAY_S
    assert "is valid for a minute and can be used once" in PAGE

    assert checkpoint_schedule._EVERY_S == HOUR_S
    assert "if the Server was killed: at most an hour" in PAGE

    assert round(1 / limits._CODES_PER_S) == 3
    assert "one exchange every three seconds" in PAGE

    assert operator_gate._AT_ONCE == 3
    assert "At each Server at most three answers for an operator are prepared at a time" in PAGE

    # In milliseconds of the event loop for each second.
    assert operator_budget._EARNED_PER_S == 1_000 / 4
    assert "It refills at about a quarter of the event loop's time" in PAGE


def test_the_page_says_what_a_viewer_may_not_do():
    """The table of actions decides it."""
    may = {action for action, rule in ACTIONS.items() if Role.VIEWER in rule.roles}
    reading = {action for action in ACTIONS if action.endswith((".read", ".verify"))}

    assert reading - may == {"event_destinations.read"}
    assert may - reading == {"own_account", "own_second_factor"}
    assert (
        "A viewer sees everything but event destinations, and changes nothing but their own account." in PAGE
    )


def test_the_page_says_which_scripts_a_page_may_run():
    """Those that this Server serves, and no inline script."""
    policy = HEADERS["Content-Security-Policy"].split("; ")

    assert [rule for rule in policy if rule.startswith("script-src")] == ["script-src 'self'"]
    assert "the Content-Security-Policy allows only script files of this Server" in PAGE
