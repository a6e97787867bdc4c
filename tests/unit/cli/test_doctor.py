"""`lyftdata doctor` finds what is wrong on a misconfigured host, and nothing on a correct one."""

import json

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.proxies import Service
from tests.processes import free_port


@pytest.fixture(scope="module")
def press(listening, operator):
    """Return the host of an API-key Worker, with its key in a private file."""
    host = listening.worker_host("press", LYFTDATA_WORKER_ID="press")
    host.environ["LYFTDATA_WORKER_API_KEY_FILE"] = key_file(operator, host, "press")
    return host


def key_file(operator, host, name):
    """Add a Worker; return the path of a private file with its key."""
    file = host.home / f"{name}.key"
    operator.done("workers", "add", name, "--id", name, "--issue-key", "--output", str(file))
    return str(file)


def examined(host, *arguments, **environ):
    """Return the exit code and the findings by code."""
    quick = ["--quick"] if arguments[0] == "worker" else []
    ended = host.run("doctor", *arguments, *quick, "--json", **environ)
    found = json.loads(ended.output)
    assert found["ok"] == (ended.exit_code == 0), ended.errors
    return ended.exit_code, {finding["code"]: finding for finding in found["findings"]}


# --- worker -------------------------------------------------------------------------------------------------


def test_a_correct_worker_host_has_no_findings(press):
    """The command says so, and exits with 0."""
    assert press.run("doctor", "worker", "--quick") == (0, "", "Nothing is wrong.\n")


def test_a_wrong_key_is_reported_with_the_refusals_reference(operator, press):
    """The host learns no more than any other caller; operators find the cause by the reference."""
    # Another Worker's key: it is well-formed, so that this host cannot tell.
    wrong = key_file(operator, press, "other")

    code, found = examined(press, "worker", LYFTDATA_WORKER_API_KEY_FILE=wrong)

    assert code == 1
    reference = found["refused"]["fix"].rpartition(" ")[2]
    assert operator.json("refusals", "show", reference)["code"] == "api_key_not_for_worker"


def test_a_disabled_worker_is_reported_with_the_cause(operator, press):
    """It has proved its key, so it learns the reason."""
    disabled = key_file(operator, press, "disabled")
    operator.done("workers", "disable", "disabled", "--yes")

    _, found = examined(press, "worker", LYFTDATA_WORKER_ID="disabled", LYFTDATA_WORKER_API_KEY_FILE=disabled)

    assert "(worker_disabled)" in found["refused"]["what"]


def test_another_public_url_is_found_before_enrolling(listening):
    """With both ways to fix it."""
    host = listening.worker_host(
        "elsewhere",
        LYFTDATA_WORKER_NAME="elsewhere",
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
        LYFTDATA_PUBLIC_URL="https://lyftdata.example.com",
    )

    _, found = examined(host, "worker")

    assert listening.url in found["issuer_differs"]["fix"]


def test_another_program_at_the_address_is_found(press):
    """It is not mistaken for the Server."""
    service = Service()
    try:
        code, found = examined(press, "worker", LYFTDATA_URL=f"http://127.0.0.1:{service.port}")
    finally:
        service.close()

    assert (code, list(found)) == (1, ["not_the_server"])


def test_an_unusable_proxy_variable_is_found(press):
    """The finding names it."""
    _, found = examined(
        press, "worker", LYFTDATA_URL="https://lyftdata.example.com", HTTPS_PROXY="socks5://127.0.0.1:1080"
    )

    assert "HTTPS_PROXY" in found["proxy_unusable"]["what"]


def test_a_finding_is_shown_with_reason_and_remedy(press):
    """One line each; the number of findings goes to standard error."""
    ended = press.run("doctor", "worker", LYFTDATA_URL=f"http://127.0.0.1:{free_port()}")

    assert ended.exit_code == 1
    assert [line[:6].strip() for line in ended.output.splitlines()] == ["proble", "what", "why", "fix"]
    assert ended.errors == "1 problem, 0 warnings.\n"


# --- server -------------------------------------------------------------------------------------------------


def test_a_correct_server_host_has_no_findings(listening):
    """The command says so, and exits with 0."""
    assert listening.host.run("doctor", "server") == (0, "", "Nothing is wrong.\n")


def test_missing_server_settings_are_found(listening, tmp_path):
    """Without the Server's environment, the command would otherwise examine an empty directory and find nothing wrong."""
    staging = tmp_path / "staging"

    code, found = examined(
        listening.host, "server", LYFTDATA_STAGING_DIR=str(staging), LYFTDATA_PUBLIC_URL=listening.url
    )

    assert (code, list(found)) == (1, ["another_server"])
    assert f"LYFTDATA_STAGING_DIR, {staging}, has no database" in found["another_server"]["what"]
    assert not staging.exists()


def test_an_invalid_setting_is_found(listening):
    """As at a start of the Server."""
    code, found = examined(listening.host, "server", LYFTDATA_TLS_CERT="/nowhere/cert.pem")

    assert (code, list(found)) == (1, ["setting_invalid"])


def test_a_ca_file_without_certificates_is_a_usage_error(listening, tmp_path):
    """Since nothing was examined, it is not a finding."""
    (tmp_path / "ca.pem").touch()

    ended = listening.host.run("doctor", "server", "--tls-ca", str(tmp_path / "ca.pem"))

    assert ended.exit_code == 2
    assert "ca.pem holds no certificates (PEM)" in ended.errors


def test_a_published_secret_is_found(listening):
    """Anyone can read it in the documentation."""
    published = {"LYFTDATA_AUTO_ENROLLMENT_KEY": "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"}

    code, found = examined(listening.host, "server", **published)

    assert (code, list(found)) == (0, ["secret_weak"])
    assert "the example in the documentation" in found["secret_weak"]["what"]


def test_a_server_that_does_not_run_is_found(listening):
    """Nothing listens at its address."""
    port = free_port()
    elsewhere = {
        "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{port}",
        "LYFTDATA_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }

    assert examined(listening.host, "server", **elsewhere)[1].keys() == {"connection_failed"}


def test_a_public_url_of_another_server_is_found(listen):
    """Workers that connect there are refused: they sign for another URL."""
    server = listen(LYFTDATA_PUBLIC_URL="https://lyftdata.example.com", LYFTDATA_TRUSTED_PROXIES="127.0.0.1")

    _, found = examined(server.host, "server", LYFTDATA_PUBLIC_URL=server.url)

    assert list(found) == ["another_server"]
    assert "https://lyftdata.example.com" in found["another_server"]["what"]


def test_an_unreachable_database_is_found(listening):
    """The finding does not contain its password."""
    settings = {
        "LYFTDATA_DATABASE_URL": f"postgresql://lyftdata:hush-hush@127.0.0.1:{free_port()}/lyftdata",
        "LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes",
    }

    code, found = examined(listening.host, "server", **settings)

    assert code == 1
    assert "database_unusable" in found
    assert "hush-hush" not in str(found)
