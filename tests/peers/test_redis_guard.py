"""
How the guard of examples/redis handles failures: of the Server, of Redis, of one rule, and of one Worker's introspection.

Redis and the Server are real. A failure is a permission that Redis takes from the guard, a scope that Redis does not know, or a
request that a proxy in front of the Server does not pass on.
"""

import functools
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.peers.faults import FaultyProxy
from tests.peers.redis_stage import DESK, SCOPES, Stage
from tests.processes import WITHIN_S, until

MAX_THREADS = 32 + 8 + 2


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a stage for the whole module, with its stream and group."""
    made = Stage(tmp_path_factory.mktemp("redis"))
    try:
        with made.client(f"worker:{DESK}", made.let_in(DESK)) as client:
            client.xgroup_create("jobs", "workers", id="0", mkstream=True)
        yield made
    finally:
        made.close()


@pytest.fixture
def faulty(stage: Stage) -> Iterator[FaultyProxy]:
    """Return a proxy between the guard and the Server."""
    proxy = FaultyProxy(stage.site.url)
    stage.guard.close()
    stage.guard = stage.start_guard(server=proxy.url)
    yield proxy
    stage.guard.close()
    stage.guard = stage.start_guard()
    proxy.close()


@pytest.fixture
def scopes(stage: Stage) -> Iterator[None]:
    """Restore the scopes after a test."""
    yield
    stage.set_scopes(*SCOPES)


def workers_of(stage: Stage, count: int) -> list[str]:
    """Return the IDs of new Workers."""
    return [stage.add_worker(f"w-{uuid.uuid4().hex[:8]}") for _ in range(count)]


def exists(stage: Stage, worker_id: str) -> bool:
    """Return whether Redis has a Worker's user."""
    with stage.administrator() as administrator:
        return f"worker:{worker_id}" in administrator.execute_command("ACL", "USERS")


def is_gone(stage: Stage, worker_id: str) -> bool:
    """Return whether Redis has no user of a Worker."""
    return not exists(stage, worker_id)


def wait_for_failures(proxy: FaultyProxy, count: int) -> None:
    """Wait until `count` more requests have failed."""
    before = proxy.failed
    until(lambda: proxy.failed >= before + count, f"{count} more requests fail")


def may(stage: Stage, worker_id: str, token: str, *command: str) -> bool:
    """Return whether Redis allows a Worker a command."""
    with stage.client(f"worker:{worker_id}", token) as client:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            return False
    return True


def may_not(stage: Stage, worker_id: str, token: str, *command: str) -> bool:
    """Return whether Redis accepts a Worker's login but refuses it a command."""
    try:
        return not may(stage, worker_id, token, *command)
    except redis.AuthenticationError:
        raise
    except redis.ConnectionError:
        # The connection was closed during the command, together with the permission.
        return False


def disable(stage: Stage, worker_id: str) -> None:
    """Revoke a Worker."""
    stage.operator.done("workers", "disable", worker_id, "--yes")


# --- a rule that Redis refuses ----------------------------------------------------------------------------


def test_a_mistyped_scope_is_left_out_and_does_no_harm(stage, scopes):
    """A Worker can log in without that permission, the log says so once, and revoked Workers are still disconnected."""
    mistyped = ("+xak", "+config|nope", "%R~*", "~*", "allkeys", "nopass", "+@all", ">password", "(+get")
    goes, stays = workers_of(stage, 2)
    before = stage.let_in(goes)
    stage.set_scopes(*mistyped, *SCOPES)
    token = stage.let_in(stays)

    disable(stage, goes)

    until(lambda: not exists(stage, goes), "it is cut off")
    assert stage.show(before) == 401
    assert may(stage, stays, token, "XACK", "jobs", "workers", "0-1")
    assert not may(stage, stays, token, "GET", "jobs")
    assert not may(stage, stays, token, "CONFIG", "GET", "*")
    log = stage.guard.log_file.read_text()
    for scope in mistyped:
        assert log.count(f"scope {scope!r} is left out") == 1
    assert stage.health()[0] == 200


