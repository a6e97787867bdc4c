"""How the overview lists alerts: which are shown in full, and what the line about the folded ones says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.web.alert_list import arrange_alerts, fold


def alert(title, kind=AlertKind.REFUSED, *, can_snooze=True, is_named=True):
    """Return an alert; one without an ID is the line that says how many more of its kind there are."""
    return Alert(
        kind=kind,
        subject="",
        title=title,
        id=title if is_named else "",
        can_snooze=can_snooze and is_named,
    )


def titles(alerts):
    """Return what alerts are about."""
    return [one.title for one in alerts]


@pytest.mark.parametrize(
    ("number", "shown", "folded"), [(0, 0, 0), (1, 1, 0), (4, 4, 0), (5, 3, 2), (7, 3, 4), (40, 3, 37)]
)
def test_three_are_shown_in_full_and_never_is_one_alone_folded(number, shown, folded):
    """The line of a fold takes the place of an alert, so a single one is shown instead; the total counts all."""
    found = arrange_alerts([alert(str(n)) for n in range(number)])

    assert (len(found.shown), len(found.folded), found.total) == (shown, folded, number)
    assert titles([*found.shown, *found.folded]) == [str(n) for n in range(number)]


def test_what_cannot_be_snoozed_comes_first():
    """Among seven of which some cannot wait, those are shown; apart from that the order is kept."""
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


def test_a_line_about_more_goes_where_its_kind_goes():
    """It cannot be snoozed either, and does not push aside what is more urgent; that of requests is as urgent as they are."""
    elsewhere = [
        alert("token", AlertKind.OTHER_NETWORK),
        alert("5 more", AlertKind.OTHER_NETWORK, is_named=False),
    ]
    requests = [alert("request", AlertKind.CHANGE_REQUEST, can_snooze=False)]
    line = alert("2 more", AlertKind.CHANGE_REQUEST, is_named=False)
    found = arrange_alerts([*elsewhere, alert("refused"), *requests, line])

    assert titles([*found.shown, *found.folded]) == ["request", "2 more", "token", "5 more", "refused"]


@given(st.lists(st.booleans(), max_size=20))
def test_no_lesser_alert_is_shown_while_an_urgent_one_is_folded(can_snooze):
    """Whatever comes together; and the line is marked if an urgent one is behind it."""
    found = arrange_alerts([alert(str(n), can_snooze=one) for n, one in enumerate(can_snooze)])

    is_urgent_folded = any(not one.can_snooze for one in found.folded)
    assert not (is_urgent_folded and any(one.can_snooze for one in found.shown))
    assert found.is_folded_urgent == is_urgent_folded
    assert found.total == len(can_snooze)


def test_the_line_names_every_kind_behind_it():
    """Once each, with the number if there are several."""
    kinds = [AlertKind.REFUSED] * 5 + [AlertKind.SETTING, AlertKind.SETTING, AlertKind.INACTIVE]
    found = arrange_alerts([alert(str(n), kind) for n, kind in enumerate(kinds)])

    assert found.kinds == "refusals (2), settings (2), inactive Workers"


@pytest.mark.parametrize("kind", AlertKind)
def test_every_kind_has_a_name(kind):
    """Also one that is folded for the first time."""
    assert arrange_alerts([alert(str(n), kind) for n in range(5)]).kinds.endswith(" (2)")


def test_a_warning_about_a_setting_has_a_short_title():
    """What is wrong; what to do is the detail. A warning of one sentence stays whole, and so does every other alert."""
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
def test_a_list_is_folded_once_that_saves_a_line(number, shown):
    """At most one more than the limit is shown."""
    items = list(range(number))

    assert fold(items, 2) == (items[:shown], items[shown:])
