"""The audit log as a file."""

import csv
import io
import re

from tests.unit.server.admin.test_worker_queries import ADMIN, add


async def test_the_audit_log_is_exported_as_csv(server, admin):
    """With every column, and no cell that a spreadsheet would run as a formula."""
    await add(server, "w-1", "=1+1")
    await server.services.workers.change("w-1", name="@SUM(A1)", actor=ADMIN)
    await server.services.workers.change("w-1", name="x;=cmd|' /C calc'!A0;y", actor=ADMIN)
    answer = await server.http.get("/api/audit/export?format=csv", headers=admin)
    header, *rows = csv.reader(io.StringIO(answer.text))

    assert answer.headers["content-type"].startswith("text/csv")
    assert header == ["number", "at", "actor", "action", "subject", "address", "details", "hash"]
    assert [row[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    # With another list separator, a cell may begin inside one of the export's.
    assert not re.search(r"[;|\t][=+@-]", answer.text)
