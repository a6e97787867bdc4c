"""The rooms import downwards only."""

import subprocess
import sys
from pathlib import Path


def test_rooms_import_one_way():
    """Every import contract of pyproject.toml is kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parents[2]

    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_command_line_starts_light():
    """Asking for help imports no HTTP client, no table printer, no cryptography and nothing of the Server."""
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
    """Neither the Server's modules nor its settings load zxcvbn; the first secret that a person chose does."""
    program = (
        "import sys\nimport lyftdata.serving, lyftdata.cli.admin\nfrom lyftdata.server.runtime.settings import read_server_settings\n"
        "read_server_settings({})\nprint('zxcvbn' in sys.modules)\n"
        "read_server_settings({'LYFTDATA_ADMIN_INIT_PASSWORD': 'kE2vx9Qa'})\nprint('zxcvbn' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]


def test_a_server_loads_the_library_of_passkeys_only_for_the_first_passkey():
    """It brings CBOR, ASN.1 and OpenSSL along, which most starts of a Server need not wait for."""
    program = "import sys\nimport lyftdata.serving, lyftdata.app\nprint('webauthn' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_without_the_server_installed_it_says_how_to_install_it():
    """`run server` where only the Worker is installed is one clear message, and exit 1."""
    program = (
        "import sys\nfor name in ('fastapi', 'sqlalchemy', 'argon2'): sys.modules[name] = None\n"
        "from lyftdata.cli.main import run\nsys.exit(run(['run', 'server']))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "(argon2, fastapi, sqlalchemy missing)" in done.stderr
    assert "`pip install --require-hashes -r server.txt`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_host_needs_no_server():
    """The agent, the command line and the token command import without the Server's libraries."""
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
