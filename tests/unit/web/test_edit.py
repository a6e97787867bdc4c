"""Two operators edit the same thing: neither overwrites the other's change without having seen it."""

import re

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.test_pages import seen, text_of

WORKER = ("/workers/press-01", {"name": "press-01", "labels": "zone=eu-1"})
RESOURCE = ("/resources/broker", {"audience": "https://broker.example", "scopes": "read", "labels": "gpu"})


@pytest.fixture
async def objects(browser, press):
    """Create a Worker with labels and a resource."""
    await browser.post(WORKER[0], **WORKER[1])
    await browser.post("/add-resource", name="broker", **RESOURCE[1])


async def current(server, path):
    """Return the editable values of the Worker or the resource."""
    if path.startswith("/workers"):
        worker = server.services.directory.find_worker("press-01")
        return {"name": worker.name, "labels": worker.labels}
    resource = server.services.directory.find_resource_by_name("broker")
    return {"audience": resource.audience, "scopes": resource.scopes, "labels": resource.labels}


@pytest.mark.parametrize(
    ("form", "first", "second", "shown"),
    [
        (WORKER, {"labels": "owner=ann"}, {"labels": "zone=eu-1,rack=7"}, "labels: owner=ann"),
        (WORKER, {"labels": ""}, {"labels": "rack=7"}, "labels: none"),
        (WORKER, {"name": "first"}, {"name": "second"}, "name: first"),
        (RESOURCE, {"scopes": "read write"}, {"scopes": "read admin"}, "scopes: read, write"),
        (RESOURCE, {"labels": ""}, {"labels": "gpu cpu"}, "labels: none"),
        (
            RESOURCE,
            {"audience": "https://a.example"},
            {"audience": "https://b.example"},
            "audience: https://a.example",
        ),
        (RESOURCE, {"for_all_workers": "yes", "scopes": "x"}, {"scopes": "y"}, "scopes: x"),
    ],
)
async def test_the_second_to_save_sees_the_conflict_and_keeps_the_typed_values(
    server, browser, objects, form, first, second, shown
):
    """Nothing is overwritten; the page shows the current value, and saving once more replaces it."""
    path, fields = form
    opened = seen(await browser.get(path))
    assert (await browser.post(path, **(fields | first), seen=opened)).status_code == 303
    between = await current(server, path)

    refused = await browser.post(path, **(fields | second), seen=opened)

    assert (refused.status_code, shown in text_of(refused)) == (409, True)
    assert await current(server, path) == between
    for name, text in second.items():
        assert f'name="{name}" value="{text}"' in refused.text
    again = await browser.post(path, **(fields | second), seen=seen(refused))
    assert again.status_code == 303
    assert await current(server, path) != between


@pytest.mark.parametrize(
    ("form", "first", "second"),
    [
        (WORKER, {"labels": "owner=ann"}, {"name": "The press"}),
        (RESOURCE, {"scopes": "read write"}, {"labels": "gpu cpu"}),
    ],
)
async def test_changes_to_different_fields_are_both_kept(server, browser, objects, form, first, second):
    """Fields that were not edited are not sent."""
    path, fields = form
    opened = seen(await browser.get(path))

    for change in (first, second):
        assert (await browser.post(path, **(fields | change), seen=opened)).status_code == 303

    expected = (
        {"name": "The press", "labels": {"owner": "ann"}}
        if form is WORKER
        else {"audience": "https://broker.example", "scopes": ["read", "write"], "labels": ["cpu", "gpu"]}
    )
    assert await current(server, path) == expected


async def test_an_input_error_does_not_hide_a_conflict(server, browser, objects):
    """After a typing error is corrected, the form is still compared with the values it was first shown with."""
    opened = seen(await browser.get("/workers/press-01"))
    await browser.post("/workers/press-01", name="press-01", labels="owner=ann", seen=opened)
    fault = await browser.post("/workers/press-01", name="press-01", labels="a b=c", seen=opened)
    assert (fault.status_code, seen(fault)) == (422, opened)

    corrected = await browser.post("/workers/press-01", name="press-01", labels="a=c", seen=seen(fault))

    assert corrected.status_code == 409
    assert server.services.directory.find_worker("press-01").labels == {"owner": "ann"}


async def test_a_stale_form_does_not_undo_another_operators_change_of_role(server, browser):
    """The role form carries the role that it was shown with."""
    await browser.post("/operators", name="ada", role="viewer", scope="")
    page = await browser.get("/operators")
    opened = re.findall(r'action="/operators/ada/role"[^>]*>.*?name="seen" value="([^"]+)"', page.text)[0]
    await browser.post("/operators/ada/role", role="admin", seen=opened)

    same = await browser.post("/operators/ada/role", role="viewer", seen=opened)
    assert same.status_code == 303
    assert (await server.services.operators.get("ada")).role == "admin"
    await browser.post("/operators/ada/role", role="viewer")
    stale = await browser.post("/operators/ada/role", role="admin", seen="role:0")

    assert (stale.status_code, "role: viewer" in text_of(stale)) == (409, True)


async def test_a_conflict_is_also_detected_in_the_transaction(server, admin, press):
    """A caller that passes the page's check at the same moment is stopped when the change is written."""
    from tests.unit.server.admin.test_worker_queries import ADMIN

    from lyftdata.core.errors import ConflictError
    from lyftdata.server.admin.resources import ResourceChange

    services = server.services
    with pytest.raises(ConflictError, match="labels changed in the meantime"):
        await services.workers.change(
            "press-01", labels={"a": "1"}, expected={"labels": {"b": ""}}, actor=ADMIN
        )
    await services.resources.add("broker", ResourceChange(audience="https://b.example"), actor=ADMIN)
    with pytest.raises(ConflictError, match="scopes changed in the meantime"):
        await services.resources.change(
            "broker", ResourceChange(scopes=["x"]), expected={"scopes": ["y"]}, actor=ADMIN
        )
    assert services.directory.find_worker("press-01").labels == {}


@pytest.mark.parametrize(
    ("path", "change", "other"),
    [
        ("/api/workers/press-01", {"labels": {"a": "1"}}, {"enabled": False}),
        ("/api/resources/broker", {"scopes": ["x"]}, {"labels": ["cpu"]}),
    ],
)
async def test_the_api_checks_if_match(server, browser, objects, path, change, other):
    """With `If-Match` a change is refused if anything was edited since; without it, the change is made."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    tag = (await server.http.get(path, headers=admin)).headers["etag"]
    made = await server.http.patch(path, json=change, headers=admin | {"If-Match": tag})
    assert made.status_code == 200
    newer = made.headers["etag"]
    assert newer == (await server.http.get(path, headers=admin)).headers["etag"] != tag

    stale = await server.http.patch(path, json=other, headers=admin | {"If-Match": tag})

    assert (stale.status_code, stale.json()["code"]) == (412, "changed_meanwhile")
    assert (await server.http.get(path, headers=admin)).headers["etag"] == newer
    for given in ({}, {"If-Match": "*"}, {"If-Match": f'"x", {newer}'}):
        assert (await server.http.patch(path, json=change, headers=admin | given)).status_code == 200
