"""The metrics that Prometheus reads from a Server."""

import re
import shutil
import subprocess

import pytest

from lyftdata.core.refusals import WorkerDisabledError, WrongApiKeyError, all_causes
from lyftdata.server.metrics import Metrics


@pytest.fixture
def metrics():
    """Return the metrics of a Server that has just started."""
    return Metrics(
        online=lambda: 3,
        workers=lambda: 5,
        pending=lambda: 1,
        audit_is_intact=lambda: True,
        last_checkpoint_at=lambda: 0.0,
        is_writing=lambda: False,
    )


def samples(metrics):
    """Return each sample's value by name and labels."""
    lines = metrics.render().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here")
async def test_a_servers_metrics_follow_prometheus_conventions(server):
    """`promtool check metrics` reports nothing about units, `_total` or help texts."""
    scraped = await server.http.get("/metrics")

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scraped.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_counters_begin_at_zero(metrics):
    """Each exists before it counts, for every cause and destination: Prometheus measures an increase from the first sample."""
    metrics.keep_destinations({"siem": {}})

    found = samples(metrics)
    proved = [cause.code for cause in all_causes() if cause.proved]
    assert [found[f'lyftdata_refusals_total{{cause="{cause}"}}'] for cause in ["unproven", *proved]] == [
        0
    ] * (1 + len(proved))
    assert found['lyftdata_event_deliveries_total{destination="siem",result="failed"}'] == 0
    assert {value for name, value in found.items() if re.match(r"\w+_total\b", name)} == {0}


def test_counters_have_no_created_series(metrics):
    """`_created` would double the number of series."""
    assert not [name for name in samples(metrics) if "_created" in name]


def test_metrics_do_not_reveal_what_an_unproven_caller_tried(metrics):
    """Its refusals are counted as `unproven`; those of a proved caller by their code."""
    metrics.refused(WrongApiKeyError())
    metrics.refused(WorkerDisabledError())

    text = metrics.render().decode()
    assert 'lyftdata_refusals_total{cause="unproven"} 1.0' in text
    assert 'lyftdata_refusals_total{cause="worker_disabled"} 1.0' in text
    assert not [cause.code for cause in all_causes() if not cause.proved and f'"{cause.code}"' in text]


def test_a_deleted_destination_leaves_no_series(metrics):
    """There are only series for destinations that exist."""
    metrics.keep_destinations({"siem": {}, "attic": {}})
    metrics.events_delivered("attic", 3, failed=False)

    metrics.keep_destinations({"siem": {}})
    assert "attic" not in metrics.render().decode()


def test_a_gauge_shows_that_the_database_is_not_writable(metrics):
    """It is 0 while `/readyz` answers 503 for that reason."""
    assert samples(metrics)["lyftdata_database_writable"] == 0
