"""
Every reader parses a secret the same way: accidental white space around it is removed, invisible characters in it are rejected.
"""

import pytest
from tests.builders import seeded_bytes

from lyftdata.client import TokenKeeper
from lyftdata.client.environment import _TABLE as LIBRARY
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret_text import parse_secret, parse_typed_secret, secret_argument, trim
from lyftdata.private_files import PrivateDirectory
from lyftdata.server.runtime.secret_keys import load_secret_key
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.settings_table import TABLE as SERVER
from lyftdata.verify import WorkerVerifier
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import TABLE as WORKER
from lyftdata.worker.settings import read_worker_settings

KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
DATABASE = "postgresql://lyftdata:x@localhost/lyftdata"
AROUND = {
    "a carriage return": f"{KEY}\r",
    "spaces": f"  {KEY} ",
    "two line ends": f"{KEY}\n\n",
    "Windows line ends": f"{KEY}\r\n\r\n",
    "a byte order mark": f"\ufeff{KEY}\n",
    "a mark after a space": f" \ufeff {KEY}",
    "no-break spaces": f"\u00a0{KEY}\u00a0",
}
REFUSED = {
    "double quotes": (f'"{KEY}"', "must not be in quotes"),
    "single quotes": (f"'{KEY}'\r", "must not be in quotes"),
    "quotes of a word processor": (f"\u201c{KEY}\u201d", "must not be in quotes"),
    "quotes and a mark": (f'\ufeff"{KEY}"\r\n', "must not be in quotes"),
    "a tab": (
        f"{KEY[:9]}\t{KEY[9:]}",
        "must not contain U+0009 (a control character) at position 10",
    ),
    "a zero": (f"{KEY[:9]}\0{KEY[9:]}", "must not contain U+0000"),
    "an escape": (f"{KEY[:9]}\x1b[0m{KEY[9:]}", "must not contain U+001B"),
    "two lines": (f"{KEY}\n{KEY}", "must not contain a line break at position 33"),
    "a zero width space": (f"{KEY[:9]}\u200b{KEY[9:]}", "must not contain U+200B (zero width space)"),
    "a mark within": (f"{KEY[:9]}\ufeff{KEY[9:]}", "must not contain U+FEFF"),
    "a mark of direction": (f"{KEY[:9]}\u202e{KEY[9:]}", "must not contain U+202E"),
    "a no-break space": (f"{KEY[:9]}\u00a0{KEY[9:]}", "must not contain U+00A0 (no-break space)"),
    "half a character": (f"{KEY[:9]}\udce9{KEY[9:]}", "must not contain U+DCE9"),
    "its name": (f"LYFTDATA_AUTO_ENROLLMENT_KEY={KEY}", "must be the value alone"),
}
# Each secret setting of Server and Worker, with a valid value.
SECRETS = [
    (read, setting.name, {"LYFTDATA_DATABASE_URL": DATABASE}.get(setting.name, KEY))
    for read, table in ((read_server_settings, SERVER), (read_worker_settings, WORKER))
    for setting in table
    if setting.secret
]
ALONE = {
    "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": {"LYFTDATA_AUTO_ENROLLMENT_KEY": KEY[::-1]},
    "LYFTDATA_DATABASE_URL": {"LYFTDATA_SECRET_KEY": KEY, "LYFTDATA_PUBLIC_URL": "https://lyft.example"},
    "LYFTDATA_OIDC_CLIENT_SECRET": {
        "LYFTDATA_OIDC_ISSUER": "https://id.example",
        "LYFTDATA_OIDC_CLIENT_ID": "lyftdata",
        "LYFTDATA_OIDC_ROLES": "admin: groups=admins",
        "LYFTDATA_PUBLIC_URL": "https://lyft.example",
    },
}


def given_as(how, name, text, file):
    """Return an environment with the secret in a variable or in a file."""
    others = ALONE.get(name, {})
    if how == "variable":
        return others | {name: text}
    file.write_bytes(text.encode())
    return others | {f"{name}_FILE": str(file)}


def start(read, environ, place):
    """Read the settings and, for a Worker, choose its strategy."""
    strategy = {
        "LYFTDATA_WORKER_API_KEY": {"LYFTDATA_WORKER_ID": "w"},
        "LYFTDATA_AUTO_ENROLLMENT_KEY": {"LYFTDATA_WORKER_NAME": "w"},
    }
    needed = next(
        (more for name, more in strategy.items() if any(key.startswith(name) for key in environ)), {}
    )
    settings = read(environ | needed) if read is read_worker_settings else read(environ)
    if read is read_worker_settings:
        choose_credential(settings, StateDirectory(place / "jobs"))


@pytest.mark.parametrize("around", AROUND)
def test_white_space_around_a_secret_is_removed(around):
    """Of any kind, and byte order marks, in any order."""
    assert parse_secret(AROUND[around]).reveal() == KEY


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_quotes_and_invisible_characters_are_rejected(text, message):
    """The message has the character and its position, but not the secret."""
    with pytest.raises(InvalidInputError) as raised:
        parse_secret(text)
    assert raised.value.message.startswith(message)
    assert KEY not in raised.value.message


