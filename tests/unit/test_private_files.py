"""One check for every directory that must be private to its user, and for the files in it."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, end_started, free_port

from lyftdata.cli.credentials import Credentials
from lyftdata.core.errors import SettingsError
from lyftdata.core.secret import Secret
from lyftdata.private_files import PrivateDirectory, write_private_atomic

NOBODY = 65534


@pytest.fixture(autouse=True)
def _ended():
    """End the programs that a test has started."""
    yield
    end_started()


@pytest.fixture
def directory(tmp_path):
    """Return a private directory that exists."""
    made = PrivateDirectory(tmp_path / "private", named_by="LYFTDATA_TEST_DIR", child="worker")
    made.make()
    return made


def fault(call):
    """Return the problem that a call reports."""
    with pytest.raises(SettingsError) as raised:
        call()
    (problem,) = raised.value.problems
    return problem


def test_a_file_is_written_read_and_replaced_atomically(directory):
    """With mode 0600 whatever the umask, and no other file is left behind."""
    before = os.umask(0)
    try:
        assert directory.read("x") is None
        directory.write("x", b"one")
        directory.write("x", b"two")
    finally:
        os.umask(before)

    assert directory.read("x") == b"two"
    assert [file.name for file in directory.path.iterdir()] == ["x"]
    assert (directory.path / "x").stat().st_mode & 0o777 == 0o600
    assert directory.path.stat().st_mode & 0o777 == 0o700


def test_one_of_several_concurrent_writers_creates_a_file(directory):
    """The others fail, and all read what it wrote."""
    won = []
    gate = threading.Barrier(8)

    def race(number):
        gate.wait()
        if directory.create("key", f"{number}".encode()):
            won.append(number)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert len(won) == 1
    assert directory.read("key") == f"{won[0]}".encode()
    assert [file.name for file in directory.path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o704, 0o750, 0o755, 0o770, 0o777, 0o2770])
def test_a_directory_open_to_others_is_refused(directory, mode):
    """With any permission for any other user. The message has the mode, the remedy, and a subdirectory to use in a volume."""
    directory.path.chmod(mode)
    problem = fault(directory.check)

    assert f"(mode {mode:04o})" in problem
    assert f"chmod 700 {directory.path}" in problem
    assert f"LYFTDATA_TEST_DIR={directory.path}/worker" in problem
    for call in (directory.make, lambda: directory.read("x"), lambda: directory.write("x", b"")):
        assert fault(call) == problem
    directory.path.chmod(0o2700)
    directory.check()


def test_the_remedy_for_a_shared_directory_is_not_chmod(directory):
    """No one should be advised to make a directory like /tmp private."""
    directory.path.chmod(0o1777)
    problem = fault(directory.check)

    assert "chmod" not in problem
    assert f"LYFTDATA_TEST_DIR={directory.path}/worker" in problem


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o640, 0o604, 0o644, 0o666])
def test_a_file_open_to_others_is_refused(directory, mode):
    """Even in a directory that is private now: it may have been read or changed before."""
    directory.write("x", b"x")
    (directory.path / "x").chmod(mode)
    problem = fault(lambda: directory.read("x"))

    assert f"{directory.path}/x (mode {mode:04o})" in problem
    assert "chmod 600" in problem


def test_only_regular_files_in_the_directory_are_read(directory, tmp_path):
    """A symbolic link, a pipe and a directory are refused: not followed, waited for or replaced by reading."""
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "elsewhere").chmod(0o600)
    (directory.path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(directory.path / "pipe", 0o600)
    (directory.path / "below").mkdir(mode=0o700)

    assert "is a symbolic link" in fault(lambda: directory.read("link"))
    assert "is not a regular file" in fault(lambda: directory.read("pipe"))
    assert "is not a regular file" in fault(lambda: directory.read("below"))
    directory.write("link", b"new")
    assert (tmp_path / "elsewhere").read_text() == "x"
    assert directory.read("link") == b"new"


def test_a_link_instead_of_the_draft_is_not_followed(directory, tmp_path):
    """Whatever was left at the draft's path is removed, never written through."""
    (tmp_path / "elsewhere").write_text("x")
    (directory.path / ".x.new").symlink_to(tmp_path / "elsewhere")
    directory.write("x", b"new")

    assert (tmp_path / "elsewhere").read_text() == "x"
    assert directory.read("x") == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something to another user")
def test_a_file_or_directory_of_another_user_is_refused(directory):
    """Whatever its mode."""
    directory.write("x", b"x")
    os.chown(directory.path / "x", NOBODY, -1)
    assert f"belongs to another user (UID {NOBODY})" in fault(lambda: directory.read("x"))
    os.chown(directory.path, NOBODY, -1)
    problem = fault(directory.check)
    assert f"belongs to another user (UID {NOBODY})" in problem
    assert f"LYFTDATA_TEST_DIR={directory.path}/worker" in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something to another user")
def test_root_reads_another_users_directory_if_the_caller_allows_it(directory):
    """A Worker's program may run as root while the agent has its own user. What others can read is refused to root too."""
    directory.write("x", b"one")
    for path in (directory.path / "x", directory.path):
        os.chown(path, NOBODY, -1)
    for_root = PrivateDirectory(directory.path, named_by="LYFTDATA_TEST_DIR", child="worker", for_root=True)

    assert for_root.read("x") == b"one"
    (directory.path / "x").chmod(0o640)
    assert "(mode 0640)" in fault(lambda: for_root.read("x"))


