"""The two procedures of the specification's page, as written there, with real processes."""

import json

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, Site, until


def issued_key(operator, *arguments):
    """Issue an API key; return it, the only line on standard output."""
    key = operator.done("api-key", "issue", *arguments)
    assert key.startswith("lyftdata_")
    assert key.count("\n") == 1
    return key.strip()


def test_api_key_procedure(plain_site):
    """A Worker created by name is online with its ID and an API key on another host; its name is not needed there."""
    operator = plain_site.operator
    worker_id = operator.done("workers", "add", "press-01").strip()
    key = issued_key(operator, "press-keys")
    host = plain_site.worker_host("host-a", LYFTDATA_WORKER_ID=worker_id, LYFTDATA_WORKER_API_KEY=key)

    agent = host.start("run", "worker")

    assert agent.wait_for("online")["worker_id"] == worker_id
    shown = plain_site.workers()[worker_id]
    assert (shown["status"], shown["strategy"], shown["api_key"], shown["enrolled_with"]) == (
        "online",
        "api_key",
        "press-keys",
        None,
    )
    assert agent.terminate() == 0
    assert plain_site.status(worker_id) == "offline"


def test_a_chosen_id_a_name_and_a_key_that_is_reused(plain_site):
    """The ID can be chosen, two Workers can share a key, and a name that is set on the host has no effect."""
    operator = plain_site.operator
    operator.done("workers", "add", "press one", "--id", "press-01", "--label", "zone=eu-1")
    operator.done("workers", "add", "press two", "--id", "press-02")
    key = issued_key(operator, "press-keys")
    agents = [
        plain_site.worker_host(
            worker_id, LYFTDATA_WORKER_ID=worker_id, LYFTDATA_WORKER_API_KEY=key, LYFTDATA_WORKER_NAME="any"
        ).start("run", "worker")
        for worker_id in ("press-01", "press-02")
    ]

    for agent in agents:
        agent.wait_for("online")
        (warning,) = agent.events("worker_name_unused")
        assert warning["message"].startswith("LYFTDATA_WORKER_NAME has no effect")

    shown = plain_site.workers()
    assert {w["status"] for w in shown.values()} == {"online"}
    assert shown["press-01"]["labels"] == {"zone": "eu-1"}


def test_a_key_for_chosen_workers_works_for_those_alone(plain_site):
    """With `--worker`; another Worker that uses the key exits 3, and the reference leads to the cause."""
    operator = plain_site.operator
    for name in ("press-01", "press-02"):
        operator.done("workers", "add", name, "--id", name)
    key = issued_key(operator, "only-one", "--worker", "press-01")
    one, two = (
        plain_site.worker_host(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=key).start(
            "run", "worker"
        )
        for name in ("press-01", "press-02")
    )

    one.wait_for("online")
    assert two.exit_code() == 3
    assert plain_site.cause(two.events("refused")[0]["reference"]) == "api_key_not_for_worker"


def test_auto_enrollment_procedure(site):
    """A name and the shared key suffice: the Server creates the entry; later starts get the same ID without the key."""
    host = site.worker_host("host-b", LYFTDATA_WORKER_NAME="press-02")

    first = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    worker_id = first.wait_for("online")["worker_id"]
    shown = site.workers()[worker_id]
    assert (shown["name"], shown["status"], shown["strategy"]) == ("press-02", "online", "auto_enrollment")
    (key,) = site.operator.json("enrollment", "status")["keys"]
    assert shown["enrolled_with"] == key["fingerprint"]
    assert first.terminate() == 0

    again = host.start("run", "worker")
    assert again.wait_for("online")["worker_id"] == worker_id
    assert again.events("enrolled") == []
    assert list(site.workers()) == [worker_id]


