"""The routes of changes that need a second operator: their answers, and who may read what."""

import pytest
from tests.second_operator import add_operator, add_workers, colleagues_of

DELETE_ALL = ("POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 2})


@pytest.fixture
async def pair(server, unhurried):
    """Return two admins, with every action protected, and two Workers."""
    await add_workers(server, "w-1", "w-2")
    return await colleagues_of(server)


async def test_a_request_names_every_worker(pair):
    """Field by field, so that a program can compare it."""
    request_id = await pair.ask(*DELETE_ALL)

    shown = (await pair.call("GET", f"/api/change-requests/{request_id}", by=pair.ben)).json()

    assert shown["operation"] == {
        "type": "change_workers",
        "action": "delete",
        "worker_ids": ["w-1", "w-2"],
        "search": "id:w-",
        "note": None,
        "until": None,
    }
    assert shown["workers"] == 2
    assert (shown["action"], shown["requested_by"], shown["api_token"]) == ("delete_workers", "admin", None)
    assert (shown["state"], shown["can_decide"], shown["confirmers"]) == ("pending", True, ["ben"])
    own = (await pair.call("GET", f"/api/change-requests/{request_id}")).json()
    assert own["can_decide"] is False


async def test_pending_requests_are_listed_first(pair):
    """Followed by decided ones."""
    waiting = await pair.ask(*DELETE_ALL)
    pair.server.clock.forward(seconds=1)
    decided = await pair.ask("POST", "/api/operators", {"name": "eve", "role": "viewer"})
    await pair.call("POST", f"/api/change-requests/{decided}/withdraw")

    listed = (await pair.call("GET", "/api/change-requests", by=pair.ben)).json()["items"]

    assert [(one["id"], one["state"]) for one in listed] == [(waiting, "pending"), (decided, "withdrawn")]


async def test_a_list_of_requests_counts_the_workers_and_names_none(pair):
    """A request may name five thousand Workers, and two hundred requests may wait."""
    request_id = await pair.ask(*DELETE_ALL)

    (listed,) = (await pair.call("GET", "/api/change-requests", by=pair.ben)).json()["items"]
    shown = (await pair.call("GET", f"/api/change-requests/{request_id}", by=pair.ben)).json()

    assert listed["workers"] == 2
    assert shown.pop("operation")["worker_ids"] == ["w-1", "w-2"]
    assert listed == shown


async def test_a_request_that_does_not_exist_is_not_found(pair):
    """The answer is the same for every decision."""
    for decision, body in (("confirm", {}), ("decline", {}), ("withdraw", None), ("reason", {"reason": "x"})):
        answer = await pair.call("POST", f"/api/change-requests/nothing/{decision}", body, by=pair.ben)
        assert (answer.status_code, answer.json()["code"]) == (404, "change_request_not_found")
    assert (await pair.call("GET", "/api/change-requests/nothing")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"actions": ["anything"]},
        {"actions": [], "above": -1},
        {"actions": [], "above": 5_001},
        {"actions": [], "below": 1},
    ],
)
async def test_invalid_rules_change_nothing(pair, body):
    """A misspelt action would protect nothing."""
    before = (await pair.call("GET", "/api/second-operator")).json()

    assert (await pair.call("PUT", "/api/second-operator", body)).status_code == 422

    assert (await pair.call("GET", "/api/second-operator")).json() == before


async def test_a_viewer_reads_the_rules_and_the_pending_requests(server, unhurried):
    """As viewers read everything else."""
    await add_workers(server, "w-1", "w-2")
    vera = await add_operator(server, await server.sign_in(), "vera", role="viewer")
    pair = await colleagues_of(server)
    await pair.ask(*DELETE_ALL)

    rules = (await pair.call("GET", "/api/second-operator", by=vera)).json()
    listed = (await pair.call("GET", "/api/change-requests", by=vera)).json()["items"]

    assert (rules["enabled"], rules["able"], len(listed)) == (True, ["admin", "ben"], 1)
