"""What is said of an error of the database."""

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from lyftdata.store.errors import problem_of, remedy_of


@pytest.mark.parametrize(
    "words",
    [
        "sorry, too many clients already",
        # PostgreSQL 15 and older; then 16.
        "remaining connection slots are reserved for non-replication superuser connections",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'too many connections for role "lyftdata"',
        'too many connections for database "lyftdata"',
        # PgBouncer
        "no more connections allowed (max_client_conn)",
    ],
)
def test_that_no_connection_is_free_is_said_with_a_remedy(words):
    """In one sentence before PostgreSQL's own, which does not always name the reason."""
    error = OperationalError(None, None, psycopg.OperationalError(f"connection failed: FATAL:  {words}"))

    assert problem_of(error) == f"it has no free connection: connection failed: FATAL:  {words}"
    assert "max_connections" in remedy_of(error)


def test_another_error_has_no_such_remedy():
    """A wrong password is not said to be a matter of connections."""
    words = 'FATAL:  password authentication failed for user "lyftdata"'
    error = OperationalError(None, None, psycopg.OperationalError(words))

    assert problem_of(error) == words
    assert remedy_of(error) == ""
