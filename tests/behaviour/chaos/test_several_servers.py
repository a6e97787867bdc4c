"""Faults of Servers and their database under load: nothing acknowledged is lost, and Workers recover by themselves."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.behaviour.chaos.field import Field, check_recovery, field_under_load, two_servers
from tests.postgres import Cable, Cluster

Fault = Callable[[Field, Cluster, Cable], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def a_server_is_killed(field: Field, _cluster: Cluster, _cable: Cable) -> Iterator[None]:
    """As in a power cut; it is started again at the end."""
    field.site.servers[0].kill()
    yield
    field.site.servers[0] = field.site.start_server(0)


@contextlib.contextmanager
def a_server_hangs(field: Field, _cluster: Cluster, _cable: Cable) -> Iterator[None]:
    """It is stopped in the middle of its work, perhaps while it holds the write lock; it continues at the end."""
    process = field.site.servers[0].process
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def a_server_is_cut_off(_field: Field, _cluster: Cluster, cable: Cable) -> Iterator[None]:
    """Packets between one Server and the database are dropped silently."""
    cable.cut()
    yield
    cable.restore()


@contextlib.contextmanager
def the_database_crashes(_field: Field, cluster: Cluster, _cable: Cable) -> Iterator[None]:
    """PostgreSQL stops at once, and recovers when it starts."""
    cluster.stop("immediate")
    yield
    cluster.start()


@contextlib.contextmanager
def the_database_is_restarted(_field: Field, cluster: Cluster, _cable: Cable) -> Iterator[None]:
    """PostgreSQL closes all connections and stops cleanly."""
    cluster.stop("fast")
    yield
    cluster.start()


@contextlib.contextmanager
def connections_run_out(_field: Field, cluster: Cluster, _cable: Cable) -> Iterator[None]:
    """Another program takes all of the database's connections as they become free."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lyftdata'"
    )
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(cluster.url("postgres")))
    yield
    for connection in taken:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        a_server_is_killed,
        a_server_hangs,
        a_server_is_cut_off,
        the_database_crashes,
        the_database_is_restarted,
        connections_run_out,
    ],
    ids=lambda fault: fault.__name__,
)
def test_nothing_acknowledged_is_lost_and_workers_recover_by_themselves(tmp_path: Path, fault: Fault):
    """
    Every acknowledged enrollment has exactly one entry, and the audit log is intact.

    The Workers' programs run on through the fault, and their agents reconnect without help.
    """
    with contextlib.ExitStack() as stack:
        cluster = Cluster(max_connections="30", superuser_reserved_connections="1")
        stack.callback(cluster.close)
        cable = Cable(cluster)
        stack.callback(cable.close)
        url = cluster.new_database()
        field = stack.enter_context(field_under_load(tmp_path, [url, cable.url(url)]))
        check_recovery(field, fault.__name__.replace("_", " "), fault(field, cluster, cable))


@pytest.mark.slow
def test_a_server_stops_cleanly_without_its_database(tmp_path: Path):
    """If it is stopped while the database is down it logs that it could not write everything, and its next start works normally."""
    with contextlib.ExitStack() as stack:
        cluster = Cluster()
        stack.callback(cluster.close)
        url = cluster.new_database()
        site = stack.enter_context(two_servers(tmp_path, [url, url]))
        cluster.stop("immediate")

        assert [server.terminate() for server in site.servers] == [0, 0]

        assert all(server.events("final_flush_failed") for server in site.servers)
        assert not any("Traceback" in server.log for server in site.servers)
        cluster.start()
        site.servers = [site.start_server(number) for number in range(2)]
        assert site.ask("audit", "verify")["ok"]
