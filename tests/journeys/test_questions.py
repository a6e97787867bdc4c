"""Questions before something is cut off."""

from tests.terminals import Typist, run_on_a_terminal


def test_no_command_asks_about_what_does_not_exist(plain_site):
    """On a terminal a mistyped name is reported instead of the question, exit 1; a name that exists is asked about."""
    operator = plain_site.operator
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
    assert plain_site.workers()["press-01"]["enabled"]
