"""The page of Workers that wait for approval: what it shows, and deciding about several at once."""

import pytest
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import ACTOR, text_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Approval, EnrollmentMode
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules


@pytest.fixture
async def waiting_workers(server):
    """Return the IDs and identity keys of two waiting Workers."""
    rules = EnrollmentKeyRules(mode=EnrollmentMode.APPROVE)
    issued = await server.services.enrollment_keys.issue("etl-hosts", rules, actor=ACTOR)
    found = []
    for name in ("etl-1", "etl-2"):
        key = generate_identity_key()
        proof = server.proof(key, name, secret=issued.text.reveal())
        answer = await server.register(key, name, credential=proof, host={"hostname": f"{name}.example"})
        found.append((answer.json()["client_id"], key))
    return found


def approval_of(server, worker_id):
    """Return a Worker's state of approval, or None if it is approved."""
    return server.services.directory.find_worker(worker_id).approval


async def test_the_page_shows_what_an_operator_compares(server, browser, waiting_workers):
    """Name, fingerprint, host and key of each; the overview, the enrollment pages and the Worker's own page link to it."""
    page = await browser.get("/approvals")

    assert get_match(r'<a href="([^"]*)" aria-current="page">', page) == "/enrollment"
    for worker_id, key in waiting_workers:
        assert worker_id in page.text
        assert key.public.thumbprint in page.text
    assert "etl-1.example" in page.text
    assert 'href="/enrollment/etl-hosts"' in page.text
    for path in ("/", "/enrollment", "/enrollment/etl-hosts", f"/workers/{waiting_workers[0][0]}"):
        assert 'href="/approvals"' in (await browser.get(path)).text, path
    assert "2 Workers wait for approval" in text_of(await browser.get("/"))


async def test_a_viewer_is_not_offered_a_decision(browser, viewer, waiting_workers):
    """On the overview, a viewer's button only says that it shows who waits."""
    assert 'href="/approvals">Decide<' in (await browser.get("/")).text

    overview = (await viewer.get("/")).text
    assert 'href="/approvals">Show<' in overview
    assert ">Decide<" not in overview


async def test_ticked_workers_are_approved_after_one_confirmation(server, browser, waiting_workers):
    """The confirmation repeats the fingerprints; it applies only to the ticked Workers."""
    (first, key), (second, _) = waiting_workers
    asked = await browser.get(f"/decide-approvals?action=approve&id={first}")
    assert key.public.thumbprint in asked.text
    assert second not in asked.text
    assert get_match(r'name="id" value="([^"]*)"', asked) == first

    done = await browser.post("/approvals", action="approve", id=first)

    assert done.headers["location"] == "/approvals"
    assert (approval_of(server, first), approval_of(server, second)) == (None, Approval.PENDING)
    assert "1 Worker was approved." in text_of(await browser.get("/approvals"))


async def test_a_denied_worker_can_be_approved_on_its_own_page(server, browser, waiting_workers):
    """It is no longer listed as waiting; its page says that it was denied and has the button."""
    first = waiting_workers[0][0]
    await browser.post("/approvals", action="deny", id=first)
    assert approval_of(server, first) is Approval.DENIED
    assert first not in (await browser.get("/approvals")).text
    page = await browser.get(f"/workers/{first}")
    assert "An operator has denied it" in text_of(page)
    assert f'href="/decide-approvals?action=approve&amp;id={first}"' in page.text
    asked = await browser.get(f"/decide-approvals?action=approve&id={first}")
    assert "start the program on the host again" in text_of(asked)

    await browser.post("/approvals", action="approve", id=first)

    assert approval_of(server, first) is None


async def test_a_decision_that_is_impossible_is_explained(server, browser, waiting_workers):
    """A name taken in the meantime, a deleted Worker, nothing ticked: each has its own sentence, and nothing is changed."""
    first, second = waiting_workers[0][0], waiting_workers[1][0]
    await server.services.workers.add("etl-1", worker_id="etl-1", labels={}, issue_key=False, actor=ACTOR)
    await server.services.workers.delete(second, actor=ACTOR)

    await browser.post("/approvals", action="approve", id=first)

    said = text_of(await browser.get("/approvals"))
    assert "etl-1 was not: Held by etl-1." in said
    assert approval_of(server, first) is Approval.PENDING
    gone = await browser.get(f"/decide-approvals?action=approve&id={second}")
    assert "None of these Workers waits for approval any more." in text_of(gone)
    unticked = await browser.get("/decide-approvals?action=deny")
    assert "Tick at least one Worker first." in text_of(unticked)
    assert first in unticked.text
    assert "approve or deny" in text_of(await browser.get(f"/decide-approvals?action=keep&id={first}"))
