"""
The jobs around changes that a second operator must confirm, each with the number of steps that it may take, counted as in `jobs`.

Each begins on the overview, with its own request if it needs one, so they pass in any order. A job's docstring is its row in the
operators' guide.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.jobs import Steps
from tests.processes import PASSWORD

FIRST, SECOND = "admin", "ben"
ACTIONS = ["delete_workers", "refuse_agents"]
_FIRST_PASSWORD = "first " + PASSWORD


class Colleagues:
    """
    Two admins of one Server, who use the API for everything that is not counted as steps.

    Args:
        url: The Server's URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=60)
        self._tokens: dict[str, dict[str, str]] = {}
        self._choose_password(FIRST, PASSWORD)
        self.call(FIRST, "POST", "operators", {"name": SECOND, "role": "admin", "password": _FIRST_PASSWORD})
        self._choose_password(SECOND, _FIRST_PASSWORD)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """Send a request, which must succeed; return the answer."""
        answer = self._http.request(method, f"/api/{path}", json=body, headers=self._tokens[who])
        assert answer.status_code < 300, (path, answer.text)
        return answer.json() if answer.content else None

    def turn_on(self) -> None:
        """Require a second operator's confirmation."""
        self.call(FIRST, "PUT", "second-operator", {"actions": ACTIONS, "above": 10})

    def turn_off(self) -> None:
        """Require no second operator."""
        if self.call(FIRST, "GET", "second-operator")["enabled"]:
            request_id = self.ask(FIRST, "PUT", "second-operator", {"actions": [], "above": 10})
            self.call(SECOND, "POST", f"change-requests/{request_id}/confirm", {})

    def ask(self, who: str, method: str, path: str, body: Any) -> str:
        """Request a change that a second operator must confirm; return the ID of the request."""
        answer = self._http.request(method, f"/api/{path}", json=body, headers=self._tokens[who])
        assert answer.json().get("code") == "second_operator_required", answer.text
        return str(answer.json()["request_id"])

    def ask_for_operator(self, who: str, name: str) -> str:
        """Request a new operator; return the ID of the request."""
        return self.ask(who, "POST", "operators", {"name": name, "role": "viewer"})

    def operators(self) -> set[str]:
        """Return the names of the operators."""
        return {one["name"] for one in self.call(FIRST, "GET", "operators")["items"]}

    def _choose_password(self, name: str, password: str) -> None:
        self._sign_in(name, password)
        between = "between " + PASSWORD
        self.call(name, "POST", "me/password", {"current_password": password, "new_password": between})
        self._sign_in(name, between)
        self.call(name, "POST", "me/password", {"current_password": between, "new_password": PASSWORD})
        self._sign_in(name, PASSWORD)

    def _sign_in(self, name: str, password: str) -> None:
        answer = self._http.post("/api/login", json={"username": name, "password": password})
        self._tokens[name] = {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}


class Pair:
    """
    The two operators of a job: their steps, and what they do through the API.

    Args:
        windows: The windows in which they are signed in, by name.
        colleagues: Their actions through the API.
        browser: The name of the browser, used in names that they give.
    """

    def __init__(self, windows: Mapping[str, Window], colleagues: Colleagues, browser: str) -> None:
        self._windows = windows
        self.colleagues = colleagues
        self.browser = browser

    def first(self) -> Steps:
        """Return the steps of the operator who makes requests, on the overview."""
        return Steps(self._windows[FIRST], {}, self.browser)

    def second(self) -> Steps:
        """Return the steps of the operator who decides, on the overview."""
        return Steps(self._windows[SECOND], {}, self.browser)


def turn_it_on(pair: Pair) -> Steps:
    """Require a second operator's confirmation."""
    pair.colleagues.turn_off()
    o = pair.first()
    o.menu("Operators")
    o.follow("Requests")
    o.follow("Actions that need two")
    o.follow("Turn it on…")
    o.push("Turn it on")
    o.sees("Before these things are done, an operator other than the one who asks for them must confirm.")
    return o


def ask_with_a_reason(pair: Pair) -> Steps:
    """Request a new operator, and give the reason."""
    o, name = pair.first(), f"asked-{pair.browser}"
    o.menu("Operators")
    o.fill("Name", name)
    o.push("Add")
    o.sees(f"Add the operator {name} as viewer")
    o.fill("Reason", "she begins on Monday")
    o.push("Save the reason")
    o.sees("she begins on Monday", within="section[aria-label='The request']")
    assert name not in pair.colleagues.operators()
    return o


def confirm(pair: Pair) -> Steps:
    """Confirm another operator's request."""
    name = f"confirmed-{pair.browser}"
    request_id = pair.colleagues.ask_for_operator(FIRST, name)
    o = pair.second()
    _decide_about(o, request_id)
    o.push("Confirm…")
    o.push("Confirm, and do it")
    o.sees(name)
    o.sees("password")
    assert name in pair.colleagues.operators()
    return o


def decline(pair: Pair) -> Steps:
    """Decline another operator's request, with a note."""
    name = f"declined-{pair.browser}"
    request_id = pair.colleagues.ask_for_operator(FIRST, name)
    o = pair.second()
    _decide_about(o, request_id)
    o.fill("Note", "I know nothing about it")
    o.push("Decline")
    o.sees("Declined: nothing is done.", within="body")
    o.sees("I know nothing about it", within="section[aria-label='The request']")
    assert name not in pair.colleagues.operators()
    return o


def withdraw(pair: Pair) -> Steps:
    """Withdraw your request."""
    name = f"withdrawn-{pair.browser}"
    pair.colleagues.ask_for_operator(FIRST, name)
    o = pair.first()
    o.menu("Operators")
    o.follow("Requests")
    o.follow(re.compile(f"Add the operator {name}"))
    o.push("Withdraw the request")
    o.sees("Withdrawn: nothing is done.", within="body")
    return o


def what_became_of_it(pair: Pair) -> Steps:
    """See the outcome of your request."""
    name = f"decided-{pair.browser}"
    request_id = pair.colleagues.ask_for_operator(FIRST, name)
    pair.colleagues.call(SECOND, "POST", f"change-requests/{request_id}/decline", {"note": ""})
    o = pair.first()
    o.menu("Operators")
    o.follow("Requests")
    row = o.page.locator("section[aria-labelledby=decided] tbody tr").filter(has_text=name)
    expect(row).to_contain_text("declined")
    return o


def _decide_about(o: Steps, request_id: str) -> None:
    o.click(o.page.locator(f"section.needs a[href='/requests/{request_id}']"))


REQUEST_JOBS: Mapping[Callable[[Pair], Steps], int] = {
    what_became_of_it: 2,
    confirm: 3,
    decline: 3,
    withdraw: 4,
    turn_it_on: 5,
    ask_with_a_reason: 5,
}
"""Each job, with the maximum number of steps."""
