"""
A signing fake Server in the test's own process, for tests of services that check Workers, or call one as a Worker.

    from lyftdata.testing import FakeServer, wsgi_client

    with FakeServer() as server:
        app = make_app(issuer=server.issuer)
        client = wsgi_client(app, token=server.token("press-01", scopes=["jobs:read"]))
        assert client.get("/jobs").status_code == 200

Tokens are made by the code that a Server makes them with, signed by a key of the moment, and published over real HTTP on
loopback. Nothing of it may be used outside of tests: every Worker that a test names is let in.
With pytest the fixture `lyftdata_server` is there without an import. `lyftdata.testing.grpc` is for gRPC.
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
