"""What the doctor finds wrong with the issuer at which operators sign in."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.oidc_issuer import LyingIssuer, lying_issuer

from lyftdata.doctor.operators_issuer import check_issuer
from lyftdata.server.runtime.settings import read_server_settings


@pytest.fixture
def issuer() -> Iterator[LyingIssuer]:
    """Return an issuer."""
    with lying_issuer(lambda: datetime.now(UTC)) as made:
        yield made


async def codes(issuer: LyingIssuer, *, ahead: timedelta = timedelta()) -> list[str]:
    """Return the codes of the findings on a host whose clock is ahead."""
    settings = read_server_settings(issuer.settings())
    return [found.check.code async for found in check_issuer(settings, now=datetime.now(UTC) + ahead)]


async def test_a_working_issuer_has_no_finding(issuer):
    """It answers with its form, its keys can be used, and its clock is right."""
    issuer.status["/authorize"] = 200
    assert await codes(issuer) == []
    assert [found async for found in check_issuer(read_server_settings({}), now=datetime.now(UTC))] == []


async def test_a_broken_issuer_is_found(issuer):
    """If it does not know the client, its clock is wrong, it has no key, it is another issuer, or it is down."""
    issuer.status["/authorize"] = 400
    assert await codes(issuer) == ["issuer_refuses_server"]
    issuer.status["/authorize"] = 302
    assert await codes(issuer, ahead=timedelta(minutes=2)) == ["issuer_clock_off"]
    issuer.published = []
    assert await codes(issuer) == ["issuer_unusable"]
    issuer.metadata = {"issuer": "https://evil.example"}
    assert await codes(issuer) == ["issuer_unusable"]
    issuer.close()
    assert await codes(issuer) == ["issuer_unusable"]
