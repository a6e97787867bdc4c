"""Which alerts can be snoozed, and how many of a kind are shown."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.snoozing import SnoozedAlertRecord, alert_digest, describe_members
from lyftdata.server.admin.alerts.marking import KEY_OF_A_COPY, MAX_OF_A_KIND, first_of_a_kind, mark_snoozed
from lyftdata.server.admin.schemas.status import Alert, AlertKind


def alert(number: int, *, kind=AlertKind.DUPLICATE, key=None, about=()):
    """Return one of several alerts of its kind."""
    key = f"start:{number}" if key is None else key
    return Alert(kind=kind, subject=str(number), title=f"press-{number}", key=key, about=list(about))


def snoozed(*alerts):
    """Return the records of snoozed alerts, by digest."""
    records = [
        SnoozedAlertRecord(
            alert=alert_digest(one.kind.value, one.key),
            kind=one.kind.value,
            title=one.title,
            until=NOON + timedelta(hours=1),
            at=NOON,
            by="operator:olga",
            note="known",
            size=len(one.about),
            members=describe_members(one.about),
        )
        for one in alerts
    ]
    return {record.alert: record for record in records}


def more(number):
    """Return the line that counts the rest."""
    return Alert(kind=AlertKind.DUPLICATE, subject="", title=f"{number} more")


def test_a_snoozed_alert_says_until_when_and_by_whom():
    """With the operator's name and note."""
    marked = mark_snoozed(alert(1), snoozed(alert(1)))
    assert marked.snoozed is not None
    assert (marked.snoozed.by, marked.snoozed.note) == ("olga", "known")
    assert marked.snoozed.until == NOON + timedelta(hours=1)


def test_a_snoozed_alert_that_got_worse_is_no_longer_snoozed():
    """It concerns one more network."""
    known, worse = alert(1, about=["10.0.0.0/24"]), alert(1, about=["10.0.0.0/24", "10.0.1.0/24"])
    assert mark_snoozed(known, snoozed(known)).snoozed is not None
    assert mark_snoozed(worse, snoozed(known)).snoozed is None


@pytest.mark.parametrize(
    ("kind", "key", "can_snooze"),
    [
        (AlertKind.AUDIT_LOG, "audit_log", False),
        (AlertKind.CHANGE_REQUEST, "a1b2", False),
        (AlertKind.EVENTS_PAUSED, "siem", False),
        (AlertKind.PASSKEY_COPIED, "olga:laptop", False),
        (AlertKind.DUPLICATE, f"{KEY_OF_A_COPY}w-1", False),
        (AlertKind.DUPLICATE, "start:w-1", True),
        (AlertKind.REFUSED, "api_key_revoked", True),
        (AlertKind.KEY_EXPIRES, "press-keys:2026-03-01T12:00", True),
    ],
)
def test_an_alert_about_a_possible_attack_cannot_be_snoozed(kind, key, can_snooze):
    """Nor can one for which another operator waits."""
    assert mark_snoozed(alert(1, kind=kind, key=key), {}).can_snooze is can_snooze


@pytest.mark.parametrize(("number", "rest"), [(MAX_OF_A_KIND, []), (MAX_OF_A_KIND + 1, ["1 more"])])
def test_five_alerts_of_a_kind_are_shown_and_the_rest_is_counted(number, rest):
    """Both sides of the limit."""
    shown = first_of_a_kind([alert(n) for n in range(number)], {}, more)
    assert [one.title for one in shown] == [*(f"press-{n}" for n in range(MAX_OF_A_KIND)), *rest]


def test_snoozed_alerts_do_not_hide_others():
    """They come last, and do not count towards the limit."""
    all_of_them = [alert(n) for n in range(MAX_OF_A_KIND + 2)]
    shown = first_of_a_kind(all_of_them, snoozed(*all_of_them[:2]), more)
    assert [one.title for one in shown] == [*(f"press-{n}" for n in range(2, 7)), "press-0", "press-1"]
