"""The metrics of several processes merged into one answer."""

from prometheus_client.parser import text_string_to_metric_families

from lyftdata.processes.merged_metrics import merge_metrics
from lyftdata.server.metrics import Metrics


def metrics(workers):
    """Return the metrics of a process that has signed one token."""
    made = Metrics(
        online=lambda: workers,
        workers=lambda: 9,
        pending=lambda: 0,
        audit_is_intact=lambda: True,
        last_checkpoint_at=lambda: 0.0,
        is_writing=lambda: True,
    )
    made.token_signed("api_key")
    return made.render().decode()


def test_each_series_has_its_process_as_a_label():
    """Nothing is summed: Prometheus recognises a counter reset only within a series."""
    merged = merge_metrics({2: metrics(5), 1: metrics(3)}).decode().splitlines()

    assert [line for line in merged if line.startswith("lyftdata_workers_online{")] == [
        'lyftdata_workers_online{process="1"} 3.0',
        'lyftdata_workers_online{process="2"} 5.0',
    ]
    assert 'lyftdata_tokens_total{process="2",strategy="api_key"} 1.0' in merged


def test_merging_keeps_every_family_and_series():
    """Every family occurs once with its help and type, as Prometheus requires."""
    text = metrics(3)

    merged = merge_metrics({1: text}).decode()

    def described(exposition):
        return [line for line in exposition.splitlines() if line.startswith("#")]

    assert described(merged) == described(text)
    before, after = (list(text_string_to_metric_families(each)) for each in (text, merged))
    assert [len(family.samples) for family in after] == [len(family.samples) for family in before]
