"""The images of the Dockerfile are built and run with a read-only root, as an unprivileged user, without a shell."""

import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from tests.packages.debian_roots import missing
from tests.packages.images import Buildah, Image
from tests.processes import WITHIN_S, free_port, until

PASSWORD = "correct horse battery"
UID = 10001
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def buildah(tmp_path_factory, pristine_root):
    """Return a builder with the base image."""
    directory = tmp_path_factory.mktemp("buildah")
    made = Buildah(directory)
    made.make_base(pristine_root)
    yield made
    made.run("rm", "--all")
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def server_image(buildah) -> Image:
    """Return the image with both Server and Worker."""
    return buildah.open(buildah.build("server"))


@pytest.fixture(scope="module")
def worker_image(buildah) -> Image:
    """Return the image with only the Worker."""
    return buildah.open(buildah.build("worker"))


class Container:
    """A container with directories for its volume and its secrets."""

    def __init__(self, image: Image, directory: Path, **environ: str) -> None:
        self.image = image
        self.environ = environ
        self.volume, self.secrets = directory / "volume", directory / "secrets"
        for path in (self.volume, self.secrets):
            path.mkdir(parents=True)
            os.chown(path, UID, UID)
            path.chmod(0o700)

    def secret(self, name: str, text: str) -> str:
        """Mount a secret; return its path in the container."""
        file = self.secrets / name
        file.write_text(text)
        os.chown(file, UID, UID)
        file.chmod(0o400)
        return f"/run/secrets/{name}"

    def command(self, *argv: str) -> list[str]:
        """Return a command that runs a program in it, by default the image's own."""
        return self.image.command(*argv, volume=self.volume, secrets=self.secrets, environ=self.environ)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(*argv), capture_output=True, text=True, check=False, timeout=WITHIN_S
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program, by default the image's own."""
        with (self.volume.parent / "log").open("w") as log:
            return subprocess.Popen(self.command(*argv), stdout=log, stderr=log, text=True)

    @property
    def log(self) -> str:
        """Return the program's output."""
        return (self.volume.parent / "log").read_text()


def answers(url: str) -> bool:
    """Return whether a Server is ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def end(process: subprocess.Popen[str], container: Container) -> None:
    """Stop a container as a container engine does."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WITHIN_S) == 0, container.log


def test_one_image_runs_both_sides(server_image, tmp_path):
    """A Server becomes healthy and a Worker online, both with a read-only root, user 10001, no shell, and secrets in files."""
    url = f"http://127.0.0.1:{free_port()}"
    server = Container(
        server_image,
        tmp_path / "server",
        LYFTDATA_BIND_ADDRESS=url.removeprefix("http://"),
        LYFTDATA_PUBLIC_URL=url,
    )
    server.environ["LYFTDATA_ADMIN_INIT_PASSWORD_FILE"] = server.secret("admin", f"{PASSWORD}\n")
    server.environ["HOME"] = "/var/lib/lyftdata"
    process = server.start()
    until(lambda: process.poll() is not None or answers(url), "ready", within_s=WITHIN_S)
    assert process.poll() is None, server.log

    status = Path(f"/proc/{process.pid}/status").read_text()
    assert f"\nUid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    check = [word.replace("http://127.0.0.1:3000", url) for word in server_image.healthcheck()]
    assert server.run(*check).returncode == 0

    assert server.run("sh", "-c", "true").returncode != 0
    assert "Read-only file system" in server.run("python", "-c", "open('/opt/lyftdata/x', 'w')").stderr
    login = ["lyftdata", "login", "admin", "--password-stdin", "--url", url]
    subprocess.run(server.command(*login), input=f"{PASSWORD}\n", text=True, check=True, capture_output=True)
    added = server.run(
        "lyftdata", "workers", "add", "press-01", "--id", "press-01", "--issue-key", "--url", url
    )

    worker = Container(server_image, tmp_path / "worker", LYFTDATA_URL=url, LYFTDATA_WORKER_ID="press-01")
    worker.environ["LYFTDATA_WORKER_API_KEY_FILE"] = worker.secret("worker", added.stdout)
    agent = worker.start("lyftdata", "run", "worker")
    until(lambda: agent.poll() is not None or '"event": "online"' in worker.log, "online", within_s=WITHIN_S)
    assert agent.poll() is None, worker.log

    end(agent, worker)
    end(process, server)
    assert not answers(url)
    assert server.run(*check).returncode != 0


def test_the_workers_image_contains_no_server(worker_image, tmp_path):
    """It can only run a Worker: it has no web framework, database library or templates."""
    container = Container(worker_image, tmp_path / "worker")

    done = container.run("lyftdata", "run", "server")
    assert done.returncode == 1
    assert "not installed here" in done.stderr
    (packages,) = worker_image.files.glob("opt/lyftdata/lib/python3*/site-packages")
    found = {path.name for path in packages.iterdir()}
    assert "cryptography" in found
    assert not found & {"fastapi", "starlette", "uvicorn", "sqlalchemy", "psycopg", "jinja2"}
    # Without settings it names the missing ones, and exits with the code for that.
    without = container.run(*worker_image.config["Cmd"])
    assert without.returncode == 2
    assert "LYFTDATA_WORKER_ID" in without.stderr


def test_an_image_contains_only_the_program(server_image):
    """It has no source, tests, requirements or build tools, and only root can change its files."""
    assert not (server_image.files / "src").exists()
    assert not (server_image.files / "dist").exists()
    assert not (server_image.files / "opt" / "build").exists()
    changeable = [
        path
        for path in (server_image.files / "opt").rglob("*")
        if not path.is_symlink() and (path.stat().st_uid != 0 or path.stat().st_mode & 0o022)
    ]
    assert changeable == []
    assert server_image.config["User"] == f"{UID}:{UID}"