def test_auto_enrollment_is_off_by_default(plain_site):
    """A Server without a key refuses with `enrollment_disabled`; the Worker exits 3 and no entry is created."""
    host = plain_site.worker_host(
        "host-b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    agent = host.start("run", "worker")

    assert agent.exit_code() == 3
    assert plain_site.cause(agent.events("refused")[0]["reference"]) == "enrollment_disabled"
    assert plain_site.workers() == {}
    assert "off" in plain_site.operator.done("enrollment", "status")


def test_both_strategies_in_tandem(site):
    """Workers of both strategies are connected to one Server at the same time."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    agents = [
        site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key).start(
            "run", "worker"
        ),
        site.worker_host(
            "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
        ).start("run", "worker"),
    ]
    for agent in agents:
        agent.wait_for("online")

    assert sorted((w["strategy"], w["status"]) for w in site.workers().values()) == [
        ("api_key", "online"),
        ("auto_enrollment", "online"),
    ]


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (
            {"ID": "a", "KEY": "b", "NAME": "c", "SECRET": "d"},
            ["WORKER_ID", "WORKER_API_KEY", "AUTO_ENROLLMENT_KEY"],
        ),
        ({"ID": "a"}, ["WORKER_ID", "WORKER_API_KEY"]),
        ({"KEY": "b"}, ["WORKER_API_KEY", "WORKER_ID"]),
        ({"SECRET": "d"}, ["AUTO_ENROLLMENT_KEY", "WORKER_NAME"]),
        ({"NAME": "c", "SECRET": "d", "ID": "a"}, ["WORKER_ID", "AUTO_ENROLLMENT_KEY"]),
        ({}, ["WORKER_ID", "WORKER_NAME"]),
    ],
)
def test_a_wrong_combination_of_settings_is_refused_at_the_start(tmp_path, environ, named):
    """The command exits 2 with one message that names the variables and contains no secret."""
    names = {
        "ID": "LYFTDATA_WORKER_ID",
        "KEY": "LYFTDATA_WORKER_API_KEY",
        "NAME": "LYFTDATA_WORKER_NAME",
        "SECRET": "LYFTDATA_AUTO_ENROLLMENT_KEY",
    }
    secrets = {"KEY": "the-api-key-text", "SECRET": "the-enrollment-key-text-of-32-chars"}
    given = {names[short]: secrets.get(short, value) for short, value in environ.items()}
    host = Host(tmp_path / "h", LYFTDATA_JOBS_DIR=str(tmp_path / "jobs"), **given)

    for arguments in (("run", "worker"), ("config", "check", "worker")):
        result = host.run(*arguments)
        assert result.returncode == 2
        assert result.stderr.count("Error:") == 1
        assert all(f"LYFTDATA_{name}" in result.stderr for name in named)
        assert not any(secret in result.stderr for secret in secrets.values())
    assert not (tmp_path / "jobs").exists()


def test_an_enrolled_directory_cannot_be_used_by_another_worker(site, tmp_path):
    """A start with another name, another Server or an API key's Worker ID exits 2."""
    other = Site(tmp_path / "other")
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02")
    agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    agent.wait_for("online")
    agent.terminate()

    for given in (
        {"LYFTDATA_WORKER_NAME": "other"},
        {"LYFTDATA_URL": other.url},
        {"LYFTDATA_WORKER_ID": "x"},
    ):
        result = host.run("run", "worker", **given)
        assert result.returncode == 2, given
        assert "LYFTDATA_JOBS_DIR" in result.stderr or "LYFTDATA_WORKER_API_KEY" in result.stderr


def test_a_server_rejects_a_short_enrollment_key(tmp_path):
    """With fewer than 32 characters it exits 2 and names the command that generates a key."""
    host = Host(
        tmp_path / "s", LYFTDATA_AUTO_ENROLLMENT_KEY="x" * 31, LYFTDATA_STAGING_DIR=str(tmp_path / "d")
    )
    result = host.run("run", "server")

    assert result.returncode == 2
    assert "lyftdata enrollment generate-key" in result.stderr
    assert not (tmp_path / "d").exists()


def test_a_worker_rejects_a_short_enrollment_key_before_it_connects(tmp_path):
    """No Server can have such a key: `run` and `config check` exit 2, name the variable and create nothing."""
    host = Host(
        tmp_path / "w",
        LYFTDATA_WORKER_NAME="press-02",
        LYFTDATA_AUTO_ENROLLMENT_KEY="s" * 31,
        LYFTDATA_JOBS_DIR=str(tmp_path / "jobs"),
        LYFTDATA_URL="http://127.0.0.1:1",
    )
    for arguments in (("run", "worker"), ("config", "check", "worker")):
        result = host.run(*arguments)
        assert result.returncode == 2
        assert "LYFTDATA_AUTO_ENROLLMENT_KEY has fewer than 32 characters" in result.stderr
        assert "s" * 31 not in result.stderr
    assert not (tmp_path / "jobs").exists()


def test_an_enrolled_worker_ignores_an_invalid_enrollment_key(site):
    """A stored identity is used before the enrollment key is read."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02")
    agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    agent.wait_for("online")
    agent.terminate()

    for gone in ("used-up", '"in quotes"'):
        agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=gone)
        agent.wait_for("online")
        agent.terminate()


def warnings_about_the_key(site):
    """Return the Server's startup warnings about the enrollment key."""
    warnings = site.server.events("configuration_warning")
    return [warning for warning in warnings if "LYFTDATA_AUTO_ENROLLMENT_KEY" in warning["problem"]]


@pytest.mark.parametrize("weak", ["c3s3R0s1T5QAQr7lz1KsT00pKh3adnma", "Summer2026Summer2026Autumn2026Wint"])
def test_a_published_or_weak_enrollment_key_causes_a_warning(open_site, weak):
    """The Server starts and the key works; the log and operators get a warning without the key."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=weak)
    site.sign_in()

    (warning,) = warnings_about_the_key(site)
    assert warning["level"] == "warning"
    assert site.operator.json("enrollment", "status")["keys"][0]["warnings"]
    assert weak not in site.server.log
    checked = site.server_host.run("config", "check", "server")
    assert warning["problem"] in checked.stderr
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=weak)
    host.start("run", "worker").wait_for("online")


def test_generated_enrollment_keys_are_accepted(tmp_path, open_site):
    """A key from `lyftdata enrollment generate-key` causes no warning."""
    key = Host(tmp_path / "k").done("enrollment", "generate-key").strip()
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=key)

    assert len(key) >= 32
    assert warnings_about_the_key(site) == []


def test_every_secret_can_be_read_from_a_file(open_site, tmp_path):
    """The enrollment key at both sides, the API key, and the operator's first password."""
    files = {}
    for name, text in (("enrollment", ENROLLMENT_KEY), ("password", "another long password")):
        files[name] = tmp_path / name
        files[name].write_text(text + "\n")
    site = open_site(
        LYFTDATA_AUTO_ENROLLMENT_KEY_FILE=str(files["enrollment"]),
        LYFTDATA_ADMIN_INIT_PASSWORD="",
        LYFTDATA_ADMIN_INIT_PASSWORD_FILE=str(files["password"]),
    )
    site.operator.done("login", "admin", "--password-stdin", stdin="another long password\n")
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key")
    (tmp_path / "key").write_text(key)
    site.worker_host(
        "a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY_FILE=str(tmp_path / "key")
    ).start("run", "worker").wait_for("online")
    enrolled = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY_FILE=str(files["enrollment"])
    )
    agent = enrolled.start("run", "worker")
    agent.wait_for("online")
    agent.terminate()
    files["enrollment"].unlink()
    enrolled.start("run", "worker").wait_for("online")


