"""What goes into an image, what an example leaves in the checkout, and what git would commit."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.build_context import context_of, copied, is_left_out, read_dockerfile, read_patterns

ROOT = Path(__file__).parents[2]
DOCKERFILES = [
    path
    for path in ROOT.rglob("Dockerfile*")
    # Except those of `make site` and of installed packages.
    if not {".venv", "node_modules", "site"} & set(path.relative_to(ROOT).parts)
]
EXAMPLE = ROOT / "examples" / "several-servers"

# Files that a checkout in use may contain, at the top and in directories that the context includes.
PLANTED = [
    ".git/config",
    ".venv/pyvenv.cfg",
    ".env",
    "secrets/secret-key",
    "examples/several-servers/secrets/database-url",
    "enrollment.key",
    "press-01.key",
    "key.txt",
    "cert.pem",
    "lyftdata.db",
    "dist/lyftdata-0.1.0-py3-none-any.whl",
    "requirements/pip.conf",
    "src/.env",
    "src/lyftdata/secret.key",
    "src/lyftdata/core/key.txt",
    "src/lyftdata/web/static/.env",
    "src/lyftdata/web/static/backup.js.key",
    "src/lyftdata/web/templates/secrets/a.html",
    "src/lyftdata/core/__pycache__/secret.cpython-311.pyc",
    "tests/peers/node/node_modules/x/index.js",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the project's files, with the other files of a checkout in use."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("src", "requirements", "examples"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "Dockerfile", ".dockerignore", ".gitignore", "Makefile"):
        shutil.copy(ROOT / name, root / name)
    for name in PLANTED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("# a secret\n")
    return root


@pytest.mark.parametrize(
    ("patterns", "path", "left_out"),
    [
        ("*", ".git/config", True),
        ("*\n!src", "src/lyftdata/a.py", False),
        ("*\n!src/*.py", "src/a.py", False),
        ("*\n!src/*.py", "src/deep/a.py", True),
        ("*\n!**/*.py", "src/deep/a.py", False),
        ("!src\n*", "src/a.py", True),
        ("# *", "a", False),
        ("secrets", "examples/secrets/key", False),
        ("**/secrets", "examples/secrets/key", True),
        ("**/secrets", "secrets/key", True),
        ("/src/", "src/a.py", True),
        ("./a/../b", "b", True),
        ("a.py", "axpy", False),
        ("a?b", "a/b", False),
        ("[ab].pem", "b.pem", True),
        ("  *.pem  ", "x.pem", True),
        ("*\n! README.md", "README.md", False),
        ("src/**", "src", False),
        ("src/**", "src/a/b", True),
    ],
)
def test_patterns_mean_the_same_as_in_docker(patterns, path, left_out):
    """The interpretation of `.dockerignore` that the tests below rely on, case by case."""
    assert is_left_out(path, read_patterns(patterns)) is left_out


def test_no_planted_file_is_in_the_context(checkout):
    """Secrets, databases, environments and .git are left out, wherever they are, since only named files are included."""
    context = context_of(checkout)

    assert not set(PLANTED) & set(context)
    assert {path.split("/")[0] for path in context} == {"src", "requirements", "pyproject.toml", "README.md"}
    assert all(re.search(r"\.(py|html|js|css|svg|mako|typed|txt|toml|md)$", path) for path in context)


def test_without_dockerignore_planted_files_would_be_in_the_context(checkout, tmp_path):
    """So the test above can fail."""
    bare = tmp_path / "bare"
    shutil.copytree(checkout, bare)
    (bare / ".dockerignore").unlink()

    assert set(PLANTED) <= set(context_of(bare))


def test_podman_finds_the_included_files():
    """Buildah looks into an excluded directory only if a line begins with its exact name, so no `**` includes anything."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("!") and ("**" in line or "*/" in line)] == []


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_copy_takes_only_what_it_names(checkout, file):
    """Every COPY from the context finds its files, and takes no planted file."""
    instructions = list(read_dockerfile(file.read_text(encoding="utf-8")))
    context = context_of(checkout)

    taken = copied(instructions, context)
    assert not set(PLANTED) & set(taken)
    assert taken == context
    assert [line for line in instructions if line.name == "ADD"] == []


