"""
Workers on NATS, each with its own identity, and what it takes to revoke one.

nats-server is the real program with the files of examples/nats that a person would copy. The workers are the example's, under our
agent, and clients that behave like a hostile host.
"""

import asyncio
import contextlib
import itertools
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import nats
import pytest
from tests.peers.faults import FaultyProxy
from tests.peers.nats_stage import (
    CALLOUT_PASSWORD,
    EXAMPLE,
    SCOPES,
    Connection,
    NatsStage,
    is_refused,
    wait_until_let_in,
)
from tests.processes import STARTED, Program, until

WORKERS = ("press-01", "press.02")
DESK = "desk-01"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsStage]:
    """Return a stage for the whole module."""
    made = NatsStage(tmp_path_factory.mktemp("nats"))
    try:
        for worker_id in (*WORKERS, DESK):
            made.add_worker(worker_id)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def working(stage: NatsStage) -> Iterator[dict[str, Program]]:
    """Return two connected workers."""
    started = {worker_id: stage.start_worker(worker_id) for worker_id in WORKERS}
    for worker_id, program in started.items():
        until(lambda w=worker_id, p=program: f"{w} is connected" in p.log, f"{worker_id} is in")  # type: ignore[misc]
    yield started
    for program in started.values():
        with contextlib.suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGCONT)
        program.process.terminate()
    for program in started.values():
        program.exit_code()
        STARTED.remove(program)


@pytest.fixture
async def connect(stage: NatsStage) -> AsyncIterator[Callable[..., "asyncio.Future[Connection]"]]:
    """Return a function that logs in as a Worker."""
    opened = []

    async def open_connection(worker_id: str, token: str = "") -> Connection:
        connection = Connection()
        opened.append(connection)
        inbox = f"_INBOX.{worker_id.replace('.', '_')}"
        return await connection.open(stage.url, worker_id, token or stage.token(worker_id), inbox=inbox)

    yield open_connection  # type: ignore[misc]
    for connection in opened:
        await connection.close()


@pytest.fixture
def worker(stage: NatsStage) -> str:
    """Return the ID of a Worker that only this test uses."""
    return stage.add_worker()


@pytest.fixture
def faulty(stage: NatsStage) -> Iterator[FaultyProxy]:
    """Return a proxy between the callout and the Server."""
    proxy = FaultyProxy(stage.site.url)
    stage.callout.close()
    stage.callout = stage.start_callout(server=proxy.url)
    yield proxy
    stage.callout.close()
    stage.callout = stage.start_callout()
    proxy.close()


async def settle(question: Callable[[], object], what: str) -> None:
    """Wait until the answer is true, without blocking the event loop."""
    await asyncio.to_thread(until, question, what)


def is_in(worker_id: str, program: Program) -> bool:
    """Return whether the example's worker is connected, according to its last log line about the connection."""
    decisions = re.findall(
        rf"{re.escape(worker_id)} (is connected|is disconnected|cannot connect)", program.log
    )
    return decisions[-1:] == ["is connected"]


# --- logging in, and permissions --------------------------------------------------------------------------


async def test_no_other_credential_logs_in(stage, worker):
    """No password, another Worker's token, one for another service and an API key are refused, and none is in a log."""
    token = stage.token(worker)
    shown = {
        "nothing": (None, None),
        "no password": (worker, ""),
        "another Worker's token": (DESK, token),
        "an unknown caller's name": ("unknown_caller", token),
        "a token for the Server": (worker, stage.token(worker, resource="")),
        "an API key": (worker, stage.keys[worker]),
        "a token with a changed end": (worker, token[:-2] + ("AA" if token[-2:] != "AA" else "BB")),
        "the callout's name": ("callout", token),
        "the callout's password": (worker, CALLOUT_PASSWORD),
        "a password that is too long": (worker, "x" * 10_000),
    }

    for what, (user, password) in shown.items():
        assert await is_refused(stage.url, user, password), what

    await wait_until_let_in(stage.url, worker, token)
    logs = stage.callout.log_file.read_text() + stage.nats.log_file.read_text() + stage.site.server.log
    for secret in (token, stage.keys[worker], CALLOUT_PASSWORD):
        assert secret not in logs


