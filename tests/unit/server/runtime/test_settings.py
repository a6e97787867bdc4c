"""The Server's settings, its data directory and its issuer."""

import os
import stat

import pytest
from tests.builders import ENROLLMENT_KEY, SECRET_KEY, seeded_bytes

from lyftdata.cli.given_token import TABLE as COMMAND_TABLE
from lyftdata.core.errors import SettingsError
from lyftdata.core.settings import PLAIN_VARIABLES, SECRET_VARIABLES
from lyftdata.server.runtime.data_dir import prepare_staging_dir
from lyftdata.server.runtime.issuer import issuer_of
from lyftdata.server.runtime.maintenance import read_state_location
from lyftdata.server.runtime.secret_keys import derive_key, load_secret_key
from lyftdata.server.runtime.settings import ServerSettings, read_server_settings
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.runtime.settings_values import BindAddress, parse_bind_address
from lyftdata.worker.settings import TABLE as WORKER_TABLE
from lyftdata.worker.settings import WorkerSettings, read_worker_settings


def problems(**environ):
    """Return the problems found in an environment."""
    with pytest.raises(SettingsError) as faults:
        read_server_settings(environ)
    return faults.value.problems


def test_the_defaults_are_loopback_without_auto_enrollment():
    """As documented."""
    settings = read_server_settings({"HOME": "/h"})

    assert str(settings.bind_address) == "127.0.0.1:3000"
    assert settings.enrollment_key is None
    assert settings.worker_token_ttl_s == 900
    assert settings.warnings == ()


def test_every_problem_is_reported_at_once():
    """Each with its variable and the remedy, and without repeating a secret."""
    found = problems(
        LYFTDATA_BIND_ADDRESS="nonsense",
        LYFTDATA_AUTO_ENROLLMENT_KEY="short-secret",
        LYFTDATA_WORKER_TOKEN_TTL="1s",
        LYFTDATA_PUBLIC_URL="ftp://x",
        LYFTDATA_ADMIN_INIT_PASSWORD="tiny-pw",
    )

    assert len(found) == 5
    assert not any(secret in "".join(found) for secret in ("short-secret", "tiny-pw"))
    (key,) = [problem for problem in found if "AUTO_ENROLLMENT" in problem]
    assert "lyftdata enrollment generate-key" in key
    assert "32" in key


@pytest.mark.parametrize(
    "address", ["0.0.0.0:3000", "192.0.2.1:3000", "[::]:3000", ":3000", "lyft.internal:3000"]
)
def test_a_public_address_needs_tls_or_disable_tls(address):
    """Without a certificate and without LYFTDATA_DISABLE_TLS it is rejected."""
    (problem,) = problems(LYFTDATA_BIND_ADDRESS=address)
    assert "LYFTDATA_TLS_CERT" in problem
    assert "LYFTDATA_DISABLE_TLS" in problem

    assert read_server_settings({"LYFTDATA_BIND_ADDRESS": address, "LYFTDATA_DISABLE_TLS": "yes"}).disable_tls
    with_tls = {"LYFTDATA_BIND_ADDRESS": address, "LYFTDATA_TLS_CERT": "/c", "LYFTDATA_TLS_KEY": "/k"}
    assert read_server_settings(with_tls).tls_cert


@pytest.mark.parametrize("address", ["127.0.0.1:3000", "localhost:1", "[::1]:3000", "127.9.9.9:0"])
def test_a_loopback_address_needs_no_tls(address):
    """Only programs on this machine can reach it."""
    assert read_server_settings({"LYFTDATA_BIND_ADDRESS": address}).bind_address.is_loopback()


@pytest.mark.parametrize(
    ("text", "address"), [(":80", BindAddress("0.0.0.0", 80)), ("[::1]:1", BindAddress("::1", 1))]
)
def test_bind_addresses_are_parsed(text, address):
    """Host and port, IPv6 in brackets, or a port alone for every interface."""
    assert parse_bind_address(text) == address


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("10m", 600), ("10m1s", None), ("3", None)])
def test_the_shutdown_delay_has_bounds(text, seconds):
    """From nothing to ten minutes; a number needs a unit."""
    if seconds is None:
        [problem] = problems(LYFTDATA_SHUTDOWN_DELAY=text)
        assert "LYFTDATA_SHUTDOWN_DELAY" in problem
    else:
        settings = read_server_settings({"LYFTDATA_SHUTDOWN_DELAY": text})
        assert settings.shutdown_delay.total_seconds() == seconds


def test_an_incomplete_pair_of_settings_is_rejected():
    """A certificate without its key, a previous enrollment key without a current one."""
    assert "LYFTDATA_TLS_KEY" in problems(LYFTDATA_TLS_CERT="/c")[0]
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY" in problems(LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS=ENROLLMENT_KEY)[0]