def test_the_random_first_password_is_printed_once_and_works(open_site):
    """If no password is set, one is printed to standard output at the first start only, and never logged."""
    site = open_site(LYFTDATA_ADMIN_INIT_PASSWORD="")
    (line,) = until(
        lambda: [line for line in site.server.log.splitlines() if "password:" in line], "the first password"
    )
    password = line.rpartition(" ")[2]
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{password}\n")
    site.server.terminate()

    again = site.start_server()

    assert "password:" not in again.log
    assert not any(password in json.dumps(entry) for entry in site.server.events("ready"))


def test_unproven_callers_get_a_reference_and_no_cause(plain_site):
    """With a wrong key the Worker exits 3; the operator finds the cause and the remedy by the reference."""
    operator = plain_site.operator
    operator.done("workers", "add", "press-01", "--id", "press-01")
    key = issued_key(operator, "press-keys")
    operator.done("api-key", "revoke", "press-keys", "--yes")
    causes = {}
    for name, (worker_id, secret) in {
        "wrong": ("press-01", "nonsense"),
        "revoked": ("press-01", key),
        "unknown": ("nobody", key),
    }.items():
        host = plain_site.worker_host(name, LYFTDATA_WORKER_ID=worker_id, LYFTDATA_WORKER_API_KEY=secret)
        agent = host.start("run", "worker")
        assert agent.exit_code() == 3
        (refused,) = agent.events("refused")
        assert refused["reason"] == "Authentication failed."
        assert secret not in agent.log
        causes[name] = plain_site.cause(refused["reference"])
        shown = operator.done("refusals", "show", refused["reference"].lower())
        assert "What to do" in shown

    assert causes == {
        "wrong": "malformed_api_key",
        "revoked": "api_key_revoked",
        "unknown": "api_key_revoked",
    }
    listed = operator.json("refusals", "list")
    assert {group["claimed_worker"] for group in listed} == {"press-01", "nobody"}


def test_an_expired_key_is_refused(plain_site):
    """It was issued with `--expires`."""
    operator = plain_site.operator
    operator.done("workers", "add", "press-01", "--id", "press-01")
    key = issued_key(operator, "short-lived", "--expires", "1s")
    until(lambda: operator.json("api-key", "show", "short-lived")["status"] == "expired", "the key's end")
    agent = plain_site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key).start(
        "run", "worker"
    )

    assert agent.exit_code() == 3
    assert plain_site.cause(agent.events("refused")[0]["reference"]) == "api_key_expired"
