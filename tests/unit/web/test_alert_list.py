"""How the overview lists alerts: which ones are shown in full, and what the line about the folded ones says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.web.alert_list import arrange_alerts, fold


def alert(title, kind=AlertKind.REFUSED, *, can_snooze=True, is_named=True):
    """Return an alert; one without an ID stands for the "n more" line of its kind."""
    return Alert(
        kind=kind,
        subject="",
        title=title,
        id=title if is_named else "",
        can_snooze=can_snooze and is_named,
    )


def titles(alerts):
    """Return the alerts' titles."""
    return [one.title for one in alerts]


@pytest.mark.parametrize(
    ("number", "shown", "folded"), [(0, 0, 0), (1, 1, 0), (4, 4, 0), (5, 3, 2), (7, 3, 4), (40, 3, 37)]
)
def test_a_fold_hides_at_least_two_alerts(number, shown, folded):
    """A fold takes up one line itself, so a single remaining alert is shown instead; the total counts all."""
    found = arrange_alerts([alert(str(n)) for n in range(number)])

    assert (len(found.shown), len(found.folded), found.total) == (shown, folded, number)
    assert titles([*found.shown, *found.folded]) == [str(n) for n in range(number)]


def test_alerts_that_cannot_be_snoozed_come_first():
    """Apart from that, the order is kept."""
    found = arrange_alerts(
        [
            alert("started twice", AlertKind.DUPLICATE),
            alert("approval", AlertKind.APPROVAL),
            alert("request", AlertKind.CHANGE_REQUEST, can_snooze=False),
            alert("another request", AlertKind.CHANGE_REQUEST, can_snooze=False),
            alert("refused"),
            alert("paused", AlertKind.EVENTS_PAUSED, can_snooze=False),
            alert("setting", AlertKind.SETTING),
        ]
    )

    assert titles(found.shown) == ["request", "another request", "paused"]
    assert titles(found.folded) == ["started twice", "approval", "refused", "setting"]
    assert not found.is_folded_urgent


def test_an_n_more_line_stays_with_its_kind():
    """It has no ID to snooze, but is only as urgent as the alerts that it counts."""
    elsewhere = [
        alert("token", AlertKind.OTHER_NETWORK),
        alert("5 more", AlertKind.OTHER_NETWORK, is_named=False),
    ]
    requests = [alert("request", AlertKind.CHANGE_REQUEST, can_snooze=False)]
    line = alert("2 more", AlertKind.CHANGE_REQUEST, is_named=False)
    found = arrange_alerts([*elsewhere, alert("refused"), *requests, line])

    assert titles([*found.shown, *found.folded]) == ["request", "2 more", "token", "5 more", "refused"]


@given(st.lists(st.booleans(), max_size=20))
def test_no_less_urgent_alert_is_shown_while_an_urgent_one_is_folded(can_snooze):
    """This holds for any mix of alerts, and the fold's line is marked if it hides an urgent one."""
    found = arrange_alerts([alert(str(n), can_snooze=one) for n, one in enumerate(can_snooze)])

    is_urgent_folded = any(not one.can_snooze for one in found.folded)
    assert not (is_urgent_folded and any(one.can_snooze for one in found.shown))
    assert found.is_folded_urgent == is_urgent_folded
    assert found.total == len(can_snooze)


def test_the_fold_names_every_kind_that_it_hides():
    """Each kind is named once, with its count if there are several."""
    kinds = [AlertKind.REFUSED] * 5 + [AlertKind.SETTING, AlertKind.SETTING, AlertKind.INACTIVE]
    found = arrange_alerts([alert(str(n), kind) for n, kind in enumerate(kinds)])

    assert found.kinds == "refusals (2), settings (2), inactive Workers"


@pytest.mark.parametrize("kind", AlertKind)
def test_every_kind_of_alert_has_a_name_in_the_fold(kind):
    """A new kind of alert cannot be added without one."""
    assert arrange_alerts([alert(str(n), kind) for n in range(5)]).kinds.endswith(" (2)")


def test_a_warning_about_a_setting_has_a_short_title():
    """
    The title says what is wrong, the detail what to do. A warning of one sentence is not split, and neither is any other alert.
    """
    warning = "LYFTDATA_X: this is known. Make one with: lyftdata enrollment generate-key"
    whole = ["LYFTDATA_Y is not a setting and is ignored.", "See 3.4 for more"]
    settings = [alert(text, AlertKind.SETTING) for text in (warning, *whole)]
    first, *rest, refused = arrange_alerts([*settings, alert("One. Two.")]).shown

    assert (first.title, first.detail) == (
        "LYFTDATA_X: this is known",
        "Make one with: lyftdata enrollment generate-key",
    )
    assert [(one.title, one.detail) for one in rest] == [(text, "") for text in whole]
    assert refused.title == "One. Two."


@pytest.mark.parametrize(("number", "shown"), [(0, 0), (2, 2), (3, 3), (4, 2)])
def test_a_list_is_folded_only_if_that_saves_a_line(number, shown):
    """A list that is one entry over the limit is shown whole."""
    items = list(range(number))

    assert fold(items, 2) == (items[:shown], items[shown:])
