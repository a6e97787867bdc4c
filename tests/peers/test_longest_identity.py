"""The longest identity that can be stored passes every proxy with the proxy's default limits."""

from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from tests.peers.guarded import Fleet, Guarded
from tests.peers.proxies import AUDIENCE, PEERS
from tests.peers.proxy_kinds import KINDS

ID = "w".ljust(64, "x")
NAME = "\U0001f600" * 64
LABELS = {f"k{n:02}": "v" * 22 for n in range(31)} | {"k31": "v" * 53}
SCOPES = [f"{n:02}".ljust(26, "s") for n in range(32)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a Server with a Worker and a resource of maximum length."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    scopes = [f"--scope={scope}" for scope in SCOPES]
    made.operator.done("resources", "set", "service", *scopes)
    labels = [argument for key, value in LABELS.items() for argument in ("--label", f"{key}={value}")]
    made.keys[ID] = made._add(ID, NAME, *labels)
    yield made
    while PEERS:
        PEERS.pop().close()
    made.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_identity_passes(fleet, kind, tmp_path):
    """The token passes, and the service reads the whole name and labels."""
    guarded = Guarded(KINDS[kind], fleet, tmp_path)
    try:
        token = guarded.token(ID)
        assert len(token) > (3_000 if guarded.kind.for_the_service else 2_000)

        answer = guarded.ask(token)

        assert answer.status_code == 200, answer.text
        seen = guarded.service.seen[-1]
        assert seen.values("X-Lyftdata-Worker-Id") == [ID]
        names = [unquote(name) for name in seen.values("X-Lyftdata-Worker-Name")]
        assert names == ([NAME] if guarded.kind.passes_name else [])
        if guarded.kind.passes_labels:
            assert seen.values("X-Lyftdata-Worker-Labels") == [
                ",".join(f"{k}={v}" for k, v in LABELS.items())
            ]
    finally:
        guarded.close()


def test_the_identity_in_this_test_has_the_maximum_length(fleet):
    """Labels and scopes one character longer are refused, with the reason."""
    labels = [f"{key}={value}" for key, value in (LABELS | {"k31": "v" * 54}).items()]
    longer = fleet.operator.run("workers", "label", ID, *labels)
    assert longer.returncode != 0
    assert "to fit into a worker token" in longer.stderr

    scopes = [f"--scope={scope}" for scope in SCOPES[:-1]] + ["--scope=" + "s" * 64]
    wider = fleet.operator.run("resources", "set", "service", "--audience", AUDIENCE, *scopes)
    assert wider.returncode != 0
    assert "to fit into a worker token" in wider.stderr
