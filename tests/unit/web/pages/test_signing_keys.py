"""The page of the signing keys: what it shows, and that each step is confirmed and done once."""

from tests.unit.web.conftest import get_match


def published(server):
    """Return the kid of each key that this Server accepts."""
    return list(server.services.signing_keys.verification_keys)


async def test_an_admin_rotates_and_withdraws_a_key(server, browser):
    """Each after a confirmation that says what it does; a resent form does nothing."""
    (first,) = published(server)
    assert first in (await browser.get("/signing-keys")).text
    server.clock.forward(seconds=1)
    question = await browser.get("/signing-keys/rotate")
    before = get_match(r'name="before" value="([0-9a-f]{64})"', question)

    done = await browser.post("/signing-keys/rotate", before=before)
    again = await browser.post("/signing-keys/rotate", before=before)

    assert (done.status_code, done.headers["location"]) == (303, "/signing-keys")
    assert again.status_code == 409
    assert len(published(server)) == 2
    second = server.services.signing_keys.signer.kid
    server.clock.forward(seconds=1)
    path = f"/signing-keys/{first}/withdraw"
    assert "Every token signed by it is refused" in (await browser.get(path)).text
    assert (await browser.post_shown(path, path)).status_code == 303
    assert first not in published(server)
    assert second in published(server)
    assert (await browser.get(path)).status_code == 404


async def test_a_viewer_sees_the_keys_but_cannot_change_them(server, viewer):
    """There are no buttons, and opening the form is refused."""
    page = await viewer.get("/signing-keys")

    assert published(server)[0] in page.text
    assert "Withdraw…" not in page.text
    assert "Rotate now" not in page.text
    assert (await viewer.get("/signing-keys/rotate")).status_code == 403
