"""Whose time a Worker signs by, and whom it believes about it."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from tests.builders import NOON

from lyftdata.core.assertions import read_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.strategy import StoredIdentity
from lyftdata.worker.client import RefusedByServerError, ServerClient
from lyftdata.worker.credentials import IdentityCredential
from lyftdata.worker.server_clock import MOST_FOLLOWED_S, TOLERANCE_S, ServerClock, may_follow_the_server
from lyftdata.worker.settings import read_worker_settings

HOUR_S = 3600.0
IDENTITY = StoredIdentity(issuer="https://l", server_url="https://l", worker_id="w-1", worker_name="press")


class Host:
    """A machine whose clock is off by some seconds; the Server's is right, and takes what is signed within 30 s."""

    def __init__(self, off_s, *, may_follow=True, server_off_s=0.0, told=None):
        self.off_s, self.server_off_s, self.passed_s = off_s, server_off_s, 0.0
        self.clock = ServerClock(may_follow=may_follow, now=self.now, steady_s=lambda: self.passed_s)
        self.signed = []
        self.told = told or {}
        transport = httpx2.MockTransport(self.answer)
        settings = read_worker_settings({"LYFTDATA_URL": "https://l"})
        self.client = ServerClient(settings, transport=transport, clock=self.clock)
        self.credential = IdentityCredential(IDENTITY, generate_identity_key())

    def now(self):
        """Return what this host believes."""
        return NOON + timedelta(seconds=self.passed_s + self.off_s)

    def answer(self, request):
        """Give a token if the assertion is of now, refuse it otherwise; say what time it is."""
        form = dict(httpx2.QueryParams(request.content.decode()))
        claims = read_assertion(form["client_assertion"]).jws.claims
        self.signed.append(claims)
        right = NOON.timestamp() + self.passed_s
        date = datetime.fromtimestamp(right + self.server_off_s, UTC)
        headers = {"Date": date.strftime("%a, %d %b %Y %H:%M:%S GMT")} | self.told
        if abs(claims["iat"] - right) <= TOLERANCE_S and not self.told.get("X-No"):
            return httpx2.Response(200, json={"access_token": "t", "expires_in": 900}, headers=headers)
        refused = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}
        return httpx2.Response(401, json=refused, headers=headers)

    async def fetch(self):
        """Ask for a token."""
        return await self.credential.fetch_token(self.client)


@pytest.mark.parametrize("off_s", [5 * HOUR_S, -5 * HOUR_S, MOST_FOLLOWED_S, -MOST_FOLLOWED_S])
async def test_a_host_hours_off_signs_by_the_servers_time(off_s):
    """It is refused once, signs anew for the Server's time, and by that from then on; each assertion lives for a minute."""
    host = Host(off_s)
    await host.fetch()
    host.passed_s += 7200
    await host.fetch()

    assert [claims["iat"] - NOON.timestamp() for claims in host.signed] == [off_s, 0, 7200]
    assert {claims["exp"] - claims["iat"] for claims in host.signed} == {60}
    assert {claims["aud"] for claims in host.signed} == {"https://l"}
    assert len({claims["jti"] for claims in host.signed}) == 3


async def test_a_host_that_is_set_right_goes_on():
    """Whichever way its clock is put, while it signs by the Server's time nothing of it matters."""
    host = Host(5 * HOUR_S)
    await host.fetch()
    for off_s in (0.0, -HOUR_S, 20.0):
        host.off_s = off_s
        host.passed_s += 60
        await host.fetch()

    assert len(host.signed) == 5


async def test_a_right_clock_is_not_led_astray():
    """A proxy in front whose clock is off changes nothing for a host whose own time is taken."""
    host = Host(0.0, server_off_s=5 * HOUR_S)
    await host.fetch()
    await host.fetch()

    assert [claims["iat"] - NOON.timestamp() for claims in host.signed] == [0, 0]


async def test_whoever_lies_about_the_time_gets_no_more_than_before():
    """Where the Server's time is not to be believed, nothing is signed for it; the host stays and asks again."""
    host = Host(5 * HOUR_S, may_follow=False)

    with pytest.raises(RefusedByServerError) as refused:
        await host.fetch()
    assert [claims["iat"] - NOON.timestamp() for claims in host.signed] == [5 * HOUR_S]
    assert not refused.value.final
    assert refused.value.clock_off == "5h ahead of the Server's"


@pytest.mark.parametrize("off_s", [MOST_FOLLOWED_S + 1, -MOST_FOLLOWED_S - 1, 400 * 24 * HOUR_S])
async def test_no_assertion_is_made_for_another_week(off_s):
    """More than two days are not followed, whoever says so."""
    host = Host(off_s)

    with pytest.raises(RefusedByServerError):
        await host.fetch()
    assert len(host.signed) == 1


@pytest.mark.parametrize(
    "told", [{"Age": "3"}, {"Date": "yesterday"}, {"Date": "Sat, 99 Xyz 2026 00:00:00 GMT"}]
)
async def test_what_was_kept_or_is_no_date_tells_no_time(told):
    """An answer out of somebody's cache is as old as it is; nonsense is nonsense."""
    host = Host(5 * HOUR_S, told=told)

    with pytest.raises(RefusedByServerError):
        await host.fetch()
    assert len(host.signed) == 1
    assert host.clock.off_s() is None


async def test_a_refusal_for_another_cause_stays_one():
    """A key that is not taken at the right time either: final, and the host's own clock comes first again."""
    host = Host(5 * HOUR_S, told={"X-No": "1"})

    with pytest.raises(RefusedByServerError) as refused:
        await host.fetch()
    assert [claims["iat"] - NOON.timestamp() for claims in host.signed] == [5 * HOUR_S, 0]
    assert refused.value.final
    assert host.clock.now() == host.now()


async def test_a_right_clock_asks_once():
    """Without a difference a refusal is one."""
    host = Host(20.0, told={"X-No": "1"})

    with pytest.raises(RefusedByServerError):
        await host.fetch()
    assert len(host.signed) == 1


async def test_it_is_said_once(capsys):
    """A clock that is off is one warning, not one for each answer."""
    host = Host(-5 * HOUR_S)
    for _ in range(3):
        await host.fetch()

    said = capsys.readouterr()
    assert (said.out + said.err).count("this host's clock is off") == 1
    assert "5h behind the Server's" in said.out + said.err


@pytest.mark.parametrize(
    ("environ", "may"),
    [
        ({"LYFTDATA_URL": "https://lyft.example"}, True),
        ({"LYFTDATA_URL": "https://lyft.example", "LYFTDATA_TLS_INSECURE": "yes"}, False),
        ({"LYFTDATA_URL": "http://lyft.example", "LYFTDATA_ALLOW_HTTP": "yes"}, False),
        ({"LYFTDATA_URL": "http://localhost:3000"}, True),
        ({"LYFTDATA_URL": "http://[::1]:3000"}, True),
    ],
)
def test_whom_a_worker_believes(environ, may):
    """The Server over TLS that is checked, and this very machine."""
    assert may_follow_the_server(read_worker_settings(environ)) is may
