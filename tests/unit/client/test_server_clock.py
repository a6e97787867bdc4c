"""Which time a Worker signs with, and when it uses a nonce of the Server."""

from datetime import UTC, timedelta

import httpx2
import pytest
from tests.builders import NOON

from lyftdata.client.credentials import IdentityCredential
from lyftdata.client.server_clock import TOLERANCE_S, ServerClock
from lyftdata.core.assertions import read_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.nonces import is_good_nonce, make_nonce
from lyftdata.worker.client import RefusedByServerError, ServerClient, ServerUnreachableError, warn_of_skew
from lyftdata.worker.settings import read_worker_settings

HOUR_S = 3600.0
KEY = bytes(32)


class Host:
    """

    A machine whose clock is off by some seconds, and a Server that accepts assertions signed within 30 s.

    Args:
        off_s: How far this host's clock is ahead.
        date_off_s: How far the clock of the proxy is ahead that sets the `Date` of answers.
        needs_nonce: Whether the Server accepts nothing without a nonce, as after a crash.
        gives_nonces: Whether the header with the nonce reaches the host.
        accepts: Whether the Worker is accepted at all.
        headers: Further headers of answers.
    """

    def __init__(
        self,
        off_s,
        *,
        date_off_s=0.0,
        needs_nonce=False,
        gives_nonces=True,
        accepts=True,
        headers=None,
    ):
        self.off_s, self.date_off_s, self.passed_s = off_s, date_off_s, 0.0
        self.needs_nonce, self.gives_nonces, self.accepts = needs_nonce, gives_nonces, accepts
        self.headers = headers or {}
        self.clock = ServerClock(now=self.now, steady_s=lambda: self.passed_s, on_skew=warn_of_skew)
        self.signed = []
        self.asked = []
        transport = httpx2.MockTransport(self.answer)
        settings = read_worker_settings({"LYFTDATA_URL": "https://l"})
        self.client = ServerClient(settings, transport=transport, clock=self.clock)
        self.credential = IdentityCredential("w-1", generate_identity_key(), issuer="https://l")

    def now(self):
        """Return the host's time."""
        return NOON + timedelta(seconds=self.passed_s + self.off_s)

    def servers_time(self):
        """Return the real time."""
        return NOON + timedelta(seconds=self.passed_s)

    def nonce(self):
        """Make a nonce."""
        return make_nonce(KEY, issued_at=self.servers_time(), salt=bytes(9), bound_to="w-1")

    def answer(self, request):
        """Answer as the Server does."""
        self.asked.append(request.url.path)
        date = self.servers_time() + timedelta(seconds=self.date_off_s)
        headers = {"Date": date.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")} | self.headers
        form = dict(httpx2.QueryParams(request.content.decode()))
        if request.url.path == "/oauth2/nonce":
            assert form == {"client_id": "w-1"}
            return httpx2.Response(200, json={"nonce": self.nonce()}, headers=headers)
        claims = read_assertion(form["client_assertion"]).jws.claims
        self.signed.append(claims)
        if self.accepts and self.is_accepted(claims):
            return httpx2.Response(200, json={"access_token": "t", "expires_in": 900}, headers=headers)
        refused = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}
        given = {"Lyftdata-Nonce": self.nonce()} if self.gives_nonces else {}
        return httpx2.Response(401, json=refused, headers=headers | given)

    def is_accepted(self, claims):
        """Return whether an assertion is current, and its nonce too, if it has or needs one."""
        is_of_now = abs(claims["iat"] - self.servers_time().timestamp()) <= TOLERANCE_S
        nonce = claims.get("nonce", "" if self.needs_nonce else None)
        is_good = nonce is None or is_good_nonce(nonce, KEY, now=self.servers_time(), bound_to="w-1")
        return is_of_now and is_good

    async def fetch(self):
        """Request a token."""
        return await self.client.token(self.credential)

    def signed_for(self):
        """Return how many seconds after noon each assertion was issued, and whether it had a nonce."""
        return [(claims["iat"] - NOON.timestamp(), "nonce" in claims) for claims in self.signed]


DAYS_S = 24 * HOUR_S


