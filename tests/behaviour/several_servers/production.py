"""The setup of docs/how-to/set-up-for-production.md, made from the page's commands and files, on this machine."""

import itertools
import os
import subprocess
from pathlib import Path

from tests.behaviour.several_servers.followed_page import FollowedPage, assignments, replaced
from tests.peers.proxies import EXAMPLES, Peer, program
from tests.postgres import Cluster
from tests.processes import PASSWORD, Host, Program, free_port, until
from tests.units import Unit
from tools.build_deb import packaged_unit

PAGE = FollowedPage(EXAMPLES.parent / "docs" / "how-to" / "set-up-for-production.md")
DATABASE_PASSWORD = "3f1d8c0b6a7e4952"
_ADDRESS = "https://lyftdata.example.com"


class Production:
    """
    Two Servers on PostgreSQL behind HAProxy, all with TLS, an operator's host, and the hosts of two Workers.

    Args:
        root: An empty directory.
        cluster: Its PostgreSQL, which gets a database and is configured as on the page.
    """

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.root = root
        self._cluster = cluster
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.server_ports = [free_port(), free_port()]
        self.certificates = root / "certificates"
        self._make_certificates()
        self.ca = self.certificates / "ca.pem"
        self._set_up_database()
        self._secret_key = Host(root / "keys").done("enrollment", "generate-key")
        self.server_hosts = [self._server_host(1), self._server_host(2)]
        self.servers: list[Program] = []

    def _make_certificates(self) -> None:
        """Make them as the page does; the balancer's certificate also has this machine's name."""
        self.certificates.mkdir()
        script = replaced(
            PAGE.block("openssl req"),
            {"DNS:$name.example.com": "DNS:$name.example.com,DNS:localhost"},
        )
        subprocess.run(["sh", "-ec", script], cwd=self.certificates, check=True, capture_output=True)

    def _set_up_database(self) -> None:
        settings = PAGE.file("/etc/postgresql/15/main/conf.d/lyftdata.conf")
        assert "ssl_cert_file = '/etc/postgresql/15/main/db.pem'" in settings
        assert "ssl_key_file = '/etc/postgresql/15/main/db.key'" in settings
        self._cluster.serve_tls(self.certificates / "db.pem", self.certificates / "db.key")
        logins = PAGE.file("Add to /etc/postgresql/15/main/pg_hba.conf")
        (self._cluster.root / "data" / "pg_hba.conf").write_text(
            "host all owner 127.0.0.1/32 scram-sha-256\n"
            + replaced(logins, {"10.0.0.11/32": "127.0.0.1/32", "10.0.0.12/32": "127.0.0.1/32"}),
            encoding="utf-8",
        )
        self._cluster.execute("SELECT pg_reload_conf()")
        # `createuser --pwprompt` asks a person.
        assert PAGE.commands("runuser -u postgres -- createuser --pwprompt lyftdata")
        self._cluster.execute(f"CREATE ROLE lyftdata LOGIN PASSWORD '{DATABASE_PASSWORD}'")
        self.make_database()

    def make_database(self) -> None:
        """Create the empty database, and keep other roles out of it."""
        self.as_postgres(PAGE.commands("runuser -u postgres -- createdb")[0])
        self.as_postgres(PAGE.commands("runuser -u postgres -- psql lyftdata")[0])

    def as_postgres(self, command: list[str]) -> None:
        """Run a command of the page as the owner of the PostgreSQL server."""
        assert command[:4] == ["runuser", "-u", "postgres", "--"]
        name, *arguments = command[4:]
        arguments = [argument.replace("/backup", str(self.root / "backup")) for argument in arguments]
        given = {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self._cluster.port),
            "PGUSER": "owner",
            # The default database of the user postgres.
            "PGDATABASE": "postgres",
            "PGPASSWORD": self._cluster.password,
        }
        done = subprocess.run(
            [str(self._cluster.programs / name), *arguments],
            env=given,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _server_host(self, number: int) -> Host:
        """Return the host of a Server, with the page's files below a directory."""
        root = self.root / f"lyftdata-{number}"
        private, public = root / "etc" / "lyftdata", root / "etc" / "lyftdata-tls"
        for directory in (private, public):
            directory.mkdir(parents=True)
        url = replaced(
            PAGE.block("postgresql://"),
            {
                "PASSWORD": DATABASE_PASSWORD,
                "db.example.com/": f"db.example.com:{self._cluster.port}/",
                "/etc/lyftdata-tls": str(public),
            },
        )
        # The address of that name.
        (private / "database-url").write_text(url.strip() + "&hostaddr=127.0.0.1\n", encoding="utf-8")
        (private / "secret-key").write_text(self._secret_key, encoding="utf-8")
        (private / "admin-password").write_text(f"{PASSWORD}\n", encoding="utf-8")
        for source, name in (
            ("ca.pem", "ca.pem"),
            (f"lyftdata-{number}.pem", "cert.pem"),
            (f"lyftdata-{number}.key", "key.pem"),
        ):
            (public / name).write_bytes((self.certificates / source).read_bytes())
        drop_in = PAGE.file("/etc/systemd/system/lyftdata-server.service.d/postgresql.conf")
        environ = Unit(packaged_unit("lyftdata-server.service") + drop_in).environ(root)
        settings = replaced(
            PAGE.file("/etc/lyftdata/server.conf"),
            {
                _ADDRESS: self.url,
                "0.0.0.0:3000": f"127.0.0.1:{self.server_ports[number - 1]}",
                "10.0.0.5": "127.0.0.1",
                "/etc/": f"{root}/etc/",
            },
        )
        # The page stops both at once: neither waits for the other to take over.
        return Host(root / "home", LYFTDATA_SHUTDOWN_DELAY="0s", **environ, **assignments(settings))

    def start_servers(self) -> None:
        """Start both Servers, one after the other, each until it is ready."""
        for host in self.server_hosts:
            self.servers.append(self._started(host))

    def _started(self, host: Host) -> Program:
        server = host.start("run", "server")
        server.wait_for("ready")
        return server

    def restart_server(self, number: int) -> None:
        """Start a Server again, as systemd does."""
        self.servers[number] = self._started(self.server_hosts[number])

    def start_balancer(self) -> Peer:
        """Start HAProxy with the page's version of the example."""
        haproxy = program("haproxy", "haproxy")
        place = self.root / "haproxy"
        place.mkdir()
        pem = [(self.certificates / f"lyftdata.{end}").read_text(encoding="utf-8") for end in ("pem", "key")]
        (place / "lyftdata.pem").write_text("".join(pem), encoding="utf-8")
        changes = {
            "/etc/haproxy/": f"{place}/",
            "/etc/lyftdata-tls/ca.pem": str(self.ca),
            ":443": f"127.0.0.1:{self.port}",
            "lyftdata-1.example.com:3000": f"127.0.0.1:{self.server_ports[0]}",
            "lyftdata-2.example.com:3000": f"127.0.0.1:{self.server_ports[1]}",
        }
        directory = EXAMPLES / "several-servers"
        subprocess.run(["sh", "-ec", replaced(PAGE.block("sed -e"), changes)], cwd=directory, check=True)
        file = place / "haproxy.cfg"
        # Tests share the CPUs with others, so a slow Server must not count as down. One that does not listen is noticed when it refuses connections.
        patient = {
            "timeout check 3s": "timeout check 60s",
            "timeout connect 5s": "timeout connect 60s",
            "inter 2s fastinter 1s": "inter 60s fastinter 60s",
        }
        text = replaced(file.read_text(encoding="utf-8"), patient)
        file.write_text(text, encoding="utf-8")
        return Peer([haproxy, "-f", str(file)], root=place, port=self.port)

    def sign_in(self) -> Host:
        """Return the operator's host, signed in."""
        (export,) = PAGE.commands("export LYFTDATA_URL=")
        given = dict(word.split("=", 1) for word in export[1:])
        assert given == {"LYFTDATA_URL": _ADDRESS, "LYFTDATA_TLS_CA": "/etc/lyftdata-tls/ca.pem"}
        operator = Host(self.root / "operator", LYFTDATA_URL=self.url, LYFTDATA_TLS_CA=str(self.ca))

        def signed_in() -> bool:
            done = operator.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
            return done.returncode == 0

        until(signed_in, "the balancer passes on")
        return operator

    def systemd_worker(self, key: Path) -> Program:
        """Start the Worker of the page's unit."""
        root = self.root / "press-01"
        (root / "etc" / "lyftdata").mkdir(parents=True)
        (root / "etc" / "lyftdata" / "worker.key").write_bytes(key.read_bytes())
        environ = Unit(packaged_unit("lyftdata-worker.service")).environ(root)
        settings = replaced(
            PAGE.file("/etc/lyftdata/worker.conf"),
            {_ADDRESS: self.url, "/etc/lyftdata-tls/ca.pem": str(self.ca)},
        )
        return Host(root / "home", **environ, **assignments(settings)).start("run", "worker")

    def container_worker(self, key: Path) -> tuple[Program, Path]:
        """Start the Worker with what the page's `docker run` gives it; return it and its key file."""
        root = self.root / "press-02"
        (root / "secrets").mkdir(parents=True)
        (_, *words) = replaced(PAGE.block("docker run"), {"\\\n": " "}).split()
        options = list(itertools.pairwise(words))
        volumes = [value.removesuffix(":ro").split(":") for option, value in options if option == "--volume"]
        mounted = {target: source for source, target in volumes}
        assert mounted == {"/var/lib/lyftdata": "press-02", "/run/secrets": "/etc/lyftdata-worker"}
        # As the page fills that directory.
        (secrets := root / "secrets").joinpath("ca.pem").write_bytes(self.ca.read_bytes())
        (_, *install, _) = PAGE.commands("install -o 10001")[0]
        assert install == ["-o", "10001", "-m", "400", "press-02.key"]
        name = Path(PAGE.commands("install -o 10001")[0][-1]).relative_to("/etc/lyftdata-worker")
        (secrets / name).write_bytes(key.read_bytes())
        environ = dict(value.split("=", 1) for option, value in options if option == "--env")
        environ = {
            variable: value.replace("/run/secrets", str(secrets)).replace(_ADDRESS, self.url)
            for variable, value in environ.items()
        }
        environ["LYFTDATA_JOBS_DIR"] = str(root / "volume" / "worker")
        return Host(root / "home", **environ).start("run", "worker"), secrets / name
