"""PostgreSQL servers for tests, started from Debian's package as an unprivileged user, and stopped when the tests end."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psycopg
import pytest
from psycopg import sql
from tests.processes import free_port, until

_PASSWORD = "not-a-secret"
_UNPRIVILEGED = ("postgres", "nobody")


def find_programs() -> Path | None:
    """Return the directory of initdb, pg_ctl and pg_basebackup, or None."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        # It may be a link, without the other programs next to it.
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[4]))
    return found[-1].parent if found else None


class _Postgres:
    """A PostgreSQL server on this machine, on a free port unless one is given; the subclass makes its data directory."""

    def __init__(
        self, place: Path | None = None, *, port: int | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        programs = find_programs()
        if programs is None:
            pytest.skip("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
        self.programs = programs
        self.password = _PASSWORD
        self.user = _unprivileged_user()
        self.root = Path(tempfile.mkdtemp(prefix="lyftdata-pg-", dir=place))
        self.port = free_port() if port is None else port
        self.environ = dict(environ or {})
        self._count = 0
        self._hand_over(self.root)

    @property
    def data(self) -> str:
        """Return the data directory."""
        return str(self.root / "data")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._run("pg_ctl", "start", "--pgdata", self.data, "--wait", "--log", str(self.root / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` stops it like a crash."""
        self._run("pg_ctl", "stop", "--pgdata", self.data, "--wait", "--mode", mode)

    def is_running(self) -> bool:
        """Return whether it runs."""
        return (self.root / "data" / "postmaster.pid").exists()

    def answers(self) -> bool:
        """Return whether it answers a query."""
        try:
            return self.ask("SELECT 1") == 1
        except psycopg.OperationalError:
            return False

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://owner:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return self.url(name)

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> None:
        """Run a statement outside of a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as conn:
            conn.execute(statement if isinstance(statement, sql.Composed) else sql.SQL(statement))

    def ask(self, question: str) -> object:
        """Return the single value that a query yields."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            row = conn.execute(sql.SQL(question)).fetchone()
        return row[0] if row else None

    def allow_all_logins(self) -> None:
        """Accept every login without a password, as an impostor of the database would."""
        (self.root / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        self.execute("SELECT pg_reload_conf()")

    def serve_tls(self, certificate: Path, key: Path) -> None:
        """Accept TLS connections too, with a certificate."""
        for file in (certificate, key):
            copy = self.root / file.name
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o600)
            self._hand_over(copy)
        self._configure(
            ssl="on", ssl_cert_file=str(self.root / certificate.name), ssl_key_file=str(self.root / key.name)
        )
        self.execute("SELECT pg_reload_conf()")
        until(lambda: self.ask("SHOW ssl") == "on", "PostgreSQL takes TLS connections")

    def close(self) -> None:
        """Stop it and remove its files."""
        if self.is_running():
            self.stop()
        shutil.rmtree(self.root)

    def _configure(self, **settings: str) -> None:
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.root),
            # Nothing is lost if a test machine loses power.
            "fsync": "off",
            **settings,
        }
        with (self.root / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in given.items())

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [self.programs / program, *arguments],
            user=self.user,
            # By default pg_ctl waits for a minute.
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGCTLTIMEOUT": "170", **self.environ},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=180,
            check=False,
        )
        assert result.returncode == 0, result.stderr

    def _hand_over(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)


class Cluster(_Postgres):
    """
    A PostgreSQL server with its own data directory.

    Args:
        place: Where its directory is made.
        environ: Additional environment variables.
        settings: PostgreSQL settings, by name.
    """

    def __init__(
        self, place: Path | None = None, *, environ: Mapping[str, str] | None = None, **settings: str
    ) -> None:
        super().__init__(place, environ=environ)
        password_file = self.root / "password"
        password_file.write_text(_PASSWORD)
        self._hand_over(password_file)
        self._run(
            "initdb", "--pgdata", self.data, "--username", "owner", "--pwfile", str(password_file),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
            "--wal-segsize", "1",
        )  # fmt: skip
        self._configure(**settings)
        self.start()


class Standby(_Postgres):
    """
    A synchronous standby: its primary commits nothing without it, and it replaces the primary once promoted.

    Args:
        primary: The server to follow, which may have been a standby itself.
        place: Where its directory is made.
        port: Where it listens; a free port unless given.
    """

    def __init__(
        self, primary: Cluster | Self, *, place: Path | None = None, port: int | None = None
    ) -> None:
        super().__init__(place, port=port, environ=primary.environ)
        self._run(
            "pg_basebackup", "--pgdata", self.data, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync",
            "--dbname", primary.url("postgres") + "?application_name=standby",
        )  # fmt: skip
        self._configure()
        self.start()
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        until(
            lambda: primary.ask("SELECT sync_state FROM pg_stat_replication") == "sync",
            "the standby follows in step",
        )

    def promote(self) -> None:
        """Make it the primary."""
        self._run("pg_ctl", "promote", "--pgdata", self.data, "--wait")


def _unprivileged_user() -> str | None:
    """Return the user that it runs as, None for the user who runs the tests; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in known)


class Cable:
    """The network link between a Server and the database, which can be cut: data is then lost, and neither end is notified."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_whole = threading.Event()
        self._is_whole.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def url(self, database_url: str) -> str:
        """Return the URL of a database through this link."""
        return database_url.replace(f":{self._cluster.port}/", f":{self._listening.getsockname()[1]}/")

    def cut(self) -> None:
        """Stop passing data on."""
        self._is_whole.clear()

    def restore(self) -> None:
        """Pass data on again for new connections; close those that were cut."""
        # In this order: a connection made in between works and is then closed with the others, instead of never being answered.
        self._is_whole.set()
        self._close_connections()

    def restore_for_new_connections(self) -> None:
        """Pass data on again for new connections; those that were cut stay open and are never answered."""
        self._is_whole.set()

    def close(self) -> None:
        """Close every connection."""
        # Closing alone does not wake the thread that waits for a connection; it must end before the last ones are closed.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listening.close()
        self._is_whole.set()
        self._close_connections()

    def _close_connections(self) -> None:
        while self._open:
            end = self._open.pop()
            # Closing alone does not notify the other side while a thread still reads.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._cluster.port))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._is_whole.is_set():
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            if self._is_whole.is_set():
                sink.shutdown(socket.SHUT_RDWR)
