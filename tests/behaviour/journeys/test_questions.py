"""Commands that ask for passwords on a terminal."""

from tests.processes import PASSWORD
from tests.terminals import Typist


def test_each_password_is_checked_before_the_next_question(plain_site):
    """A wrong current password ends the command at once; a new one is checked before it has to be repeated."""
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
