"""
A fake Server that signs real tokens in the test's own process, for tests of services that check Workers, and of clients that are Workers.

    from lyftdata.testing import FakeServer, wsgi_client

    with FakeServer() as server:
        app = make_app(issuer=server.issuer)
        client = wsgi_client(app, token=server.token("press-01", scopes=["jobs:read"]))
        assert client.get("/jobs").status_code == 200

Tokens are minted by the Server's own code and signed with a temporary key, which is published over real HTTP on loopback. Never use it
outside of tests: every Worker that a test names is admitted.
With pytest the fixture `lyftdata_server` is available without an import. `lyftdata.testing.grpc` is for gRPC.
How to use it: docs/how-to/test-a-service.md.
"""

from lyftdata.testing._clients import asgi_client, wsgi_client
from lyftdata.testing._fake_server import FakeServer
from lyftdata.testing._flaws import Flaw
from lyftdata.testing._state import FakeResource, FakeWorker
from lyftdata.testing._tokens import TokenFields

__all__ = [
    "FakeResource",
    "FakeServer",
    "FakeWorker",
    "Flaw",
    "TokenFields",
    "asgi_client",
    "wsgi_client",
]
