"""A database outside the data directory: every program that opens it makes the same check first."""

import asyncio
import os
import stat

import pytest
from tests.builders import SECRET_KEY
from tests.processes import Host

from lyftdata.core.secret import Secret
from lyftdata.server.runtime.maintenance import back_up, move_to_postgresql, read_state_location, restore
from lyftdata.server.runtime.operator_recovery import reset_password, unlock
from lyftdata.server.runtime.secret_keys import audit_key_of
from lyftdata.store import Store
from lyftdata.store.errors import StoreError

AUDIT_KEY = audit_key_of(SECRET_KEY.encode())


@pytest.fixture
def database(tmp_path):
    """Return a database in its own directory."""
    file = tmp_path / "elsewhere" / "x.db"
    file.parent.mkdir(mode=0o700)
    asyncio.run(Store.open(f"sqlite:///{file}", audit_key=AUDIT_KEY).close())
    return file


def location_of(file, tmp_path):
    """Return the settings of a Server with this database file."""
    (tmp_path / "staging").mkdir(mode=0o700, exist_ok=True)
    return read_state_location(
        {
            "LYFTDATA_STAGING_DIR": str(tmp_path / "staging"),
            "LYFTDATA_SECRET_KEY": SECRET_KEY,
            "LYFTDATA_DATABASE_URL": f"sqlite:///{file}",
        }
    )


def open_as_server(file, _tmp_path):
    """Open the database as a Server does."""
    asyncio.run(Store.open(f"sqlite:///{file}", audit_key=AUDIT_KEY).close())


def take_backup(file, tmp_path):
    """Back the database up."""
    back_up(location_of(file, tmp_path), tmp_path / "new-backup.db")


def restore_over(file, tmp_path):
    """Restore a backup over it."""
    restore(location_of(file, tmp_path), file)


def move(file, tmp_path):
    """Move it to PostgreSQL, which is not contacted before the check."""
    there = {"LYFTDATA_DATABASE_URL": "postgresql://127.0.0.1:1/x", "LYFTDATA_SECRET_KEY": SECRET_KEY}
    move_to_postgresql(read_state_location(there, staging_dir=str(tmp_path / "staging")), source=file)


OPENERS = {
    "server": open_as_server,
    "unlock": lambda file, tmp_path: unlock(location_of(file, tmp_path), "admin"),
    "reset-password": lambda file, tmp_path: reset_password(
        location_of(file, tmp_path), "admin", Secret("a long new password"), announce=lambda *_: None
    ),
    "backup": take_backup,
    "restore": restore_over,
    "migrate": move,
}
OPENED = pytest.mark.parametrize("opening", OPENERS.values(), ids=OPENERS)


@OPENED
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_database_in_a_directory_that_others_can_write_to_is_refused(database, tmp_path, opening, mode):
    """SQLite would replay a journal next to the file, no matter who put it there."""
    database.parent.chmod(mode)

    with pytest.raises(StoreError, match=f"Others can write to {database.parent}"):
        opening(database, tmp_path)


@OPENED
def test_a_symbolic_link_to_such_a_directory_is_refused(database, tmp_path, opening):
    """Both the link's directory and its target count."""
    database.parent.chmod(0o777)
    link = tmp_path / "link.db"
    link.symlink_to(database)

    with pytest.raises(StoreError, match=f"Others can write to {database.parent}"):
        opening(link, tmp_path)


@OPENED
def test_a_database_of_another_user_is_refused(database, tmp_path, opening):
    """Its owner could change its contents. Root, who could open it, is refused too."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(database, 12345, 12345)

    with pytest.raises(StoreError, match=r"belongs to another user \(UID 12345\)"):
        opening(database, tmp_path)


def test_a_database_that_others_can_read_is_made_private(database, tmp_path):
    """A copy restored by hand gets mode 0600 at the first command, as at a start of the Server."""
    database.chmod(0o644)

    back_up(location_of(database, tmp_path), tmp_path / "backup.db")

    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_second_server_on_the_same_database_does_not_start(database, tmp_path):
    """Also if it has a symbolic link to the first one's file."""
    link = tmp_path / "link.db"
    link.symlink_to(database)
    first = Store.open(f"sqlite:///{database}", audit_key=AUDIT_KEY)

    with pytest.raises(StoreError, match="Another Server is using the database"):
        Store.open(f"sqlite:///{link}", audit_key=AUDIT_KEY)
    asyncio.run(first.close())


def test_the_command_line_explains_the_refusal(database, tmp_path):
    """`admin unlock` fails with the remedy, and has changed nothing."""
    database.parent.chmod(0o777)
    before = database.read_bytes()
    host = Host(
        tmp_path / "host",
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_SECRET_KEY=SECRET_KEY,
        LYFTDATA_DATABASE_URL=f"sqlite:///{database}",
    )

    done = host.run("admin", "unlock", "admin")

    assert done.returncode == 1
    assert "Keep it in a directory of mode 0700" in done.stderr
    assert database.read_bytes() == before
