"""
Celery workers on RabbitMQ, each with its own identity, and what it takes to revoke one.

RabbitMQ is Debian's package with the files of examples/celery-rabbitmq that a person would copy. The workers are Celery under our
agent, and clients that behave like a hostile host.
"""

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest
from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from joserfc.jwk import ECKey
from tests.peers.brokers import (
    ADMINISTRATOR,
    ADMINISTRATORS_PASSWORD,
    EXAMPLE,
    RUN,
    Consumer,
    RabbitMq,
    TlsSite,
)
from tests.peers.proxies import claims_of, server_signing_key, signed
from tests.processes import STARTED, Program, until

CELERIES = ("press-01", "press-02", "press-03")
DESK = "desk-01"
SECONDS = 0.3


@pytest.fixture(scope="module")
def tls_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    """Return a Server with a Worker for each purpose."""
    made = TlsSite(tmp_path_factory.mktemp("server"))
    try:
        for worker_id in (*CELERIES, DESK):
            made.add_worker(worker_id)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def broker(tls_site: TlsSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """Return a RabbitMQ that asks the Server, without close_revoked.py."""
    made = RabbitMq(tmp_path_factory.mktemp("rabbitmq"), tls_site)
    try:
        _declare(made, tls_site)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def by_oauth2(tls_site: TlsSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """Return a RabbitMQ that verifies tokens by itself."""
    made = RabbitMq(tmp_path_factory.mktemp("oauth2"), tls_site, oauth2=True)
    try:
        _declare(made, tls_site)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def closing(tls_site: TlsSite, broker: RabbitMq) -> Iterator[None]:
    """Start close_revoked.py, which closes the connections of revoked Workers."""
    closer = broker.start_closer(tls_site)
    yield
    closer.close()


@pytest.fixture(scope="module")
def celeries(tls_site: TlsSite, broker: RabbitMq, closing: None) -> Iterator[dict[str, Program]]:
    """Return three workers that are connected."""
    started = {worker_id: tls_site.start_celery(worker_id, broker) for worker_id in CELERIES}
    for worker_id, program in started.items():
        _wait_until_ready(worker_id, program)
    yield started
    for program in started.values():
        with contextlib.suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGCONT)
        program.process.terminate()
    for program in started.values():
        program.exit_code()
        STARTED.remove(program)


def _wait_until_ready(worker_id: str, program: Program) -> None:
    until(lambda: "ready." in program.log or not program.alive(), f"{worker_id} is ready", within_s=240)
    assert "ready." in program.log, program.log


@pytest.fixture
def worker(tls_site: TlsSite) -> str:
    """Return the ID of a Worker that only this test uses."""
    return tls_site.add_worker(f"w-{uuid.uuid4().hex[:8]}")


def _declare(broker: RabbitMq, tls_site: TlsSite) -> None:
    """Declare what Celery declares, as a Worker, which may do so."""
    with contextlib.closing(broker.connect(DESK, tls_site.token(DESK))) as connection:
        channel = connection.channel()
        channel.exchange_declare("celery", "direct", durable=True, auto_delete=False)
        channel.queue_declare("celery", durable=True, auto_delete=False)
        channel.queue_bind("celery", "celery", "celery")


def _publish(broker: RabbitMq, tls_site: TlsSite, count: int) -> None:
    with contextlib.closing(broker.connect(DESK, tls_site.token(DESK))) as connection:
        channel = connection.channel()
        for number in range(count):
            channel.basic_publish(amqp.Message(str(number)), "celery", "celery")


def _send_tasks(broker: RabbitMq, tls_site: TlsSite, numbers: range) -> None:
    """Send tasks like Celery, with a password that is fetched on connecting."""
    app = Celery(broker=broker.url, set_as_current=False)
    app.conf.update(
        broker_user=DESK, broker_password=lambda: tls_site.token(DESK), broker_login_method="PLAIN"
    )
    with app.connection_for_write() as connection:
        for number in numbers:
            app.send_task(
                "press", (number, SECONDS), exchange="celery", routing_key="celery", connection=connection
            )


def _done(program: Program) -> set[int]:
    return {int(number) for number in re.findall(r"finished (\d+)", program.log)}


def _forged(tls_site: TlsSite, token: str, **changes: object) -> str:
    """Return a token that differs from a valid one only by these claims."""
    key = server_signing_key(tls_site.site.root / "server" / "staging")
    assert isinstance(key.private, EllipticCurvePrivateKey)
    return signed(
        claims_of(token) | changes,
        key=ECKey.import_key(key.private),
        alg="ES256",
        typ="at+jwt",
        kid=key.kid,
    )


def _refused(attempt: Callable[[], object]) -> str:
    """Return the name of the error with which the broker refuses."""
    with pytest.raises((amqp.AMQPError, ConnectionError)) as caught:
        attempt()
    return type(caught.value).__name__


# --- logging in, and permissions --------------------------------------------------------------------------


def test_no_other_credential_logs_in(tls_site, broker, worker):
    """A credential of another Worker, of another kind, or that has expired is refused, and none is in a log."""
    token = tls_site.token(worker)
    now = int(time.time())
    fresh = _forged(tls_site, token)
    ended = _forged(tls_site, token, iat=now - 901, exp=now - 1)
    shown = {
        "another Worker's token": (DESK, token),
        "an unknown caller's name": ("unknown_caller", token),
        "a token for the Server": (worker, tls_site.token(worker, resource="")),
        "an API key": (worker, tls_site.keys[worker]),
        "a token that has ended": (worker, ended),
        "the broker's own key": ("rabbitmq", tls_site.resource_key),
        "nothing": (worker, ""),
    }

    for what, (user, password) in shown.items():
        assert _refused(functools.partial(broker.connect, user, password)) == "AccessRefused", what

    # The forged tokens are valid otherwise: the expired one was refused only because it has expired.
    broker.connect(worker, fresh).close()
    log = broker.log + tls_site.site.server.log
    for secret in (
        token,
        fresh,
        ended,
        tls_site.keys[worker],
        tls_site.resource_key,
        ADMINISTRATORS_PASSWORD,
    ):
        assert secret not in log
    causes = {row["code"] for row in tls_site.operator.json("refusals", "list")}
    assert {"wrong_token", "token_expired"} <= causes


def test_a_worker_with_the_longest_token_logs_in(tls_site, broker, worker):
    """The broker accepts a token with the longest allowed claims."""
    tls_site.operator.done("workers", "rename", worker, "\U0001f600" * 64)
    labels = [f"k{n:02}={'v' * 22}" for n in range(32)]
    tls_site.operator.done("workers", "label", worker, *labels)
    scopes = [f"--scope={'s' * 58}{n:02}" for n in range(13)]
    granted = [f"--scope={scope}" for scope in RUN.SCOPES]
    tls_site.operator.done("resources", "set", "rabbitmq", *granted, *scopes)
    try:
        token = tls_site.token(worker)
        # Other clients send more properties at login than this one does.
        connection = amqp.Connection(
            f"127.0.0.1:{broker.port}",
            worker,
            token,
            virtual_host="jobs",
            login_method="PLAIN",
            client_properties={"platform": "x" * 600},
        )

        connection.connect()

        assert len(token) > 3_300
        connection.close()
    finally:
        tls_site.operator.done("resources", "set", "rabbitmq", *granted)


def test_a_worker_may_do_only_what_it_was_granted(tls_site, broker, worker):
    """It may use its queue and its exchange, but no others, not the default exchange, and no other virtual host."""
    broker.api("vhosts/other", method="PUT", body={})
    token = tls_site.token(worker)
    connection = broker.connect(worker, token)
    try:
        connection.channel().queue_declare("celery", durable=True, auto_delete=False)
        for refused in (
            lambda: connection.channel().queue_declare("payroll"),
            lambda: connection.channel().queue_delete("payroll"),
            lambda: connection.channel().basic_get("payroll"),
            lambda: connection.channel().exchange_declare("payroll", "direct"),
            lambda: connection.channel().queue_bind("celery", "amq.direct", "x"),
            lambda: _publish_confirmed(connection, ""),
            lambda: _publish_confirmed(connection, "amq.topic"),
        ):
            assert _refused(refused) == "AccessRefused"
    finally:
        connection.close()

    assert _refused(lambda: broker.connect(worker, token, vhost="other")) == "NotAllowed"


def _publish_confirmed(connection: amqp.Connection, exchange: str) -> None:
    channel = connection.channel()
    channel.basic_publish(amqp.Message("x"), exchange, "celery")
    # A refusal arrives asynchronously; the answer to a further request makes sure that it has arrived.
    channel.exchange_declare("celery", "direct", passive=True)


# --- revoked ----------------------------------------------------------------------------------------------


def test_the_plugin_alone_does_not_end_a_consumer(tls_site, broker, worker):
    """Logins and uncached operations are refused after a revocation, but deliveries to an open consumer continue."""
    token = tls_site.token(worker)
    consumer = Consumer(broker, worker, token)
    _publish(broker, tls_site, 3)
    assert consumer.receives(1)

    tls_site.operator.done("workers", "disable", worker, "--yes")

    assert _refused(lambda: broker.connect(worker, token)) == "AccessRefused"
    for count in (2, 3):
        consumer.acknowledge()
        assert consumer.receives(count)
    other = consumer.connection.channel()
    until(
        lambda: _is_refused(lambda: other.queue_declare("celery", durable=True, auto_delete=False)),
        "the cache has forgotten",
    )
    consumer.acknowledge()
    consumer.connection.channel()  # the acknowledgement has arrived when this is answered
    consumer.close()


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except amqp.AccessRefused:
        return True
    return False


@pytest.mark.parametrize("how", ["disable", "delete", "revoke its key", "take it out of the resource"])
def test_a_revoked_worker_is_disconnected(tls_site, broker, closing, worker, how):
    """Even if its host keeps the connection open; its unacknowledged message goes to another Worker, and it cannot log in again."""
    token = tls_site.token(worker)
    consumer = Consumer(broker, worker, token)
    _publish(broker, tls_site, 1)
    assert consumer.receives(1)
    others = [f"--worker={worker_id}" for worker_id in tls_site.keys if worker_id != worker]
    command = {
        "disable": ("workers", "disable", worker, "--yes"),
        "delete": ("workers", "delete", worker, "--yes"),
        "revoke its key": ("api-key", "revoke", _key_name(tls_site, worker), "--yes"),
        "take it out of the resource": ("resources", "set", "rabbitmq", "--not-all-workers", *others),
    }[how]

    tls_site.operator.done(*command)

    try:
        assert consumer.is_cut_off()
        assert _refused(lambda: broker.connect(worker, token)) == "AccessRefused"
    finally:
        tls_site.operator.done("resources", "set", "rabbitmq", "--all-workers")
    other = Consumer(broker, DESK, tls_site.token(DESK))
    assert other.receives(1)
    assert other.held[0].body == consumer.held[0].body
    other.acknowledge()
    other.connection.close()


def _key_name(tls_site: TlsSite, worker: str) -> str:
    (name,) = [
        key["name"] for key in tls_site.operator.json("api-key", "list") if worker in key["worker_ids"]
    ]
    return str(name)


def test_others_stay_connected_when_one_is_disconnected(tls_site, broker, closing, worker):
    """So do the broker's own users, which the Server does not know."""
    stays = broker.connect(DESK, tls_site.token(DESK))
    own = broker.connect(ADMINISTRATOR, ADMINISTRATORS_PASSWORD)
    goes = Consumer(broker, worker, tls_site.token(worker))

    tls_site.operator.done("workers", "disable", worker, "--yes")

    assert goes.is_cut_off()
    for connection in (stays, own):
        connection.channel().queue_declare("celery", passive=True)
        connection.close()


def test_close_revoked_catches_up_after_an_outage(tls_site, broker, worker):
    """A Worker that was revoked while close_revoked.py did not run is disconnected by its first round after the next start."""
    consumer = Consumer(broker, worker, tls_site.token(worker))
    until(lambda: broker.connections_of(worker) == 1, "the broker has the connection")
    tls_site.operator.done("workers", "disable", worker, "--yes")
    tls_site.operator.done("workers", "enable", worker)

    closer = broker.start_closer(tls_site)
    try:
        assert consumer.is_cut_off()
    finally:
        closer.close()


# --- Celery -----------------------------------------------------------------------------------------------


def test_celery_works_with_each_workers_own_identity(tls_site, broker, celeries):
    """Every task is done, every worker does some, and the broker knows each worker by its ID."""
    _send_tasks(broker, tls_site, range(30))

    until(lambda: set.union(*map(_done, celeries.values())) >= set(range(30)), "all is done", within_s=240)
    for worker_id, program in celeries.items():
        assert broker.connections_of(worker_id) >= 1
        assert _done(program), f"{worker_id} had nothing to do"


def test_a_revoked_worker_whose_host_ignores_the_order_consumes_no_more(tls_site, broker, celeries):
    """With its agent stopped, Celery continues; once the broker disconnects it, it begins no task, the others work, and no task is lost."""
    numbers = range(100, 124)
    rebel = celeries["press-01"]
    os.kill(rebel.process.pid, signal.SIGSTOP)
    try:
        _send_tasks(broker, tls_site, numbers)
        until(lambda: _begun(rebel) & set(numbers), "it has begun one")

        tls_site.operator.done("workers", "disable", "press-01", "--yes")

        until(lambda: broker.connections_of("press-01") == 0, "it is cut off")
        later = range(200, 212)
        _send_tasks(broker, tls_site, later)
        wanted = {*numbers, *later}
        until(lambda: set.union(*map(_done, celeries.values())) >= wanted, "all is done", within_s=240)
        assert not _begun(rebel) & set(later)
        # Tasks that it had begun and not acknowledged were done by another worker.
        others = [celeries["press-02"], celeries["press-03"]]
        assert set.union(*map(_done, others)) >= wanted - _done(rebel)
        assert all(_done(other) & wanted for other in others)
    finally:
        os.kill(rebel.process.pid, signal.SIGCONT)
        tls_site.operator.done("workers", "enable", "press-01")


def test_a_worker_that_is_enabled_again_returns_by_itself(tls_site, broker, celeries):
    """Its agent stops Celery when the Worker is disabled, and starts it again once it is enabled."""
    back = celeries["press-02"]
    tls_site.operator.done("workers", "disable", "press-02", "--yes")
    back.wait_for("refused")
    until(lambda: broker.connections_of("press-02") == 0, "it is out")

    tls_site.operator.done("workers", "enable", "press-02")

    until(lambda: back.log.count("ready.") >= 2, "Celery is ready", within_s=240)
    _send_tasks(broker, tls_site, range(300, 330))
    until(lambda: _done(back) & set(range(300, 330)), "it works", within_s=240)


def _begun(program: Program) -> set[int]:
    return {int(number) for number in re.findall(r"started (\d+)", program.log)}


# --- the OAuth 2 plugin -----------------------------------------------------------------------------------


def test_the_oauth2_plugin_checks_tokens_and_scopes(tls_site, by_oauth2, worker):
    """It uses the Server's keys and the resource's scopes, which are the same as for the other plugin."""
    connection = by_oauth2.connect(worker, tls_site.token(worker))
    connection.channel().queue_declare("celery", durable=True, auto_delete=False)
    assert _refused(lambda: connection.channel().queue_declare("payroll")) == "AccessRefused"
    connection.close()

    for password in (tls_site.token(worker, resource=""), tls_site.keys[worker], "x"):
        assert _is_kept_out(by_oauth2, worker, password)


def test_the_oauth2_plugin_accepts_a_bound_token_without_a_proof(tls_site, by_oauth2, broker, worker):
    """It does not support proofs of possession (RFC 9449), so a stolen token logs in; with the other plugin the Server refuses it."""
    bound = _forged(tls_site, tls_site.token(worker), cnf={"jkt": "A" * 43})

    by_oauth2.connect(worker, bound).close()

    assert _is_kept_out(broker, worker, bound)


def test_the_oauth2_plugin_uses_the_token_and_not_the_name(tls_site, by_oauth2, worker):
    """Whatever the user name, the connection belongs to the token's Worker."""
    connection = by_oauth2.connect("somebody", tls_site.token(worker))

    until(lambda: by_oauth2.connections_of(worker) == 1, "it is the Worker's")
    connection.close()


def test_the_oauth2_plugin_ignores_revocations(tls_site, by_oauth2, worker):
    """A revoked Worker continues, and closing its connections does not help: it can log in again until its token expires."""
    token = tls_site.token(worker)
    consumer = Consumer(by_oauth2, worker, token)
    _publish(by_oauth2, tls_site, 2)
    assert consumer.receives(1)

    tls_site.operator.done("workers", "disable", worker, "--yes")
    consumer.acknowledge()

    assert consumer.receives(2)
    closer = by_oauth2.start_closer(tls_site)
    try:
        assert consumer.is_cut_off()
    finally:
        closer.close()
    again = Consumer(by_oauth2, worker, token)
    assert again.receives(1)
    again.acknowledge()
    again.connection.close()


def test_the_oauth2_plugin_does_not_end_a_consumer_with_its_token(tls_site, by_oauth2, worker):
    """An expired token cannot log in, but a consumer that was opened with it goes on receiving."""
    # Long enough to log in on a busy machine.
    short = _forged(tls_site, tls_site.token(worker), exp=int(time.time()) + 12)
    consumer = Consumer(by_oauth2, worker, short)

    until(lambda: _is_kept_out(by_oauth2, worker, short), "the token has ended", every_s=0.5)
    _publish(by_oauth2, tls_site, 1)

    assert consumer.receives(1)
    consumer.acknowledge()
    consumer.close()


def _is_kept_out(broker: RabbitMq, user: str, password: str) -> bool:
    try:
        broker.connect(user, password).close()
    except (amqp.AMQPError, ConnectionError):
        return True
    return False


# --- the example as a whole -------------------------------------------------------------------------------


def test_one_command_starts_the_example(tmp_path: Path):
    """It starts Server, broker and Workers, each Worker does tasks, and nothing is left after Ctrl-C."""
    shown = tmp_path / "shown"
    with shown.open("wb") as stream:
        example = subprocess.Popen(
            [sys.executable, EXAMPLE / "run.py"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        until(
            lambda: (
                example.poll() is not None
                or all(f"{worker_id} finished" in shown.read_text() for worker_id in CELERIES)
            ),
            "each has done something",
            within_s=240,
        )
        assert example.poll() is None, shown.read_text()
    finally:
        example.send_signal(signal.SIGINT)
        code = example.wait(180)

    assert code == 0, shown.read_text()
    assert not list(tmp_path.glob("lyftdata-celery-*"))
    until(lambda: not _processes_of(tmp_path), "every process has ended")


def _processes_of(directory: Path) -> list[str]:
    """Return the command lines of processes whose HOME is this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={directory}" in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text(errors="replace"))
    return [line for line in found if line]


def test_the_page_shows_the_example():
    """The how-to shows every file that a person would copy, verbatim, and names each; its pictures exist."""
    page_file = EXAMPLE.parents[1] / "docs" / "how-to" / "celery-on-rabbitmq.md"
    page = page_file.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    for file in sorted(file for file in EXAMPLE.iterdir() if file.is_file()):
        assert f"`{file.relative_to(EXAMPLE.parents[1])}`" in page, file
        if file.name not in {"close_revoked.py", "produce.py", "run.py"}:
            assert file.read_text(encoding="utf-8") in blocks, f"{file} is not shown as it is"
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
        assert (page_file.parent / picture).is_file()
