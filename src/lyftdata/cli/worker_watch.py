"""`lyftdata workers watch`: prints Workers as they connect and disconnect."""

import json
import time
from collections.abc import Iterator
from typing import Any

from lyftdata.cli.output import (
    echo,
    echo_err,
)
from lyftdata.cli.worker_tables import state_of
from lyftdata.core.text import clean_text

# The Server sends a keepalive every 15 seconds.
_STREAM_SILENT_S = 45.0

_FOLLOW_AGAIN_AFTER_S = 1.0


def follow_workers(url: str | None, *, as_json: bool) -> None:
    """Print each change of a Worker until Ctrl-C."""
    from lyftdata.cli.api import Api, ApiError

    connected = False
    with Api(url) as api:
        while True:
            try:
                for event in _events(api.lines("/events", timeout=_STREAM_SILENT_S)):
                    connected = True
                    if event is not None:
                        _print_event(*event, as_json=as_json)
            except ApiError as error:
                # Reconnect to a Server that restarts; report one that never answered, or that refuses.
                if not connected or error.problem_code:
                    raise
            echo_err("The Server has ended the stream; following again.")
            time.sleep(_FOLLOW_AGAIN_AFTER_S)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]] | None]:
    """Yield server-sent events; first None, when the stream begins."""
    kind = ""
    for line in lines:
        if line == ": connected":
            echo_err("Following Workers. Ctrl-C ends it.")
            yield None
        elif line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _print_event(event: str, data: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"event": event, **data}))
    elif event == "worker_deleted":
        echo(f"{data['id']}  deleted")
    else:
        echo(f"{clean_text(data['id'])}  {clean_text(data['name'])}  {clean_text(state_of(data))}")
