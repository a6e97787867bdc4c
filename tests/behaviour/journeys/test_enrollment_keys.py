"""Enrollment keys that an operator issues: one key for one host, and its rotation."""


def test_a_key_for_one_use_enrolls_one_worker(plain_site):
    """The next Worker is refused for good, as is one with a wrong name, and the operator sees the cause."""
    site = plain_site
    issued = site.operator.run(
        "enrollment", "issue", "etl-key", "--uses", "1", "--expires", "24h",
        "--worker-name", "etl-*", "--from", "127.0.0.0/8", "--label", "team=etl",
    )  # fmt: skip
    key = issued.stdout.strip()
    assert key.startswith("lyftdata_enroll_")
    assert key not in issued.stderr
    given = {"LYFTDATA_AUTO_ENROLLMENT_KEY": key}

    wrong_name = site.worker_host("a", LYFTDATA_WORKER_NAME="press", **given).start("run", "worker")
    assert wrong_name.exit_code() == 3
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="etl-1", **given)
    host.start("run", "worker").wait_for("online")
    second = site.worker_host("c", LYFTDATA_WORKER_NAME="etl-2", **given).start("run", "worker")
    assert second.exit_code() == 3
    (refused,) = second.events("refused")

    shown = site.operator.json("refusals", "show", refused["reference"])
    assert shown["code"] == "enrollment_key_used_up"
    view = site.operator.json("enrollment", "show", "etl-key")
    assert (view["status"], view["uses"], view["max_uses"], view["workers"]) == ("used_up", 1, 1, 1)
    (entry,) = site.operator.json("workers", "list")
    assert (entry["name"], entry["labels"], entry["enrolled_with"]) == (
        "etl-1",
        {"team": "etl"},
        view["fingerprint"],
    )
    site.operator.done("enrollment", "revoke", "etl-key", "--yes")
    assert site.operator.json("enrollment", "list")[0]["status"] == "revoked"
    for text in (site.server.log, second.log, wrong_name.log):
        assert key[27:] not in text


def test_a_rotated_key_can_be_read_from_its_file(plain_site, tmp_path):
    """`--output` writes a file for `LYFTDATA_AUTO_ENROLLMENT_KEY_FILE`; after a rotation only the new key enrolls."""
    site = plain_site
    file = tmp_path / "etl.key"
    site.operator.done("enrollment", "issue", "etl-key", "--output", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    old = file.read_text().strip()
    file.unlink()
    site.operator.done("enrollment", "rotate", "etl-key", "--yes", "--output", str(file))
    stale = site.worker_host("a", LYFTDATA_WORKER_NAME="etl-1", LYFTDATA_AUTO_ENROLLMENT_KEY=old)
    assert stale.start("run", "worker").exit_code() == 3

    site.server.terminate()
    assert site.server.exit_code() == 0
    (ready,) = site.start_server().events("ready")
    assert ready["auto_enrollment"] == "on", "an issued key enrolls, whatever the settings hold"

    host = site.worker_host("b", LYFTDATA_WORKER_NAME="etl-1", LYFTDATA_AUTO_ENROLLMENT_KEY_FILE=str(file))
    host.start("run", "worker").wait_for("online")
