"""A client of the admin API that retries whatever happens to the Servers."""

import itertools
import time
from http import HTTPStatus
from typing import Any

import httpx2

_WITHIN_S = 300.0
# The statuses of a load balancer without a Server, and of a Server that cannot decide at present.
_AGAIN = {502, 503, 504}


class TakenError(Exception):
    """An earlier attempt, whose answer was lost, has taken the name."""


class AdminApi:
    """
    The admin API behind a load balancer, with an API token.

    Args:
        url: The load balancer's URL.
        password: The operator's password, with which the token is issued.
    """

    def __init__(self, url: str, password: str) -> None:
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=60)
        session = self.ask("POST", "/api/login", {"username": "admin", "password": password})
        self._http.headers["Authorization"] = f"Bearer {session['token']}"
        # An operator who still has the first password cannot issue tokens.
        change = {"current_password": password, "new_password": f"{password} staple"}
        self.ask("POST", "/api/me/password", change)
        _, token = self.issue("/api/api-tokens", "soak-test", role="admin")
        self._http.headers["Authorization"] = f"Bearer {token['token']}"

    def ask(self, method: str, path: str, body: Any = None, *, done_already: int | None = None) -> Any:
        """
        Send a request until there is an answer, and return it.

        Args:
            method: The HTTP method.
            path: The path in the admin API.
            body: The JSON body.
            done_already: The status which means that an earlier attempt, whose answer was lost, has succeeded.

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
        Issue a credential that is shown once; return its name and the answer.

        If the answer is lost, the credential is lost too, and another one is issued with another name.
        """
        for attempt in itertools.count():
            called = f"{name}-{attempt}" if attempt else name
            try:
                return called, self.ask("POST", path, {"name": called, **fields})
            except TakenError:
                continue
        raise AssertionError

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return every Worker by ID, from all pages."""
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