@pytest.mark.parametrize("off_s", [5 * HOUR_S, -5 * HOUR_S, 400 * DAYS_S, -400 * DAYS_S])
async def test_a_host_whose_clock_is_off_signs_with_the_servers_nonce(off_s):
    """After one refusal it requests a nonce first, and each assertion is valid for a minute of the Server's time."""
    host = Host(off_s)
    await host.fetch()
    host.passed_s += 7200
    await host.fetch()

    assert host.signed_for() == [(off_s, False), (0, True), (7200, True)]
    assert host.asked == ["/oauth2/token", "/oauth2/token", "/oauth2/nonce", "/oauth2/token"]
    assert {claims["exp"] - claims["iat"] for claims in host.signed} == {60}
    assert {claims["aud"] for claims in host.signed} == {"https://l"}
    assert len({claims["jti"] for claims in host.signed}) == 3


async def test_setting_the_clock_does_not_matter_while_nonces_are_used():
    """Whichever way it is set."""
    host = Host(5 * HOUR_S)
    await host.fetch()
    for off_s in (0.0, -HOUR_S, 20.0):
        host.off_s = off_s
        host.passed_s += 60
        await host.fetch()

    assert len(host.signed) == 5


@pytest.mark.parametrize("date_off_s", [0.0, 5 * HOUR_S, -5 * HOUR_S])
@pytest.mark.parametrize("off_s", [-20.0, 0.0, 20.0])
async def test_a_correct_clock_needs_a_nonce_only_if_the_server_requires_it(off_s, date_off_s):
    """As after a crash of the Server, and whatever `Date` a proxy sets."""
    host = Host(off_s, date_off_s=date_off_s, needs_nonce=True)
    await host.fetch()
    host.needs_nonce = False
    await host.fetch()

    assert host.signed_for() == [(off_s, False), (0, True), (off_s, False)]
    assert "/oauth2/nonce" not in host.asked


async def test_the_date_of_an_answer_alone_is_not_signed_with():
    """The host retries later, since its clock may be set right."""
    host = Host(5 * HOUR_S, gives_nonces=False)

    with pytest.raises(RefusedByServerError) as refused:
        await host.fetch()
    assert host.signed_for() == [(5 * HOUR_S, False)]
    assert not refused.value.final
    assert refused.value.clock_skew == "5h ahead of the Server's"


@pytest.mark.parametrize("nonce", ["nonsense", "1772366400", "1772366400.short", ""])
async def test_a_malformed_nonce_is_ignored(nonce):
    """It is not put into an assertion."""
    host = Host(0.0, accepts=False, gives_nonces=False, headers={"Lyftdata-Nonce": nonce})

    with pytest.raises(RefusedByServerError) as refused:
        await host.fetch()
    assert len(host.signed) == 1
    assert refused.value.final


@pytest.mark.parametrize(
    "headers", [{"Age": "3"}, {"Date": "yesterday"}, {"Date": "Sat, 99 Xyz 2026 00:00:00 GMT"}]
)
async def test_a_cached_or_invalid_date_is_ignored(headers):
    """The `Date` of a cached answer is old."""
    host = Host(5 * HOUR_S, headers=headers)
    await host.fetch()

    assert host.clock.off_s() is None


@pytest.mark.parametrize("off_s", [0.0, 20.0, 5 * HOUR_S])
async def test_a_refusal_for_another_cause_is_final(off_s):
    """If it is refused with a nonce too, and the host does not switch to nonces."""
    host = Host(off_s, accepts=False)

    with pytest.raises(RefusedByServerError) as refused:
        await host.fetch()
    assert host.signed_for() == [(off_s, False), (0, True)]
    assert refused.value.final
    assert not host.clock.needs_nonce


async def test_a_missing_nonce_endpoint_is_an_outage_for_a_host_that_needs_it():
    """It retries later instead of giving up."""
    host = Host(5 * HOUR_S)
    await host.fetch()
    host.client._connections._current.http._transport = httpx2.MockTransport(
        lambda _request: httpx2.Response(404)
    )

    with pytest.raises(ServerUnreachableError):
        await host.fetch()


async def test_a_skewed_clock_is_logged_once(capsys):
    """Not for each answer."""
    host = Host(-5 * HOUR_S)
    for _ in range(3):
        await host.fetch()

    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("clock_skewed") == 1
    assert "5h behind the Server's" in printed.out + printed.err


def test_the_host_knows_how_far_its_clock_is_off():
    """Measured by a monotonic clock, so setting the host's clock shows immediately."""
    host = Host(5 * HOUR_S)
    host.clock.note({"date": "Sun, 01 Mar 2026 12:00:00 GMT"})
    assert host.clock.off_s() == 5 * HOUR_S
    host.passed_s, host.off_s = 60.0, 0.0
    assert host.clock.off_s() == 0.0