def test_settings_do_not_reveal_secrets_when_printed():
    """Their `repr` may be logged."""
    settings = read_server_settings({"LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY})
    assert ENROLLMENT_KEY not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "issuer"),
    [
        ({}, "http://localhost:3000"),
        ({"LYFTDATA_BIND_ADDRESS": "[::1]:4000"}, "http://localhost:4000"),
        ({"LYFTDATA_BIND_ADDRESS": "127.0.0.2:4000"}, "http://127.0.0.2:4000"),
        ({"LYFTDATA_PUBLIC_URL": "https://lyft.example/"}, "https://lyft.example"),
        (
            {"LYFTDATA_TLS_CERT": "/c", "LYFTDATA_TLS_KEY": "/k", "LYFTDATA_BIND_ADDRESS": "a.b:443"},
            "https://a.b:443",
        ),
    ],
)
def test_the_issuer_is_the_public_url_or_the_bind_address(environ, issuer):
    """On loopback it is the default URL of Workers and the command line."""
    assert issuer_of(read_server_settings(environ)) == issuer


@pytest.mark.parametrize(
    ("environ", "is_warned"),
    [
        ({"LYFTDATA_DISABLE_TLS": "yes"}, True),
        ({"LYFTDATA_DISABLE_TLS": "yes", "LYFTDATA_BIND_ADDRESS": "0.0.0.0:3000"}, True),
        ({"LYFTDATA_PUBLIC_URL": "https://lyft.example"}, True),
        ({"LYFTDATA_PUBLIC_URL": "http://lyft.example"}, False),
        ({"LYFTDATA_PUBLIC_URL": "https://lyft.example", "LYFTDATA_TRUSTED_PROXIES": "10.0.0.5"}, False),
        ({"LYFTDATA_DISABLE_TLS": "yes", "LYFTDATA_TRUSTED_PROXIES": "10.0.0.5"}, False),
        (
            {
                "LYFTDATA_PUBLIC_URL": "https://lyft.example",
                "LYFTDATA_TLS_CERT": "/c",
                "LYFTDATA_TLS_KEY": "/k",
            },
            False,
        ),
    ],
)
def test_a_missing_trusted_proxy_is_warned_about(environ, is_warned):
    """If TLS ends elsewhere and no proxy is configured, one warning explains the consequences."""
    found = [w for w in read_server_settings(environ).warnings if w.startswith("LYFTDATA_TRUSTED_PROXIES")]

    assert len(found) == is_warned


def test_worker_variables_in_a_servers_environment_are_accepted():
    """Both programs may read one environment file; a misspelt variable is still warned about."""
    settings = read_server_settings({"LYFTDATA_WORKER_ID": "x", "LYFTDATA_WORKER_TOKEN_TLT": "5m"})
    assert settings.warnings == (
        "LYFTDATA_WORKER_TOKEN_TLT is not a setting and is ignored. Did you mean LYFTDATA_WORKER_TOKEN_TTL?",
    )


def test_every_setting_is_in_the_list_of_all_programs():
    """So one environment file can serve all: no setting is called unknown, and secrets are hidden from the COMMAND."""
    rows = (*TABLE, *WORKER_TABLE, *COMMAND_TABLE)

    assert {row.name for row in rows if row.secret} == set(SECRET_VARIABLES), "see core/settings.py"
    plain = {row.name for row in rows if not row.secret}
    assert plain | {"LYFTDATA_CONFIG_DIR"} == set(PLAIN_VARIABLES), "see core/settings.py"


@pytest.mark.parametrize(("table", "settings"), [(TABLE, ServerSettings), (WORKER_TABLE, WorkerSettings)])
def test_every_row_of_a_settings_table_has_a_field(table, settings):
    """A value from the environment is stored under the name in its row."""
    missing = {row.field for row in table} - set(settings.__struct_fields__)

    assert missing == set(), f"add the fields to {settings.__name__}"


def names_of(table):
    """Return every variable that a table of settings reads."""
    return {name for row in table for name in ((row.name, f"{row.name}_FILE") if row.secret else (row.name,))}


def test_neither_program_warns_about_the_others_settings():
    """Whatever the value."""
    server, worker = names_of(TABLE), names_of(WORKER_TABLE)

    assert read_worker_settings(dict.fromkeys(server - worker, "x")).warnings == ()
    assert read_server_settings(dict.fromkeys(worker - server, "x")).warnings == ()


# --- the data directory ----------------------------------------------------------------------------------


