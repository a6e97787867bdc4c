"""Enrollment, approval, copies, removal and key rotation with real agents and two real Servers on one PostgreSQL."""

import json
import shutil
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from psycopg import sql
from tests.behaviour.several_servers.balanced import Balanced
from tests.builders import ENROLLMENT_KEY
from tests.postgres import Cluster
from tests.processes import Host, Program, end_started, until

from lyftdata.core.identity_keys import generate_identity_key

NEW_SECRET_KEY = "lyftdata-test-only-9b1f5c7ad2e84b6f0a3c5d7e9f1b2c4d"
RENAMED_HOST = "tests.behaviour.several_servers.renamed_host"


def new_database(cluster: Cluster) -> str:
    """Return the URL of an empty database with its own owner role."""
    parts = urlsplit(cluster.new_database())
    cluster.execute("CREATE ROLE fleet LOGIN PASSWORD 'the-first-password'")
    cluster.execute(
        sql.SQL("ALTER DATABASE {} OWNER TO fleet").format(sql.Identifier(parts.path.removeprefix("/")))
    )
    return f"postgresql://fleet:the-first-password@127.0.0.1:{cluster.port}{parts.path}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Balanced]:
    """Return two Servers behind a balancer, shared by the tests of this file."""
    opened = Balanced(
        tmp_path_factory.mktemp("site") / "site",
        [new_database(cluster)] * 2,
        module="tests.behaviour.several_servers.hasty_server",
        LYFTDATA_IDENTITY_COPY_POLICY="as-new",
    )
    yield opened
    opened.close()
    end_started()


def worker_host(site: Balanced, name: str, key: str = ENROLLMENT_KEY, *, module: str = "lyftdata") -> Host:
    """Return a host for a Worker of that name; with `renamed_host` as the module the host has that name too."""
    own = {"LYFTDATA_WORKER_NAME": name, "LYFTDATA_AUTO_ENROLLMENT_KEY": key}
    return site.worker_host(name, module=module, HOST_NAME=name, **own)


def audited(site: Balanced, worker_id: str, action: str) -> list[dict[str, str]]:
    """Return the details of a Worker's events of one kind."""
    events = site.ask("audit", "list", "--subject", f"worker:{worker_id}")
    return [event["details"] for event in events if event["action"] == action]


def are_online(site: Balanced, *worker_ids: str) -> bool:
    """Return whether each Server shows these Workers online; round robin asks both."""
    shown = [site.ask("workers", "show", worker_id)["status"] for worker_id in worker_ids for _ in range(2)]
    return set(shown) == {"online"}


def count_replaced(port: int) -> str:
    """Return how many replaced registrations a Server's metrics count."""
    lines = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=180).text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("lyftdata_replaced_registrations ")]
    return value


def waiting_workers(site: Balanced) -> list[tuple[str, str]]:
    """Return the ID and fingerprint of each Worker that waits for approval, as the Server that answers shows them."""
    return [(one["id"], one["thumbprint"]) for one in site.ask("enrollment", "pending")]


def online(agent: Program) -> str:
    """Wait until an agent is online; return its Worker's ID."""
    return str(agent.wait_for("online")["worker_id"])


def test_a_waiting_worker_is_let_in_whichever_server_approves_it(site):
    """It may wait at one Server and be approved at the other; its COMMAND runs only after the approval."""
    key = site.operator.done("enrollment", "issue", "partner-hosts", "--mode", "approve").strip()
    agent = worker_host(site, "partner-1", key).start(
        "run", "worker", "--", sys.executable, "-c", "print('let in')"
    )
    waiting = agent.wait_for("awaiting_approval")
    expected = [(waiting["worker_id"], waiting["fingerprint"])]
    until(lambda: all(waiting_workers(site) == expected for _ in range(2)), "both Servers show it")
    assert "let in" not in agent.log

    (decided,) = site.ask("enrollment", "approve", str(waiting["worker_id"]))
    assert decided["problem"] is None

    assert online(agent) == waiting["worker_id"]
    assert agent.exit_code() == 0
    assert "let in" in agent.log
    assert agent.events("refused") == []


def test_a_script_that_registers_on_every_run_is_found_across_servers(site):
    """Both Servers show its registrations as one group."""

    def run_script() -> str:
        body = {"client_name": "report", "jwks": {"keys": [generate_identity_key().public.as_dict()]}}
        bearer = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
        answer = httpx2.post(
            f"{site.url}/oauth2/register", json=body, headers=bearer, trust_env=False, timeout=180
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["client_id"])

    made = [run_script() for _ in range(6)]

    until(lambda: all(count_replaced(port) == "5.0" for port in site.server_ports), "both Servers find them")
    for _ in range(2):
        (found,) = site.ask("workers", "repeated")
        assert (found["name"], found["replaced"]) == ("report", 5)
    entries = {worker["id"]: worker for worker in site.ask("workers", "list")}
    assert [entries[one]["superseded_by"] for one in made] == [*made[1:], None]


