"""Bulk actions on all Workers that match a search change exactly those that were confirmed."""

import re

from tests.builders import worker
from tests.unit.web.test_pages import text_of

from lyftdata.store.tables import workers


async def add(server, *ids, **fields):
    """Add Workers."""

    def op(tx):
        for worker_id in ids:
            workers.insert_worker(tx, worker(worker_id, **fields), unique_name=False)

    await server.services.store.write(op)


def hidden_fields(page):
    """Return the hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))


def enabled(server):
    """Return the IDs of the enabled Workers."""
    return {entry.id for entry in server.services.directory.workers() if entry.enabled}


async def test_all_that_match_are_changed_once_confirmed(server, browser):
    """
    Even if they are more than a page or than can be ticked: the confirmation has their number, and only matching Workers change.
    """
    await add(server, *(f"w-{n:03}" for n in range(230)), labels={"zone": "eu-1"})
    await add(server, "other", labels={"zone": "eu-2"})
    listed = await browser.get("/workers?q=zone%3Deu-1")
    assert "Act on all 230 that match" in text_of(listed)
    asked = await browser.get("/change-workers?action=disable&all=yes&q=zone%3Deu-1&sort=-seen&id=other")
    assert "Disable 230 Workers?" in text_of(asked)
    assert "and 30 more" in text_of(asked)
    # Folded, so that the button stays in view however many there are.
    assert "<details><summary>230 Workers</summary>" in asked.text
    assert len(enabled(server)) == 231

    done = await browser.post("/workers", **hidden_fields(asked))

    assert done.headers["location"] == "/workers?q=zone%3Deu-1&sort=-seen"
    assert "230 Workers were disabled." in text_of(await browser.get(done.headers["location"]))
    assert enabled(server) == {"other"}


async def test_a_newly_matching_worker_needs_a_new_confirmation(server, browser):
    """A Worker that started to match in the meantime is not disconnected unseen: nothing changes, and the new number is shown."""
    await add(server, "w-1", "w-2")
    form = {"action": "disable", "all": "yes", "confirmed": "yes", "q": "id:w-"}
    for number in ("1", "", "x"):
        again = await browser.post("/workers", **form, expected=number)
        assert again.headers["location"] == "/change-workers?action=disable&q=id%3Aw-&all=yes"
        page = await browser.get(again.headers["location"])
        assert "Nothing was changed: Workers match now that did not" in text_of(page)
        assert "Disable 2 Workers?" in text_of(page)
        assert enabled(server) == {"w-1", "w-2"}

    asked = await browser.get("/change-workers?action=disable&all=yes&q=id%3Aw-")
    await browser.post("/workers", **hidden_fields(asked))
    assert enabled(server) == set()


async def test_a_different_set_of_the_same_size_needs_a_new_confirmation(server, browser):
    """If only some of the confirmed ones are gone, the others are changed at once."""
    await add(server, "w-1", "w-2", "w-3")
    asked = await browser.get("/change-workers?action=disable&all=yes&q=id%3Aw-")
    await browser.post("/workers/w-1/delete")
    await add(server, "w-4")

    again = await browser.post("/workers", **hidden_fields(asked))
    assert again.headers["location"] == "/change-workers?action=disable&q=id%3Aw-&all=yes"
    assert enabled(server) == {"w-2", "w-3", "w-4"}

    asked = await browser.get(again.headers["location"])
    await browser.post("/workers/w-2/delete")
    await browser.post("/workers", **hidden_fields(asked))
    assert enabled(server) == set()


async def test_no_action_on_all_that_match_is_done_without_confirmation(server, browser):
    """Labels and key rotations, which need none for ticked Workers, are confirmed too; a mistyped search changes nothing."""
    await add(server, "w-1", "w-2")
    for action, title in (
        ("label", "Add labels to 2 Workers?"),
        ("rotate-key", "Rotate the identity keys of 2 Workers?"),
    ):
        asked = await browser.post(f"/workers?action={action}", all="yes", labels="rack=7")
        assert asked.status_code == 303
        page = await browser.get(asked.headers["location"])
        assert title in text_of(page)
        assert "They are all Workers of this Server." in text_of(page)
    assert server.services.directory.find_worker("w-1").labels == {}
    form = hidden_fields(await browser.get("/change-workers?action=label&all=yes&labels=rack%3D7"))
    wrong = await browser.post("/workers", **form, q="stauts:offline")
    assert (wrong.status_code, "Did you mean 'status:'?" in text_of(wrong)) == (422, True)
    none = await browser.post("/workers", **form, q="nowhere")
    assert (none.status_code, "The search finds no Worker." in text_of(none)) == (422, True)

    await browser.post("/workers", **form, q="id:=w-1")

    assert server.services.directory.find_worker("w-1").labels == {"rack": "7"}
    assert server.services.directory.find_worker("w-2").labels == {}


async def test_each_heading_sorts_and_reverses(server, browser):
    """A heading links to the order by its column, then to the reverse; the search is kept, and the current order is marked."""
    await add(server, "w-1", "w-2")
    page = await browser.get("/workers?q=id%3Aw-&sort=host")
    assert 'aria-sort="ascending"><a href="/workers?q=id%3Aw-&amp;sort=-host">Host</a>' in page.text
    assert '<a href="/workers?q=id%3Aw-&amp;sort=-seen">Last seen</a>' in page.text
    assert '<a href="/workers?q=id%3Aw-">Name</a>' in page.text
    for column in ("name", "status", "host", "address", "version", "key", "seen", "created"):
        assert (await browser.get(f"/workers?sort=-{column}")).status_code == 200


async def test_a_bulk_change_can_be_undone(server, browser):
    """The list offers it once, without scripts; the filter is kept, and Workers that were changed since are named."""
    await add(server, "w-1", "w-2", "w-3")
    asked = await browser.get("/change-workers?action=disable&all=yes&q=id%3Aw-&sort=-seen")
    done = await browser.post("/workers", **hidden_fields(asked))
    listed = await browser.get(done.headers["location"])
    assert "3 Workers were disabled. Undo" in text_of(listed)
    assert "Undo" not in text_of(await browser.get(done.headers["location"]))
    await browser.post("/workers/w-2/enable")
    form = hidden_fields(listed)

    undone = await browser.post("/undo-change", **form)

    assert undone.headers["location"] == "/workers?q=id%3Aw-&sort=-seen"
    said = text_of(await browser.get(undone.headers["location"]))
    assert "Undone: 2 Workers are as before. Left alone, because changed since: w-2." in said
    assert enabled(server) == {"w-1", "w-2", "w-3"}
    again = await browser.post("/undo-change", **form)
    assert (again.status_code, "This was undone already." in text_of(again)) == (409, True)
    for number in ("", "x", "0", "9" * 18, "9" * 40):
        assert (await browser.post("/undo-change", number=number)).status_code == 404


async def test_undo_is_not_offered_if_there_is_nothing_to_undo(server, browser):
    """Deleted Workers cannot be restored, and labels that were already present leave nothing to undo."""
    await add(server, "w-1", "w-2", labels={"rack": "7"})
    same = await browser.post("/workers?action=label", id="w-1", labels="rack=7")
    listed = text_of(await browser.get(same.headers["location"]))
    assert "0 Workers were labelled. 1 Worker had these labels already." in listed
    gone = await browser.post("/workers", action="delete", confirmed="yes", id="w-1")
    listed += text_of(await browser.get(gone.headers["location"]))
    assert "1 Worker was deleted." in listed
    assert "Undo" not in listed
    labelled = await browser.post("/workers?action=label", id="w-2", labels="rack=8")
    assert "1 Worker was labelled. Undo" in text_of(await browser.get(labelled.headers["location"]))