async def test_a_long_token_logs_in(stage, connect):
    """nats-server accepts the token of a Worker with the most labels and scopes, which is a long line."""
    worker = stage.add_worker("w" * 64, *(f"{'k' * 58}{n}={'v' * 60}" for n in range(7)))
    long = [f"publish:{'a' * 47}{n}" for n in range(10, 24)]
    stage.operator.done("resources", "set", "nats", *(f"--scope={scope}" for scope in long))
    try:
        token = stage.token(worker)
        connection = await connect(worker, token)

        assert len(token) > 2_900
        assert await connection.may_publish(f"{'a' * 47}23", f"{'a' * 47}24") == [True, False]
    finally:
        stage.operator.done("resources", "set", "nats", *(f"--scope={scope}" for scope in SCOPES))


async def test_a_worker_may_do_only_what_it_was_granted(stage, connect, worker):
    """It may use its subjects and its own inbox, but no other subjects, no other Worker's inbox and no system subjects."""
    connection = await connect(worker)

    assert await connection.may_publish("jobs.a", "jobs.a.b", "done") == [True] * 3
    assert await connection.may_subscribe("jobs.>", "jobs.a", "done", f"_INBOX.{worker}.x") == [True] * 4
    assert not any(
        await connection.may_publish("payroll", "jobs", "done.x", "$SYS.REQ.USER.AUTH", "$JS.API.INFO")
    )
    assert not any(
        await connection.may_subscribe(
            ">", "*", "payroll", "_INBOX.>", "_INBOX.press-01.x", "_INBOX.*.x", "$SYS.>", "$SYS.REQ.USER.AUTH"
        )
    )


async def test_a_reply_subject_does_not_allow_publishing_to_it(stage, connect, worker):
    """A Worker cannot send itself a message to be allowed to answer on any subject, as NATS' `allow_responses` would permit."""
    connection = await connect(worker)
    received = await connection.client.subscribe("done")
    await connection.client.flush()

    await connection.client.publish("done", reply="payroll")
    assert (await received.next_msg(timeout=180)).reply == "payroll"

    assert await connection.may_publish("payroll", f"_INBOX.{DESK}.x") == [False, True]


async def test_without_a_scope_a_worker_may_do_nothing(stage, connect, worker):
    """Although in NATS an empty list of permissions allows everything; scopes that allow every subject are left out."""
    stage.operator.done(
        "resources",
        "set",
        "nats",
        "--scope=other",
        "--scope=publish:>",
        "--scope=publish:*",
        "--scope=subscribe:*.>",
    )
    try:
        connection = await connect(worker)

        assert not any(await connection.may_publish("jobs.a", "x", "x.y", "done"))
        assert not any(await connection.may_subscribe("jobs.a", "x", "x.y", ">", "*"))
    finally:
        stage.operator.done("resources", "set", "nats", *(f"--scope={scope}" for scope in SCOPES))


async def test_each_worker_works_as_itself(stage, working, connect):
    """Every job is done and answered by one of the two workers; the requester is a Worker too."""
    desk = await connect(DESK)

    answers = [await desk.client.request(f"jobs.{n}", f"{n}".encode(), timeout=180) for n in range(30)]

    assert {answer.data.decode() for answer in answers} == set(WORKERS)
    assert set.union(*map(_done, working.values())) == set(range(30))


def _done(program: Program) -> set[int]:
    return {int(number) for number in re.findall(r" processes (\d+)", program.log)}


# --- revoked ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disable", "delete", "revoke its key", "take it out of the resource"])
async def test_a_revoked_worker_is_disconnected(stage, connect, worker, how):
    """Even if its client keeps the connection open; its token can no longer log in, and other Workers stay connected."""
    stays = await connect(DESK)
    token = stage.token(worker)
    goes = await connect(worker, token)
    await goes.client.subscribe("jobs.>")
    others = [f"--worker={worker_id}" for worker_id in stage.keys if worker_id != worker]
    command = {
        "disable": ("workers", "disable", worker, "--yes"),
        "delete": ("workers", "delete", worker, "--yes"),
        "revoke its key": ("api-key", "revoke", _key_name(stage, worker), "--yes"),
        "take it out of the resource": ("resources", "set", "nats", "--not-all-workers", *others),
    }[how]

    await asyncio.to_thread(stage.operator.done, *command)

    try:
        await asyncio.wait_for(goes.ended.wait(), 180)
        assert await is_refused(stage.url, worker, token)
        assert stays.client.is_connected
        assert await stays.may_publish("jobs.a") == [True]
    finally:
        stage.operator.done("resources", "set", "nats", "--all-workers")
        if how == "delete":
            del stage.keys[worker]