def test_a_refused_rule_does_not_preserve_a_removed_permission(stage, scopes):
    """Although Redis refuses a whole ACL command for one bad rule, a permission that was removed at the Server is gone."""
    (worker,) = workers_of(stage, 1)
    stage.set_scopes("+xak", *SCOPES)
    token = stage.let_in(worker)
    assert may(stage, worker, token, "XACK", "jobs", "workers", "0-1")

    stage.set_scopes("+xak", *(scope for scope in SCOPES if scope != "+xack"))

    until(lambda: may_not(stage, worker, token, "XACK", "jobs", "workers", "0-1"), "the right is gone")
    assert may(stage, worker, token, "XADD", "jobs", "*", "number", "0", "seconds", "0")


def test_a_blocking_command_ends_when_its_permission_is_removed(stage, scopes):
    """A blocking read would otherwise still be answered with the next job."""
    (worker,) = workers_of(stage, 1)
    token = stage.let_in(worker)
    ended: list[BaseException] = []

    def wait_for_a_job() -> None:
        try:
            with stage.client(f"worker:{worker}", token) as client:
                client.xreadgroup("workers", worker, {"jobs": ">"}, count=1, block=0)
        except redis.RedisError as error:
            ended.append(error)

    with stage.administrator() as administrator:
        while administrator.xreadgroup("workers", "drain", {"jobs": ">"}, count=100):
            pass
        waiting = threading.Thread(target=wait_for_a_job)
        waiting.start()
        until(lambda: administrator.info("clients")["blocked_clients"] == 1, "it waits")

        stage.set_scopes(*(scope for scope in SCOPES if scope != "+xreadgroup"))

        waiting.join(WITHIN_S)
    assert [type(error) for error in ended] == [redis.ConnectionError]
    assert not may(stage, worker, token, "XREADGROUP", "GROUP", "workers", "x", "STREAMS", "jobs", ">")


def test_a_worker_that_loses_a_permission_keeps_its_user(stage, scopes):
    """It can reconnect immediately with the token that it has; without its user it would be refused meanwhile."""
    (worker,) = workers_of(stage, 1)
    token = stage.let_in(worker)
    found: set[bool] = set()
    stop = threading.Event()

    def look() -> None:
        with stage.administrator() as administrator:
            while not stop.is_set():
                found.add(exists_now(administrator, worker))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        until(lambda: found, "somebody looks")
        for command in ("XACK jobs workers 0-1", "XADD jobs * number 0", "XAUTOCLAIM jobs workers x 0 0-0"):
            name, *arguments = command.split()
            stage.set_scopes(*(scope for scope in SCOPES if scope != f"+{name.lower()}"))
            until(functools.partial(may_not, stage, worker, token, name, *arguments), "the right is gone")
    finally:
        stop.set()
        looking.join()

    assert found == {True}


def test_two_tokens_of_a_worker_grant_only_what_both_allow(stage):
    """Redis does not know which token opened a connection, so a narrow token must not grant what a wide one allows."""
    (worker,) = workers_of(stage, 1)
    narrow = stage.token(worker, scope="~jobs +xadd")
    assert stage.show(narrow) == 204
    wide = stage.let_in(worker)

    for token in (wide, narrow):
        assert may(stage, worker, token, "XADD", "jobs", "*", "number", "0", "seconds", "0")
        assert not may(stage, worker, token, "XACK", "jobs", "workers", "0-1")


# --- Redis refuses the guard ------------------------------------------------------------------------------


def test_revoked_workers_are_disconnected_even_if_no_user_can_be_set(stage):
    """Ending access depends on nothing else: each revoked Worker is disconnected, in whatever order they connected."""
    workers = workers_of(stage, 4)
    for worker in workers:
        stage.let_in(worker)
    with stage.administrator() as administrator:
        administrator.execute_command("ACL", "SETUSER", "guard", "-acl|setuser")
        try:
            for worker in workers[1:3]:
                disable(stage, worker)

            until(lambda: not any(exists_now(administrator, w) for w in workers[1:3]), "they are cut off")
            until(lambda: "cannot be set" in stage.guard.log_file.read_text(), "the log says so")
        finally:
            administrator.execute_command("ACL", "SETUSER", "guard", "+acl|setuser")
    # Without the permission to set users, the guard does not know the others' permissions: they are removed too, and may return.
    for worker in (workers[0], workers[3]):
        assert may(stage, worker, stage.let_in(worker), "XACK", "jobs", "workers", "0-1")


