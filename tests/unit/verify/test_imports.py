"""What importing the verifier costs a service."""

import subprocess
import sys

HEAVY = (
    "lyftdata.server",
    "lyftdata.store",
    "lyftdata.web",
    "lyftdata.app",
    "lyftdata.serving",
    "lyftdata.worker",
    "lyftdata.client",
    "lyftdata.cli",
    "sqlalchemy",
    "alembic",
    "argon2",
    "starlette",
    "fastapi",
    "pydantic",
    "flask",
    "werkzeug",
    "grpc",
    "requests",
    "httpx",
    "aiohttp",
    "uvicorn",
)


def imported_with(statement: str) -> list[str]:
    """Return which of the heavy ones a statement imports."""
    program = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names: list[str] = eval(done.stdout)
    return names


def test_the_verifier_is_light():
    """`lyftdata.verify` brings no framework, no database, nothing of the Server, and nothing that gets or holds a token."""
    assert imported_with("import lyftdata.verify") == []


def test_checking_loads_nothing_of_getting():
    """A service that only checks tokens loads no enrollment and no credential."""
    program = (
        "import sys, lyftdata.verify, lyftdata.verify.asgi\n"
        "print([name for name in ('lyftdata.core.enrollment', 'lyftdata.core.assertions', 'lyftdata.current_secrets',"
        " 'lyftdata.private_files') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_each_framework_brings_itself_and_no_other():
    """A module for a framework imports that one; those that need none import none."""
    assert imported_with("import lyftdata.verify.asgi, lyftdata.verify.wsgi") == []
    assert imported_with("import lyftdata.verify.fastapi") == ["starlette", "fastapi", "pydantic"]
    assert imported_with("import lyftdata.verify.grpc") == ["grpc"]


def test_being_a_worker_is_light_too():
    """`lyftdata.client` brings no HTTP library but the one that is installed with it; others have a module each."""
    assert imported_with("import lyftdata.client") == ["lyftdata.client"]
    assert imported_with("import lyftdata.client.httpx_auth") == ["lyftdata.client", "httpx"]
    assert imported_with("import lyftdata.client.aiohttp_auth") == ["lyftdata.client", "aiohttp"]