def _key_name(stage: NatsStage, worker: str) -> str:
    (name,) = [key["name"] for key in stage.operator.json("api-key", "list") if worker in key["worker_ids"]]
    return str(name)


async def test_a_worker_that_loses_a_scope_reconnects_without_it(stage, connect, worker):
    """Permissions are fixed when a connection is opened, so it is closed, and the next one has fewer."""
    token = stage.token(worker)
    connection = await connect(worker, token)
    assert await connection.may_publish("done") == [True]
    try:
        fewer = [f"--scope={scope}" for scope in SCOPES if scope != "publish:done"]
        await asyncio.to_thread(stage.operator.done, "resources", "set", "nats", *fewer)

        await asyncio.wait_for(connection.ended.wait(), 180)
        again = await connect(worker, token)
        assert await again.may_publish("done", "jobs.a") == [False, True]
    finally:
        stage.operator.done("resources", "set", "nats", *(f"--scope={scope}" for scope in SCOPES))


async def test_a_revoked_worker_whose_host_ignores_the_order_gets_no_more_jobs(
    stage, working, worker, connect
):
    """With its agent stopped, its program continues; once disconnected it gets no jobs, and the others do them all."""
    rebel = stage.start_worker(worker)
    await settle(lambda: f"{worker} is connected" in rebel.log, "it is connected")
    os.kill(rebel.process.pid, signal.SIGSTOP)
    try:
        await asyncio.to_thread(stage.disable, worker)
        await settle(lambda: f"{worker} is disconnected" in rebel.log, "it is cut off")
        # An earlier test may have disconnected them too.
        await settle(lambda: all(is_in(w, p) for w, p in working.items()), "the others are connected")
        desk = await connect(DESK)

        answers = [await desk.client.request("jobs.x", f"{n}".encode(), timeout=180) for n in range(100, 120)]
        stage.operator.done("workers", "enable", worker)
    finally:
        os.kill(rebel.process.pid, signal.SIGCONT)

    assert {answer.data.decode() for answer in answers} <= set(WORKERS)
    await settle(lambda: is_in(worker, rebel), "it is back by itself once it may")
    rebel.process.terminate()
    rebel.exit_code()
    STARTED.remove(rebel)


async def test_a_restarted_callout_closes_all_connections(stage, working, connect, worker):
    """It does not know which Workers were revoked meanwhile; those that were not reconnect by themselves."""
    held = await connect(worker)
    before = working["press.02"].log.count("press.02 is connected")
    stage.callout.close()
    await asyncio.to_thread(stage.disable, worker)
    assert not held.ended.is_set()

    stage.callout = await asyncio.to_thread(stage.start_callout)

    await asyncio.wait_for(held.ended.wait(), 180)
    await settle(lambda: working["press.02"].log.count("press.02 is connected") > before, "it is back")


async def test_without_the_callout_all_logins_are_refused(stage, worker):
    """nats-server waits for an answer, and treats a missing one as a refusal."""
    token = stage.token(worker)
    stage.callout.close()
    try:
        assert await is_refused(stage.url, worker, token)
    finally:
        stage.callout = await asyncio.to_thread(stage.start_callout)
    await wait_until_let_in(stage.url, worker, token)


async def test_a_connection_ends_with_its_token(stage, faulty, connect, worker):
    """nats-server closes it when the token expires, even while neither callout nor Server answers."""
    import json
    import time

    token = stage.token(worker)
    introspection = {
        "active": True,
        "token_type": "Bearer",
        "sub": worker,
        "scope": "",
        # Long enough to log in on a busy machine.
        "exp": int(time.time()) + 10,
    }
    body = json.dumps(introspection).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    faulty.fault = lambda _line, _body: answer
    connection = await connect(worker, token)
    faulty.fault = lambda _line, _body: 500

    await asyncio.wait_for(connection.ended.wait(), 180)
    assert "expired" in str(connection.client.last_error).lower(), connection.errors


