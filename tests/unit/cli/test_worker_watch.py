"""
`lyftdata workers watch`: what it prints of the Server's event stream; tests/behaviour/journeys/test_edges.py has real Workers.
"""

import json

from lyftdata.cli.worker_watch import _events, _print_event

STREAM = [
    ": connected",
    "",
    "event: worker",
    'data: {"id": "press-01", "name": "press-01", "enabled": true, "status": "online"}',
    "",
    ": still here",
    "event: worker_deleted",
    'data: {"id": "press-01"}',
]


def test_each_event_is_read_once(capsys):
    """Comments are not events; the first one only says that the stream has started."""
    begun, changed, deleted = _events(iter(STREAM))

    assert begun is None
    assert "Following Workers" in capsys.readouterr().err
    assert changed is not None
    assert changed[0] == "worker"
    assert deleted == ("worker_deleted", {"id": "press-01"})


def test_a_change_is_one_line(operator, capsys):
    """Even if the name has a line break; with `--json`, each is an object."""
    operator.done("workers", "add", "press-01", "--id", "press-01")
    worker = operator.json("workers", "show", "press-01") | {"name": "press\n01"}

    _print_event("worker", worker, as_json=False)
    _print_event("worker_deleted", {"id": "press-01"}, as_json=False)
    _print_event("worker_deleted", {"id": "press-01"}, as_json=True)

    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("press-01  press")
    assert first.endswith("  never_connected")
    assert second == "press-01  deleted"
    assert json.loads(third) == {"event": "worker_deleted", "id": "press-01"}
