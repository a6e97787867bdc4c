"""
How long a revoked Worker can go on using RabbitMQ with either plugin, and what it can still do.

    .venv/bin/python benchmarks/revocation_at_rabbitmq.py

Starts a real Server and Debian's RabbitMQ with the files of examples/celery-rabbitmq, one plugin after the other, and prints the
seconds since `lyftdata workers disable` returned. The Worker's host ignores the revocation: it keeps its connection and retries.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import amqp

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.peers.brokers import Consumer, RabbitMq, TlsSite

ROUNDS = 7
ON_AND_ON_S = 30.0
TTL_S = 60


def seconds_until(
    question: Callable[[], bool], *, at_most_s: float, begin: float | None = None
) -> float | None:
    """Return the seconds from `begin`, by default now, until the answer is true; None if that takes longer than `at_most_s`."""
    begin = time.monotonic() if begin is None else begin
    while not question():
        if time.monotonic() - begin > at_most_s:
            return None
        time.sleep(0.02)
    return time.monotonic() - begin


def is_kept_out(broker: RabbitMq, worker: str, token: str) -> bool:
    """Return whether a token can no longer log in."""
    try:
        broker.connect(worker, token).close()
    except (amqp.AMQPError, ConnectionError):
        return True
    return False


def may_not(consumer: Consumer) -> bool:
    """Return whether an operation on a new channel is refused."""
    try:
        channel = consumer.connection.channel()
        channel.queue_declare("celery", passive=True)
        channel.queue_bind("celery", "celery", "celery")
        channel.close()
    except amqp.AccessRefused:
        return True
    return False


def declare(broker: RabbitMq, tls_site: TlsSite) -> None:
    """Declare the exchange and queue that Celery declares."""
    with contextlib.closing(broker.connect("desk", tls_site.token("desk"))) as connection:
        channel = connection.channel()
        channel.exchange_declare("celery", "direct", durable=True, auto_delete=False)
        channel.queue_declare("celery", durable=True, auto_delete=False)
        channel.queue_bind("celery", "celery", "celery")


def as_json(values: list[float | None]) -> str:
    """Return median and maximum as text."""
    if None in values:
        return f"not within {ON_AND_ON_S:.0f} s"
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.2f} s (max {max(known):.2f} s)"


def one_round(broker: RabbitMq, tls_site: TlsSite, number: int, *, closing: bool) -> dict[str, float | None]:
    """Disable a Worker, and measure how long each access remains."""
    worker = tls_site.add_worker(f"w-{broker.port}-{closing:d}-{number}")
    token = tls_site.token(worker)
    consumer = Consumer(broker, worker, token)
    seconds_until(lambda: bool(broker.api("connections")), at_most_s=10)
    tls_site.operator.done("workers", "disable", worker, "--yes")
    begin = time.monotonic()
    seen: dict[str, float | None] = {}
    if closing:
        seen["its consumer ends"] = (
            time.monotonic() - begin if consumer.is_cut_off(within_s=ON_AND_ON_S) else None
        )
    seen["it can no longer log in"] = seconds_until(
        lambda: is_kept_out(broker, worker, token), begin=begin, at_most_s=2 * TTL_S
    )
    if not closing:
        seen["an operation on a new channel is refused"] = seconds_until(
            lambda: may_not(consumer), begin=begin, at_most_s=2 * TTL_S
        )
        is_cut_off = consumer.is_cut_off(within_s=ON_AND_ON_S if number == 0 else 1)
        seen["its consumer ends"] = time.monotonic() - begin if is_cut_off else None
        consumer.close()
    return seen


def measure(tls_site: TlsSite, *, oauth2: bool, root: Path) -> None:
    """Print the measurements of one plugin."""
    root.mkdir()
    broker = RabbitMq(root, tls_site, oauth2=oauth2)
    plugin = "rabbitmq_auth_backend_oauth2" if oauth2 else "rabbitmq_auth_backend_http, cache of 1 s"
    try:
        declare(broker, tls_site)
        for closing in (False, True):
            closer = broker.start_closer(tls_site) if closing else None
            name = f"{plugin}{', close_revoked.py' if closing else ''}"
            rounds = [
                one_round(broker, tls_site, number, closing=closing)
                # Waiting until a token has expired takes long.
                for number in range(2 if oauth2 else ROUNDS)
            ]
            for what in rounds[0]:
                print(f"| {name} | {what} | {as_json([seen[what] for seen in rounds])} |", flush=True)
            if closer is not None:
                closer.close()
    finally:
        broker.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        tls_site = TlsSite(Path(place), LYFTDATA_WORKER_TOKEN_TTL=f"{TTL_S}s")
        try:
            tls_site.add_worker("desk")
            print("| plugin | what | after |\n|---|---|---|")
            measure(tls_site, oauth2=False, root=Path(place) / "http")
            measure(tls_site, oauth2=True, root=Path(place) / "oauth2")
        finally:
            tls_site.close()
