"""Lists on a terminal that is too narrow for them."""

import itertools
import re

from tests.builders import ENROLLMENT_KEY
from tests.terminals import run_on_a_terminal

ID = "press-" + "0123456789" * 4 + ".hall-7"
KEY_NAME = "key-for_" + "abcdefghij" * 4
OPERATOR = "ada-" + "lovelace" * 5


def test_no_list_cuts_what_the_next_command_takes(plain_site):
    """IDs, key names, operators, actors and subjects stand in one piece in every list, however narrow the terminal."""
    operator = plain_site.operator
    operator.done("workers", "add", "A press with a long name", "--id", ID, "--label", "zone=eu-central-1b")
    operator.done("workers", "add", "short", "--id", "w-short")
    key = operator.done("api-key", "issue", KEY_NAME, "--worker", ID, "--worker", "w-short").strip()
    operator.done("operators", "add", OPERATOR, "--role", "viewer")
    operator.done(
        "resources", "add", "orders-" + "x" * 30, "--audience", "https://orders.example/" + "y" * 40
    )
    wrong = {"LYFTDATA_WORKER_ID": ID, "LYFTDATA_WORKER_API_KEY": key[:-1]}
    assert plain_site.worker_host("wrong", **wrong).run("token").returncode != 0

    lists = {
        ("workers", "list"): [ID, "w-short"],
        ("api-key", "list"): [KEY_NAME, key.split("_")[1]],
        ("audit", "list"): [f"worker:{ID}", f"operator:{OPERATOR}", "worker.created"],
        ("refusals", "list"): [ID, "malformed_api_key"],
        ("operators", "list"): [OPERATOR],
        ("operators", "sessions"): ["admin"],
        ("resources", "list"): ["orders-" + "x" * 30, "https://orders.example/" + "y" * 40],
    }
    for columns, (arguments, expected) in itertools.product((80, 60), lists.items()):
        code, written = run_on_a_terminal([*operator.python, *arguments], operator.environ, columns=columns)
        assert code == 0, written
        shown = re.sub(r"\x1b\[[0-9;]*m", "", written)
        assert [text for text in expected if text not in shown] == [], shown
        assert "\u2026" not in shown


def test_a_list_that_fits_is_a_table(open_site):
    """Short IDs and names at 80 columns: one line a Worker, under a heading."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    for name in ("press-01", "press-02"):
        site.operator.done("workers", "add", name, "--id", name)
    _, written = run_on_a_terminal(
        [*site.operator.python, "workers", "list"], site.operator.environ, columns=80
    )
    lines = [line for line in written.splitlines() if line.strip()]
    assert len(lines) == 3
    assert "ID" in lines[0]
