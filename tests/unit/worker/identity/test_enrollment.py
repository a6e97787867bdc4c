"""What a Worker sends when it enrolls."""

import base64

import httpx2
import pytest
from tests.builders import CHOSEN_ENROLLMENT_KEY, ENROLLMENT_KEY, ISSUER

from lyftdata.app import create_app
from lyftdata.core.secret import Secret
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.worker.client import RefusedByServerError, ServerClient
from lyftdata.worker.identity.enrollment import obtain_identity
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import read_worker_settings


class Recorder(httpx2.AsyncBaseTransport):
    """Passes requests on, and keeps what they contain."""

    def __init__(self, transport):
        self.transport = transport
        self.sent = b""

    async def handle_async_request(self, request):
        """Record a request whole: its URL, its headers and its body."""
        headers = b"\n".join(name + b": " + value for name, value in request.headers.raw)
        self.sent += str(request.url).encode() + b"\n" + headers + b"\n" + await request.aread()
        return await self.transport.handle_async_request(request)


@pytest.mark.parametrize(("key", "enrolls"), [(ENROLLMENT_KEY, True), (CHOSEN_ENROLLMENT_KEY, False)])
async def test_the_enrollment_key_is_never_sent(server, tmp_path, key, enrolls):
    """Neither as it is nor encoded, whether the Server accepts it or not: the Worker proves that it knows the key."""
    environ = {
        "LYFTDATA_URL": ISSUER,
        "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs"),
        "LYFTDATA_WORKER_NAME": "press",
    }
    settings = read_worker_settings(environ | {"LYFTDATA_AUTO_ENROLLMENT_KEY": key})
    recorder = Recorder(httpx2.ASGITransport(create_app(server.services)))
    client = ServerClient(settings, transport=recorder)
    directory = StateDirectory(tmp_path / "jobs")
    has_enrolled = True
    with directory.locked():
        try:
            await obtain_identity(settings, directory, client, CurrentEnrollmentKey(Secret(key)))
        except RefusedByServerError:
            has_enrolled = False
        finally:
            await client.aclose()

    assert has_enrolled is enrolls
    assert b"/oauth2/register" in recorder.sent
    secret = key.rpartition("_")[2].encode()
    for form in (
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret),
    ):
        assert form not in recorder.sent
