"""Every form of the pages shows an input error next to its field."""

import html
import re
from datetime import timedelta
from importlib import resources

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match

from lyftdata.core.change_requests import ChangeRequestRecord, ChangeWorkers, encode_operation
from lyftdata.core.errors import ConflictError, InvalidInputError, NotFoundError
from lyftdata.core.snoozing import ID_LENGTH, alert_digest
from lyftdata.server.admin.second_operator.standing import requester_mark
from lyftdata.store.tables import change_requests
from lyftdata.web.faults import Fault, find_fault, in_words
from lyftdata.web.routes import PAGES

OWN = "xxx " + PASSWORD
TOO_LONG = "x" * 65
KEY = {"name": "press-keys", "for": "chosen", "workers": "press-01", "life": ""}
TOKEN = {"name": "ci-deploy", "role": "viewer", "life": "90d", "scope": ""}
ENROLLMENT = {
    "name": "etl-hosts", "uses": "1", "life": "24h", "worker_name": "", "networks": "", "labels": "",
    "mode": "auto", "approve_name": "", "approve_networks": "",
}  # fmt: skip
REHEARSAL = {
    "days": "30", "expires": "", "uses": "", "worker_name": "", "networks": "", "mode": "auto",
    "approve_name": "", "approve_networks": "",
}  # fmt: skip
RESOURCE = {
    "name": "broker",
    "audience": "https://broker.example",
    "scopes": "",
    "worker_ids": "",
    "labels": "",
    "worker_names": "",
}
DESTINATION = {
    "name": "siem",
    "transport": "webhook",
    "url": "https://siem.example/h",
    "events": "",
    "labels": "",
    "ca": "",
}
NEW_PASSWORD = {"current": OWN, "new": "zzz " + PASSWORD, "again": "zzz " + PASSWORD}

# The alert that press-01 is refused.
ALERT_ID = alert_digest("refused", "malformed_api_key")[:ID_LENGTH]

# For each form: its path, valid values, and an invalid value for each field. The path is that of the page with the form.
WRONG = [
    ("/add-worker", {"name": "press-09", "with": "own"}, {"name": TOO_LONG, "id": "-", "labels": "zone=eu=1,,=" }),
    ("/add-worker", {"name": "press-09", "with": "own"}, {"id": "press-01"}),
    ("/add-worker", {"name": "press-09", "with": "existing"}, {"key_name": "no-such-key"}),
    ("/workers/press-01", {"name": "n", "labels": ""}, {"name": TOO_LONG, "labels": "a,a"}),
    ("/workers?action=label", {"id": "press-01"}, {"labels": "a,a"}),
    ("/workers/press-01/disable", {"note": "", "until": ""}, {"note": "n" * 201, "until": "whenever"}),
    ("/issue-api-key", KEY, {"name": "x", "workers": "", "life": "9999d"}),
    ("/issue-api-key", KEY, {"workers": "no-such-worker"}),
    ("/api-keys/old-keys/rotate", {}, {"grace": "9999d"}),
    ("/api-keys/old-keys/allow", {}, {"worker": "no-such-worker"}),
    ("/issue-enrollment-key", ENROLLMENT, {
        "name": "x", "uses": "many", "life": "9999d", "worker_name": "\x07", "networks": "10.4", "labels": "a,a",
        "mode": "maybe", "approve_name": "etl-*", "approve_networks": "10.4.0.0/16", "command": "run | tee log",
    }),
    ("/enrollment/old-hosts/rehearse", REHEARSAL, {
        "days": "0", "expires": "soon", "uses": "many", "worker_name": "\x07", "networks": "10.4", "mode": "maybe",
        "approve_name": "etl-*", "approve_networks": "10.4.0.0/16",
    }),
    ("/enrollment/old-hosts/rotate", {}, {"grace": "9999d"}),
    ("/add-resource", RESOURCE, {"name": "-", "audience": "", "scopes": 'a"b', "worker_ids": "-", "labels": "=", "worker_names": TOO_LONG}),
    ("/resources/old-broker", RESOURCE, {"audience": "a b", "scopes": 'a"b', "worker_ids": "-", "labels": "=", "worker_names": TOO_LONG}),
    ("/add-event-destination", DESTINATION, {"name": "-", "transport": "pigeon", "url": "ftp://siem.example", "events": "!", "labels": "=", "ca": "x"}),
    ("/event-destinations/old-siem", DESTINATION, {"url": "ftp://siem.example", "events": "!", "labels": "=", "ca": "x"}),
    ("/incident", {"subject": "press-01", "since": ""}, {"subject": "nobody", "since": "whenever"}),
    (f"/alerts/{ALERT_ID}/snooze", {"for": "1h", "note": ""}, {"for": "9999d", "note": "n" * 201}),
    ("/ignore-refusals", {"code": "unknown_worker", "subject": "address:192.0.2.1", "for": "24h"}, {"for": "9999d"}),
    ("/operators", {"name": "olga", "role": "viewer", "scope": ""}, {"name": "", "role": "root", "scope": "a,a"}),
    ("/operators/vic/scope", {}, {"scope": "a,a"}),
    ("/issue-api-token", TOKEN, {"scope": "a,a", "name": "x", "role": "root", "life": "9999d"}),
    ("/account/password", NEW_PASSWORD, {"current": "wrong " + PASSWORD, "again": "other"}),
    ("/account/password", NEW_PASSWORD | {"again": "short"}, {"new": "short"}),
    ("/account/confirm", {"next": "/operators"}, {"password": "wrong " + PASSWORD}),
    ("/account/second-factor", {}, {"code": "000000"}),
    ("/account/passkeys/add", {"passkey": "{}"}, {"name": TOO_LONG}),
    ("/requests/r-own/reason", {}, {"reason": "x" * 501}),
    ("/requests/r-vic/decline", {}, {"note": "x" * 501}),
    ("/requests/r-vic/confirm", {}, {"note": "x" * 501}),
    ("/second-operator/change", {"action": "delete_workers"}, {"above": "many"}),
    ("/choose-zone", {"typed": "yes"}, {"zone": "Europe/Atlantis"}),
]  # fmt: skip
CASES = [
    (path, right | {name: wrong}, name) for path, right, faults in WRONG for name, wrong in faults.items()
]
# Forms with nothing to fill in, so that no error belongs to a field.
WITHOUT_FIELDS = {
    "/undo-change",
    "/workers/{worker_id}/rotate-key",
    "/api-keys/{name}/end-previous",
    "/api-keys/{name}/revoke",
    "/enrollment/{name}/end-previous",
    "/enrollment/{name}/revoke",
    "/signing-keys/rotate",
    "/signing-keys/{kid}/withdraw",
    "/resources/{name}/key",
    "/event-destinations/{name}/secret",
    "/operators/{name}/role",
    "/operators/{name}/reset",
    "/operators/{name}/delete",
    "/requests/{request_id}/withdraw",
}
# Needs a receiver that rejects an event: `pages/test_event_destinations.py` tests its only field.
TESTED_ELSEWHERE = {"/event-destinations/{name}/skip"}
SECRETS = {"current", "new", "again", "password", "code"}