def exists_now(administrator: redis.Redis, worker_id: str) -> bool:
    """Return whether Redis has a Worker's user, without the guard's permission to make an administrator."""
    return f"worker:{worker_id}" in administrator.execute_command("ACL", "USERS")


def test_a_user_that_cannot_be_deleted_is_deleted_later(stage):
    """The failure affects only that user; the guard retries, and still does if the Worker logs in meanwhile."""
    gone, back, stays = workers_of(stage, 3)
    stage.let_in(gone)
    held = stage.let_in(back)
    token = stage.let_in(stays)
    with stage.administrator() as administrator, stage.client(f"worker:{back}", held) as client:
        client.xack("jobs", "workers", "0-1")
        administrator.execute_command("ACL", "SETUSER", "guard", "-acl|deluser")
        try:
            disable(stage, gone)
            disable(stage, back)
            until(lambda: f"worker:{back}: cannot be deleted" in stage.guard.log_file.read_text(), "it fails")
            stage.operator.done("workers", "enable", back)
            assert stage.show(stage.token(back)) == 503
        finally:
            administrator.execute_command("ACL", "SETUSER", "guard", "+acl|deluser")
        until(lambda: not exists_now(administrator, gone), "it is deleted")
        until(lambda: not exists_now(administrator, back) or stage.show(stage.token(back)) == 204, "it may")
        with pytest.raises((redis.ConnectionError, redis.exceptions.NoPermissionError)):
            while True:
                client.xack("jobs", "workers", "0-1")
    assert may(stage, stays, token, "XACK", "jobs", "workers", "0-1")


# --- the Server does not answer about one Worker ----------------------------------------------------------

FAULTS: dict[str, int | bytes] = {
    "500": 500,
    "a redirect": 307,
    "no HTTP": b"what?\r\n\r\n",
    "the end of the connection": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "not JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n<>",
    "not an object": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "not a yes or no": b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"active":"false"}',
    "a yes without the rest": b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"active":true}',
}


def test_an_introspection_that_fails_affects_only_its_worker(stage, faulty):
    """Whatever the answer about one Worker, other revoked ones are disconnected; it is too, once the Server answers."""
    first, asked, last = workers_of(stage, 3)
    _, token, _ = [stage.let_in(worker) for worker in (first, asked, last)]
    faults = itertools.cycle(FAULTS.values())

    def fault(_line: str, body: bytes) -> int | bytes | None:
        if token in body.decode():
            return next(faults)
        # Answered after the failing request, which so is always the first in its round.
        failed, ends_s = faulty.failed, time.monotonic() + 0.2
        while faulty.failed == failed and time.monotonic() < ends_s:
            time.sleep(0.01)
        return None

    faulty.fault = fault
    wait_for_failures(faulty, len(FAULTS))
    # "Active" without a scope is not a failure: a round with that answer would be complete.
    faults = itertools.cycle(answer for kind, answer in FAULTS.items() if kind != "a yes without the rest")
    for goes in (first, last):
        disable(stage, goes)
        until(functools.partial(is_gone, stage, goes), "it is cut off")
        assert exists(stage, asked)
    assert f"worker:{asked}: cannot ask about it" in stage.guard.log_file.read_text()

    disable(stage, asked)
    wait_for_failures(faulty, 2)
    assert exists(stage, asked)
    faulty.fault = lambda _line, _body: None
    until(lambda: not exists(stage, asked), "it is cut off once there is an answer")


def test_a_login_that_cannot_be_checked_is_refused(stage, faulty):
    """The guard answers 503 if the Server's answer is invalid, and makes no user."""
    (worker,) = workers_of(stage, 1)
    token = stage.token(worker)
    faults = itertools.cycle(FAULTS.values())
    faulty.fault = lambda _line, _body: next(faults)

    for _ in FAULTS:
        assert stage.show(token) in {401, 503}
    assert not exists(stage, worker)


