"""Long commands show how far they are on a terminal, and print nothing of it when piped."""

from tests.terminals import run_on_a_terminal

WORKERS = ("press-01", "press-02", "press-03")


def shows_progress(host, command, *, stage, result, before=lambda: None):
    """Check a bar with its stage on a terminal and the result after it; piped, the result alone."""
    before()
    piped = host.run(*command)
    assert piped.returncode == 0, piped.stderr
    assert stage not in piped.stdout + piped.stderr
    before()

    code, shown = run_on_a_terminal([*host.python, *command], host.environ | {"TERM": "xterm"})

    assert code == 0, shown
    assert shown.index(stage) < shown.index(result), shown


def test_commands_that_ask_the_server(site):
    """Checking and exporting the audit log, and changing several Workers."""
    operator = site.operator
    for worker_id in WORKERS:
        operator.done("workers", "add", worker_id, "--id", worker_id)
    verify = ("audit", "verify")
    shows_progress(operator, verify, stage="Checking the audit log", result="The audit log is whole")
    for command, done in (
        (("workers", "disable", *WORKERS, "--yes"), "disabled"),
        (("workers", "enable", *WORKERS), "enabled"),
        (("workers", "label", "press-01", "zone=eu", "--worker", "press-02"), "labelled"),
    ):
        count = 2 if done == "labelled" else 3
        shows_progress(
            operator, command, stage="Changing Workers", result=f"{count} of {count} Workers {done}"
        )
    labels = {worker_id: worker["labels"] for worker_id, worker in site.workers().items()}
    assert labels == {"press-01": {"zone": "eu"}, "press-02": {"zone": "eu"}, "press-03": {}}

    # On a terminal the events show by themselves how far it is; into a file they do not.
    exported = operator.home / "exported"
    to_file = ["sh", "-c", f'exec "$@" > {exported}', "sh", *operator.python, "audit", "export"]
    code, shown = run_on_a_terminal(to_file, operator.environ | {"TERM": "xterm"})
    assert code == 0, shown
    assert "Exporting" in shown
    assert exported.read_text().startswith("{")


def test_commands_on_the_servers_host(site, cluster):
    """Backing up, putting a backup back, and moving to PostgreSQL."""
    host = site.server_host
    file = host.home / "monday.db"
    backup = ("admin", "backup", str(file))
    shows_progress(
        host,
        backup,
        stage="Checking the audit log",
        result="Backed up to",
        before=lambda: file.unlink(missing_ok=True),
    )
    site.server.terminate()
    shows_progress(
        host, ("admin", "restore", str(file), "--yes"), stage="Checking the audit log", result="Restored"
    )

    host.environ["LYFTDATA_SECRET_KEY_FILE"] = str(host.home / "staging" / "secret.key")
    url = cluster.new_database()
    code, shown = run_on_a_terminal(
        [*host.python, "admin", "migrate"], host.environ | {"TERM": "xterm", "LYFTDATA_DATABASE_URL": url}
    )
    assert code == 0, shown
    assert "━" in shown