def test_the_last_stage_contains_no_file_of_the_context():
    """Its files come from another stage, all below /opt/lyftdata; it runs as a numeric user."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
    final = {re.findall(r"AS (\S+)", stage)[0]: stage for stage in stages if "CMD" in stage}

    assert set(final) == {"server", "worker"}
    for name, stage in final.items():
        copies = [rest for keyword, rest in read_dockerfile(stage) if keyword == "COPY"]
        assert copies == [f"--from={name}-environment /opt/lyftdata /opt/lyftdata"]
        assert stage.startswith("FROM base AS")
    (base,) = (stage for stage in stages if " AS base" in stage)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", base, re.MULTILINE)


def test_the_images_wheel_has_the_same_files_as_the_checkouts(checkout, tmp_path):
    """The context contains everything that the wheel is built from, and no planted file is in the wheel."""
    context = tmp_path / "context"
    for name in context_of(checkout):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout / name, context / name)
    clean = tmp_path / "clean"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard", "src", "pyproject.toml", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clean / name)

    assert built(context, tmp_path / "a") == built(clean, tmp_path / "b")


def built(root, out):
    """Build a wheel like the Dockerfile; return the names in it."""
    hatchling = Path(sys.executable).with_name("hatchling")
    subprocess.run([hatchling, "build", "-t", "wheel", "-d", out], cwd=root, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_the_example_builds_the_image_of_the_checkout():
    """compose.yaml names the checkout as the context, with the .dockerignore that is tested here."""
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        if "build" in service:
            assert (EXAMPLE / service["build"]["context"]).resolve() == ROOT
            assert f"FROM base AS {service['build']['target']}\n" in (ROOT / "Dockerfile").read_text()


def test_the_example_makes_its_secrets_outside_the_checkout(checkout, tmp_path):
    """Its first lines make all secrets in a private directory, and do not change the checkout."""
    example = checkout / "examples" / "several-servers"
    before = sorted(checkout.rglob("*"))
    lines = re.findall(
        r"^#     (?!docker|lyftdata)(.+)$", (EXAMPLE / "compose.yaml").read_text(), re.MULTILINE
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    script = "set -eu\n" + "\n".join(lines)
    subprocess.run(["sh", "-c", script], cwd=example, env=environ, check=True, capture_output=True)

    made = tmp_path / ".config" / "lyftdata-several-servers"
    assert sorted(checkout.rglob("*")) == before
    assert made.stat().st_mode & 0o777 == 0o700
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))
    for secret in compose["secrets"].values():
        file = Path(re.sub(r"\$\{LYFTDATA_SECRETS[^}]*\}", str(made), secret["file"]))
        assert file.parent == made
        assert len(file.read_text()) >= 64
        # Docker mounts the file unchanged: the Server in its container is another user, and the database starts as root.
        assert file.stat().st_mode & 0o777 == (0o600 if file.name == "database-key" else 0o644)
    assert len({file.read_text() for file in made.iterdir()}) == len(list(made.iterdir()))
    assert "one:3000" in (made / "haproxy.cfg").read_text()
    again = subprocess.run(["sh", "-c", script], cwd=example, env=environ, capture_output=True, check=False)
    assert again.returncode != 0


def test_git_ignores_the_secrets_of_a_checkout_in_use(checkout, tmp_path):
    """What a reader of the pages leaves in a checkout is ignored."""
    repository = tmp_path / "repository"
    shutil.copytree(checkout, repository, ignore=shutil.ignore_patterns(".git"))
    git = ["git", "-C", str(repository)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    named = ["secrets/secret-key", "examples/several-servers/secrets/database-url", "enrollment.key"]
    named += [
        "press-01.key",
        "cert.pem",
        "lyftdata.db",
        ".env",
        "src/lyftdata/secret.key",
        ".venv/pyvenv.cfg",
    ]

    ignored = subprocess.run(
        [*git, "check-ignore", *named], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    assert ignored == named


def test_a_source_distribution_contains_no_secret(checkout, tmp_path):
    """Hatchling leaves out what git ignores."""
    subprocess.run(["git", "-C", str(checkout), "init", "--quiet"], check=True)
    hatchling = Path(sys.executable).with_name("hatchling")
    done = subprocess.run(
        [hatchling, "build", "-t", "sdist", "-d", tmp_path / "out"],
        cwd=checkout,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "out").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    secret = {name for name in PLANTED if re.search(r"secrets/|\.key$|\.pem$|\.db$|\.env$|\.git/", name)}
    assert "src/lyftdata/core/secret.py" in names
    assert not secret & names
