"""The metrics of several processes as one answer to Prometheus: each series with the label `process`."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merge_metrics(texts: Mapping[int, str]) -> bytes:
    """
    Return one exposition of several, with the label `process`.

    A label and not a sum: the counters of a process that was started again begin at 0, which Prometheus recognises in each series
    alone, and a gauge such as `lyftdata_workers` says the same at each process.

    Args:
        texts: Exposition texts by the number of the process.
    """
    families: dict[str, Metric] = {}
    for process, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            merged.samples += [
                sample._replace(labels={**sample.labels, "process": str(process)})
                for sample in family.samples
            ]
    registry = CollectorRegistry()
    registry.register(_Merged(families))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        yield from self._families.values()
