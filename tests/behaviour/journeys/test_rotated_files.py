"""Keys and certificates are replaced in their files: Workers, clients and verifiers go on without a restart."""

import asyncio
import shutil
from pathlib import Path

import httpx2
from tests.builders import ENROLLMENT_KEY
from tests.certificates import issued
from tests.processes import PASSWORD, Host, until

from lyftdata.client import TokenKeeper
from lyftdata.verify import AsyncWorkerVerifier, WorkerVerifier

PROGRAM = 'echo "$LYFTDATA_WORKER_TOKEN_FILE" >> starts; exec sleep 600'


def test_a_rotated_api_key_is_picked_up(plain_site):
    """With the new key in the file when the old one ends, the program is not stopped and a client gets its next token."""
    site = plain_site
    site.operator.done("workers", "add", "press-01", "--id", "press-01")
    key = site.operator.done("api-key", "issue", "press-key", "--worker", "press-01").strip()
    host = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY_FILE="worker.key")
    file = host.home / "worker.key"
    file.write_text(key)
    agent = host.start("run", "worker", "--", "sh", "-c", PROGRAM)
    agent.wait_for("online")
    starts = host.home / "starts"
    until(starts.exists, "the program's start")
    clock = [0.0]
    client = TokenKeeper.from_environment(
        {**host.environ, "LYFTDATA_WORKER_API_KEY_FILE": str(file)}, monotonic=lambda: clock[0]
    )
    first = client.get()

    file.write_text(site.operator.done("api-key", "rotate", "press-key", "--grace", "1h", "--yes").strip())
    site.operator.done("api-key", "end-previous", "press-key", "--yes")
    assert token_status(site, key) == 401
    agent.wait_for("api_key_changed")

    verifier = WorkerVerifier(site.url, audience=site.url, online=True)
    token_file = Path(starts.read_text().split()[0])
    with verifier:
        until(lambda: is_accepted(verifier, token_file.read_text()), "the agent's token by the new key")
        # Later than any moment at which a token of 900 s is renewed.
        clock[0] += 800
        assert client.get() != first
        assert is_accepted(verifier, client.get())
    until(lambda: site.status("press-01") == "online", "the Worker online")
    assert agent.alive()
    assert agent.events("refused") == []
    assert len(starts.read_text().split()) == 1


def test_a_rotated_enrollment_key_is_picked_up(site):
    """A Worker that waits for the Server enrolls with the key that is in its file by then."""
    site.server.terminate()
    host = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY_FILE="enrollment.key"
    )
    file = host.home / "enrollment.key"
    file.write_text("o" * 40)
    agent = host.start("run", "worker")
    agent.wait_for("retrying")

    file.write_text(f"{ENROLLMENT_KEY}\n")
    site.start_server()

    agent.wait_for("online")
    assert agent.events("refused") == []


def token_status(site, key):
    """Return the status of a token request with a key."""
    form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": key}
    return httpx2.post(f"{site.url}/oauth2/token", data=form, timeout=180).status_code


def is_accepted(verifier, token):
    """Return whether the Server accepts a token now."""
    from lyftdata.verify import InvalidTokenError

    try:
        return verifier.verify(token).worker_id == "press-01"
    except InvalidTokenError:
        return False


def test_a_rotated_ca_is_picked_up(tmp_path, open_site):
    """After the Server restarts with a certificate of another CA, programs whose CA file has that CA reconnect."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        issued(tmp_path / name)
    trusted, cert, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"

    def serve_by(name):
        """Install the files of a CA."""
        for source, target in (("authority", trusted), ("cert", cert), ("key", key)):
            shutil.copyfile(tmp_path / name / f"{source}.pem", target)

    serve_by("first")
    key.chmod(0o600)
    site = open_site(LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))
    url = f"https://localhost:{site.port}"
    trust = {"LYFTDATA_URL": url, "LYFTDATA_TLS_CA": str(trusted)}
    operator = Host(tmp_path / "desk", **trust)
    operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    api_key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host("a", **trust, LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=api_key)
    agent = host.start("run", "worker")
    agent.wait_for("online")
    watch = operator.start("workers", "watch")
    until(lambda: "Following Workers" in watch.log, "the first events")
    options = {"audience": url, "online": True, "tls_ca": trusted}
    threads, loop = WorkerVerifier(url, **options), AsyncWorkerVerifier(url, **options)
    tokens = TokenKeeper.with_api_key(url, worker_id="press-01", api_key=api_key, tls_ca=trusted)

    with asyncio.Runner() as runner, threads:

        async def verify_on_loop():
            return (await loop.verify(tokens.get())).worker_id

        assert threads.verify(tokens.get()).worker_id == runner.run(verify_on_loop()) == "press-01"
        serve_by("second")
        site.server.terminate()
        site.start_server()

        assert threads.verify(tokens.get()).worker_id == runner.run(verify_on_loop()) == "press-01"
        runner.run(loop.aclose())
    agent.wait_for("online", count=2)
    until(lambda: watch.log.count("Following Workers") == 2, "the events to be followed again")
    assert agent.events("refused") == []