@pytest.mark.parametrize("text", ["", " ", "\ufeff", "\r\n"])
def test_an_empty_secret_is_rejected(text):
    """Also if only white space was given."""
    with pytest.raises(InvalidInputError, match="must not be empty"):
        parse_secret(text)


def test_a_password_may_be_in_quotes():
    """A person may type any password, but not invisible characters."""
    assert parse_typed_secret("'quoted'\n").reveal() == "'quoted'"
    with pytest.raises(InvalidInputError):
        parse_typed_secret("a\u200bb")


def test_characters_within_a_secret_are_kept():
    """Spaces and non-ASCII letters are part of it."""
    assert parse_secret("correct horse Grüße 馬").reveal() == "correct horse Grüße 馬"
    assert trim("a b") == "a b"


@pytest.mark.parametrize("how", ["variable", "file"])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    ("read", "name", "value"), SECRETS, ids=lambda x: getattr(x, "__name__", str(x))[:40]
)
def test_server_and_worker_parse_every_secret_alike(read, name, value, around, how, tmp_path):
    """From a variable and from a file, the same bytes give the same secret."""
    settings = read(given_as(how, name, AROUND[around].replace(KEY, value), tmp_path / "file"))
    (field,) = {setting.field for setting in (*SERVER, *WORKER) if setting.name == name}

    assert getattr(settings, field).reveal() == value


@pytest.mark.parametrize("how", ["variable", "file"])
@pytest.mark.parametrize("refused", ["double quotes", "a zero width space", "two lines"])
@pytest.mark.parametrize(
    ("read", "name", "value"), SECRETS, ids=lambda x: getattr(x, "__name__", str(x))[:40]
)
def test_server_and_worker_reject_every_malformed_secret_alike(read, name, value, refused, how, tmp_path):
    """At the start, with the variable's name."""
    text, message = REFUSED[refused]
    text = f'"{value}"' if refused == "double quotes" else text
    environ = given_as(how, name, text, tmp_path / "file")
    with pytest.raises(SettingsError) as raised:
        start(read, environ, tmp_path)
    (problem,) = raised.value.problems

    assert problem.startswith(name)
    assert message[:20] in problem
    assert value not in problem


def test_the_client_library_parses_a_secret_as_the_worker_does():
    """A program that uses the library gets the same key from the same variable."""
    (row,) = [row for row in LIBRARY if row.secret]
    assert row.parse is parse_secret


def test_a_secret_passed_as_an_argument_is_parsed_alike():
    """The line break at the end of its file is removed; quotes are rejected, with the argument's name."""
    assert secret_argument("api_key", f"\ufeff{KEY}\r\n").reveal() == KEY
    for wrong in (f'"{KEY}"', f"{KEY}\n{KEY}", ""):
        with pytest.raises(InvalidInputError, match=r"^api_key must not") as raised:
            TokenKeeper.with_api_key("http://localhost:3000", worker_id="w-1", api_key=wrong)
        assert KEY not in str(raised.value)
        with pytest.raises(InvalidInputError, match=r"^resource_key must not|needs resource_name"):
            WorkerVerifier(
                "http://localhost:3000",
                audience="https://service.example",
                online=True,
                resource_name="service",
                resource_key=wrong,
            )


def test_the_key_file_is_parsed_like_any_secret_file(tmp_path):
    """
    With a byte order mark and Windows line breaks, `secret.key` is the same key as the same bytes in LYFTDATA_SECRET_KEY_FILE.
    """
    written = f"\ufeff{KEY}\r\n\r\n".encode()
    directory = PrivateDirectory(tmp_path / "s", named_by="X", child="y")
    directory.make()
    directory.write("secret.key", written)
    (tmp_path / "copy").write_bytes(written)
    copy = read_server_settings({"LYFTDATA_SECRET_KEY_FILE": str(tmp_path / "copy")}).secret_key

    in_place = load_secret_key(directory.path, given=None, random_bytes=seeded_bytes())
    assert in_place == load_secret_key(directory.path, given=copy, random_bytes=seeded_bytes())


def test_an_environment_file_from_windows_is_accepted():
    """`docker --env-file` passes a carriage return after every value; it is ignored in all settings."""
    settings = read_server_settings(
        {
            "LYFTDATA_STAGING_DIR": "/var/lib/lyftdata\r",
            "LYFTDATA_BIND_ADDRESS": "127.0.0.1:3001\r",
            "LYFTDATA_AUTO_ENROLLMENT_KEY": f"{KEY}\r",
            "LYFTDATA_LOG_LEVEL": "debug\r",
        }
    )
    assert str(settings.staging_dir) == "/var/lib/lyftdata"
    assert settings.bind_address.port == 3001
    worker = read_worker_settings({"LYFTDATA_WORKER_ID": "press-01\r", "LYFTDATA_JOBS_DIR": "/j\r"})
    assert worker.worker_id == "press-01"
    assert str(worker.jobs_dir) == "/j"
