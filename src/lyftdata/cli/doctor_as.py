"""Fetches everything that the Server knows about a Worker, and prints it next to the Worker's last attempt."""

from typing import Any

from lyftdata.cli.api import Api, ApiError, path_part
from lyftdata.cli.output import echo, print_table, when
from lyftdata.core.query_words import quote
from lyftdata.core.text import clean_text
from lyftdata.doctor.server_view import ServerView


def ask_for_view(api: Api, named: str) -> ServerView:
    """Return what the Server knows about the Worker with this ID or name; raises ApiError."""
    worker = _find_worker(api, named)
    names = {named} if worker is None else {worker["id"], worker["name"]}
    refusals = [group for name in sorted(names) for group in _refusals_of(api, name)]
    refusals.sort(key=lambda group: group["last_at"], reverse=True)
    last = api.get(f"/refusals/{path_part(refusals[0]['last_reference'])}") if refusals else None
    version = api.get("/server")["version"]
    if worker is None:
        return ServerView(
            named=named, worker=None, refusals=refusals, last_refusal=last, server_version=version
        )
    path = f"/workers/{path_part(worker['id'])}"
    return ServerView(
        named=named,
        worker=worker,
        refusals=refusals,
        last_refusal=last,
        origins=api.get(f"{path}/token-origins")["items"],
        sessions=api.get(f"{path}/sessions")["items"],
        keys=_keys_for(api, worker),
        copies=api.get(f"{path}/copies")["items"],
        server_version=version,
    )


def show_view(view: ServerView) -> None:
    """Print the last attempt and the Server's view, side by side."""
    worker, attempt = view.worker, view.last_attempt()
    given: dict[str, Any] = attempt or {}
    known: dict[str, Any] = worker or {}
    credential = given.get("credential") or ("not proved" if attempt else None)
    rows = [
        ("Worker", given.get("claimed"), _named(known)),
        (
            "Time",
            when(given["at"]) if attempt else None,
            f"last seen {when(known['last_seen_at'])}" if known.get("last_seen_at") else None,
        ),
        ("Address", given.get("address"), known.get("address")),
        ("Credential", credential, _credentials(view)),
        ("For", given.get("audience"), None),
        ("Strategy", None, known.get("strategy")),
        ("Result", _result(given), _state(known)),
        ("Why", given.get("detail"), None),
    ]
    shown = [(what, sent or "-", knows or "-") for what, sent, knows in rows if sent or knows]
    print_table(("", "its last attempt", "what the server knows"), shown, empty="")
    echo("")


def _find_worker(api: Api, named: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.get(f"/workers/{path_part(named)}")
    except ApiError as error:
        if error.problem_code != "worker_not_found":
            raise
    else:
        return found
    for status in (None, "archived"):
        wanted = f"name:={quote(named)}"
        page = (
            api.get("/workers", q=wanted, status=status, limit=1000)["items"]
            if named.isprintable() and named
            else []
        )
        same = [worker for worker in page if worker["name"] == named]
        if same:
            # If several have the name, the one that was seen last: superseded entries had it earlier.
            latest: dict[str, Any] = max(
                same, key=lambda worker: (not worker["superseded_by"], worker["last_seen_at"] or "")
            )
            return latest
    return None


def _refusals_of(api: Api, name: str) -> list[dict[str, Any]]:
    groups = api.get("/refusals", q=name, limit=1000)["items"]
    return [group for group in groups if group["claimed_worker"] == name]


def _keys_for(api: Api, worker: dict[str, Any]) -> list[dict[str, Any]]:
    if worker["strategy"] != "api_key":
        return []
    keys = api.get("/api-keys")["items"]
    return [key for key in keys if key["for_all_workers"] or worker["id"] in key["worker_ids"]]


def _named(worker: dict[str, Any]) -> str | None:
    return f"{worker['id']} ({clean_text(worker['name'])})" if worker else None


def _credentials(view: ServerView) -> str | None:
    if view.worker is None:
        return None
    if view.worker["thumbprint"]:
        return f"identity key {view.worker['thumbprint']}"
    return ", ".join(f"{key['name']} ({key['status']})" for key in view.keys) or "no API key"


def _result(attempt: dict[str, Any]) -> str | None:
    if not attempt:
        return None
    if attempt["outcome"] == "token_given":
        return "token issued"
    return f"refused: {attempt['outcome']}, reference {attempt['reference']}"


def _state(worker: dict[str, Any]) -> str | None:
    if not worker:
        return None
    states = [] if worker["enabled"] else ["disabled"]
    states += [worker["approval"]] if worker["approval"] else []
    states += ["superseded"] if worker["superseded_by"] else []
    states += ["archived"] if worker["archived_at"] else []
    return ", ".join([*states, worker["status"].replace("_", " ")])
