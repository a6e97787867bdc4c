"""How database errors are described."""

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
def test_a_lack_of_connections_is_reported_with_a_remedy(words):
    """Our sentence precedes PostgreSQL's own, which does not always name the reason."""
    error = OperationalError(None, None, psycopg.OperationalError(f"connection failed: FATAL:  {words}"))

    assert problem_of(error) == f"it has no free connection: connection failed: FATAL:  {words}"
    assert "max_connections" in remedy_of(error)


def test_another_error_is_not_reported_as_a_lack_of_connections():
    """Such as a wrong password."""
    words = 'FATAL:  password authentication failed for user "lyftdata"'
    error = OperationalError(None, None, psycopg.OperationalError(words))

    assert problem_of(error) == words
    assert remedy_of(error) == ""
