"""The pages of a copied identity: both hosts are shown, and an admin decides which one continues."""

from tests.identity_directories import IdentityDirectory

from lyftdata.core.signature_counter import SignatureNumber


async def test_an_admin_lets_a_copy_continue(server, browser, viewer, tmp_path):
    """
    The copy is shown on the overview and on its Worker's page; a confirmation says what follows, and a viewer cannot decide.
    """
    host = await IdentityDirectory.enroll(server, tmp_path / "host")
    restored = host.copy(tmp_path / "restored")
    assert (await host.token(server, counter=SignatureNumber(2, 2, host="press-host"))).status_code == 200
    refused = await restored.token(server, counter=SignatureNumber(1, 3, host="other-host"))
    path = f"/workers/{host.worker_id}/copies/{refused.json()['reference']}/continue"

    assert "is used from a second directory" in (await browser.get("/")).text
    shown = await browser.get(f"/workers/{host.worker_id}")
    assert "other-host" in shown.text
    assert "press-host" in shown.text
    assert path in shown.text
    assert path not in (await viewer.get(f"/workers/{host.worker_id}")).text
    asked = await browser.get(path)
    assert "refused from then on" in asked.text
    assert (await viewer.post(path)).status_code == 403
    assert (await browser.get(path.replace(refused.json()["reference"], "NOTTHERE"))).status_code == 404
    done = await browser.post(path)

    assert done.headers["location"] == f"/workers/{host.worker_id}"
    assert (await restored.token(server)).status_code == 200
    assert "continued by admin" in (await browser.get(f"/workers/{host.worker_id}")).text
    assert "second directory" not in (await browser.get("/")).text


async def test_an_admin_lets_a_copy_enroll_as_a_new_worker(server, browser, viewer, tmp_path):
    """The confirmation says what it needs; its next token request says to enroll, and the Worker's page shows who decided."""
    host = await IdentityDirectory.enroll(server, tmp_path / "host")
    clone = host.copy(tmp_path / "clone")
    assert (await host.token(server, counter=SignatureNumber(2, 2, host="press-host"))).status_code == 200
    refused = await clone.token(server, counter=SignatureNumber(1, 3, host="clone-host"))
    path = f"/workers/{host.worker_id}/copies/{refused.json()['reference']}/reenroll"
    assert path in (await browser.get(f"/workers/{host.worker_id}")).text
    assert path not in (await viewer.get(f"/workers/{host.worker_id}")).text

    asked = await browser.get(path)
    assert "It needs an enrollment key" in asked.text
    assert "press-host" in asked.text
    assert (await viewer.post(path)).status_code == 403
    await browser.post(path)

    assert (await clone.token(server)).json()["code"] == "enroll_as_new"
    shown = await browser.get(f"/workers/{host.worker_id}")
    assert "to enroll as a new Worker, by admin" in shown.text
    assert "second directory" not in (await browser.get("/")).text
