"""Checkpoints of the audit log, from signing to a restored backup."""

from pathlib import Path

from tests.processes import until


def test_a_restored_backup_is_reported_until_the_host_accepts_it(open_site):
    """The Server's log and `doctor server` say that the audit log was cut, and no checkpoint is signed until then."""
    site = open_site()
    operator = site.sign_in()
    key = operator.done("audit", "key").strip()
    site.server_host.done("admin", "backup", str(site.root / "backup.db"))
    operator.done("workers", "add", "press-01", "--id", "press-01")
    lost = operator.json("audit", "checkpoint")
    site.server.terminate()
    assert site.server.events("audit_checkpoint_signed")[-1]["occasion"] == "stop"
    restored = site.server_host.run("admin", "restore", str(site.root / "backup.db"), "--yes")
    assert (restored.returncode, "accept-audit-log" in restored.stderr) == (0, True), restored.stderr

    site.start_server()
    cut = site.server.wait_for("audit_log_cut")
    assert f"a checkpoint of {lost['size']} events was signed" in cut["problem"]
    assert operator.run("audit", "checkpoint").returncode == 1
    found = site.server_host.run("doctor", "server", "--json").stdout
    assert '"audit_log_cut"' in found
    assert site.server_host.run("admin", "accept-audit-log").returncode == 2
    accepted = site.server_host.json("admin", "accept-audit-log", "--yes")
    assert lost["note"] == Path(accepted["kept_as"]).read_text(encoding="utf-8")
    site.server.terminate()
    site.start_server()

    site.sign_in()
    signed = operator.json("audit", "checkpoint")
    assert signed["key"] == key
    assert operator.done("audit", "checkpoint") == signed["note"]
    (event,) = operator.json("audit", "list", "--action", "audit_log.accepted")
    assert event["details"]["kept_size"] == str(lost["size"])
    until(lambda: operator.json("audit", "verify")["ok"], "the log is whole")
    assert "nothing to accept" in site.server_host.done("admin", "accept-audit-log")
