"""The time zone in which a browser shows times: which names are accepted, and how times are written."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, get_match
from tests.unit.web.test_pages import text_of

from lyftdata.server.admin.schemas.status import History, HistoryPoint, Period
from lyftdata.web.charts import line_chart
from lyftdata.web.zones import clock, find_zone, in_column, in_feed, local_times, minute, short, zone_name

NEW_YEAR = datetime(2027, 1, 1, 3, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("UTC", "UTC"),
        ("Etc/UTC", "UTC"),
        ("Europe/Berlin", "UTC+1"),
        ("America/New_York", "UTC-5"),
        ("Asia/Kolkata", "UTC+5:30"),
        ("America/St_Johns", "UTC-3:30"),
        ("America/Argentina/Buenos_Aires", "UTC-3"),
    ],
)
def test_a_time_is_shown_with_its_utc_offset(name, offset):
    """An abbreviation such as IST is ambiguous."""
    zone = find_zone(name)
    now = NEW_YEAR.astimezone(zone)

    assert zone_name(zone) == name
    assert clock(NEW_YEAR, now).endswith(f":12 {offset}")
    assert minute(NEW_YEAR, now).endswith(f"30 {offset}") or offset.endswith(":30")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "Europe/Atlantis",
        "europe/../Berlin",
        "../../etc/passwd",
        "/etc/localtime",
        "right/Europe/Berlin",
        "posix/UTC",
        "tzdata.zi",
        "leapseconds",
        "zone1970.tab",
        "Europe/Berlin\n",
        "Europe/Bérlin",
        "A" * 5_000,
        "\0",
    ],
)
def test_no_other_file_can_be_read_as_a_zone(name):
    """The name comes from a cookie: only names of the database lead to a file."""
    assert find_zone(name) is None


def test_the_time_next_to_a_relative_one_adds_what_that_leaves_open():
    """Seconds within the hour, the day if it is another one, the year if it is another one; on both sides of each limit."""
    now = datetime(2027, 1, 1, 4, 30, 11, tzinfo=UTC).astimezone(find_zone("Europe/Berlin"))

    assert short(NEW_YEAR, now) == "04:30:12"
    assert short(NEW_YEAR - timedelta(seconds=1), now) == "04:30"
    assert short(datetime(2026, 12, 31, 23, 0, tzinfo=UTC), now) == "00:00"
    assert short(datetime(2026, 12, 31, 22, 59, tzinfo=UTC), now) == "2026-12-31"
    assert short(datetime(2027, 1, 5, 9, 0, tzinfo=UTC), now) == "5 Jan 10:00"
    assert in_feed(NEW_YEAR - timedelta(hours=22), now) == "06:30"
    assert in_feed(NEW_YEAR - timedelta(hours=24), now) == "31 Dec"
    assert in_column(NEW_YEAR, now) == "2027-01-01 04:30"


@pytest.mark.parametrize(
    ("name", "since", "ticks"),
    [
        ("UTC", datetime(2026, 3, 28, 12, tzinfo=UTC), ["16:00", "20:00", "00:00", "04:00", "08:00"]),
        (
            "Asia/Kolkata",
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            ["20:00", "00:00", "04:00", "08:00", "12:00", "16:00"],
        ),
        # The clocks go forward at 01:00 UTC.
        (
            "Europe/Berlin",
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            ["16:00", "20:00", "00:00", "04:00", "08:00", "12:00"],
        ),
    ],
)
def test_ticks_of_a_chart_are_round_in_its_zone(name, since, ticks):
    """Midnight is drawn at midnight, also on a day when the clocks change."""
    zone = find_zone(name) or UTC
    points = [HistoryPoint(at=since + timedelta(hours=n), online=5, admitted=0, refused=0) for n in range(24)]
    history = History(
        period=Period.DAY, since=since, until=since + timedelta(days=1), step_s=3_600, points=points
    )
    plot = line_chart("Workers connected", history, lambda point: point.online, zone=zone)

    assert [tick.text for tick in plot.columns] == ticks
    assert plot.figures.endswith(name)
    midnight = next(tick for tick in plot.columns if tick.text == "00:00")
    moment = since + timedelta(days=1) * midnight.at / 100
    assert abs(moment.astimezone(zone).replace(tzinfo=None) - datetime(2026, 3, 29)) < timedelta(minutes=1)  # noqa: DTZ001


def test_a_skipped_time_is_on_no_axis():
    """In the night in which the clocks go forward, 02:10 does not exist in Berlin."""
    since = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    history = History(
        period=Period.HOUR, since=since, until=since + timedelta(hours=1), step_s=60,
        points=[HistoryPoint(at=since, online=1, admitted=0, refused=0)],
    )  # fmt: skip
    plot = line_chart(
        "Workers connected", history, lambda point: point.online, zone=find_zone("Europe/Berlin") or UTC
    )

    assert [tick.text for tick in plot.columns] == ["01:40", "01:50", "03:00", "03:10", "03:20"]


async def choose(browser, zone, *, on="/", **more):
    """Post the form of the zone switch, as a browser does from a page."""
    form = {"csrf": browser.csrf, "zone": zone} | more
    headers = FROM_OUR_PAGE | {"Referer": ISSUER + on}
    return await browser.http.post("/choose-zone", data=form, headers=headers)


async def test_a_browser_shows_times_in_its_chosen_zone(server, browser):
    """The choice applies to every page and every update, and the operator stays on the same page."""
    before = await browser.get("/account")
    chosen = await choose(browser, "Asia/Kolkata", on="/audit?actor=admin&when=today")
    after = await browser.get("/audit")
    update = await browser.get("/?period=day", headers={"hx-request": "true"})

    assert 'aria-pressed="true">UTC<' in before.text
    assert chosen.headers["location"] == "/audit?actor=admin&when=today"
    assert "Path=/; SameSite=lax" in chosen.headers["set-cookie"]
    shown = [
        f"{server.clock().astimezone(find_zone('Asia/Kolkata')):%Y-%m-%d %H:%M}",
        "UTC+5:30",
        "days in Asia/Kolkata",
    ]
    assert [text for text in shown if text not in after.text] == []
    assert re.search(r'data-zone aria-pressed="true"', after.text)
    assert "Just happened <small>Asia/Kolkata</small>" in update.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "ends at 2026-12-31 23:30 UTC.",
            'ends at <time datetime="2026-12-31T23:30:00Z">2027-01-01 00:30 UTC+1</time>.',
        ),
        (
            "<b>2026-12-31 23:30:07 UTC",
            '&lt;b&gt;<time datetime="2026-12-31T23:30:07Z">2027-01-01 00:30:07 UTC+1</time>',
        ),
        ("9999-12-31 23:59 UTC", '<time datetime="9999-12-31T23:59:00Z">9999-12-31 23:59:00 UTC</time>'),
        ("\u05d0 <i>", "<bdi>\u05d0 &lt;i&gt;</bdi>"),
    ],
)
def test_times_within_a_sentence_are_converted(text, shown):
    """Other text is escaped; a time that is out of the zone's range is left as it is."""
    assert str(local_times(text, NEW_YEAR.astimezone(find_zone("Europe/Berlin")))) == shown


