"""A client behind a proxy whose proof of possession must have a nonce, as for some seconds after each crash of the Server."""

from collections.abc import Iterator

import pytest
from tests.peers.guarded import Fleet
from tests.peers.proxies import AUDIENCE
from tests.peers.proxy_kinds import ASKING


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a Server that requires nonces for longer than a client takes to start."""
    made = Fleet(tmp_path_factory.mktemp("fleet"), module="tests.peers.long_lost_server")
    yield made
    made.stop()


@pytest.mark.parametrize("guarded", ASKING, indirect=True)
def test_a_client_gets_the_nonce_for_its_proof(guarded, run_script):
    """After the Server was killed, the proxy's 401 gives `oauth4webapi` a nonce, and it passes with a new proof."""
    fleet = guarded.fleet
    held = run_script("dpop_at_a_proxy.mjs", issuer=fleet.site.url, id="press", secret=fleet.keys["press"])
    fleet.crash()
    fleet.site.start_server()

    asked = run_script(
        "dpop_at_a_proxy.mjs", id="press", port=guarded.peer.port, url=f"{AUDIENCE}/orders", **held
    )

    assert asked == {"nonceDemanded": True, "status": 200}
    assert guarded.service.seen[-1].path == "/orders"
