"""
Counters for Prometheus.

Anyone may read them, so they must not tell an attacker what a refusal does not: unproven refusals are one
number, whatever their cause. Otherwise a caller could distinguish a wrong key from an unknown Worker by looking at which
counter grew. Operators read causes from `lyftdata refusals`.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

from lyftdata.core.event_destinations import Stop
from lyftdata.core.refusals import RefusedError, all_causes

_UNPROVEN = "unproven"
_RESULTS = ("delivered", "failed", "skipped")


class Metrics:
    """The Server's counters, in a registry of their own so that two Servers in one process stay apart."""

    def __init__(
        self,
        *,
        online: Callable[[], int],
        workers: Callable[[], int],
        pending: Callable[[], int],
        audit_is_intact: Callable[[], bool],
        last_checkpoint_at: Callable[[], float],
        is_writing: Callable[[], bool],
    ) -> None:
        # When each series began would be a second series of each: Prometheus goes by resets instead.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.admitted = 0
        self.refusals = 0
        tokens = Counter(
            "lyftdata_tokens_total", "Worker tokens signed.", ["strategy"], registry=self._registry
        )
        self._tokens = {name: tokens.labels(name) for name in ("api_key", "auto_enrollment")}
        self._enrollments = Counter(
            "lyftdata_enrollments_total", "Worker entries made by Auto-Enrollment.", registry=self._registry
        )
        self._enrolled_against_rules = Counter(
            "lyftdata_enrollments_against_rules_total",
            "Worker entries made by an enrollment key of mode warn whose rules would have refused them.",
            registry=self._registry,
        )
        left = Counter(
            "lyftdata_workers_left_total",
            "Ephemeral Workers removed, because they signed off or were absent.",
            ["why"],
            registry=self._registry,
        )
        self._left = {why: left.labels(why) for why in ("signed_off", "absent")}
        self._replaced = Gauge(
            "lyftdata_replaced_registrations",
            "Worker entries of clients that register again at each start, which a later one has replaced.",
            registry=self._registry,
        )
        self._refusals = Counter(
            "lyftdata_refusals_total",
            "Refused attempts, by what the caller proved.",
            ["cause"],
            registry=self._registry,
        )
        self._shed_requests = Counter(
            "lyftdata_requests_shed_total",
            "Requests answered 503 with Retry-After because the Server was overloaded.",
            registry=self._registry,
        )
        self._deliveries = Counter(
            "lyftdata_event_deliveries_total",
            "Events that this Server delivered to a destination, attempts that failed, and events that operators skipped there.",
            ["destination", "result"],
            registry=self._registry,
        )
        self._stopped = Gauge(
            "lyftdata_event_destination_stopped_timestamp_seconds",
            "Since when a destination of events is paused, fails or rejects the next event; 0 while it does not.",
            ["destination", "state"],
            registry=self._registry,
        )
        self._destinations: set[str] = set()
        self._rejected_api_tokens = Counter(
            "lyftdata_api_tokens_rejected_total",
            "Requests of the admin API with an API token that was not accepted, whatever the cause.",
            registry=self._registry,
        )
        # There from the start, since an increase is counted from the first sample.
        causes = [_UNPROVEN, *(cause.code for cause in all_causes() if cause.proved)]
        self._refused_for = {cause: self._refusals.labels(cause) for cause in causes}
        Gauge("lyftdata_workers_online", "Workers connected now.", registry=self._registry).set_function(
            online
        )
        Gauge(
            "lyftdata_workers", "Worker entries, except archived ones.", registry=self._registry
        ).set_function(workers)
        Gauge(
            "lyftdata_workers_pending", "Workers that wait for approval.", registry=self._registry
        ).set_function(pending)
        Gauge(
            "lyftdata_audit_log_intact",
            "0 if the last check, or the start, found that the audit log was changed or cut, else 1.",
            registry=self._registry,
        ).set_function(lambda: float(audit_is_intact()))
        Gauge(
            "lyftdata_audit_checkpoint_timestamp_seconds",
            "When this Server last signed a checkpoint of the audit log; 0 if it has not since its start.",
            registry=self._registry,
        ).set_function(last_checkpoint_at)
        Gauge(
            "lyftdata_database_writable",
            "0 while the database takes no changes, as /readyz says too, else 1.",
            registry=self._registry,
        ).set_function(lambda: float(is_writing()))

    def token_signed(self, strategy: str) -> None:
        """Count a token."""
        self.admitted += 1
        self._tokens[strategy].inc()

    def enrolled(self, *, against_rules: bool) -> None:
        """Count a Worker entry made by Auto-Enrollment; `against_rules` if its enrollment key only warned."""
        self._enrollments.inc()
        if against_rules:
            self._enrolled_against_rules.inc()

    def workers_left(self, why: str, count: int) -> None:
        """Count ephemeral Workers that were removed; `why` is `signed_off` or `absent`."""
        self._left[why].inc(count)

    def set_replaced_registrations(self, number: int) -> None:
        """Set how many entries have been replaced by clients that register again and again."""
        self._replaced.set(number)

    def count_shed_request(self) -> None:
        """Count a request that was answered 503 to shed load."""
        self._shed_requests.inc()

    def events_delivered(self, destination: str, count: int, *, failed: bool) -> None:
        """Count events that were delivered to a destination, and an attempt that failed."""
        self._destinations.add(destination)
        self._deliveries.labels(destination, "delivered").inc(count)
        if failed:
            self._deliveries.labels(destination, "failed").inc()

    def event_skipped(self, destination: str) -> None:
        """Count an event that an operator skipped."""
        self._destinations.add(destination)
        self._deliveries.labels(destination, "skipped").inc()

    def keep_destinations(self, stopped: Mapping[str, Mapping[Stop, datetime]]) -> None:
        """
        Forget the counts of destinations that do not exist any more, and begin those of new ones at 0.

        Args:
            stopped: Of each destination that exists, why nothing is delivered to it, each with since when.
        """
        for name, since in stopped.items():
            self._destinations.add(name)
            for result in _RESULTS:
                self._deliveries.labels(name, result)
            for stop in Stop:
                at = since.get(stop)
                self._stopped.labels(name, stop.value).set(0 if at is None else at.timestamp())
        for name in self._destinations - stopped.keys():
            self._destinations.discard(name)
            for metric, values in ((self._deliveries, _RESULTS), (self._stopped, tuple(Stop))):
                for value in values:
                    with contextlib.suppress(KeyError):
                        metric.remove(name, value)

    def count_rejected_api_token(self) -> None:
        """Count a request with an API token that was not accepted."""
        self._rejected_api_tokens.inc()

    def refused(self, refused: RefusedError) -> None:
        """Count a refusal, naming the cause only where the caller learnt it too."""
        self.refusals += 1
        cause = refused.code if refused.proved else _UNPROVEN
        counter = self._refused_for.get(cause)
        if counter is None:
            counter = self._refused_for[cause] = self._refusals.labels(cause)
        counter.inc()

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    async def render_alone(self) -> bytes:
        """Return the exposition text of a Server that is one process."""
        return self.render()