@pytest.fixture
async def browser_with_objects(server, browser, press):
    """Return an admin's browser, with one of each thing that a form edits."""
    headers = await server.sign_in(password=OWN)
    for path, body in (
        ("/api-keys", {"name": "old-keys", "worker_ids": ["press-01"]}),
        ("/enrollment/keys", {"name": "old-hosts"}),
        ("/resources", {"name": "old-broker", "audience": "https://old.example", "for_all_workers": True}),
        ("/event-destinations", {"name": "old-siem", "transport": "webhook", "url": "https://old.example/h"}),
        ("/operators", {"name": "vic", "role": "viewer", "password": "vic " + PASSWORD}),
    ):
        answer = await server.http.post(f"/api{path}", json=body, headers=headers)
        assert answer.status_code == 201, (path, answer.text)
    await server.services.store.write(lambda tx: add_requests(tx, server.clock()))
    for _ in range(3):
        await server.token_by_key("press-01", "nonsense")
    return browser


def add_requests(tx, now):
    """Add two requests that wait for a second operator: one by the admin, and one by another operator."""
    for request_id, operator in (("r-own", "admin"), ("r-vic", "vic")):
        record = ChangeRequestRecord(
            id=request_id,
            operation=encode_operation(ChangeWorkers(action="delete", worker_ids=["press-01"])),
            operator=operator,
            api_token=None,
            requester_mark=requester_mark(tx.conn, operator),
            scope=None,
            address="192.0.2.1",
            event=tx.head.number,
            reason="",
            requested_at=now,
            expires_at=now + timedelta(days=1),
        )
        change_requests.insert_request(tx, record)


def group_of(pattern, text):
    """Return the group of the pattern's first match in a text."""
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, pattern
    return found[1]


def tags_at_fault(page):
    """Return the tags of the fields that a page marks as invalid."""
    return re.findall(r"<[^<>]*aria-invalid=\"true\"[^<>]*>", page)


