"""Long commands show their progress on a terminal, and not when piped."""

from tests.terminals import run_on_a_terminal

WORKERS = ("press-01", "press-02", "press-03")


def shows_progress(host, command, *, stage, result, before=lambda: None):
    """Check that a command shows a stage before the result on a terminal, and no stage when piped."""
    before()
    piped = host.run(*command)
    assert piped.returncode == 0, piped.stderr
    assert stage not in piped.stdout + piped.stderr
    before()

    code, shown = run_on_a_terminal([*host.python, *command], host.environ | {"TERM": "xterm"})

    assert code == 0, shown
    assert shown.index(stage) < shown.index(result), shown


def test_commands_on_the_servers_host_show_progress(site, cluster):
    """Backup, restore, and the migration to PostgreSQL."""
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
