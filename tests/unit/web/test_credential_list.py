"""Which API keys the overview lists: the most urgent first, snoozed ones apart."""

from datetime import timedelta

from tests.builders import NOON, api_key

from lyftdata.server.admin.schemas.api_keys import ApiKey, LaggingWorker, PreviousKey
from lyftdata.server.admin.schemas.status import Alert, AlertKind, Snoozed
from lyftdata.web.credential_list import arrange_credentials, most_pressing

SNOOZED = Snoozed(until=NOON + timedelta(days=1), at=NOON, by="olga", note="")


def key(name, *generations):
    """Return the view of a key with these older generations, each still used by a Worker."""
    previous = [
        PreviousKey(
            public_id=f"AAAAAAAA{generation:02}",
            generation=generation,
            expires_at=NOON + timedelta(days=1),
            ends_in_s=86_400,
            workers=[LaggingWorker(id="press-01", online=True, last_used_at=NOON)],
        )
        for generation in generations
    ]
    return ApiKey(
        name=name,
        public_id="BBBBBBBBBB",
        generation=max([0, *generations]) + 1,
        for_all_workers=True,
        worker_ids=[],
        created_at=NOON,
        created_by="operator:olga",
        rotated_at=None,
        rotated_by=None,
        expires_at=None,
        revoked_at=None,
        status="live",
        last_used_at=None,
        last_used_by=None,
        previous=previous,
        used_by=[],
    )


def expires(name, snoozed=None):
    """Return the alert about a key that expires."""
    return Alert(kind=AlertKind.KEY_EXPIRES, subject=name, title="", key=f"{name}:then", snoozed=snoozed)


def ends(name, generation, snoozed=None):
    """Return the alert about an older generation that ends while Workers still use it."""
    return Alert(
        kind=AlertKind.KEY_ROTATION, subject=name, title="", key=f"{name}:{generation}", snoozed=snoozed
    )


def names(credentials):
    """Return the keys' names."""
    return [one.key.name for one in credentials]


def test_an_alert_belongs_to_one_key_and_generation():
    """Alerts of another key are not mixed in."""
    other = Alert(kind=AlertKind.INACTIVE, subject="a", title="", key="a:1")
    alerts = [other, ends("a", 1), ends("b", 2), expires("a")]
    [credential] = arrange_credentials([key("a", 1, 2)], alerts).shown

    assert credential.expires == alerts[3]
    assert credential.ends == {1: alerts[1]}
    assert credential.alerts == [alerts[3], alerts[1]]


def test_a_key_is_listed_as_snoozed_once_all_its_alerts_are():
    """One active alert brings it back, and a rotation that has no alert is shown."""
    keys = [key("asleep"), key("half", 1), key("quiet", 1)]
    alerts = [expires("asleep", SNOOZED), expires("half", SNOOZED), ends("half", 1)]
    found = arrange_credentials(keys, alerts)

    assert names(found.shown) == ["half", "quiet"]
    assert names(found.snoozed) == ["asleep"]


def test_a_third_key_is_shown_and_a_fourth_is_folded():
    """No key is left out, and those that were not read from the database are counted."""
    for number, shown in ((2, 2), (3, 3), (4, 2)):
        found = arrange_credentials([key(str(n), 1) for n in range(number)], [], more=7)
        assert (len(found.shown), len(found.folded), found.more) == (shown, number - shown, 7)


def test_keys_with_an_alert_come_first_then_those_that_end_soonest():
    """An end in the past does not count, and neither does that of a revoked generation."""

    def group(name, *days, **fields):
        return [
            api_key(
                f"{name * 8}{n:02}",
                name=name,
                generation=n + 1,
                expires_at=day and NOON + timedelta(days=day),
            )
            for n, day in enumerate(days)
        ]

    revoked = [api_key("RRRRRRRR01", name="r", expires_at=NOON + timedelta(days=1), revoked_at=NOON)]
    groups = [group("a", 9, None), group("b", 3, None), group("c", -1, 5), group("d", 20), revoked]
    found = most_pressing(
        groups, [expires("d"), Alert(kind=AlertKind.INACTIVE, subject="a", title="")], now=NOON
    )

    assert [one[0].name for one in found] == ["d", "b", "c", "a", "r"]
