"""Operators ask Workers to rotate their identity keys, and see which ones have not done so."""

from tests.unit.web.test_pages import ACTOR, text_of


async def test_one_worker_is_asked_to_rotate_on_its_page(server, browser):
    """The page shows that the rotation is still to be done."""
    worker_id, _ = await server.enrolled("press")
    page = f"/workers/{worker_id}"
    assert "Rotate identity key" in (await browser.get(page)).text

    done = await browser.post(f"{page}/rotate-key")

    assert (done.status_code, done.headers["location"]) == (303, page)
    assert "not done yet" in (await browser.get(page)).text
    assert server.services.directory.find_worker(worker_id).rotation_asked_at == server.clock()


async def test_ticked_workers_are_asked_to_rotate(server, browser):
    """The list says how many have yet to rotate, and can show only those."""
    ids = [(await server.enrolled(name))[0] for name in ("press", "drill", "lathe")]

    done = await browser.post("/workers?action=rotate-key", id=ids[:2])

    assert done.status_code == 303
    assert "2 asked to rotate their identity key" in (await browser.get("/workers")).text
    listed = (await browser.get("/workers?q=rotation:asked")).text
    assert [worker_id in listed for worker_id in ids] == [True, True, False]
    assert (await browser.get("/workers?q=rotation:never")).text.count(ids[2]) > 0


async def test_a_ticked_worker_without_an_identity_key_is_counted_separately(server, browser):
    """The notice does not say that the Worker is no longer in the list."""
    worker_id, _ = await server.enrolled("press")
    await server.services.workers.add("drill", worker_id="drill", labels={}, issue_key=False, actor=ACTOR)

    done = await browser.post("/workers?action=rotate-key", id=[worker_id, "drill"])

    notice = text_of(await browser.get(done.headers["location"]))
    assert "1 Worker was asked to rotate the identity key. 1 Worker has no identity key to rotate." in notice


async def test_a_viewer_cannot_ask_for_a_rotation(server, viewer):
    """There is no button, and the post is refused."""
    worker_id, _ = await server.enrolled("press")

    assert "Rotate identity key" not in (await viewer.get(f"/workers/{worker_id}")).text
    assert (await viewer.post(f"/workers/{worker_id}/rotate-key")).status_code == 403
    assert server.services.directory.find_worker(worker_id).rotation_asked_at is None