def test_the_data_directory_is_created_private(tmp_path):
    """With mode 0700, including its parents, whatever the umask."""
    before = os.umask(0)
    try:
        prepare_staging_dir(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_data_directory_that_others_can_read_is_refused(tmp_path, mode):
    """The message has the remedy."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 700"):
        prepare_staging_dir(tmp_path / "d")


def test_a_file_instead_of_the_data_directory_is_refused(tmp_path):
    """With a SettingsError."""
    (tmp_path / "f").write_text("x")
    with pytest.raises(SettingsError):
        prepare_staging_dir(tmp_path / "f")


def test_the_secret_key_is_generated_once_and_kept(tmp_path):
    """At the first start, with mode 0600; a truncated one is rejected."""
    first = load_secret_key(tmp_path, given=None, random_bytes=seeded_bytes(1))
    second = load_secret_key(tmp_path, given=None, random_bytes=seeded_bytes(2))

    assert first == second
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]
    (tmp_path / "secret.key").write_text("cut")
    with pytest.raises(SettingsError):
        load_secret_key(tmp_path, given=None, random_bytes=seeded_bytes(3))


def test_keys_for_different_purposes_differ():
    """Although they are derived from the same secret key."""
    assert derive_key(b"k" * 32, purpose="a") != derive_key(b"k" * 32, purpose="b")


SHARED = {
    "LYFTDATA_SECRET_KEY": SECRET_KEY,
    "LYFTDATA_PUBLIC_URL": "https://lyft.example",
    "LYFTDATA_TRUSTED_PROXIES": "10.0.0.5",
}


@pytest.mark.parametrize("query", ["", "?sslmode=require", "?sslmode=verify-ca"])
def test_a_remote_database_must_be_verified(query):
    """PostgreSQL on another host is rejected unless the connection verifies it, or the operator says that it need not."""
    url = f"postgresql://lyftdata:hidden-pw@db.example.com/lyftdata{query}"
    (problem,) = problems(LYFTDATA_DATABASE_URL=url, **SHARED)
    for message in (
        "LYFTDATA_DATABASE_URL",
        "db.example.com",
        "sslmode=verify-full",
        "channel_binding=require",
    ):
        assert message in problem
    assert "LYFTDATA_ALLOW_UNVERIFIED_DATABASE=yes" in problem
    assert "hidden-pw" not in problem

    given = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes"}
    (warning,) = read_server_settings(SHARED | given).warnings
    assert "db.example.com" in warning
    assert "hidden-pw" not in warning


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hidden-pw@a:1,b:2/x",
        "postgresql://u:hidden-pw@h:port/x",
        "postgresql://u:hidden-pw@[::1/x",
    ],
)
def test_an_invalid_database_url_is_rejected(url):
    """Before anything is started; the password is not repeated."""
    (problem,) = problems(LYFTDATA_DATABASE_URL=url, **SHARED)

    assert problem.startswith("LYFTDATA_DATABASE_URL: cannot be read")
    assert "hidden-pw" not in problem


def test_maintenance_commands_verify_the_database_too():
    """They connect to no database that a Server would reject."""
    environ = {"LYFTDATA_DATABASE_URL": "postgresql://u:hidden-pw@db.example.com/lyftdata"}
    with pytest.raises(SettingsError, match="sslmode=verify-full"):
        read_state_location(environ)

    assert (
        read_state_location(environ | {"LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes"}).database_url is not None
    )
    assert read_state_location({"LYFTDATA_DATABASE_URL": "postgresql:///lyftdata"}).database_url is not None


def test_several_processes_need_postgresql(tmp_path):
    """On SQLite the setting is rejected, with the remedy; the default is one process."""
    [problem] = problems(LYFTDATA_PROCESSES="2")
    assert problem.startswith("LYFTDATA_PROCESSES: 2 processes need a PostgreSQL database")
    assert "LYFTDATA_DATABASE_URL" in problem
    shared = {
        "LYFTDATA_DATABASE_URL": "postgresql://owner@127.0.0.1/db",
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_PUBLIC_URL": "https://lyft.example",
    }

    assert read_server_settings(shared).processes == 1
    assert read_server_settings(shared | {"LYFTDATA_PROCESSES": "64"}).processes == 64
    assert read_server_settings({}, {"--processes": "1"}).processes == 1


@pytest.mark.parametrize("number", ["0", "65", "-1", "two", "1.5", "\u0662", "9" * 5_000])
def test_the_number_of_processes_has_bounds(number):
    """A typing error must not start a thousand processes."""
    assert problems(LYFTDATA_PROCESSES=number) == ["LYFTDATA_PROCESSES: must be a number from 1 to 64."]
