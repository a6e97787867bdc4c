"""The Server over time."""

from lyftdata.core.records import Sample
from lyftdata.server.admin.schemas.status import Period
from lyftdata.store.tables import samples


async def test_the_history_has_a_point_for_each_minute_of_activity(server, admin, press):
    """With admissions, refusals and the peak of connected Workers; while the Server was down there are no points."""
    await server.token_by_key(*press)
    server.clock.forward(minutes=1)
    await server.services.samples.flush()
    for _ in range(3):
        await server.token_by_key("press-01", "wrong")
    server.clock.forward(minutes=5)
    await server.services.samples.flush()
    await server.token_by_key(*press)
    shown = (await server.http.get("/api/history", headers=admin)).json()
    by_day = (await server.http.get("/api/history?period=day", headers=admin)).json()

    assert [(p["at"][14:16], p["admitted"], p["refused"]) for p in shown["points"]] == [
        ("00", 1, 0),
        ("01", 0, 3),
        ("06", 1, 0),
    ]
    assert [(p["admitted"], p["refused"]) for p in by_day["points"]] == [(2, 3)]


async def test_a_week_of_minutes_is_shown_by_the_hour(server):
    """Older samples are left out; each hour shows its peak of connected Workers."""
    now = server.clock()
    for minutes, online in ((1, 3), (2, 7), (200, 1), (60 * 24 * 7 + 1, 9)):
        at = now.replace(minute=0) - (now - now.replace(minute=0))
        at = at.fromtimestamp(now.timestamp() - minutes * 60, tz=now.tzinfo)
        sample = Sample(at=at, online=online, admitted=1, refused=0)
        await server.services.store.write(
            lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=sample.at)
        )

    shown = await server.services.status_queries.history(Period.WEEK)
    assert sorted(point.online for point in shown.points) == [0, 1, 7]
