"""Packages import only downwards, and each program imports only what it needs."""

import subprocess
import sys
from pathlib import Path


def test_the_import_contracts_are_kept():
    """`lint-imports` finds no import that a contract in pyproject.toml forbids."""
    linter = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parents[2]

    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_command_lines_help_imports_little():
    """`--help` imports no HTTP client, table printer or cryptography, and nothing of the Server."""
    heavy = (
        "httpx2",
        "rich",
        "sqlalchemy",
        "fastapi",
        "uvicorn",
        "cryptography",
        "alembic",
        "argon2",
        "msgspec",
        "zxcvbn",
    )
    program = (
        "import sys\nfrom lyftdata.cli.main import run\nassert run(['--help']) == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_a_server_loads_the_dictionaries_only_to_assess_a_secret():
    """Neither the Server's modules nor its settings import zxcvbn; the first secret chosen by a person does."""
    program = (
        "import sys\nimport lyftdata.serving, lyftdata.cli.admin\nfrom lyftdata.server.runtime.settings import read_server_settings\n"
        "read_server_settings({})\nprint('zxcvbn' in sys.modules)\n"
        "read_server_settings({'LYFTDATA_ADMIN_INIT_PASSWORD': 'kE2vx9Qa'})\nprint('zxcvbn' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]


def test_a_server_loads_the_passkey_library_only_for_the_first_passkey():
    """It imports CBOR, ASN.1 and OpenSSL, which most Servers do not need at the start."""
    program = "import sys\nimport lyftdata.serving, lyftdata.app\nprint('webauthn' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_run_server_without_the_server_says_how_to_install_it():
    """If only the Worker is installed, `run server` prints one clear message and exits with 1."""
    program = (
        "import sys\nfor name in ('fastapi', 'sqlalchemy', 'argon2'): sys.modules[name] = None\n"
        "from lyftdata.cli.main import run\nsys.exit(run(['run', 'server']))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "(argon2, fastapi, sqlalchemy missing)" in done.stderr
    assert "`pip install --require-hashes -r server.txt`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_host_does_not_need_the_servers_libraries():
    """The agent, the command line and the token command can be imported without them."""
    absent = (
        "sqlalchemy",
        "fastapi",
        "starlette",
        "uvicorn",
        "alembic",
        "argon2",
        "prometheus_client",
        "segno",
        "webauthn",
        "zxcvbn",
    )
    program = (
        f"import sys\nfor name in {absent!r}: sys.modules[name] = None\n"
        "import lyftdata.worker.agent, lyftdata.cli.workers, lyftdata.cli.api, lyftdata.cli.token\nprint('fine')"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "fine\n"