# --- when something fails ---------------------------------------------------------------------------------

FAULTS: tuple[int | bytes, ...] = (
    500,
    307,
    b"",
    b"what?\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n<>",
    b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"active":"false"}',
)


async def test_a_query_that_fails_affects_only_its_worker(stage, faulty, connect):
    """Whatever the answer about one Worker, other revoked ones are disconnected; it is too, once the Server answers."""
    first, asked, last = (stage.add_worker() for _ in range(3))
    token = stage.token(asked)
    opened = {first: await connect(first), asked: await connect(asked, token), last: await connect(last)}
    faults = itertools.cycle(FAULTS)
    faulty.fault = lambda _line, body: next(faults) if token in body.decode() else None
    await settle(lambda: faulty.failed > len(FAULTS), "each fault has come")

    for goes in (first, last):
        await asyncio.to_thread(stage.disable, goes)
        await asyncio.wait_for(opened[goes].ended.wait(), 180)

    assert not opened[asked].ended.is_set()
    status, _ = stage.health()
    assert status in {200, 503}
    await asyncio.to_thread(stage.disable, asked)
    faulty.fault = lambda _line, _body: None
    await asyncio.wait_for(opened[asked].ended.wait(), 180)


async def test_a_login_that_cannot_be_checked_is_refused(stage, faulty, worker):
    """Any answer of the Server other than a valid "active" refuses the login."""
    token = stage.token(worker)
    for fault in FAULTS:
        faulty.fault = lambda _line, _body, fault=fault: fault
        assert await is_refused(stage.url, worker, token), fault

    faulty.fault = lambda _line, _body: None
    await wait_until_let_in(stage.url, worker, token)


async def test_the_health_answer_has_the_time_of_the_last_complete_round(stage, faulty, connect, worker):
    """The time advances while all is well; the status is 503 if something fails for long, and recovers."""
    await connect(worker)
    await settle(lambda: stage.health()[0] == 200, "it is well")
    _, first = stage.health()
    await settle(lambda: stage.health()[1] != first, "it moves on")

    faulty.fault = lambda _line, _body: 500
    await settle(lambda: stage.health()[0] == 503, "it is not well")
    faulty.fault = lambda _line, _body: None
    await settle(lambda: stage.health()[0] == 200, "it is well again")


async def test_a_forged_callout_request_is_not_answered(stage):
    """The callout answers only requests signed by nats-server."""
    client = await nats.connect(
        stage.url, user="callout", password=CALLOUT_PASSWORD, allow_reconnect=False, connect_timeout=180
    )
    try:
        with pytest.raises(nats.errors.Error):
            await client.request("$SYS.REQ.USER.AUTH", b"e30.e30.AAAA", timeout=2)
    finally:
        await client.close()
    assert stage.callout.pid
    await settle(lambda: stage.health()[0] == 200, "it goes on")


# --- the page ---------------------------------------------------------------------------------------------


def test_a_new_key_is_readable_only_by_its_owner(stage, tmp_path):
    """The seed is in a file of mode 0600 that is never overwritten; only the public key is printed."""
    import subprocess
    import sys

    command = [sys.executable, str(EXAMPLE / "callout.py"), "--new-key", str(tmp_path / "seed")]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert re.fullmatch(r"A[A-Z2-7]{55}\n", made.stdout)
    assert re.fullmatch(r"SA[A-Z2-7]{56}\n", (tmp_path / "seed").read_text())
    assert (tmp_path / "seed").stat().st_mode & 0o777 == 0o600
    assert again.returncode != 0


def test_the_page_shows_the_example():
    """The how-to shows every file that a person would copy, verbatim, and names each."""
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "workers-on-nats.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    for file in sorted(file for file in EXAMPLE.iterdir() if file.is_file()):
        assert f"`{file.relative_to(EXAMPLE.parents[1])}`" in page, file
        if file.name != "callout.py":
            assert file.read_text(encoding="utf-8") in blocks, f"{file} is not shown as it is"
