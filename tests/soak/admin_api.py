"""The admin API, as a program uses it that goes on through whatever happens to the Servers."""

import itertools
import time
from http import HTTPStatus
from typing import Any

import httpx2

_WITHIN_S = 300.0
# What a balancer answers between two Servers, and a Server that cannot decide now.
_AGAIN = {502, 503, 504}


class TakenError(Exception):
    """An earlier attempt has taken the name, and its answer was lost."""


class AdminApi:
    """
    The admin API behind a balancer, by an API token.

    Args:
        url: The balancer's address.
        password: The operator's, by which the token is issued.
    """

    def __init__(self, url: str, password: str) -> None:
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=60)
        session = self.ask("POST", "/api/login", {"username": "admin", "password": password})
        self._http.headers["Authorization"] = f"Bearer {session['token']}"
        # Who has the first password still issues no tokens.
        change = {"current_password": password, "new_password": f"{password} staple"}
        self.ask("POST", "/api/me/password", change)
        _, token = self.issue("/api/api-tokens", "soak-test", role="admin")
        self._http.headers["Authorization"] = f"Bearer {token['token']}"

    def ask(self, method: str, path: str, body: Any = None, *, done_already: int | None = None) -> Any:
        """
        Ask until there is an answer, and return it.

        Args:
            method: Of HTTP.
            path: Of the admin API.
            body: What is sent as JSON.
            done_already: The status that says that an earlier attempt, whose answer was lost, has done it.

        Raises:
            TakenError: An earlier attempt whose answer was lost has taken the name.
        """
        deadline = time.monotonic() + _WITHIN_S
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = self._http.request(method, path, json=body)
            except httpx2.TransportError:
                answer = None
            if answer is not None:
                if answer.is_success:
                    return answer.json() if answer.content else None
                if attempts > 1 and answer.status_code == done_already:
                    return None
            is_over = time.monotonic() > deadline
            if attempts > 1 and answer is not None and answer.status_code == HTTPStatus.CONFLICT:
                raise TakenError
            if is_over or (answer is not None and answer.status_code not in _AGAIN):
                status = "no answer" if answer is None else f"{answer.status_code} {answer.text}"
                message = f"{method} {path}: {status}"
                raise AssertionError(message)
            time.sleep(0.2)

    def issue(self, path: str, name: str, **fields: Any) -> tuple[str, Any]:
        """
        Issue what is shown once; return its name and the answer.

        If an answer is lost, what it showed is lost too, and another is issued by another name.
        """
        for attempt in itertools.count():
            called = f"{name}-{attempt}" if attempt else name
            try:
                return called, self.ask("POST", path, {"name": called, **fields})
            except TakenError:
                continue
        raise AssertionError

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return every Worker by ID, on as many pages as there are."""
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            page = self.ask("GET", f"/api/workers?limit=500{after}")
            found |= {worker["id"]: worker for worker in page["items"]}
            if not page.get("next"):
                return found
            after = f"&after={page['next']}"

    def close(self) -> None:
        """Close its connections."""
        self._http.close()
