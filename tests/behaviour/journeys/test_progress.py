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