async def test_every_sentence_uses_the_chosen_zone(server, browser, press):
    """Alerts, refusals and details of the audit log: no time is left in UTC."""
    await browser.post("/workers/press-01/disable", note="until 2026-03-01 13:00 UTC", until="2h")
    await browser.post("/workers/press-01/enable")
    headers = await server.sign_in(password="xxx " + PASSWORD)
    assert (await server.http.post("/api/signing-keys/rotate", json={}, headers=headers)).status_code < 300
    await choose(browser, "Asia/Kolkata")

    for path, sentence in (
        ("/", "A new signing key signs worker tokens from 2026-03-0"),
        ("/workers/press-01", "until 2026-03-01 19:30:00 UTC+5:30"),
        ("/audit", "note until 2026-03-01 18:30 UTC+5:30"),
    ):
        text = text_of(await browser.get(path))
        assert sentence in text
        assert re.findall(r"\d\d:\d\d UTC(?![+-])", text) == []


async def test_without_scripts_the_zone_is_typed(browser):
    """The button "Local" then leads to a field, which rejects an unknown zone."""
    unknown = await choose(browser, "", on="/audit")
    assert unknown.headers["location"] == "/account#times"

    refused = await choose(browser, "Europe/Atlantis", on="/account", typed="yes")
    assert refused.status_code == 422
    assert "Europe/Atlantis" in refused.text

    taken = await choose(browser, "Europe/Lisbon", on="//evil.example/", typed="yes")
    assert taken.headers["location"] == "/"
    assert (
        get_match(r'name="zone" value="([^"]+)" required', await browser.get("/account")) == "Europe/Lisbon"
    )


async def test_days_of_the_audit_log_follow_the_zone(server, browser):
    """At 16:00 UTC it is 01:00 in Tokyo: what was done at noon was done yesterday there."""
    server.clock.forward(hours=4)
    await browser.sign_in("admin", "xxx " + PASSWORD)
    await browser.learn_token()
    found = {}
    for zone in ("UTC", "Asia/Tokyo"):
        await choose(browser, zone)
        for when in ("today", "yesterday"):
            page = await browser.get(
                f"/audit?when={when}&subject=operator:admin&action=operator.password_set"
            )
            found[zone, when] = "No matching events" not in page.text
    for day in ("0001-01-01", "9999-12-31"):
        assert (await browser.get(f"/audit?from={day}&to={day}")).status_code == 200

    assert found == {
        ("UTC", "today"): True,
        ("UTC", "yesterday"): False,
        ("Asia/Tokyo", "today"): False,
        ("Asia/Tokyo", "yesterday"): True,
    }


async def test_an_invalid_zone_cookie_shows_utc(browser):
    """It may come from another program on the same host."""
    await choose(browser, "Europe/Lisbon")
    name = next(cookie.name for cookie in browser.http.cookies.jar if cookie.name.endswith("_zone"))
    for value in ("..%2f..%2fetc", "right.Europe.Berlin", '"', ""):
        browser.http.cookies.delete(name)
        browser.http.cookies.set(name, value)
        page = await browser.get("/account")
        assert 'aria-pressed="true">UTC<' in page.text
