"""One Server as two processes at one address, on PostgreSQL: decisions take effect at both, and one process can be lost."""

import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY, SECRET_KEY
from tests.processes import PASSWORD, Host, Site, free_port, until

from lyftdata.core._jose import sign
from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.clock import utc_now

PROCESSES = 2
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def site(cluster, tmp_path_factory):
    """Return a Server of two processes that are both ready."""
    made = Site(
        tmp_path_factory.mktemp("processes"),
        LYFTDATA_DATABASE_URL=cluster.new_database(),
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
        LYFTDATA_PROCESSES=str(PROCESSES),
    )
    made.server.wait_for("processes_ready")
    return made


@pytest.fixture(scope="module")
def operator(site):
    """Return the headers of an operator's session."""
    answer = httpx2.post(
        f"{site.url}/api/login", json={"username": "admin", "password": PASSWORD}, timeout=180
    )
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


class ProcessClient(httpx2.Client):
    """A connection with an operator's session; it stays with the process that has accepted it."""

    def __init__(self, url: str, operator: dict[str, str]) -> None:
        super().__init__(base_url=url, timeout=180)
        self.operator = operator

    def process(self) -> str:
        """Return the address of the process, with its number."""
        servers = self.get("/api/servers", headers=self.operator).json()["items"]
        [this] = [server for server in servers if server["is_this"]]
        return this["address"]


@pytest.fixture
def each(site, operator):
    """Return a client for each process."""
    lines: dict[str, ProcessClient] = {}
    with contextlib.ExitStack() as stack:

        def has_both() -> bool:
            line = stack.enter_context(ProcessClient(site.url, operator))
            lines.setdefault(line.process(), line)
            return len(lines) == PROCESSES

        until(has_both, "a connection to each process")
        yield [line for _, line in sorted(lines.items())]


def code_of(client, answer):
    """Return the code that an operator finds by the reference of a refusal."""
    reference = answer.json()["reference"]

    def found():
        shown = client.get(f"/api/refusals/{reference}", headers=client.operator)
        return shown.json()["code"] if shown.status_code == 200 else None

    return until(found, f"the refusal {reference}")


def enroll(client, name):
    """Enroll a Worker; return its ID and its key."""
    key = generate_identity_key()
    answer = client.post(
        "/oauth2/register",
        json={"client_name": name, "jwks": {"keys": [key.public.as_dict()]}},
        headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], key


def add_worker(client, worker_id):
    """Add a Worker; return its API key."""
    body = {"name": worker_id, "id": worker_id, "issue_key": True}
    answer = client.post("/api/workers", json=body, headers=client.operator)
    assert answer.status_code == 201, answer.text
    return answer.json()["api_key"]["key"]


def ask(client, form, **headers):
    """Ask for a token."""
    return client.post("/oauth2/token", data={"grant_type": "client_credentials"} | form, headers=headers)


def test_both_processes_answer_at_one_address(site, each):
    """Each has its own entry in the list of Servers, distinguished by its number."""
    servers = each[0].get("/api/servers", headers=each[0].operator).json()["items"]
    addresses = [server["address"] for server in servers]

    assert {client.process() for client in each} <= set(addresses)
    assert [re.sub(".*:", "", client.process()) for client in each] == [
        f"{site.port} #{number}" for number in (1, 2)
    ]
    assert [client.get("/readyz").status_code for client in each] == [200, 200]


def test_a_used_assertion_is_refused_by_the_other_process(site, each):
    """A captured assertion is not accepted again because it reaches another process."""
    one, two = each
    worker_id, key = enroll(one, "press-assertion")
    for number, (first, second) in enumerate([(one, two), (two, one)]):
        assertion = make_assertion(
            key, worker_id=worker_id, audience=site.url, now=utc_now(), jti=f"j{number}"
        )
        form = {"client_assertion_type": JWT_BEARER, "client_assertion": assertion}

        assert ask(first, form).status_code == 200
        refused = ask(second, form)

        assert refused.status_code == 401
        assert code_of(second, refused) == "assertion_replayed"


def test_a_used_dpop_proof_is_refused_by_the_other_process(site, each):
    """Its nonce is issued by one process and accepted by the other, and the proof is single use."""
    one, two = each
    form = {"client_id": "press-dpop", "client_secret": add_worker(one, "press-dpop")}
    key = generate_identity_key()

    def proof(nonce=None):
        claims = {"htm": "POST", "htu": f"{site.url}/oauth2/token", "iat": int(time.time()), "jti": "d1"}
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public.as_dict()}
        return sign(head, claims | ({"nonce": nonce} if nonce else {}), key=key.jose_key)

    asked = ask(one, form, DPoP=proof())
    assert asked.json()["error"] == "use_dpop_nonce"
    used = proof(asked.headers["dpop-nonce"])

    assert ask(two, form, DPoP=used).status_code == 200
    assert ask(one, form, DPoP=used).status_code in {400, 401}