async def post(browser, path, fields):
    """Post a form, with the hidden values that its page gives it."""
    if path == "/account/second-factor":
        fields = fields | {"setup": get_match(r'name="setup" value="([^"]+)"', await browser.get(path))}
    if "/rotate" in path:
        fields = fields | {
            "before": get_match(r'name="before" value="([0-9a-f]{64})"', await browser.get(path))
        }
    return await browser.post(path, **fields)


async def test_every_input_error_is_shown_at_its_field(browser_with_objects, subtests):
    """The field is marked, has the message and the focus, and is linked from the top; the typed value is kept."""
    for path, fields, name in CASES:
        with subtests.test(path=path, name=name):
            answer = await post(browser_with_objects, path, fields)
            text = answer.text
            assert answer.status_code >= 400
            (tag,) = tags_at_fault(text)
            assert f'name="{name}"' in tag
            assert f'id="field-{name}"' in tag
            described = group_of(r'aria-describedby="([^"]+)"', tag).split()
            assert described[0] == f"error-{name}"
            assert [text.count(f'id="{each}"') for each in described] == [1] * len(described)
            sentence = html.unescape(group_of(rf'<p class="fault" id="error-{name}">(.*?)</p>', text))
            assert re.fullmatch(r"[A-Z].*[.?]", sentence)
            assert re.search(r"--[a-z]|`|[a-z]_[a-z]", sentence) is None
            assert text.count(" autofocus") == tag.count(" autofocus") == 1
            assert f'<a href="#field-{name}">' in group_of(r'data-say="alarm">(.*?)</p>', text)
            if name in SECRETS or tag.startswith("<select") or (path == "/incident" and name == "subject"):
                assert len(fields[name]) < 7 or fields[name] not in text
            else:
                assert html.escape(fields[name]) in text.replace("&#34;", "&quot;")


def test_every_form_is_in_the_table_of_errors():
    """A form that can be shown again has its errors in the table above, or has no field."""
    posted = {path.partition("?")[0] for path, *_ in WRONG}
    shown_again = {entry.path for entry in PAGES if entry.again is not None}
    shown_again -= WITHOUT_FIELDS | TESTED_ELSEWHERE

    def fits(entry):
        return any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", entry), path) for path in posted)

    assert [path for path in sorted(shown_again) if not fits(path)] == []


def test_every_field_in_the_templates_can_show_its_error():
    """Adding a field to a posted form without a place for its error fails here."""
    missing = []
    for file in (resources.files("lyftdata.web") / "templates").iterdir():
        source = file.read_text(encoding="utf-8")
        # The sign-in page does not reveal whether the name or the password was wrong.
        forms = (
            []
            if file.name == "sign_in.html"
            else re.findall(r'<form method="post".*?</form>', source, re.DOTALL)
        )
        parts = [source] if file.name.endswith("_fields.html") else forms
        for tag in (tag for part in parts for tag in re.findall(r"<(?:input|select|textarea)\b[^>]*>", part)):
            name = re.search(r'name="(\w+)"', tag)
            is_typed = not re.search(r'type="(hidden|checkbox|radio)"| hidden>|aria-label="Role of', tag)
            if name and is_typed and not (f'field("{name[1]}"' in tag and f'error_of("{name[1]}")' in source):
                missing.append((file.name, name[1]))

    assert missing == []


@pytest.mark.parametrize(
    ("problem", "given", "found"),
    [
        (None, {"name"}, None),
        (InvalidInputError("max_uses", "must be `1`"), {"uses"}, Fault("uses", "Must be `1`.")),
        (InvalidInputError("scope", "Is wrong."), {"scope"}, Fault("scope", "Is wrong.")),
        (InvalidInputError("name", "is wrong"), {"id"}, None),
        (InvalidInputError("passkey", "is wrong"), {"passkey", "name"}, None),
        (ConflictError("worker_id_taken", "It is taken."), {"id", "name"}, Fault("id", "It is taken.")),
        (ConflictError("last_admin", "It is the last."), {"name", "role"}, None),
        (NotFoundError("worker", "my_own-name"), {"workers"}, Fault("workers", "There is no Worker 'my_own-name'.")),
    ],
)  # fmt: skip
def test_an_error_is_assigned_only_to_a_field_of_the_form(problem, given, found):
    """Any other error is shown only above the form."""
    assert find_fault(problem, given) == found


def test_names_of_api_fields_become_words():
    """Quoted text, environment variables and parts of other words are left as they are."""
    assert in_words("must not be lower than refuse_below") == "must not be lower than refuse below"
    assert (
        in_words("There is no 'my_key', no LYFTDATA_URL and no x-a_b.")
        == "There is no 'my_key', no LYFTDATA_URL and no x-a_b."
    )
