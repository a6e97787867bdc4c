"""Questions before something is cut off."""

from tests.processes import PASSWORD
from tests.terminals import Typist, run_on_a_terminal


def test_no_command_asks_about_what_does_not_exist(shared_site):
    """On a terminal a mistyped name is reported instead of the question, exit 1; a name that exists is asked about."""
    operator = shared_site.operator
    operator.done("workers", "add", "press-01", "--id", "press-01")
    made = operator.run(
        "resources", "add", "orders", "--audience", "https://orders.example", "--worker", "press-01"
    )
    assert "1 Worker at present" in made.stdout + made.stderr

    for arguments in (
        ("workers", "disable"),
        ("workers", "delete"),
        ("api-key", "revoke"),
        ("api-key", "rotate"),
        ("operators", "reset-password"),
        ("operators", "delete"),
        ("operators", "revoke-session"),
        ("operators", "revoke-sessions"),
        ("resources", "delete"),
    ):
        code, written = run_on_a_terminal([*operator.python, *arguments, "pres-01"], operator.environ)
        assert (code, "'pres-01'" in written) == (1, True), written
        assert "[y/N]" not in written

    with Typist(
        [*operator.python, "workers", "disable", "press-01"], operator.environ, cwd=operator.home
    ) as typist:
        typist.wait_for("Disable Worker press-01?")
        typist.enter("n\n")
        typist.wait_for_end()
    assert shared_site.workers()["press-01"]["enabled"]


def test_a_services_key_is_replaced_only_on_purpose(tmp_path, shared_site):
    """A second `issue-key` ends the key that a service uses: it asks first, and without a terminal it needs `--yes`."""
    operator, kept = shared_site.operator, tmp_path / "press.key"
    operator.done("resources", "add", "press", "--audience", "https://press.example.com")
    first = operator.done("resources", "issue-key", "press").strip()

    refused = operator.run("resources", "issue-key", "press", "--output", str(kept))

    assert (refused.returncode, refused.stdout, kept.exists()) == (2, "", False)
    assert "stops working at once" in refused.stderr
    replaced = operator.run("resources", "issue-key", "press", "--output", str(kept), "--yes")
    assert (replaced.returncode, replaced.stdout) == (0, ""), replaced.stderr
    assert kept.read_text().strip() != first


def test_each_password_is_checked_before_the_next_question(plain_site):
    """A wrong current password ends it at once; a new one is checked for strength before it is asked for again."""
    operator = plain_site.operator
    command = [*operator.python, "password"]

    def answer(typist, question, text):
        typist.wait_for(question)
        typist.wait_until_hidden()
        typist.enter(f"{text}\n")

    with Typist(command, operator.environ, cwd=operator.home) as typist:
        answer(typist, "Current password", "wrong wrong wrong")
        typist.wait_for("The current password is wrong.")
        typist.wait_for_end()
    assert "New password" not in typist.written

    with Typist(command, operator.environ, cwd=operator.home) as typist:
        answer(typist, "Current password", PASSWORD)
        for weak, problem in (
            ("short", "12 to 1024 characters"),
            (f"{PASSWORD}1", "must not be the one it replaces"),
        ):
            answer(typist, "New password", weak)
            typist.wait_for(problem)
        assert "Repeat" not in typist.written
        answer(typist, "New password", "a much better one")
        answer(typist, "Repeat for confirmation", "a much better two")
        typist.wait_for("do not match")
        answer(typist, "New password", "a much better one")
        answer(typist, "Repeat for confirmation", "a much better one")
        typist.wait_for("Password changed")
        typist.wait_for_end()

    operator.done("login", "admin", "--password-stdin", stdin="a much better one\n")
