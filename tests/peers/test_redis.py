"""
Workers on Redis, each as its own user, and what it takes to revoke one.

Redis is Debian's package with the files of examples/redis that a person would copy. The workers are the example's, under our agent,
and clients that behave like a hostile host.
"""

import contextlib
import os
import re
import signal
import uuid
from collections.abc import Iterator

import pytest
import redis
from tests.peers.redis_stage import DESK, EXAMPLE, WORKERS, Stage
from tests.processes import STARTED, Program, until


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a stage for the whole module, with its stream and group."""
    made = Stage(tmp_path_factory.mktemp("redis"))
    try:
        token = made.token(DESK)
        assert made.show(token) == 204
        with made.client(f"worker:{DESK}", token) as client:
            client.xgroup_create("jobs", "workers", id="0", mkstream=True)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def working(stage: Stage) -> Iterator[dict[str, Program]]:
    """Return two connected workers."""
    started = {worker_id: stage.start_worker(worker_id) for worker_id in WORKERS}
    for worker_id, program_ in started.items():
        until(lambda w=worker_id, p=program_: f"{w} is connected" in p.log, f"{worker_id} is in")  # type: ignore[misc]
    yield started
    for program_ in started.values():
        with contextlib.suppress(ProcessLookupError):
            program_.process.send_signal(signal.SIGCONT)
        program_.process.terminate()
    for program_ in started.values():
        program_.exit_code()
        STARTED.remove(program_)


@pytest.fixture
def worker(stage: Stage) -> str:
    """Return the ID of a Worker that only this test uses."""
    return stage.add_worker(f"w-{uuid.uuid4().hex[:8]}")


def _numbers(word: str, program_: Program) -> set[int]:
    return {int(number) for number in re.findall(rf"{word} (\d+)", program_.log)}


def _all_done(working: dict[str, Program], numbers: range) -> bool:
    return set.union(*(_numbers("finished", p) for p in working.values())) >= set(numbers)


def test_each_worker_works_as_itself(stage, working):
    """Every job is done, and every worker does some."""
    stage.send(range(20))

    until(lambda: _all_done(working, range(20)), "all is done")
    assert all(_numbers("finished", program_) for program_ in working.values())


def test_a_malformed_job_does_not_stop_workers(stage, working):
    """It is reported and acknowledged, and the Workers continue with the next jobs."""
    token = stage.let_in(DESK)
    with stage.client(f"worker:{DESK}", token) as client:
        for fields in ({"wrong": "1"}, {"number": "x"}, {"number": "1", "seconds": "soon"}):
            client.xadd("jobs", fields)
    stage.send(range(50, 56))

    until(lambda: _all_done(working, range(50, 56)), "all is done")
    until(
        lambda: sum(program_.log.count("cannot process") for program_ in working.values()) == 3,
        "each is reported",
    )
    assert all(program_.log.count(" is connected") == 1 for program_ in working.values())


def test_no_other_credential_logs_in(stage, worker):
    """Other credentials are refused by the guard, and by Redis if they were not presented to the guard."""
    token = stage.token(worker)
    for shown in ("", "x", stage.token(worker, resource=""), stage.keys[worker]):
        assert stage.show(shown) == 401
    for user, password in (
        (None, None),
        (f"worker:{worker}", token),
        ("default", ""),
        ("default", token),
        ("guard", "PASSWORD"),
    ):
        with stage.client(user, password) as client, pytest.raises(redis.RedisError) as refused:
            client.xadd("jobs", {"number": 0})
        assert isinstance(refused.value, redis.AuthenticationError), user

    assert stage.show(token) == 204

    with stage.client(f"worker:{worker}", token) as client:
        assert client.execute_command("XACK", "jobs", "workers", "0-1") == 0
    other = f"worker:{DESK}"
    with stage.client(other, token) as client, pytest.raises(redis.AuthenticationError):
        client.xack("jobs", "workers", "0-1")


def test_a_worker_has_a_limited_number_of_tokens(stage, worker):
    """Each token costs a request per second; beyond the limit a new one is refused, and accepted ones are kept."""
    assert [stage.show(stage.token(worker)) for _ in range(33)] == [204] * 32 + [401]

    stage.operator.done("workers", "disable", worker, "--yes")


@pytest.mark.parametrize(
    "command",
    ["GET secret", "XADD other * a b", "CONFIG GET *", "ACL WHOAMI", "KEYS *", "XLEN jobs", "FLUSHALL"],
)
def test_a_worker_may_do_only_what_it_was_granted(stage, worker, command):
    """Commands and keys that no scope names are refused."""
    token = stage.token(worker)
    assert stage.show(token) == 204

    with stage.client(f"worker:{worker}", token) as client, pytest.raises(redis.ResponseError) as refused:
        client.execute_command(*command.split())
    assert isinstance(refused.value, redis.exceptions.NoPermissionError)


def test_a_revoked_worker_that_keeps_its_connection_is_disconnected(stage, worker):
    """Even while it waits for a job; its token is refused from then on."""
    token = stage.token(worker)
    assert stage.show(token) == 204
    with stage.client(f"worker:{worker}", token) as client:
        client.xreadgroup("workers", worker, {"jobs": ">"}, count=1)

        stage.operator.done("workers", "disable", worker, "--yes")

        with pytest.raises(redis.ConnectionError):
            while True:
                client.xreadgroup("workers", worker, {"jobs": ">"}, count=1, block=200)
    assert stage.show(token) == 401
    with stage.client(f"worker:{worker}", token) as client, pytest.raises(redis.AuthenticationError):
        client.xack("jobs", "workers", "0-1")


def test_a_revoked_worker_whose_host_ignores_the_order_gets_no_more_jobs(stage, working):
    """With its agent stopped, its program continues; once disconnected it begins no job, the other worker works, and no job is lost."""
    rebel = working["press-01"]
    os.kill(rebel.process.pid, signal.SIGSTOP)
    stage.send(range(100, 140))
    until(lambda: _numbers("started", rebel) & set(range(100, 140)), "it has begun one")

    stage.operator.done("workers", "disable", "press-01", "--yes")

    until(lambda: "cannot connect" in rebel.log, "it is cut off")
    stage.send(range(200, 210))
    until(lambda: _all_done(working, range(200, 210)), "what came later is done", within_s=240)
    until(lambda: _all_done(working, range(100, 140)), "all is done", within_s=240)
    assert not _numbers("started", rebel) & set(range(200, 210))


def _connections_of(stage: Stage, worker_id: str) -> set[str]:
    """Return the IDs of a Worker's connections in Redis."""
    with stage.administrator() as administrator:
        clients = administrator.client_list()
    return {client["id"] for client in clients if client["user"] == f"worker:{worker_id}"}


def test_a_restarted_guard_removes_all_users(stage, working):
    """Every Worker is disconnected, and one that is not revoked reconnects by itself."""
    before = _connections_of(stage, "press-02")
    stage.guard.close()

    stage.guard = stage.start_guard()

    # A program between two commands does not notice, since its next command opens a new connection.
    until(lambda: not before & _connections_of(stage, "press-02"), "it was out")
    stage.send(range(300, 305))
    until(lambda: _all_done(working, range(300, 305)), "it works again")


def test_the_page_shows_the_example():
    """The how-to shows every file that a person would copy, verbatim, and names each."""
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "workers-on-redis.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    for file in sorted(file for file in EXAMPLE.iterdir() if file.is_file()):
        assert f"`{file.relative_to(EXAMPLE.parents[1])}`" in page, file
        if file.name != "guard.py":
            assert file.read_text(encoding="utf-8") in blocks, f"{file} is not shown as it is"