def test_a_file_instead_of_the_directory_is_reported(tmp_path):
    """With the setting that names it."""
    (tmp_path / "file").write_text("x")
    assert fault(PrivateDirectory(tmp_path / "file", named_by="X", child="y").check) == (
        f"X: {tmp_path}/file is not a directory."
    )


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_directory_that_cannot_be_synced_is_not_an_error(directory, monkeypatch, number):
    """Some file systems can sync only files; a full disk is still an error."""
    really = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    directory.write("x", b"kept")
    assert directory.read("x") == b"kept"

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        directory.write("x", b"lost")
    assert directory.read("x") == b"kept"


def test_concurrent_sign_ins_lose_no_session(tmp_path):
    """Each command adds its session to those of the others."""
    code = (
        "import sys; from pathlib import Path; from lyftdata.cli.credentials import Credentials;"
        "from lyftdata.core.secret import Secret;"
        "Credentials(Path(sys.argv[1])).store(sys.argv[2], Secret('t'))"
    )
    urls = [f"http://server-{number}" for number in range(8)]
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "c", url]) for url in urls]
    assert [program.wait(180) for program in running] == [0] * len(urls)

    credentials = Credentials(tmp_path / "c")
    assert all(credentials.find(url) is not None for url in urls)


# --- each program that stores something private -------------------------------------------------------------


def prepared(host, kind):
    """Return an existing directory, and a function that runs a program with it."""
    path = host.home / "kept"
    path.mkdir(mode=0o700)
    worker = {"LYFTDATA_WORKER_NAME": "w", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    given = {
        "server": (
            ("run", "server"),
            {"LYFTDATA_STAGING_DIR": str(path), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:0"},
        ),
        "worker": (("run", "worker"), {"LYFTDATA_JOBS_DIR": str(path), **worker}),
        "config": (("config", "check", "worker"), {"LYFTDATA_JOBS_DIR": str(path), **worker}),
        "token": (("token",), {"LYFTDATA_JOBS_DIR": str(path)}),
        "command line": (("workers", "list"), {"LYFTDATA_CONFIG_DIR": str(path)}),
        "quickstart": (("quickstart", "--dir", str(path)), {}),
        "backup": (("admin", "backup", "x.db"), {"LYFTDATA_STAGING_DIR": str(path)}),
    }
    arguments, environ = given[kind]
    return path, lambda: host.run(*arguments, **environ)


@pytest.mark.parametrize("mode", [0o755, 0o777])
@pytest.mark.parametrize(
    "kind", ["server", "worker", "config", "token", "command line", "quickstart", "backup"]
)
def test_every_program_refuses_a_directory_open_to_others(tmp_path, kind, mode):
    """With exit code 2, the directory's mode and a subdirectory for volumes, in the same words."""
    path, run = prepared(Host(tmp_path), kind)
    path.chmod(mode)
    done = run()

    assert done.returncode == 2, done.stderr
    assert f"others can read {path} (mode {mode:04o})" in done.stderr
    assert f"={path}/" in done.stderr
    assert sorted(path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("server", "secret.key", "q7Rk2vXn9TzB4mWc8LdY5hGs1JpF6uAeN3bQ0iK"),
        ("worker", "identity.json", "{}"),
        ("token", "identity.json", "{}"),
        ("command line", "credentials.json", '{"http://localhost:3000": "lyftdata_session_x"}'),
    ],
)
def test_every_program_refuses_a_file_open_to_others(tmp_path, kind, name, content):
    """With exit code 2 and the file's name: a file that others could change is not trusted."""
    path, run = prepared(Host(tmp_path), kind)
    (path / name).write_text(content)
    (path / name).chmod(0o666)
    done = run()

    assert done.returncode == 2, done.stderr
    assert f"others can read or change {path / name} (mode 0666)" in done.stderr


@pytest.mark.parametrize("kind", ["server", "worker"])
def test_a_subdirectory_of_an_open_volume_works(tmp_path, kind):
    """With the setting from the message, the program creates its own private directory there."""
    host = Host(tmp_path)
    volume, run = prepared(host, kind)
    volume.chmod(0o777)
    name, _, below = run().stderr.strip().rpartition(" ")[2].partition("=")
    assert Path(below).parent == volume

    given = {"LYFTDATA_BIND_ADDRESS": "127.0.0.1:0", "LYFTDATA_URL": f"http://127.0.0.1:{free_port()}"}
    worker = {"LYFTDATA_WORKER_NAME": "w", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    program = host.start("run", kind, **{name: below}, **given, **(worker if kind == "worker" else {}))
    program.wait_for("ready" if kind == "server" else "retrying")
    assert Path(below).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_database_where_others_can_write_is_refused(tmp_path, mode):
    """SQLite would replay a journal next to the file, no matter who put it there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    host = Host(
        tmp_path / "host", LYFTDATA_BIND_ADDRESS="127.0.0.1:0", LYFTDATA_STAGING_DIR=str(tmp_path / "s")
    )
    done = host.run("run", "server", LYFTDATA_DATABASE_URL=f"sqlite:///{shared}/x.db")

    assert done.returncode == 1
    assert f"Others can write to {shared}" in done.stderr
    assert sorted(shared.iterdir()) == []


def test_stored_sessions_are_private(tmp_path):
    """The file that `login` writes passes the check of later commands."""
    credentials = Credentials(tmp_path / "c")
    credentials.store("http://a", Secret("one"))
    kept = Credentials(tmp_path / "c").find("http://a")
    assert kept is not None
    assert kept.reveal() == "one"


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_atomically_and_made_private(tmp_path, durable):
    """Whatever its old mode and the leftovers of a crash; a directory at its path stays, and no draft is left."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o644)
    (tmp_path / ".file.new").write_bytes(b"half")
    write_private_atomic(file, b"new", durable=durable)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o600)

    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private_atomic(tmp_path / "directory", b"new", durable=durable)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]
