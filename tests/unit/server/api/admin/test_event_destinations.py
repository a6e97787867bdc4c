"""Event destinations, as admins define them."""

import pytest
from tests.event_destinations import deliver

PATH = "/api/event-destinations"
HOOK = {"name": "siem", "transport": "webhook", "url": "https://192.0.2.7/hooks/T0-s3cr3t?x=1"}


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("name", {"name": "x"}),
        ("name", {"name": "../etc"}),
        ("name", {"name": "Siem"}),
        ("url", {"url": ""}),
        ("url", {"url": "ftp://192.0.2.7"}),
        ("url", {"url": "tls://192.0.2.7"}),
        ("url", {"url": "https://"}),
        ("url", {"url": "https://user:pass@192.0.2.7"}),
        ("url", {"url": "https://192.0.2.7/#fragment"}),
        ("url", {"url": "https://192.0.2.7:0/"}),
        ("url", {"url": "https://192.0.2.7:99999/"}),
        ("url", {"url": "https://192.0.2.7/a b"}),
        ("url", {"url": "https://192.0.2.7/" + "a" * 1024}),
        ("url", {"transport": "syslog", "url": "https://192.0.2.7"}),
        ("url", {"transport": "syslog", "url": "tls://192.0.2.7/path"}),
        ("url", {"transport": "file", "url": "/etc/passwd"}),
        ("events", {"events": ["worker.wirte"]}),
        ("events", {"events": ["wroker.*"]}),
        ("events", {"events": ["worker.**"]}),
        ("labels", {"labels": ["a=1,b=2"]}),
        ("labels", {"labels": [""]}),
        ("ca", {"ca": "no certificate"}),
        ("ca", {"ca": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}),
        ("ca", {"ca": "-----BEGIN CERTIFICATE-----\n¡¿\x95\n-----END CERTIFICATE-----"}),
        ("ca", {"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}),
    ],
)
async def test_an_invalid_destination_is_rejected(server, admin, unhurried, field, body):
    """The answer names the field, and nothing is stored."""
    answer = await server.http.post(PATH, json=HOOK | body, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["field"] == field
    assert (await server.http.get(PATH, headers=admin)).json()["items"] == []


async def test_the_life_of_a_destination_is_audited_without_its_url(server, admin):
    """Viewers read the audit log, so the events have only host and port."""
    made = (await server.http.post(PATH, json=HOOK, headers=admin)).json()
    one = f"{PATH}/siem"
    await server.http.patch(one, json={"events": ["worker.*"]}, headers=admin)
    await server.http.patch(one, json={"events": ["worker.*"]}, headers=admin)
    await server.http.patch(one, json={"paused": True}, headers=admin)
    await server.http.patch(one, json={"paused": False}, headers=admin)
    rotated = (await server.http.post(f"{one}/secret", json={}, headers=admin)).json()
    assert (await server.http.delete(one, headers=admin)).status_code == 204

    log = (await server.http.get("/api/audit?subject=event_destination:siem", headers=admin)).json()["items"]

    assert [event["action"].removeprefix("event_destination.") for event in reversed(log)] == [
        "created",
        "changed",
        "paused",
        "resumed",
        "secret_rotated",
        "deleted",
    ]
    assert {event["details"]["endpoint"] for event in log} == {"192.0.2.7:443"}
    for secret in ("s3cr3t", made["secret"], rotated["secret"]):
        assert secret not in str(log)


async def test_a_webhook_secret_is_shown_once(server, admin):
    """Neither the list nor the destination shows it, and the database has neither it nor the URL in plain text."""
    made = (await server.http.post(PATH, json=HOOK, headers=admin)).json()
    assert made["secret"].startswith("whsec_")

    for path in (PATH, f"{PATH}/siem"):
        shown = (await server.http.get(path, headers=admin)).text
        assert "whsec_" not in shown
        assert HOOK["url"] in shown
    files = server.services.settings.staging_dir.glob("lyftdata.db*")
    stored = b"".join(file.read_bytes() for file in files)
    assert b"192.0.2.7:443" in stored
    assert b"s3cr3t" not in stored
    assert made["secret"].encode() not in stored


async def test_names_of_destinations_are_unique_and_their_number_limited(server, admin, unhurried):
    """Each destination costs its own delivery."""
    for number in range(32):
        answer = await server.http.post(PATH, json=HOOK | {"name": f"hook-{number}"}, headers=admin)
        assert answer.status_code == 201

    for name, code in (("hook-1", "event_destination_name_taken"), ("new", "too_many_event_destinations")):
        answer = await server.http.post(PATH, json=HOOK | {"name": name}, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_a_viewer_sees_no_destination(server, admin):
    """A URL may contain a secret, and who receives the audit log is for admins to know."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    viewer = await server.sign_in("vera", "another long one")

    for path in (PATH, f"{PATH}/siem"):
        assert (await server.http.get(path, headers=viewer)).status_code == 403


async def test_only_a_webhook_has_a_secret_to_rotate(server, admin):
    """Deliveries to a file or a syslog server are not signed."""
    added = await server.http.post(PATH, json={"name": "local", "transport": "file"}, headers=admin)
    assert added.json()["secret"] is None

    answer = await server.http.post(f"{PATH}/local/secret", json={}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_a_webhook")


async def test_no_internal_address_is_reached_by_default(server, admin):
    """Neither a delivery nor a test connects to one, and the answer does not reveal whether anything listens there."""
    for name, url in (("hook", "https://127.0.0.1:1/"), ("meta", "https://169.254.169.254/latest")):
        await server.http.post(PATH, json={"name": name, "transport": "webhook", "url": url}, headers=admin)

        tested = (await server.http.post(f"{PATH}/{name}/test", headers=admin)).json()

        assert not tested["delivered"]
        assert (
            "is an internal address, which LYFTDATA_EVENTS_ALLOWED_NETWORKS does not allow" in tested["error"]
        )
    await deliver(server)
    shown = (await server.http.get(f"{PATH}/hook", headers=admin)).json()
    assert "is an internal address" in shown["last_error"]
