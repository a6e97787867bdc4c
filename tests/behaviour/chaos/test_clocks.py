"""Workers' hosts with clocks that are hours off, with libfaketime."""

import re
import ssl
import time
import urllib.request
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.fleet import (
    Member,
    are_untouched,
    enrolling,
    keyed,
    measured,
    wait_until_all_are,
)
from tests.builders import ENROLLMENT_KEY
from tests.certificates import issued
from tests.false_clock import FalseClock
from tests.processes import Host, Site, until


class Place:
    """A Server with a certificate for two days and the right time, and Workers of both strategies with wrong clocks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority, cert, key = issued(root)
        self.site = Site(
            root,
            LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
            LYFTDATA_TLS_CERT=str(cert),
            LYFTDATA_TLS_KEY=str(key),
        )
        self.url = f"https://localhost:{self.site.port}"
        trusting = {"LYFTDATA_URL": self.url, "LYFTDATA_TLS_CA": str(self.authority)}
        self.site.operator = Host(root / "operator", **trusting)
        self.operator = self.site.sign_in()
        self.clocks: dict[str, FalseClock] = {}
        self.members: list[Member] = []
        for name, off in (("key-1", "+5h"), ("key-2", "-5h"), ("auto-1", "+5h"), ("auto-2", "-5h")):
            given = keyed(self.operator, name) if name.startswith("key") else enrolling(name)
            self.clocks[name] = FalseClock(root / f"{name}.time", off)
            host = self.site.worker_host(name, **given, **trusting, **self.clocks[name].environ())
            self.members.append(Member(name, host))

    def tokens_signed(self) -> float:
        """Return how many tokens the Server has signed since its start."""
        context = ssl.create_default_context(cafile=self.authority)
        with urllib.request.urlopen(f"{self.url}/metrics", context=context, timeout=180) as answer:
            text = answer.read().decode()
        return sum(
            float(value) for value in re.findall(r"^lyftdata_tokens_total\{.*\} (\S+)$", text, re.MULTILINE)
        )


@pytest.mark.slow
def test_workers_with_clocks_that_are_hours_off_are_accepted(tmp_path: Path):
    """
    Five hours ahead or behind, with either strategy, over TLS; each logs once that its clock is off.

    A jump of the clock while they run changes nothing, and no token is renewed because of it.
    """
    begun = time.monotonic()
    place = Place(tmp_path)
    wait_until_all_are(place.operator, place.members)
    recovered = time.monotonic()
    refused = [entry["code"] for entry in place.operator.json("refusals", "list")]
    # Each that enrolls is refused once, for a proof with the time of its own clock.
    assert refused == ["proof_expired", "proof_expired"]

    for clock, off in zip(place.clocks.values(), ("-7h", "+9h", "-7h", "+9h"), strict=True):
        clock.put(off)
    place.site.server.kill()
    place.site.start_server()
    wait_until_all_are(place.operator, place.members)
    # They reconnected with the tokens they had: a token's remaining lifetime does not depend on a clock that can be set.
    assert place.tokens_signed() == 0
    for member in place.members:
        assert member.host.done("token").strip()
    report.record(
        group="Workers' hosts",
        fault="clocks of Workers are hours off and jump",
        load="2 Workers of each strategy, 5 h ahead and behind, then 7 and 9; TLS",
        lasted_s=round(time.monotonic() - begun, 1),
        **measured(place.operator, place.members),
        recovered_s=round(recovered - begun, 1),
    )

    assert are_untouched(place.operator, place.members)
    for member in place.members:
        until(lambda m=member: m.agent.events("clock_skewed"), "it is said", within_s=240)  # type: ignore[misc]
        [logged] = member.agent.events("clock_skewed")
        assert logged["level"] == "warning"
        assert logged["off"].startswith(("4h59m", "5h"))