def test_a_worker_disabled_at_one_process_is_refused_at_the_other(each):
    """Its token and its credential are refused, whichever process is asked."""
    one, two = each
    form = {"client_id": "press-out", "client_secret": add_worker(one, "press-out")}
    token = until(lambda: ask(two, form).json().get("access_token"), "a token from the other process")
    bearer = {"Authorization": f"Bearer {token}"}
    assert [client.get("/auth/verify", headers=bearer).status_code for client in each] == [204, 204]

    assert (
        one.patch("/api/workers/press-out", json={"enabled": False}, headers=one.operator).status_code == 200
    )

    assert one.get("/auth/verify", headers=bearer).status_code == 401
    until(lambda: two.get("/auth/verify", headers=bearer).status_code == 401, "the token ends")
    assert [ask(client, form).status_code for client in each] == [400, 400]


def test_wrong_passwords_count_at_both_processes(each):
    """A limit is not per process: a guesser who must wait at one of them must wait at the other too."""
    one, two = each

    def guess(client):
        body = {"username": "mallory", "password": "wrong horse battery"}
        return client.post("/api/login", json=body).status_code

    until(lambda: guess(one) == 429, "the one process makes them wait")
    until(lambda: guess(two) == 429, "the other one, too")


def test_each_process_exposes_the_metrics_of_both(each):
    """A scrape may reach either process and must find the same series."""
    series = [
        {line.split(" ")[0] for line in client.get("/metrics").text.splitlines() if not line.startswith("#")}
        for client in each
    ]

    assert series[0] == series[1]
    assert {f'lyftdata_workers_online{{process="{number}"}}' for number in (1, 2)} <= series[0]


def test_an_agent_is_not_refused_when_a_process_is_killed(site, each):
    """Neither while the process is down nor when it has been replaced, and the agent's program runs on."""
    key = add_worker(each[0], "press-agent")
    host = site.worker_host("press-agent", LYFTDATA_WORKER_ID="press-agent", LYFTDATA_WORKER_API_KEY=key)
    agent = host.start("run", "worker", "--", "sh", "-c", "echo started >> runs; exec sleep 1000")
    agent.wait_for("online")
    ended = len(site.server.events("process_ended"))
    for number in (1, 2):
        ready = len(site.server.events("ready"))
        victim = pids(site)[number - 1]
        os.kill(victim, signal.SIGKILL)
        site.server.wait_for("process_ended", count=ended + number)
        site.server.wait_for("ready", count=ready + 1)

    def status(line):
        return line.get("/api/workers/press-agent", headers=line.operator).json()["status"]

    assert agent.alive()
    assert (host.home / "runs").read_text() == "started\n"
    assert not agent.events("refused")
    with ProcessClient(site.url, each[0].operator) as line:
        until(lambda: status(line) == "online", "it is online")
        refusals = line.get("/api/refusals", headers=line.operator).json()["items"]
    assert not [attempt for attempt in refusals if "press-agent" in str(attempt)]


def pids(site):
    """Return the PIDs of the processes in the order of their start."""
    children = Path(f"/proc/{site.server.process.pid}/task/{site.server.process.pid}/children")
    return sorted(int(pid) for pid in children.read_text().split())


@pytest.fixture
def host(cluster, tmp_path):
    """Return a host on which a Server of two processes can be started."""
    port = free_port()
    return Host(
        tmp_path / "host",
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}",
        LYFTDATA_PUBLIC_URL=f"http://127.0.0.1:{port}",
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_ADMIN_INIT_PASSWORD=PASSWORD,
        LYFTDATA_DATABASE_URL=cluster.new_database(),
        LYFTDATA_SECRET_KEY=SECRET_KEY,
        LYFTDATA_PROCESSES="2",
    )


def test_a_stop_without_another_server_does_not_wait(host):
    """Workers cannot move from one process to the other: all processes stop at once, without draining or errors."""
    server = host.start("run", "server", LYFTDATA_SHUTDOWN_DELAY="10m")
    server.wait_for("processes_ready")

    assert server.terminate() == 0

    assert len(server.events("stopping")) == 2
    assert not server.events("draining")
    assert not [line for line in map(json.loads, server.log.splitlines()) if line["level"] == "error"]


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [("LYFTDATA_DATABASE_URL", "wrong password", 1), ("LYFTDATA_SECRET_KEY", "other key", 1), ("LYFTDATA_TLS_CERT", "/none", 2)],
)  # fmt: skip
def test_a_startup_error_is_reported_once(host, variable, value, code):
    """There is one message and one exit code, not one for each process."""
    if value == "wrong password":
        value = host.environ["LYFTDATA_DATABASE_URL"].replace("owner:", "owner:wrong-")
    if value == "other key":
        first = host.start("run", "server")
        first.wait_for("processes_ready")
        assert first.terminate() == 0
        value = SECRET_KEY[::-1]

    result = host.run("run", "server", **{variable: value})

    assert result.returncode == code
    assert result.stderr.count("Error: ") == 1, result.stderr
