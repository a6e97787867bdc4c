"""What importing the verifier and the client loads."""

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
    """Return which of the heavy modules a statement imports."""
    program = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names: list[str] = eval(done.stdout)
    return names


def test_the_verifier_is_light():
    """`lyftdata.verify` loads no framework, no database, nothing of the Server, and no code that gets or keeps a token."""
    assert imported_with("import lyftdata.verify") == []


def test_a_service_that_only_verifies_loads_no_client_code():
    """Neither enrollment nor credentials."""
    program = (
        "import sys, lyftdata.verify, lyftdata.verify.asgi\n"
        "print([name for name in ('lyftdata.core.enrollment', 'lyftdata.core.assertions', 'lyftdata.current_secrets',"
        " 'lyftdata.private_files') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_each_adapter_loads_only_its_own_framework():
    """Adapters that need no framework load none."""
    assert imported_with("import lyftdata.verify.asgi, lyftdata.verify.wsgi") == []
    assert imported_with("import lyftdata.verify.fastapi") == ["starlette", "fastapi", "pydantic"]
    assert imported_with("import lyftdata.verify.grpc") == ["grpc"]


def test_the_client_is_light_too():
    """`lyftdata.client` loads only the HTTP library that is installed with it; each other one has its own module."""
    assert imported_with("import lyftdata.client") == ["lyftdata.client"]
    assert imported_with("import lyftdata.client.httpx_auth") == ["lyftdata.client", "httpx"]
    assert imported_with("import lyftdata.client.aiohttp_auth") == ["lyftdata.client", "aiohttp"]