def test_a_token_that_expires_during_an_outage_opens_no_new_connection(stage, faulty):
    """An open connection stays while the Server cannot be asked, as documented, but the expired token cannot log in."""
    (worker,) = workers_of(stage, 1)
    token = stage.let_in(worker)
    # The Server's answer except for `exp`, since even the shortest lifetime of a token is long for a test.
    introspection = {
        "active": True,
        "token_type": "Bearer",
        "sub": worker,
        "scope": " ".join(SCOPES),
        "exp": time.time() + 1,
    }
    body = json.dumps(introspection).encode()
    with stage.client(f"worker:{worker}", token) as client:
        client.xack("jobs", "workers", "0-1")
        # Presented again once there is a connection, however long that took.
        faulty.fault = lambda _line, _body: (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert stage.show(token) == 204
        faulty.fault = lambda _line, _body: 500

        def is_kept_out() -> bool:
            try:
                return not may(stage, worker, token, "XACK", "jobs", "workers", "0-1")
            except redis.AuthenticationError:
                return True

        until(is_kept_out, "the token opens no new connection")
        client.xack("jobs", "workers", "0-1")
        faulty.fault = lambda _line, _body: None
        until(lambda: not is_kept_out(), "the Server says that it is good")


def test_the_health_answer_has_the_time_of_the_last_complete_round(stage, faulty):
    """The time advances while all is well and stops while something fails; the status is 503 if that lasts, and recovers."""
    (worker,) = workers_of(stage, 1)
    stage.let_in(worker)
    until(lambda: stage.health()[0] == 200, "it is well")
    _, first = stage.health()
    until(lambda: stage.health()[1] != first, "it moves on")

    faulty.fault = lambda _line, _body: 500
    until(lambda: stage.health()[0] == 503, "it is not well")
    _, stopped = stage.health()
    wait_for_failures(faulty, 2)
    assert stage.health() == (503, stopped)

    faulty.fault = lambda _line, _body: None
    until(lambda: stage.health()[0] == 200, "it is well again")
    assert stage.health()[1] != stopped
    assert exists(stage, worker)


def test_a_guard_waits_for_redis(stage):
    """Started before Redis answers, it refuses all logins and reports that, and recovers by itself."""
    (worker,) = workers_of(stage, 1)
    token = stage.let_in(worker)
    with stage.administrator() as administrator:
        administrator.execute_command("ACL", "SETUSER", "guard", "-acl|users")
        stage.guard.close()
        stage.guard = stage.start_guard()
        assert stage.health()[0] == 503
        assert stage.show(token) == 503

        administrator.execute_command("ACL", "SETUSER", "guard", "+acl|users")

    until(lambda: stage.show(token) == 204, "it lets Workers in")
    until(lambda: stage.health()[0] == 200, "its first whole round has ended")


# --- clients of the guard ---------------------------------------------------------------------------------


def test_threads_are_bounded_and_slow_clients_are_dropped(stage):
    """However many clients connect and send nothing, or a byte at a time, the guard has few threads, and logins work again."""
    (worker,) = workers_of(stage, 1)
    token = stage.token(worker)
    slow = [socket.create_connection(("127.0.0.1", stage.guard_port)) for _ in range(200)]
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.5):
            for connection in slow:
                try:
                    connection.sendall(b"P")
                except OSError:
                    continue

    dribbling = threading.Thread(target=dribble)
    dribbling.start()
    most = 0
    try:
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            most = max(most, _threads(stage.guard.pid))
            if _is_let_in(stage, token):
                break
        assert _is_let_in(stage, token)
    finally:
        stop.set()
        dribbling.join()
        for connection in slow:
            connection.close()
    assert most <= MAX_THREADS


def _is_let_in(stage: Stage, token: str) -> bool:
    import httpx2

    try:
        return stage.show(token) == 204
    except httpx2.HTTPError:
        return False


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
