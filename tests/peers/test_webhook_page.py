"""The receiver shown in docs/how-to/deliver-events.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.event_destinations import add_worker, deliver, shown
from tests.processes import free_port, until
from tests.unit.conftest import _shared_starts, opened

__all__ = ["_shared_starts", "opened"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deliver-events.md"


async def test_the_receiver_of_the_page_verifies_and_deduplicates(tmp_path, opened):
    """It prints each event once, even if it is delivered again, and rejects messages signed with another secret."""
    from tests.behaviour.several_servers.conftest import RealClock

    (script,) = re.findall(r"```python\n(# receiver\.py:.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "receiver.py").write_text(script, encoding="utf-8")
    port = free_port()
    environ = {"LYFTDATA_EVENTS_ALLOWED_NETWORKS": "127.0.0.0/8"}
    async with opened(RealClock(), **environ) as server:
        admin = await server.sign_in()
        body = {"name": "hook", "transport": "webhook", "url": f"http://127.0.0.1:{port}/"}
        secret = (await server.http.post("/api/event-destinations", json=body, headers=admin)).json()[
            "secret"
        ]
        (tmp_path / "secret").write_text(secret + "\n", encoding="utf-8")
        with (tmp_path / "out").open("wb") as out, (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "receiver.py", str(port), "secret"], cwd=tmp_path, stdout=out, stderr=log
            )
        try:
            until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), "it listens")
            await add_worker(server, admin, "w-1")
            await deliver(server)
            await server.services.store.write(_set_back)
            await deliver(server)
            assert (await shown(server, admin))["last_error"] == ""
            await server.http.post(
                "/api/event-destinations/hook/secret", json={"overlap_s": 0}, headers=admin
            )
            await deliver(server)
            assert "answered 401" in (await shown(server, admin))["last_error"]
        finally:
            process.terminate()
            process.wait(180)
    printed = [json.loads(line)["type"] for line in (tmp_path / "out").read_text().splitlines()]
    assert printed == ["event_destination.created", "worker.created"]


def _set_back(tx):
    """Make everything be delivered again, as after restoring a backup."""
    from sqlalchemy import update

    from lyftdata.store.schema import event_deliveries

    tx.conn.execute(update(event_deliveries).values(through=event_deliveries.c.through - 2))
