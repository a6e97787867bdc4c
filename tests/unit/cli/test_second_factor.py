"""`lyftdata second-factor`, and signing in with one."""

import contextlib
import os
import sqlite3
import time

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from tests.unit.cli.conftest import CommandHost

from lyftdata.core.totp import parse_secret_text


def code_of(secret, steps=0):
    """Return the code that an app shows now, or that many steps later."""
    step = int(time.time()) // 30 + steps
    return HOTP(parse_secret_text(secret), 6, SHA1()).generate(step).decode()


class OperatorHost(CommandHost):
    """A host, and the operator who is signed in there."""

    operator: str
    password: str
    admin: CommandHost


@pytest.fixture
def host(listening, tmp_path, monkeypatch):
    """Return a host on which a new operator is signed in."""
    admin = listening.signed_in("admin-host")
    name = f"ada-{tmp_path.name}".lower().replace("_", "-")[:40]
    password = admin.done("operators", "add", name).strip()
    made = OperatorHost(tmp_path / "desk", LYFTDATA_URL=listening.url)
    made.done("login", name, "--password-stdin", stdin=f"{password}\n")
    made.operator, made.password, made.admin = name, password, admin
    return made


def set_up(host, monkeypatch):
    """Set up an app, typing its code after the secret is printed; return its secret and the recovery codes."""
    seen: dict[str, str] = {}

    def type_code(prompt, *, from_stdin):
        from lyftdata.core.secret import Secret

        return Secret(code_of(seen["secret"]))

    def show(text):
        lines = [line.strip() for line in text.splitlines()]
        if len(lines) == 3 and lines[2].startswith("otpauth://"):
            seen["secret"] = lines[1]

    monkeypatch.setattr("lyftdata.cli.second_factor.read_code", type_code)
    monkeypatch.setattr("lyftdata.cli.second_factor.echo_err", show)
    codes = host.done("second-factor", "setup").split()
    monkeypatch.undo()
    return seen["secret"], codes


def test_an_app_is_set_up_and_required_at_the_sign_in(host, monkeypatch):
    """The code is the second line of standard input, or typed at the terminal; the password alone is not enough."""
    secret, codes = set_up(host, monkeypatch)
    assert len(codes) == 10
    assert "10 recovery codes left" in host.done("second-factor", "status")

    alone = host.run("login", host.operator, "--password-stdin", stdin=f"{host.password}\n")
    assert (alone.exit_code, "holds no code" in alone.errors) == (2, True)
    piped = f"{host.password}\n{code_of(secret, 1)}\n"
    host.done("login", host.operator, "--password-stdin", stdin=piped)
    typed = host.run("login", host.operator, stdin=f"{host.password}\n{codes[0]}\n", columns=100)
    assert typed.exit_code == 0, typed.errors
    assert codes[0] not in typed.errors + typed.output
    assert "9 recovery codes left" in host.done("second-factor", "status")


def test_recovery_codes_are_renewed_and_the_second_factor_is_removed(host, monkeypatch):
    """New codes end the old ones; without a second factor the password alone signs in."""
    _, codes = set_up(host, monkeypatch)
    new = host.done("second-factor", "recovery-codes", "--yes").split()
    assert not set(codes) & set(new)

    host.done("second-factor", "remove", "--yes")

    assert "You have no second factor" in host.done("second-factor", "status")
    host.done("login", host.operator, "--password-stdin", stdin=f"{host.password}\n")


def test_an_admin_resets_another_operators_second_factor(host, monkeypatch):
    """The list of operators shows who has one."""
    set_up(host, monkeypatch)
    listed = {one["name"]: one["second_factor"] for one in host.admin.json("operators", "list")}
    assert listed[host.operator]

    host.admin.done("operators", "reset-second-factor", host.operator, "--yes")

    host.done("login", host.operator, "--password-stdin", stdin=f"{host.password}\n")


def register(listening, operator, name):
    """Store a passkey as the page does for a browser: no command can create one."""
    with contextlib.closing(sqlite3.connect(listening.staging / "lyftdata.db", timeout=30)) as database:
        passkey_id = os.urandom(16).hex()
        row = (passkey_id, operator, name, os.urandom(32), b"handle", b"key", 0, "2026-11-29 12:00:00.000000")
        columns = "id, operator, name, credential_id, user_handle, public_key, sign_count, created_at"
        database.execute(f"INSERT INTO passkeys ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()
    return passkey_id


def test_passkeys_are_listed_and_removed_by_name_or_id(listening, host):
    """Removing needs confirmation; signing in with a passkey names the alternative for a command line."""
    passkey_id = register(listening, host.operator, "key at my desk")
    register(listening, host.operator, "phone")
    assert "passkey 'key at my desk' since" in host.done("second-factor", "status")
    refused = host.run("login", host.operator, stdin=f"{host.password}\n", columns=100)
    assert "lyftdata login --device" in refused.errors

    unknown = host.run("second-factor", "remove-passkey", "laptop", "--yes")
    assert (unknown.exit_code, "'key at my desk'" in unknown.errors) == (2, True)
    host.done("second-factor", "remove-passkey", "phone", "--yes")
    host.done("second-factor", "remove-passkey", passkey_id, "--yes")

    assert "You have no second factor" in host.done("second-factor", "status")


def test_an_admin_lists_and_removes_another_operators_passkeys(listening, host):
    """One by its name, or all of them with the second factor."""
    for name in ("lost", "kept"):
        register(listening, host.operator, name)
    listed = host.admin.json("operators", "passkeys", host.operator)
    assert {one["name"] for one in listed} == {"lost", "kept"}
    assert "LAST USED" in host.admin.done("operators", "passkeys", host.operator)

    host.admin.done("operators", "remove-passkey", host.operator, "lost", "--yes")

    assert [one["name"] for one in host.admin.json("operators", "passkeys", host.operator)] == ["kept"]
    host.admin.done("operators", "reset-second-factor", host.operator, "--yes")
    assert host.admin.json("operators", "passkeys", host.operator) == []


def test_the_app_can_be_removed_alone(listening, host, monkeypatch):
    """Passkeys and recovery codes stay."""
    set_up(host, monkeypatch)
    register(listening, host.operator, "phone")

    host.done("second-factor", "remove-app", "--yes")

    status = host.json("second-factor", "status")
    assert (status["factors"], len(status["passkeys"]), status["recovery_codes"]) == ([], 1, 10)


def test_the_qr_code_is_shown_only_on_a_terminal(host):
    """If standard error is a file or a pipe, there is only the text."""
    at_terminal = host.run("second-factor", "setup", stdin="000000\n", columns=100)
    piped = host.run("second-factor", "setup", "--code-stdin", stdin="000000\n")

    for ended, is_drawn in ((at_terminal, True), (piped, False)):
        assert ended.exit_code == 1
        assert ("▄▄▄▄▄" in ended.errors) is is_drawn
        assert "otpauth://totp/" in ended.errors
        assert "▄" not in ended.output