def test_a_vanished_ephemeral_worker_is_removed(site):
    """A connected ephemeral Worker stays, and so does an offline one that is not ephemeral."""
    key = site.operator.done("enrollment", "issue", "runner-hosts", "--ephemeral").strip()
    stays, lasting, vanishes = (
        worker_host(site, name, secret).start("run", "worker")
        for name, secret in (("runner-1", key), ("printer", ENROLLMENT_KEY), ("runner-2", key))
    )
    staying, kept, gone = online(stays), online(lasting), online(vanishes)
    lasting.kill()

    vanishes.kill()

    until(lambda: gone not in {one["id"] for one in site.ask("workers", "list")}, "it is removed")
    (left,) = audited(site, gone, "worker.left")
    assert (left["why"], left["name"]) == ("absent", "runner-2")
    until(lambda: are_online(site, staying), "the one that is connected is shown online by both Servers")
    assert site.ask("workers", "show", kept)["id"] == kept
    assert stays.events("refused") == []
    assert stays.terminate() == 0


def test_a_copy_on_another_host_becomes_a_new_worker_by_the_policy(site):
    """No operator is needed, at either Server, and the original is not disturbed."""
    host = worker_host(site, "press", module=RENAMED_HOST)
    agent = host.start("run", "worker")
    worker_id = online(agent)
    clone_host = worker_host(site, "press-clone", module=RENAMED_HOST)
    shutil.copytree(host.environ["LYFTDATA_JOBS_DIR"], clone_host.environ["LYFTDATA_JOBS_DIR"])
    clone_host.environ["LYFTDATA_WORKER_NAME"] = "press"
    host.done("token")

    clone = clone_host.start("run", "worker")

    assert clone.wait_for("enrolled_as_new")["copy_of"] == worker_id
    new_id = online(clone)
    assert new_id != worker_id
    (copy,) = site.ask("workers", "show", worker_id)["copies"]
    assert (copy["decision"], copy["decided_by"], copy["host"]) == ("as_new", "server:policy", "press-clone")
    until(lambda: are_online(site, worker_id, new_id), "both are online")
    assert agent.events("refused") == []
    assert agent.terminate() == clone.terminate() == 0


def test_workers_survive_a_rotation_of_the_secret_key(site):
    """The rotation is refused while a Server runs. Afterwards both start with the new key, Workers reconnect and the audit log is intact."""
    agent = worker_host(site, "rotated").start("run", "worker")
    worker_id = online(agent)
    rotate = ("admin", "rotate-secret-key", "--yes")
    assert site.servers[0].terminate() == 0
    host = site.server_host(0)
    refused = host.run(*rotate, LYFTDATA_SECRET_KEY_NEXT=NEW_SECRET_KEY)
    assert (refused.returncode, "Stop every Server first" in refused.stderr) == (1, True), refused.stderr
    assert site.servers[1].terminate() == 0

    done = host.run(*rotate, "--json", LYFTDATA_SECRET_KEY_NEXT=NEW_SECRET_KEY)
    assert done.returncode == 0, done.stderr
    rotated = json.loads(done.stdout)
    outdated = host.start("run", "server")
    assert outdated.exit_code() != 0
    site.secret_key = NEW_SECRET_KEY
    site.servers[:] = [site.start_server(number) for number in range(2)]

    until(lambda: are_online(site, worker_id), "the Worker is back at both Servers")
    assert agent.events("refused") == []
    assert site.ask("audit", "verify")["ok"]
    (event,) = site.ask("audit", "list", "--action", "secret_key.rotated")
    assert event["details"]["previous_audit_key"] == rotated["previous_audit_key"] != rotated["audit_key"]
    accepted = site.ask("enrollment", "status")["keys"]
    assert site.ask("workers", "show", worker_id)["enrolled_with"] == accepted[0]["fingerprint"]
    assert agent.terminate() == 0


def test_workers_survive_a_new_database_password(site, cluster):
    """
    The steps for a leaked password: Servers are restarted one after the other, and the attacker's connections are terminated.

    A new password alone does not end connections that were made with the old one.
    """
    agent = worker_host(site, "stays").start("run", "worker")
    worker_id = online(agent)
    leaked_url = site.database_urls[0]
    with psycopg.connect(leaked_url, autocommit=True) as attacker:
        cluster.execute("ALTER ROLE fleet PASSWORD 'the-second-password'")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(leaked_url)
        site.database_urls[:] = [leaked_url.replace("the-first", "the-second")] * 2
        for number in range(2):
            assert site.servers[number].terminate() == 0
            site.servers[number] = site.start_server(number)
        assert attacker.execute("SELECT count(*) FROM workers").fetchone()

        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fleet'")

        with pytest.raises(psycopg.OperationalError):
            attacker.execute("SELECT count(*) FROM workers")
    until(lambda: are_online(site, worker_id), "the Worker is shown online by both Servers")
    assert site.ask("audit", "verify")["ok"]
    assert agent.events("refused") == []
    assert agent.terminate() == 0
